"""Embedded colour profiles are honoured, and hostile or useless ones are ignored."""

from __future__ import annotations

import io
import time

import colour_profiles
import numpy as np
import pytest
from bird_pixels import PixelFormat, decode, open_if_cheap
from colour_profiles import transform_to_srgb
from PIL import Image, ImageCms

from tests.support.images import encoded
from tests.support.profiles import gray_profile, rgb_profile

WANTED = PixelFormat(width=24, height=16, max_pixels=1_000_000, max_bytes=20_000_000)
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
SRGB_PRIMARIES = ((0.64, 0.33), (0.30, 0.60), (0.15, 0.06))
ADOBE_RGB = rgb_profile(((0.64, 0.33), (0.21, 0.71), (0.15, 0.06)), 2.2)
COLOUR = (60, 160, 90)


def picture(mode: str = "RGB") -> Image.Image:
    return Image.new("RGB", (48, 32), COLOUR).convert(mode)


def centre(data: bytes) -> list[int]:
    return [int(value) for value in decode(data, WANTED)[8, 12]]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_converts_adobe_rgb_to_srgb(kind: str) -> None:
    plain, converted = (centre(encoded(picture(), kind, icc_profile=profile)) for profile in (None, ADOBE_RGB))
    source = ImageCms.ImageCmsProfile(io.BytesIO(ADOBE_RGB))
    expected = ImageCms.profileToProfile(picture(), source, ImageCms.createProfile("sRGB"))
    assert expected is not None
    assert np.abs(np.subtract(converted, np.asarray(expected)[0, 0])).max() <= 8
    assert np.abs(np.subtract(converted, plain)).max() > 30  # red: Adobe RGB's green is far outside of sRGB


def test_srgb_profile_changes_nothing() -> None:
    assert transform_to_srgb(SRGB) is None
    assert centre(encoded(picture(), icc_profile=SRGB)) == list(COLOUR)


def test_converts_grey_with_a_profile() -> None:
    dark = gray_profile(1.0)
    assert centre(encoded(picture("L"), icc_profile=dark))[0] > centre(encoded(picture("L")))[0] + 30


def test_profile_of_another_colour_space_is_ignored() -> None:
    """A grey profile in a colour picture, as some programs write it, must not turn it grey."""
    assert centre(encoded(picture(), icc_profile=gray_profile(2.2))) == list(COLOUR)


@pytest.mark.parametrize(
    "profile",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"x" * 200, id="not a profile"),
        pytest.param(ADOBE_RGB[:200], id="truncated"),
        pytest.param(ADOBE_RGB[:128] + b"\xff" * (len(ADOBE_RGB) - 128), id="damaged tags"),
        pytest.param(ADOBE_RGB[:12] + b"linkRGB XYZ " + ADOBE_RGB[24:], id="another class"),
    ],
)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_unusable_profile_is_ignored(profile: bytes, kind: str) -> None:
    assert np.abs(np.subtract(centre(encoded(picture(), kind, icc_profile=profile)), COLOUR)).max() <= 5


def test_profile_over_a_megabyte_is_ignored() -> None:
    assert centre(encoded(picture(), icc_profile=ADOBE_RGB + bytes(1_000_000))) == list(COLOUR)


def test_transform_is_built_once_for_a_profile() -> None:
    colour_profiles._read.cache_clear()
    for _ in range(20):
        centre(encoded(picture(), icc_profile=ADOBE_RGB))
    assert colour_profiles._read.cache_info().misses == 1


def test_cache_is_bounded() -> None:
    for step in range(40):
        transform_to_srgb(rgb_profile(SRGB_PRIMARIES, 1.5 + step / 100))
    assert colour_profiles._read.cache_info().currsize <= 16


def test_opening_an_image_does_not_touch_its_profile() -> None:
    """Triton's own process opens images; only workers hand a stranger's profile to lcms."""
    before, started = colour_profiles._read.cache_info(), time.process_time()
    opened = open_if_cheap(encoded(picture(), "JPEG", icc_profile=bytes(900_000)), WANTED)
    assert opened is not None
    assert opened.profile == bytes(900_000)
    assert colour_profiles._read.cache_info() == before
    assert time.process_time() - started < 1
