"""Builds the application: its parts, their lifetimes, and the one place where errors become responses."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Collection
from contextlib import AsyncExitStack, asynccontextmanager
from functools import lru_cache
from ipaddress import ip_address
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from fastapi.routing import APIRoute
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from frontend import VERSION
from frontend.api.budgeted_response import MAX_UNREAD_BYTES
from frontend.api.requests import field_mistakes
from frontend.api.routes import router
from frontend.api.schemas import ClassifyResponse
from frontend.api.services import Services
from frontend.api.species_filter import read_species_lists
from frontend.classify.classifier import ImageClassifier
from frontend.download.downloader import Downloader
from frontend.errors import InvalidRequest, ServiceError
from frontend.i18n.messages import error_message, preferred_language, service_error_message
from frontend.inference.client import Inference
from frontend.inference.readiness import Readiness
from frontend.inference.versions import ModelVersions
from frontend.limits.admission import Admission
from frontend.limits.memory_budget import MemoryBudget
from frontend.middleware.access_log import AccessLogMiddleware
from frontend.middleware.auth import ApiKeys, AuthMiddleware
from frontend.middleware.body_limit import BodyLimitMiddleware
from frontend.middleware.bugs import BugMiddleware
from frontend.middleware.host_check import ANY, HostCheckMiddleware
from frontend.middleware.paths import PathMiddleware
from frontend.middleware.rate_limit import RateLimit
from frontend.middleware.request_context import RequestContextMiddleware
from frontend.middleware.upload_refusal import UploadRefusalMiddleware
from frontend.page.page import add_page
from frontend.settings import Settings
from frontend.telemetry import request_stats
from frontend.telemetry.metrics import Metrics
from frontend.telemetry.request_id import HEADER
from frontend.telemetry.tracing import Tracing

log = logging.getLogger(__name__)

_CLIENT_CLOSED_REQUEST = 499


def create_app(settings: Settings | None = None) -> FastAPI:
    """Build the ASGI application. Settings come from the environment unless they are given."""
    settings = settings or Settings()
    metrics = Metrics()
    tracing = Tracing.from_environment()
    url_admission, upload_admission = Admission(settings.max_backlog), Admission(settings.max_backlog)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
        try:
            async with _running_services(settings, metrics, url_admission, upload_admission) as services:
                app.state.services = services
                yield {"metrics": metrics}  # uvicorn hands this to the protocol (frontend/server/)
        finally:
            if tracing:
                tracing.close()

    app = FastAPI(
        title="Birds",
        summary="Bird species from image URLs",
        version=VERSION,
        lifespan=lifespan,
        servers=[{"url": settings.root_path}] if settings.root_path else None,
        redirect_slashes=False,
        docs_url=None,  # frontend/page/ serves /docs: FastAPI's own page loads its scripts from another host
        redoc_url=None,
        # frontend/telemetry/ traces. FastAPI's own spans would follow any client's traceparent.
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    _add_middleware(app, settings, metrics, tracing, url_admission, upload_admission)
    app.include_router(router)
    add_page(app)
    app.add_exception_handler(RequestValidationError, _invalid_query)
    app.add_exception_handler(InvalidRequest, _invalid_request)
    app.add_exception_handler(ServiceError, _service_error)
    app.add_exception_handler(ClientDisconnect, _client_gone)
    app.add_exception_handler(Exception, _bug)  # for bugs outside BugMiddleware
    return app


def _add_middleware(
    app: FastAPI,
    settings: Settings,
    metrics: Metrics,
    tracing: Tracing | None,
    url_admission: Admission,
    upload_admission: Admission,
) -> None:
    """Add the middleware, innermost first: the one added last sees a request first."""
    keys = ApiKeys(settings.all_api_keys)
    rate_limit = RateLimit(settings.rate_limit) if settings.rate_limit else None
    app.add_middleware(
        BodyLimitMiddleware,
        path="/",
        max_bytes=settings.max_request_bytes,
        admission=url_admission,
        refuse=_service_error,
    )
    app.add_middleware(
        UploadRefusalMiddleware,
        path="/files",
        max_images=settings.max_images,
        admission=upload_admission,
        refuse=_service_error,
    )
    app.add_middleware(AuthMiddleware, keys=keys, refuse=_service_error)
    app.add_middleware(RequestContextMiddleware, timeout_seconds=settings.request_timeout, rate_limit=rate_limit)
    if settings.trusted_proxies:
        app.add_middleware(ProxyHeadersMiddleware, trusted_hosts=[str(proxy) for proxy in settings.trusted_proxies])
    if (hosts := _allowed_hosts(settings)) is not None:
        app.add_middleware(HostCheckMiddleware, allowed=hosts, refuse=_service_error)
    app.add_middleware(BugMiddleware, respond=_bug)
    if settings.cors_origins:
        # Outside authentication, because browsers send preflight requests without a key and must be able to read every
        # answer, also 401 and 500.
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=["GET", "POST"],
            allow_headers=["*"],
            expose_headers=[HEADER, "Content-Language", "Retry-After"],
        )
    api_paths = frozenset(route.path for route in router.routes if isinstance(route, APIRoute))
    app.add_middleware(AccessLogMiddleware, metrics=metrics, tracing=tracing, keys=keys, api_paths=api_paths)
    app.add_middleware(PathMiddleware, root_path=settings.root_path)


def _allowed_hosts(settings: Settings) -> Collection[str] | None:
    """Return the host names that requests may use, or None if every name is allowed.

    IP addresses and names without a dot are always allowed (host_check.py). If the operator names no hosts, only these
    are allowed for a service on the loopback interface without keys, because a web page could reach it by DNS
    rebinding. Behind a proxy every name is allowed then: the proxy passes on names that this service cannot know.
    """
    if settings.allowed_hosts:
        return None if ANY in settings.allowed_hosts else settings.allowed_hosts
    is_private = _is_loopback(settings.host) and not settings.trusted_proxies and not settings.all_api_keys
    return () if is_private else None


@asynccontextmanager
async def _running_services(
    settings: Settings, metrics: Metrics, url_admission: Admission, upload_admission: Admission
) -> AsyncIterator[Services]:
    if not settings.all_api_keys and not _is_loopback(settings.host):
        log.warning("BIRDS_API_KEYS is not set: anyone who can reach %s can use the service", settings.host)
    async with AsyncExitStack() as stack:
        downloader = await stack.enter_async_context(Downloader.from_settings(settings))
        inference = await stack.enter_async_context(
            Inference(settings.triton_url, settings.answer_cache_bytes, metrics)
        )
        versions = ModelVersions(
            inference.catalogue, settings.canary_version, settings.canary_percent, inference.is_recovery_likely
        )
        yield Services(
            settings=settings,
            metrics=metrics,
            downloader=downloader,
            model_versions=versions,
            readiness=Readiness(inference),
            inference=inference,
            species_lists=read_species_lists(settings.species_lists),
            url_classifier=ImageClassifier(inference, versions, settings.max_pixels),
            url_admission=url_admission,
            upload_classifier=ImageClassifier(inference, versions, settings.max_pixels),
            upload_admission=upload_admission,
            answer_budget=MemoryBudget(MAX_UNREAD_BYTES),
        )


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


async def _invalid_query(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return await _invalid_request(request, InvalidRequest(field_mistakes(error.errors())))


async def _invalid_request(request: Request, error: Exception) -> Response:
    assert isinstance(error, InvalidRequest)
    language = _language(request)
    messages = [error_message(mistake.code, language, **mistake.parameters) for mistake in error.mistakes]
    return _error_response(error.status, _body(messages), language)


async def _service_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ServiceError)
    request_stats.failed(error.code)
    language = _language(request)
    return _error_response(error.status, _cached_body(service_error_message(error, language)), language, error.headers)


async def _client_gone(request: Request, _: Exception) -> Response:
    log.info("the client closed the connection of %s %s", request.method, request.url.path)
    return Response(status_code=_CLIENT_CLOSED_REQUEST)  # only the access log sees this status


async def _bug(request: Request, error: Exception) -> Response:
    log.error("unexpected error in %s %s", request.method, request.url.path, exc_info=error)
    language = _language(request)
    response = _error_response(500, _cached_body(error_message("internal_error", language)), language)
    if stats := request_stats.current():  # a response of Starlette's own handler does not pass AccessLogMiddleware
        response.headers[HEADER] = stats.request_id
    return response


def _language(request: Request) -> str:
    return preferred_language(request.headers.get("accept-language"))


def _error_response(status: int, body: bytes, language: str, headers: dict[str, str] | None = None) -> Response:
    headers = {"Content-Language": language, "Vary": "Accept-Language", **(headers or {})}
    return Response(body, status, headers, "application/json")


def _body(errors: list[str]) -> bytes:
    return ClassifyResponse(errors=errors).model_dump_json().encode()


@lru_cache(maxsize=256)  # under overload, many requests are refused with the same few messages
def _cached_body(error: str) -> bytes:
    return _body([error])
