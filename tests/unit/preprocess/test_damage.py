"""What is wrong with images that are classified anyway."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
from bird_pixels import PixelFormat, damage_of, decode_opened, open_image
from image_limits import Damage
from PIL import Image, ImageCms

from tests.support.images import RED, encoded, flat, png_chunk
from tests.support.profiles import rgb_profile

WANTED = PixelFormat(width=24, height=16, max_pixels=1_000_000, max_bytes=20_000_000)
PNG_HEADER, PNG_REST = flat(RED)[:33], flat(RED)[33:]
NOISE = Image.fromarray(np.random.default_rng(7).integers(0, 256, (200, 200, 3), dtype=np.uint8))
JPEG = encoded(NOISE, "JPEG")
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
WIDE = rgb_profile(((0.64, 0.33), (0.21, 0.71), (0.15, 0.06)), 2.2)


def png_with(kind: bytes, content: bytes, checksum: bytes | None = None) -> bytes:
    chunk = png_chunk(kind, content)
    return PNG_HEADER + (chunk if checksum is None else chunk[:-4] + checksum) + PNG_REST


def profile_chunk(profile: bytes) -> bytes:
    return png_with(b"iCCP", b"name\0\0" + zlib.compress(profile))


DAMAGED = {
    "nothing": (flat(RED), set()),
    "JPEG": (JPEG, set()),
    "JPEG with bytes behind its end": (JPEG + bytes(9999), set()),
    "sRGB profile": (encoded(NOISE, "JPEG", icc_profile=SRGB), set()),
    "wide profile": (encoded(NOISE, "WEBP", icc_profile=WIDE), set()),
    "intact text": (png_with(b"tEXt", b"a\0b"), set()),
    "JPEG without its end marker": (JPEG[:-2], {Damage.CUT_SHORT}),
    "JPEG without its last rows": (JPEG[: len(JPEG) * 97 // 100], {Damage.CUT_SHORT}),
    "progressive JPEG without its end marker": (encoded(NOISE, "JPEG", progressive=True)[:-2], {Damage.CUT_SHORT}),
    "PNG without its last chunk": ((PNG_HEADER + PNG_REST)[:-12], {Damage.CUT_SHORT}),
    **{
        f"wrong checksum of {kind.decode()}": (png_with(kind, b"anything", b"\1\2\3\4"), {Damage.CHECKSUM})
        for kind in (b"iCCP", b"pHYs", b"tEXt", b"zTXt", b"iTXt", b"eXIf", b"tRNS")
    },
    "profile that inflates to 10 MB": (profile_chunk(bytes(10_000_000)), {Damage.METADATA_TOO_LARGE}),
    "2 MB of compressed text": (png_with(b"zTXt", bytes(2_000_000)), {Damage.METADATA_TOO_LARGE}),
    "profile that cannot be inflated": (png_with(b"iCCP", b"name\0\0nothing"), {Damage.PROFILE}),
    "invalid profile": (profile_chunk(b"nothing"), {Damage.PROFILE}),
    "JPEG with an invalid profile": (encoded(NOISE, "JPEG", icc_profile=b"nothing"), {Damage.PROFILE}),
    "WebP with an invalid profile": (encoded(NOISE, "WEBP", icc_profile=b"nothing"), {Damage.PROFILE}),
    "invalid profile, and no end": (
        encoded(NOISE, "JPEG", icc_profile=b"nothing")[:-2],
        {Damage.CUT_SHORT, Damage.PROFILE},
    ),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_names_the_damage_of_classified_images(name: str) -> None:
    data, damage = DAMAGED[name]
    opened = open_image(data, WANTED)
    assert decode_opened(opened, WANTED).size == (WANTED.width, WANTED.height)
    assert damage_of(opened) == damage


def test_large_profile_of_a_jpeg_is_named() -> None:
    segments = b"".join(
        b"\xff\xe2" + struct.pack(">H", 65_533) + b"ICC_PROFILE\0" + bytes([number, 20]) + bytes(65_517)
        for number in range(1, 21)
    )
    opened = open_image(JPEG[:2] + segments + JPEG[2:], WANTED)
    assert damage_of(opened) == {Damage.METADATA_TOO_LARGE}
