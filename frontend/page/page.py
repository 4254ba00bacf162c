"""The web page at `/`, in the reader's language, and its static files."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from types import SimpleNamespace

from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import HTMLResponse, Response
from fastapi.staticfiles import StaticFiles
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from frontend.api.schemas import DEFAULT_K
from frontend.api.services import get_services
from frontend.i18n.messages import catalogue, preferred_language
from frontend.settings import Settings

_STATIC = Path(__file__).with_name("static")
_HEADERS = {
    # Thumbnails come from any host that the user names. Everything else comes from this service only.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' blob: http: https:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",
    "Vary": "Accept-Language",
}

router = APIRouter()


def add_page(app: FastAPI) -> None:
    """Add the page and its static files to the application."""
    app.include_router(router)
    app.mount("/static", _Static(directory=_STATIC))


@router.head("/", include_in_schema=False)
@router.get("/", include_in_schema=False)
async def page(request: Request) -> HTMLResponse:
    settings: Settings = get_services(request).settings
    language = preferred_language(request.headers.get("accept-language"))
    html = _page(language, settings.max_k)
    return HTMLResponse(html, headers={**_HEADERS, "Content-Language": language})


@cache
def _page(language: str, max_k: int) -> str:
    messages = catalogue(language)["page"]
    data = {"language": language, "messages": messages, "max_k": max_k, "default_k": min(DEFAULT_K, max_k)}
    environment = Environment(loader=FileSystemLoader(_STATIC), autoescape=True, undefined=StrictUndefined)
    return environment.get_template("index.html").render(language=language, t=SimpleNamespace(**messages), data=data)


class _Static(StaticFiles):
    """Static files that browsers revalidate each time, so that they show a new version at once."""

    def file_response(self, *arguments: object, **options: object) -> Response:
        response = super().file_response(*arguments, **options)  # type: ignore[arg-type]
        response.headers["Cache-Control"] = "no-cache"
        response.headers["X-Content-Type-Options"] = "nosniff"
        return response
