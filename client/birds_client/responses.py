"""Reads the statuses of the service, and of the proxies and load balancers that answer in its place."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

import httpx

from birds_client.errors import ClientError, OtherService, ProxyFailed, Refused, TlsFailed, Unauthorized, Unreachable
from birds_client.network_errors import proxy_password_hint

_RETRY_STATUSES = {408, 429, 502, 503, 504}
_OTHER_SERVICE_STATUSES = {404, 405, 501}  # what web servers answer to the requests of this client
OTHER_SERVICE = "another program answers at this URL, not the birds service: check the URL"
_LONGEST_TARGET = 200
# What a status means that comes without a message of the service.
_MEANINGS = {
    401: "it needs a name and a password, or an API key",
    403: "a proxy or a firewall in front of the service does not allow the request",
    408: "the request took too long",
    413: "a proxy in front of the service does not allow requests of this size: raise its limit, or use smaller files",
    429: "there are too many requests",
    **dict.fromkeys((502, 503, 504), "a proxy in front of the service gets no answer from it"),
}


class Retry(Exception):
    """This attempt failed for a reason that may pass. `started`: the service may have begun to classify its images.

    `problem` is what to raise after the last attempt.
    """

    def __init__(self, problem: Unreachable, pause_seconds: float = 0, started: bool = False) -> None:
        super().__init__(str(problem))
        self.problem = problem
        self.pause_seconds = pause_seconds
        self.started = started


@contextmanager
def request_id_of(response: httpx.Response) -> Iterator[None]:
    """Add the id of the request to the errors that are raised in this context."""
    try:
        yield
    except ClientError as error:
        error.request_id = response.headers.get("X-Request-ID")
        raise
    except Retry as retry:
        retry.problem.request_id = response.headers.get("X-Request-ID")
        raise


async def check_status(response: httpx.Response) -> None:
    """Raise Retry or the matching ClientError if the status of a response is not 200."""
    if response.status_code == httpx.codes.OK:
        return
    text = (await response.aread()).decode("utf-8", "replace")
    retry_after = response.headers.get("Retry-After", "")
    errors = _messages_in(text)
    if errors is None:
        raise _foreign_answer(response, text, _seconds(retry_after))
    raise error_for(response.status_code, errors, _seconds(retry_after))


def _messages_in(text: str) -> list[str] | None:
    """The errors in a JSON answer of the service, or None if the answer has another shape."""
    try:
        errors = json.loads(text)["errors"]
    except (ValueError, KeyError, TypeError):
        return None
    return errors if errors and isinstance(errors, list) and all(isinstance(error, str) for error in errors) else None


def error_for(status: int, errors: list[str], pause_seconds: float = 0, started: bool = False) -> Exception:
    """Return the error for a status and the messages of the service."""
    text = "; ".join(errors)
    if status == httpx.codes.UNAUTHORIZED:
        return Unauthorized(text)
    if status in _RETRY_STATUSES:
        return Retry(Unreachable(text), pause_seconds, started)
    return Refused(status, errors)


def _foreign_answer(response: httpx.Response, text: str, pause_seconds: float) -> Exception:
    """The error for a status that comes without messages of the service: something in between has answered."""
    status, url = response.status_code, response.request.url
    code = f"HTTP status {status}"
    if response.has_redirect_location:
        return OtherService(f"it redirects to {_target(response)}: if that is the service, use that URL ({code})")
    if status == httpx.codes.PROXY_AUTHENTICATION_REQUIRED:
        return ProxyFailed(f"the proxy needs a name and a password: {proxy_password_hint('HTTP_PROXY or ALL_PROXY')}")
    if status == httpx.codes.BAD_REQUEST and url.scheme == "http" and "HTTPS" in text:  # nginx, Go, Apache
        return TlsFailed(f"it uses TLS: try https:// instead of http:// ({code})")
    if status in _OTHER_SERVICE_STATUSES:
        return OtherService(f"{OTHER_SERVICE} ({code})")
    return error_for(status, [f"{_MEANINGS.get(status, 'the service gives no reason')} ({code})"], pause_seconds)


def _target(response: httpx.Response) -> str:
    """Return where a redirect leads, as a URL of the service: without its query and the request's own last part."""
    request = response.request.url
    target = str(request.join(response.headers["Location"])).partition("?")[0]
    return target.removesuffix(request.path.rpartition("/")[2])[:_LONGEST_TARGET]


def _seconds(retry_after: str) -> float:
    return float(retry_after) if retry_after.isdecimal() else 0
