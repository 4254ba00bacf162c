"""Triton's gRPC errors about images, as the frontend's own errors with their messages."""

from __future__ import annotations

import bird_pixels
import pytest
from grpc import StatusCode, aio
from image_limits import unsupported

from frontend.errors import ImageError, TooLarge, UnsupportedFormat
from frontend.i18n.messages import failure_message, languages
from frontend.inference.failures import translated


def failure(message: str) -> ImageError:
    error = aio.AioRpcError(StatusCode.INVALID_ARGUMENT, aio.Metadata(), aio.Metadata(), message)
    result = translated(error)
    assert isinstance(result, ImageError)
    return result


@pytest.mark.parametrize("name", ["camera raw (CR2)", "JPEG 2000", "12-bit JPEG", "TIFF with floating-point pixels"])
@pytest.mark.parametrize("ensemble", ["", "in ensemble 'birds', "], ids=["preprocess", "ensemble"])
def test_message_names_the_unsupported_format(ensemble: str, name: str) -> None:
    result = failure(f"{ensemble}{unsupported(name)}")
    assert isinstance(result, UnsupportedFormat)
    assert result.parameters == {"format": name}
    assert all(name in failure_message(result, language) for language in languages())


def test_message_of_a_large_file_has_the_limit() -> None:
    wanted = bird_pixels.PixelFormat(8, 8, max_pixels=100, max_bytes=5)
    with pytest.raises(bird_pixels.ImageRejected) as rejected:
        bird_pixels.decode(b"123456", wanted)
    result = failure(f"in ensemble 'birds', {rejected.value}")
    assert isinstance(result, TooLarge)
    assert result.parameters == {"max": 5}
