"""Triton's gRPC errors: what each means for the next attempt, and which of our errors it becomes."""

from __future__ import annotations

import logging
import re
from enum import Enum

from grpc import StatusCode, aio

from frontend.errors import (
    DeadlineExceeded,
    ImageError,
    InferenceFailed,
    NotAnImage,
    Overloaded,
    TooExpensive,
    TooLarge,
    TooManyPixels,
    TritonUnavailable,
    UnsupportedFormat,
)
from frontend.inference.contract import QUEUE_FULL, QUEUE_TIMEOUT, STUB_DEAD

log = logging.getLogger(__name__)

# What Triton answers while it shuts down; both come before the image reaches a model.
_STOPPING = ("Server not ready", "has stopped accepting new inference requests", "Server is stopping")
# gRPC's own errors for a call that it never sent.
_NOT_SENT = ("failed to connect", "connections to all backends failing", "empty address list")

# preprocess starts its errors with a code, and the ensemble prepends its own name.
_REJECTION = re.compile(r"(?:in ensemble '\w+', )?(\w+): (.*)")
_LIMIT = re.compile(r"(\d+) bytes")
_FORMAT_END = " is not accepted"
_REJECTIONS: dict[str, type[ImageError]] = {
    kind.code: kind for kind in (NotAnImage, UnsupportedFormat, TooManyPixels, TooExpensive, TooLarge)
}


class ModelNotFound(Exception):
    """No server has the model that was asked for."""


class AttemptFailure(Enum):
    """What the failure of one attempt says about the image and the server."""

    NOT_STARTED = "not started"  # the server did not receive the image, or is stopping: any other server may take it
    STOPPING = "stopping"
    QUEUE_FULL = "queue full"
    UNKNOWN_MODEL = "unknown model"
    STUB_DIED = "stub died"  # the image was with a Python process that is dead, and may have killed it
    CONNECTION_LOST = "connection lost"  # the image was with a server whose connection ended
    FINAL = "final"  # every server would answer the same


def failure_of(error: aio.AioRpcError) -> AttemptFailure:
    """Classify the failure of one attempt."""
    code, message = error.code(), str(error.details() or "")
    if STUB_DEAD in message:
        return AttemptFailure.STUB_DIED
    if code is StatusCode.CANCELLED:  # not by us: a server that ends cancels what it has not finished
        return AttemptFailure.CONNECTION_LOST
    if code is StatusCode.NOT_FOUND:
        return AttemptFailure.UNKNOWN_MODEL
    if code is not StatusCode.UNAVAILABLE or QUEUE_TIMEOUT in message:
        return AttemptFailure.FINAL
    if QUEUE_FULL in message:
        return AttemptFailure.QUEUE_FULL
    if any(text in message for text in _STOPPING):
        return AttemptFailure.STOPPING
    if any(text in message for text in _NOT_SENT):
        return AttemptFailure.NOT_STARTED
    return AttemptFailure.CONNECTION_LOST


def translated(error: aio.AioRpcError) -> ImageError | TritonUnavailable:
    """Return the BirdsError for Triton's last response about an image. Triton's own text is logged."""
    code, message = error.code(), str(error.details() or "")
    match = _REJECTION.match(message)
    if code is StatusCode.INVALID_ARGUMENT and match and match[1] in _REJECTIONS:
        return _rejection(_REJECTIONS[match[1]], match[2])
    if QUEUE_FULL in message:
        return Overloaded()
    if QUEUE_TIMEOUT in message or code is StatusCode.DEADLINE_EXCEEDED:
        return DeadlineExceeded()
    log.warning("Triton answered %s: %s", code.name, message)
    return TritonUnavailable() if code in (StatusCode.UNAVAILABLE, StatusCode.CANCELLED) else InferenceFailed()


def _rejection(kind: type[ImageError], reason: str) -> ImageError:
    """Return an error of this kind. The reason of too_large has the limit; that of unsupported_format, the format."""
    if kind is UnsupportedFormat:
        return UnsupportedFormat(format=reason.removesuffix(_FORMAT_END))
    limit = _LIMIT.search(reason)
    return kind(max=int(limit[1])) if limit else kind()
