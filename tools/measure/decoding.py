"""The decoder of `preprocess`, outside Triton."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

from tools.models.repository import MODEL_REPOSITORY, read_config

sys.path.append(str(MODEL_REPOSITORY / "preprocess" / "1"))

from bird_pixels import PixelFormat, decode

__all__ = ["PixelFormat", "decode", "pixel_format"]


def pixel_format(repository: Path = MODEL_REPOSITORY) -> PixelFormat:
    """The pixel format that `preprocess` is configured for."""
    parameters = read_config("preprocess", repository).parameters
    names = [field.name for field in dataclasses.fields(PixelFormat)]
    return PixelFormat(**{name: int(parameters[name].string_value) for name in names})
