"""The limits for an image, the error for a rejected image, and the kinds of damage of an accepted one."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Damage(str, Enum):
    """What is wrong with an image that is classified anyway."""

    CUT_SHORT = "cut_short"  # the end of the file is missing; for a JPEG, up to a tenth of the rows
    CHECKSUM = "checksum"  # a wrong checksum of metadata in a PNG
    METADATA_TOO_LARGE = "metadata_too_large"  # a profile, or a zTXt or iTXt text, of more than 1 MB
    PROFILE = "profile"  # a colour profile that cannot be used


class ImageRejected(Exception):
    """An image that is not decoded. `code` is stable and for programs; `reason` is for people."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(f"{code}: {reason}")
        self.code = code
        self.reason = reason


class MoreMemoryNeeded(Exception):
    """Decoding takes more memory than the caller has granted; `needed_bytes` is the estimate."""

    def __init__(self, needed_bytes: int) -> None:
        super().__init__(f"{needed_bytes} bytes are needed")
        self.needed_bytes = needed_bytes


@dataclass(frozen=True)
class PixelFormat:
    """The output size in pixels, and the limits of the input.

    `max_pixels` is width × height according to the header, checked before decoding; `max_bytes` is the encoded size.
    """

    width: int
    height: int
    max_pixels: int
    max_bytes: int


def damaged(reason: str = "the image is damaged or truncated") -> ImageRejected:
    return ImageRejected("not_an_image", reason)


def unsupported(name: str) -> ImageRejected:
    """Refuse a valid image of a format that is not accepted; `name` is the format's name."""
    return ImageRejected("unsupported_format", f"{name} is not accepted")
