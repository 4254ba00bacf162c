"""Every failure that a caller can see, as a tree of exception types.

BirdsError
├── ImageError            one image: becomes an entry of `failures`; the other images continue
│   ├── InvalidUrl          ForbiddenUrl        DownloadTimeout     DownloadFailed      TooLarge
│   │   └── UrlScheme           ImageDataInsteadOfUrl
│   ├── NotAnImage          UnsupportedFormat   TooManyPixels       TooExpensive
│   ├── DeadlineExceeded    Overloaded          InferenceFailed     TritonLost
│   └── InternalError
├── InvalidRequest        422: the request does not have the documented form; lists all its mistakes
└── ServiceError          the whole request: becomes the response, with its HTTP status
    ├── TritonUnavailable   ServiceOverloaded   503
    ├── Unauthorized        401
    ├── HostNotAllowed      403
    ├── RateLimited         429
    ├── RequestTooLarge     413
    ├── RequestTimeout      408
    ├── InvalidUpload       422     UnknownFormField    FieldBelongsInQuery
    └── NoImages            TooManyImages       UnknownModelVersion     UnknownSpecies      UnknownSpeciesList
                            200: listed in `errors`, like every limit that a request breaks

Each type has a stable `code`. The message catalogues hold the sentence for each code.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar


class BirdsError(Exception):
    """Base of all failures. `parameters` fill the placeholders of the code's sentence; clients see nothing else."""

    code: ClassVar[str]

    def __init__(self, **parameters: str | int | float) -> None:
        super().__init__(self.code, parameters)
        self.parameters = parameters


class ImageError(BirdsError):
    """One image cannot be classified."""

    @property
    def message_key(self) -> str:
        """The key of the message in the catalogues. It is the code, unless a subclass has a more precise message."""
        return self.code


class InvalidUrl(ImageError):
    code = "invalid_url"


class UrlScheme(InvalidUrl):
    """The URL does not begin with http:// or https://."""

    message_key = "url_scheme"


class ImageDataInsteadOfUrl(InvalidUrl):
    """The client sent base64 text of an image instead of its URL."""

    message_key = "image_data_instead_of_url"


class ForbiddenUrl(ImageError):
    code = "forbidden_url"


class DownloadTimeout(ImageError):
    code = "download_timeout"


class DownloadFailed(ImageError):
    """The parameter `reason` is a key of the catalogue's section `download_reasons`."""

    code = "download_failed"


class TooLarge(ImageError):
    code = "too_large"


class NotAnImage(ImageError):
    code = "not_an_image"


class UnsupportedFormat(ImageError):
    """The parameter `format` is the format's English name, such as "camera raw (CR2)"."""

    code = "unsupported_format"


class TooManyPixels(ImageError):
    code = "too_many_pixels"


class TooExpensive(ImageError):
    """Decoding the image takes more time or memory than allowed."""

    code = "too_expensive"


class DeadlineExceeded(ImageError):
    """The request's deadline passed before this image was done."""

    code = "deadline_exceeded"


class Overloaded(ImageError):
    """A full queue refused the image."""

    code = "overloaded"


class InferenceFailed(ImageError):
    """Triton failed on this image."""

    code = "inference_failed"


class TritonLost(ImageError):
    """Triton became unavailable before this image was done, while other images of the request were classified.

    If no image was classified, the whole request fails with TritonUnavailable instead.
    """

    code = "triton_unavailable"


class InternalError(ImageError):
    """A bug in this service. The log has its traceback; the client sees only this code."""

    code = "internal_error"


@dataclass(frozen=True)
class Mistake:
    """One mistake in a request: the key of its message in the catalogues, and the values of its placeholders."""

    code: str
    parameters: dict[str, str | int | float] = field(default_factory=dict)


class InvalidRequest(BirdsError):
    """The request does not have the documented form. Nothing was processed."""

    code = "invalid_request"
    status = 422

    def __init__(self, mistakes: Sequence[Mistake]) -> None:
        super().__init__()
        self.mistakes = list(mistakes)


class ServiceError(BirdsError):
    """The request as a whole cannot be served."""

    status: ClassVar[int]

    @property
    def headers(self) -> dict[str, str]:
        """Headers that the response must have."""
        seconds = self.parameters.get("seconds")
        return {} if seconds is None else {"Retry-After": str(seconds)}


class TritonUnavailable(ServiceError):
    """No Triton server can be reached, or none of them works."""

    code = "triton_unavailable"
    status = 503

    @property
    def headers(self) -> dict[str, str]:
        return {"Retry-After": "1"}


class ServiceOverloaded(ServiceError):
    """The service cannot do this much work in time. The caller may retry after `seconds`."""

    code = "overloaded"
    status = 503


class Unauthorized(ServiceError):
    """The API key is missing or not accepted."""

    code = "unauthorized"
    status = 401

    @property
    def headers(self) -> dict[str, str]:
        return {"WWW-Authenticate": "Bearer"}


class HostNotAllowed(ServiceError):
    """The Host header has a name that this service does not answer to. The parameter `host` is the header's value."""

    code = "host_not_allowed"
    status = 403


class RateLimited(ServiceError):
    """The caller sent too many images. It may send more after `seconds`."""

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


class UnknownFormField(InvalidUpload):
    code = "field_unknown"


class FieldBelongsInQuery(InvalidUpload):
    """The form has a field that must be a query parameter."""

    code = "field_belongs_in_query"


class NoImages(ServiceError):
    code = "no_images"
    status = 200


class TooManyImages(ServiceError):
    code = "too_many_images"
    status = 200


class UnknownSpecies(ServiceError):
    """A name in `species` is not a label of the model. `suggestions` holds the most similar names."""

    code = "unknown_species"
    status = 200


class UnknownSpeciesList(ServiceError):
    """The operator has no species list with this name. `suggestions` holds the most similar names."""

    code = "unknown_species_list"
    status = 200


class UnknownModelVersion(ServiceError):
    code = "unknown_model_version"
    status = 200
