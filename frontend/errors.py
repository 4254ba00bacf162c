"""What can go wrong, as types.

BirdsError
├── ImageError            one image: an entry of `failures`, the others go on
│   ├── InvalidUrl          ForbiddenUrl        DownloadTimeout     DownloadFailed      TooLarge
│   ├── NotAnImage          UnsupportedFormat   TooManyPixels
│   └── DeadlineExceeded    Overloaded          InferenceFailed     InternalError
└── ServiceError          the whole request: becomes the response, with its HTTP status
    ├── TritonUnavailable   ServiceOverloaded   503
    ├── Unauthorized        401
    ├── RateLimited         429
    ├── RequestTooLarge     413
    ├── RequestTimeout      408
    ├── InvalidUpload       422
    └── NoImages            TooManyImages       UnknownModelVersion
                            200: told in `errors`, as every mistake in well-formed JSON is

Each has a stable `code`; its sentence stands in the message catalogue under that code.
"""

from __future__ import annotations

from typing import ClassVar


class BirdsError(Exception):
    """`parameters` fill the placeholders of the code's sentence; they are all that a client gets to see."""

    code: ClassVar[str]

    def __init__(self, **parameters: str | int | float) -> None:
        super().__init__(self.code, parameters)
        self.parameters = parameters


class ImageError(BirdsError):
    """One image cannot be classified."""


class InvalidUrl(ImageError):
    code = "invalid_url"


class ForbiddenUrl(ImageError):
    code = "forbidden_url"


class DownloadTimeout(ImageError):
    code = "download_timeout"


class DownloadFailed(ImageError):
    """`reason` is a key of the catalogue's section download_reasons."""

    code = "download_failed"


class TooLarge(ImageError):
    code = "too_large"


class NotAnImage(ImageError):
    code = "not_an_image"


class UnsupportedFormat(ImageError):
    code = "unsupported_format"


class TooManyPixels(ImageError):
    code = "too_many_pixels"


class DeadlineExceeded(ImageError):
    code = "deadline_exceeded"


class Overloaded(ImageError):
    code = "overloaded"


class InferenceFailed(ImageError):
    code = "inference_failed"


class InternalError(ImageError):
    """A bug of ours: logged with its traceback, shown as nothing but this code."""

    code = "internal_error"


class ServiceError(BirdsError):
    """The request as a whole cannot be served."""

    status: ClassVar[int]

    @property
    def headers(self) -> dict[str, str]:
        """What the response says beside its body."""
        seconds = self.parameters.get("seconds")
        return {} if seconds is None else {"Retry-After": str(seconds)}


class TritonUnavailable(ServiceError):
    code = "triton_unavailable"
    status = 503

    @property
    def headers(self) -> dict[str, str]:
        return {"Retry-After": "1"}


class ServiceOverloaded(ServiceError):
    """More is asked for than can be done in time; `seconds` is when to come back."""

    code = "overloaded"
    status = 503


class Unauthorized(ServiceError):
    """No API key, or none that is accepted."""

    code = "unauthorized"
    status = 401

    @property
    def headers(self) -> dict[str, str]:
        return {"WWW-Authenticate": "Bearer"}


class RateLimited(ServiceError):
    """The caller has asked for too many images; `seconds` is when some more may be."""

    code = "rate_limited"
    status = 429


class RequestTooLarge(ServiceError):
    code = "request_too_large"
    status = 413


class RequestTimeout(ServiceError):
    """The body did not arrive before the request's deadline."""

    code = "request_timeout"
    status = 408

    @property
    def headers(self) -> dict[str, str]:
        return {"Connection": "close"}


class InvalidUpload(ServiceError):
    """The body is not the documented multipart form."""

    code = "upload_invalid"
    status = 422


class NoImages(ServiceError):
    code = "no_images"
    status = 200


class TooManyImages(ServiceError):
    code = "too_many_images"
    status = 200


class UnknownModelVersion(ServiceError):
    code = "unknown_model_version"
    status = 200
