"""How the service's refusals and silences become exceptions.

ClientError
├── Unreachable     no whole answer, after several tries
├── Unauthorized    an API key is asked for, or the one given is not accepted
└── Refused         the service does not take the request; `errors` says why
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

import httpx

from frontend.telemetry.request_id import HEADER

_TRY_AGAIN = {408, 429, 502, 503, 504}


class ClientError(Exception):
    """The service did not do its work. `request_id`, where it answered, is what its log knows the request by."""

    request_id: str | None = None


class Unreachable(ClientError):
    """The text is the last try's error."""

    def __str__(self) -> str:
        text = super().__str__()
        return f"{text} (request {self.request_id})" if self.request_id else text


class Unauthorized(ClientError):
    pass


class Refused(ClientError):
    def __init__(self, status: int, errors: list[str]) -> None:
        super().__init__("; ".join(errors) or f"HTTP status {status}")
        self.status = status
        self.errors = errors


class TryAgain(Exception):
    """This try ended early, for a reason that may pass."""

    request_id: str | None = None

    def __init__(self, reason: str, pause_seconds: float = 0) -> None:
        super().__init__(reason)
        self.pause_seconds = pause_seconds


@contextmanager
def named(response: httpx.Response) -> Iterator[None]:
    """What is raised inside bears the request's id."""
    try:
        yield
    except (ClientError, TryAgain) as error:
        error.request_id = response.headers.get(HEADER)
        raise


def unreachable(error: Exception) -> Unreachable:
    failure = Unreachable(str(error))
    if isinstance(error, TryAgain):
        failure.request_id = error.request_id
    return failure


async def check_status(response: httpx.Response) -> None:
    if response.status_code == httpx.codes.OK:
        return
    try:
        errors = json.loads(await response.aread())["errors"]
    except (ValueError, KeyError, TypeError):
        errors = [f"HTTP status {response.status_code}"]
    retry_after = response.headers.get("Retry-After", "")
    raise trouble(response.status_code, errors, float(retry_after) if retry_after.isdecimal() else 0)


def trouble(status: int, errors: list[str], pause_seconds: float = 0) -> Exception:
    if status == httpx.codes.UNAUTHORIZED:
        return Unauthorized("; ".join(errors))
    if status in _TRY_AGAIN:
        return TryAgain("; ".join(errors), pause_seconds)
    return Refused(status, errors)
