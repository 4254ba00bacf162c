"""Properties that must hold for any bytes and any string."""

from __future__ import annotations

import atexit
from functools import lru_cache

import numpy as np
from bird_pixels import ImageRejected, PixelFormat, decode
from decode_pool import DecodePool
from signatures import format_of

from frontend.classify.image_sniff import check_image
from frontend.download.redirects import join_redirect
from frontend.download.urls import parse_url
from frontend.errors import ImageError, InvalidUrl

WANTED = PixelFormat(width=32, height=24, max_pixels=4_000_000, max_bytes=1_000_000)
CODES = {"too_large", "not_an_image", "unsupported_format", "too_many_pixels"}


def check_decoding(data: bytes) -> bool:
    """Return True for pixels of the right shape and False for a documented refusal.

    An image that the decoder accepts must also pass the frontend's header check. A file that crashes libheif counts as
    refused: in the service, the crash ends a worker of the decode pool.
    """
    try:
        if format_of(data) == "HEIF" and _crashes(data):
            check_header(data)
            return False
        pixels = decode(data, WANTED)
    except ImageRejected as rejected:
        _expect_documented(rejected.code)
        check_header(data)
        return False
    assert pixels.shape == (24, 32, 3)
    assert pixels.dtype == np.uint8
    check_image(data, WANTED.max_pixels)
    return True


def _crashes(data: bytes) -> bool:
    """Return whether `data` ends a process that decodes it."""
    try:
        _decode_pool().decode(data, WANTED)
    except ImageRejected as rejected:
        return "crashed" in rejected.reason
    return False


@lru_cache(maxsize=1)
def _decode_pool() -> DecodePool:
    pool = DecodePool(10, 1_000_000_000, WANTED.max_bytes, 3 * WANTED.width * WANTED.height)
    atexit.register(pool.close)
    return pool


def check_header(data: bytes) -> None:
    """The header check either passes or raises a documented error."""
    try:
        check_image(data, WANTED.max_pixels)
    except ImageError as refusal:
        _expect_documented(refusal.code)


def _expect_documented(code: str) -> None:
    assert code in CODES


def check_url(text: str) -> None:
    """An accepted URL is plain ASCII, has no credentials, and parses to itself."""
    try:
        url = parse_url(text)
    except InvalidUrl:
        return
    assert str(url).isascii()
    assert str(url).isprintable()
    assert " " not in str(url)
    assert url.scheme in ("http", "https")
    assert url.user is None
    assert url.password is None
    assert url.raw_host
    assert parse_url(str(url)) == url


def check_redirect(location: str) -> None:
    try:
        url = join_redirect(parse_url("http://example.org/a/b?c"), location)
    except InvalidUrl:
        return
    check_url(str(url))
