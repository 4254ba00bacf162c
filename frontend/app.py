"""Puts the application together: its parts, their lifetimes, and the one place where errors become responses."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from ipaddress import ip_address

from fastapi import FastAPI, Request
from fastapi.exception_handlers import http_exception_handler
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from frontend import VERSION
from frontend.api.routes import router
from frontend.api.schemas import ClassifyResponse
from frontend.classify.classifier import ImageClassifier
from frontend.download.downloader import Downloader
from frontend.errors import ServiceError
from frontend.i18n.messages import error_message, preferred_language, service_error_message
from frontend.inference.client import Inference
from frontend.inference.readiness import Readiness
from frontend.inference.versions import ModelVersions
from frontend.limits.admission import Admission
from frontend.middleware.access_log import AccessLog
from frontend.middleware.api_keys import ApiKeys
from frontend.middleware.auth import Gate
from frontend.middleware.body_limit import BodyLimit
from frontend.middleware.rate_limit import RateLimit
from frontend.middleware.request_context import RequestContexts
from frontend.page.page import add_page
from frontend.settings import Settings
from frontend.telemetry import request_stats
from frontend.telemetry.metrics import Metrics
from frontend.telemetry.request_id import HEADER
from frontend.telemetry.tracing import Tracing

log = logging.getLogger(__name__)

_CLIENT_CLOSED_REQUEST = 499


def create_app(settings: Settings | None = None) -> FastAPI:
    """Build the ASGI application; settings come from the environment unless given."""
    settings = settings or Settings()
    app = FastAPI(
        title="Birds",
        summary="Bird species from image URLs",
        version=VERSION,
        lifespan=_lifespan,
    )
    app.state.settings = settings
    app.state.metrics = Metrics()
    # The last one added sees a request first.
    app.add_middleware(BodyLimit, max_bytes=settings.max_request_bytes, except_path="/files")
    rate_limit = RateLimit(settings.rate_limit) if settings.rate_limit else None
    keys = ApiKeys(settings.all_api_keys)
    app.add_middleware(Gate, keys=keys, rate_limit=rate_limit, refusal=_service_error)
    if settings.trusted_proxies:
        app.add_middleware(ProxyHeadersMiddleware, trusted_hosts=[str(proxy) for proxy in settings.trusted_proxies])
    app.add_middleware(RequestContexts, timeout_seconds=settings.request_timeout)
    app.add_middleware(AccessLog, keys=keys)
    app.include_router(router)
    add_page(app)
    app.add_exception_handler(RequestValidationError, _invalid_body)
    app.add_exception_handler(ServiceError, _service_error)
    app.add_exception_handler(ClientDisconnect, _client_gone)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(Exception, _bug)
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    settings: Settings = app.state.settings
    if not settings.all_api_keys and not _is_loopback(settings.host):
        log.warning("everybody who reaches %s may ask: BIRDS_API_KEYS is not set", settings.host)
    async with AsyncExitStack() as stack:
        downloader = await stack.enter_async_context(Downloader.from_settings(settings))
        inference = await stack.enter_async_context(Inference(settings.triton_url))
        app.state.downloader = downloader
        versions = ModelVersions(inference.catalogue, settings.canary_version, settings.canary_percent)
        app.state.model_versions = versions
        app.state.url_classifier = ImageClassifier(inference, versions, settings.max_pixels)
        app.state.url_admission = Admission(settings.max_backlog)
        # Slots and an admission of their own: a file waits for its place with its bytes in memory, and were that
        # place one of a download that waits for memory, neither would go on.
        app.state.upload_admission = Admission(settings.max_backlog)
        app.state.upload_classifier = ImageClassifier(inference, versions, settings.max_pixels)
        app.state.readiness = Readiness(inference)
        app.state.tracing = tracing = Tracing.from_environment()
        if tracing:
            stack.callback(tracing.close)
        yield


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


async def _invalid_body(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    language = _language(request)
    fields = {str(problem["loc"][1]) if len(problem["loc"]) > 1 else "body" for problem in error.errors()}
    known = [f"{field}_invalid" for field in ("images", "k", "model_version") if field in fields]
    return _failed(422, [error_message(code, language) for code in known or ["body_invalid"]], language)


async def _service_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, ServiceError)
    request_stats.failed(error.code)
    language = _language(request)
    return _failed(error.status, [service_error_message(error, language)], language, error.headers)


async def _client_gone(request: Request, _: Exception) -> Response:
    log.info("the client of %s %s went away", request.method, request.url.path)
    return Response(status_code=_CLIENT_CLOSED_REQUEST)  # for the log: nobody reads it


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if isinstance(error.__cause__, ServiceError):  # FastAPI wraps whatever is raised while it reads a body
        return await _service_error(request, error.__cause__)
    if error.status_code == 400:  # or it could not parse the body at all: no UTF-8, nested too deep
        return await _invalid_body(request, RequestValidationError([]))
    return await http_exception_handler(request, error)


async def _bug(request: Request, error: Exception) -> JSONResponse:
    log.error("unexpected failure of %s %s", request.method, request.url.path, exc_info=error)
    language = _language(request)
    response = _failed(500, [error_message("internal_error", language)], language)
    if observed := request_stats.current():  # this answer does not pass the observer
        response.headers[HEADER] = observed.request_id
    return response


def _language(request: Request) -> str:
    return preferred_language(request.headers.get("accept-language"))


def _failed(status: int, errors: list[str], language: str, headers: dict[str, str] | None = None) -> JSONResponse:
    headers = {"Content-Language": language, "Vary": "Accept-Language", **(headers or {})}
    return JSONResponse(ClassifyResponse(errors=errors).model_dump(), status, headers)
