"""The exceptions that the client raises.

ClientError
├── ConfigurationError   the URL, the API key or this machine's network settings cannot work
├── Unreachable          there was no complete answer, after several attempts
├── Unauthorized         the service asks for an API key, or does not accept the one given
└── Refused              the service does not accept the request; `errors` says why
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

import httpx

_RETRY_STATUSES = {408, 429, 502, 503, 504}


class ClientError(Exception):
    """The service did not do the work. `request_id` is the id of the request in the service's log, if it answered."""

    request_id: str | None = None


class ConfigurationError(ClientError):
    """No attempt can succeed until a setting is changed; the text names it."""


class Unreachable(ClientError):
    """There was no complete answer. The text is the error of the last attempt."""

    def __str__(self) -> str:
        text = super().__str__()
        return f"{text} (request {self.request_id})" if self.request_id else text


class Unauthorized(ClientError):
    """The service asks for an API key, or does not accept this one. The text is the service's own."""


class Refused(ClientError):
    """The service does not accept the request. `status` is the HTTP status; `errors` are the service's own messages."""

    def __init__(self, status: int, errors: list[str]) -> None:
        super().__init__("; ".join(errors) or f"HTTP status {status}")
        self.status = status
        self.errors = errors


class Retry(Exception):
    """This attempt failed for a reason that may pass. `started`: the service may have begun to classify its images."""

    request_id: str | None = None

    def __init__(self, reason: str, pause_seconds: float = 0, started: bool = False) -> None:
        super().__init__(reason)
        self.pause_seconds = pause_seconds
        self.started = started


@contextmanager
def request_id_of(response: httpx.Response) -> Iterator[None]:
    """Add the id of the request to the errors that are raised in this context."""
    try:
        yield
    except (ClientError, Retry) as error:
        error.request_id = response.headers.get("X-Request-ID")
        raise


def unreachable(error: Exception) -> Unreachable:
    """The error for a caller, after the last attempt failed with this one."""
    failure = Unreachable(str(error) or type(error).__name__)
    if isinstance(error, Retry):
        failure.request_id = error.request_id
    return failure


async def check_status(response: httpx.Response) -> None:
    """Raise the matching error if the status of a response is not 200."""
    if response.status_code == httpx.codes.OK:
        return
    try:
        errors = json.loads(await response.aread())["errors"]
    except (ValueError, KeyError, TypeError):
        errors = [f"HTTP status {response.status_code}"]
    retry_after = response.headers.get("Retry-After", "")
    raise error_for(response.status_code, errors, float(retry_after) if retry_after.isdecimal() else 0)


def error_for(status: int, errors: list[str], pause_seconds: float = 0, started: bool = False) -> Exception:
    """Return the error for a status and the messages of the service."""
    if status == httpx.codes.UNAUTHORIZED:
        return Unauthorized("; ".join(errors))
    if status in _RETRY_STATUSES:
        return Retry("; ".join(errors), pause_seconds, started)
    return Refused(status, errors)
