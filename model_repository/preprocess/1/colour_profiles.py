"""Converts pixels from an embedded ICC profile to sRGB.

Ignoring profiles changes the best species for 11 of 53 photos in Adobe RGB, and for 19 of them in ProPhoto. A profile
that cannot be used is ignored, because the picture is still worth classifying.
"""

from __future__ import annotations

import io
from functools import lru_cache

from PIL import Image, ImageCms

_CACHED_PROFILES = 16
# A profile is taken for sRGB if it moves no colour of a coarse grid by more than this, of 255.
_SAME_COLOUR = 3
_GRID = 9

_SRGB = ImageCms.createProfile("sRGB")
_MODES = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}
Transform = ImageCms.ImageCmsTransform


def transform_to_srgb(profile: bytes) -> Transform | None:
    """Return the transform from `profile` to sRGB; None if nothing must be converted or the profile is unusable."""
    return _read(profile)[0]


def is_usable(profile: bytes) -> bool:
    """Whether `profile` can be read, and describes colours that a picture can have."""
    return _read(profile)[1]


@lru_cache(maxsize=_CACHED_PROFILES)
def _read(profile: bytes) -> tuple[Transform | None, bool]:
    try:
        opened = ImageCms.getOpenProfile(io.BytesIO(profile))
        mode = _MODES.get(opened.profile.xcolor_space.strip())
        if mode is None:
            return None, False
        transform = ImageCms.buildTransform(opened, _SRGB, mode, "RGB")
        return None if mode == "RGB" and _is_identity(transform) else transform, True
    except MemoryError:
        raise
    except Exception:  # lcms and Pillow raise several kinds of errors for damaged profiles
        return None, False


def suits(transform: Transform, image: Image.Image) -> bool:
    """Whether the profile describes the colours of `image`: some programs put a grey profile into colour pictures."""
    if transform.input_mode == "L":
        return image.mode in ("1", "L", "LA", "I") or image.mode.startswith("I;16")
    return (transform.input_mode == "CMYK") == (image.mode == "CMYK")


def convert(image: Image.Image, transform: Transform) -> Image.Image:
    """Return `image`, which is CMYK for a CMYK profile and else RGB, as sRGB."""
    converted = ImageCms.applyTransform(image.getchannel(0) if transform.input_mode == "L" else image, transform)
    assert converted is not None
    return converted


def _is_identity(transform: Transform) -> bool:
    steps = [round(step * 255 / (_GRID - 1)) for step in range(_GRID)]
    colours = bytes(value for red in steps for green in steps for blue in steps for value in (red, green, blue))
    grid = Image.frombytes("RGB", (_GRID, _GRID * _GRID), colours)
    moved = convert(grid, transform).tobytes()
    return max(abs(before - after) for before, after in zip(colours, moved, strict=True)) <= _SAME_COLOUR
