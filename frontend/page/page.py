"""The web page at `/`, in the reader's language, the API documentation at `/docs`, and their static files.

Nothing comes from another host: Swagger UI's files are in the Python package `fastapi-offline`, which is used for
nothing else. All addresses in the pages are relative, because a proxy may serve everything below a path.
"""

from __future__ import annotations

import gzip
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

from fastapi import APIRouter, FastAPI, Request
from fastapi.middleware.gzip import GZipMiddleware
from fastapi.responses import HTMLResponse, Response
from fastapi.staticfiles import StaticFiles
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from frontend.api.schemas import DEFAULT_K
from frontend.api.services import get_services
from frontend.i18n.messages import catalogue, preferred_language
from frontend.i18n.quality_values import quality_values
from frontend.middleware.rate_limit import parse_limit
from frontend.settings import Settings

STATIC = Path(__file__).with_name("static")
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'; "
)
# Thumbnails come from any host that the user names. Everything else comes from this service only.
_PAGE_POLICY = _POLICY + "img-src 'self' blob: http: https:; require-trusted-types-for 'script'; trusted-types 'none'"
_DOCS_POLICY = _POLICY + "img-src 'self' data:"  # Swagger UI has its icons in its style sheet
_HEADERS = {
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",
}

router = APIRouter()


def add_page(app: FastAPI) -> None:
    """Add the page and its static files to the application."""
    app.include_router(router)
    app.mount("/static/swagger-ui", _Static(directory=_swagger_ui()))
    app.mount("/static", GZipMiddleware(_Static(directory=STATIC), compresslevel=6))


@router.head("/", include_in_schema=False)
@router.get("/", include_in_schema=False)
async def page(request: Request) -> HTMLResponse:
    settings: Settings = get_services(request).settings
    language = preferred_language(request.headers.get("accept-language"))
    html = _page(language, _limits(settings)).encode()
    headers = {
        "Content-Security-Policy": _PAGE_POLICY,
        "Content-Language": language,
        "Vary": "Accept-Language, Accept-Encoding",
    }
    if quality_values(request.headers.get("accept-encoding")).get("gzip"):
        html = _gzip(html)
        headers["Content-Encoding"] = "gzip"
    return HTMLResponse(html, headers={**_HEADERS, **headers})


@router.head("/docs", include_in_schema=False)
@router.get("/docs", include_in_schema=False)
async def docs() -> HTMLResponse:
    return HTMLResponse(_docs(), headers={**_HEADERS, "Content-Security-Policy": _DOCS_POLICY})


@cache
def _docs() -> str:
    return (STATIC / "docs.html").read_text("utf-8")


def _swagger_ui() -> Path:
    """Return the folder of Swagger UI's files. The package is located but not imported."""
    spec = find_spec("fastapi_offline")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).with_name("static")


class _Limits(NamedTuple):
    """The settings that the page needs."""

    max_k: int
    default_k: int
    min_score: str  # in percent
    not_sure_below: float
    max_images: int  # of one request
    max_bytes: int
    megabytes: int


def _limits(settings: Settings) -> _Limits:
    rate_limit, _ = parse_limit(settings.rate_limit) if settings.rate_limit else (settings.max_images, 0)
    return _Limits(
        max_k=settings.max_k,
        default_k=min(DEFAULT_K, settings.max_k),
        min_score=f"{round(100 * settings.min_score, 1):g}",
        not_sure_below=settings.not_sure_below,
        max_images=min(settings.max_images, rate_limit),
        max_bytes=settings.download_max_bytes,
        megabytes=settings.download_max_bytes // 1_000_000,
    )


@cache
def _page(language: str, limits: _Limits) -> str:
    """Return the page's HTML. It contains the messages of section `page`; its scripts get those of `page_scripts`."""
    messages = catalogue(language)
    data = {"language": language, "messages": messages["page_scripts"], **limits._asdict()}
    environment = Environment(loader=FileSystemLoader(STATIC), autoescape=True, undefined=StrictUndefined)
    environment.policies["json.dumps_kwargs"] = {"ensure_ascii": False}
    t = SimpleNamespace(**messages["page"])
    limits_text = t.limits.format(megabytes=limits.megabytes)
    return environment.get_template("index.html").render(language=language, t=t, limits=limits_text, data=data)


@cache
def _gzip(html: bytes) -> bytes:
    return gzip.compress(html, mtime=0)


class _Static(StaticFiles):
    """Static files that browsers revalidate each time, so that they show a new version at once."""

    def file_response(self, *arguments: object, **options: object) -> Response:
        response = super().file_response(*arguments, **options)  # type: ignore[arg-type]
        response.headers["Cache-Control"] = "no-cache"
        response.headers["X-Content-Type-Options"] = "nosniff"
        return response
