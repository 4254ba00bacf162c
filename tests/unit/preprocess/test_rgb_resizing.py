"""The SIMD resizer gives Pillow's pixels, and Pillow replaces it where it cannot be used."""

from __future__ import annotations

import importlib.util
import sys
from types import ModuleType
from typing import Any

import PIL
import pytest
import rgb_resizing
from bird_pixels import PixelFormat, decode_opened, open_image
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageChops

from tests.support.images import flat

SIDES = st.integers(1, 700)
SIZES = st.tuples(SIDES, SIDES)


def loaded_again() -> ModuleType:
    """Another copy of the module, which decides anew how to resize."""
    spec = importlib.util.spec_from_file_location("rgb_resizing_again", rgb_resizing.__file__)
    assert spec is not None
    assert spec.loader is not None
    copy = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(copy)
    return copy


def noise(size: tuple[int, int]) -> Image.Image:
    """Different noise in each channel, the full range of values."""
    channels = [Image.effect_noise(size, sigma) for sigma in (40, 80, 160)]
    return Image.merge("RGB", channels)


def largest_difference(first: Image.Image, second: Image.Image) -> int:
    extrema: Any = ImageChops.difference(first, second).getextrema()  # a pair for each channel
    return int(max(highest for _, highest in extrema))


@pytest.mark.skipif(not rgb_resizing.HAS_SIMD, reason="Pillow resizes on this machine")
@settings(max_examples=60)
@given(SIZES, SIZES)
def test_gives_pixels_of_pillow(size: tuple[int, int], wanted: tuple[int, int]) -> None:
    """A value differs by at most 1 for the rounding of each direction, whether a side grows or shrinks."""
    image = noise(size)
    resized = rgb_resizing.resize_rgb(image, wanted)
    assert (resized.mode, resized.size) == ("RGB", wanted)
    assert largest_difference(resized, rgb_resizing.resize_with_pillow(image, wanted)) <= 2


def test_resizes_with_pillow_without_a_wheel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cykooz_resizer", None)  # its import fails
    fallback = loaded_again()
    image = noise((90, 60))
    assert not fallback.HAS_SIMD
    assert fallback.resize_rgb(image, (30, 20)) == rgb_resizing.resize_with_pillow(image, (30, 20))


def test_distrusts_an_unknown_pillow(monkeypatch: pytest.MonkeyPatch) -> None:
    """The resizer assumes a layout of Pillow's images that another major version may change."""
    monkeypatch.setattr(PIL, "__version__", "99.0.0")
    assert not loaded_again().HAS_SIMD


@pytest.mark.skipif(not rgb_resizing.HAS_SIMD, reason="Pillow resizes on this machine")
def test_panic_is_an_ordinary_error(monkeypatch: pytest.MonkeyPatch) -> None:
    class PanicException(BaseException):
        """As pyo3 raises it: not an Exception."""

    def panic() -> None:
        raise PanicException

    monkeypatch.setattr("cykooz_resizer.Resizer", panic)
    with pytest.raises(rgb_resizing.ResizingFailed, match="panicked"):
        rgb_resizing.resize_rgb(noise((4, 4)), (2, 2))
    wanted = PixelFormat(width=2, height=2, max_pixels=10_000, max_bytes=10_000)
    with pytest.raises(rgb_resizing.ResizingFailed):  # it does not say that the image is damaged
        decode_opened(open_image(flat((1, 2, 3)), wanted), wanted)
