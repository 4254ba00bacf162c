"""Resizes RGB images bilinearly: with SIMD instructions (cykooz_resizer) where possible, otherwise with Pillow.

Both average over the whole area that a pixel covers. Each rounds once in each direction, so a value from
0 to 255 differs by at most 2, and hardly ever by more than 1.
"""

from __future__ import annotations

import PIL
from PIL import Image

# cykooz_resizer accesses Pillow's images through a C struct, and knows its layout in these major versions. With another
# layout it would read and write the wrong memory.
_KNOWN_PILLOW = {12, 13}

try:
    import cykooz_resizer
except ImportError:  # it has no wheel for this processor
    cykooz_resizer = None

HAS_SIMD = cykooz_resizer is not None and int(PIL.__version__.split(".")[0]) in _KNOWN_PILLOW
if HAS_SIMD:
    _BILINEAR = cykooz_resizer.ResizeOptions(
        cykooz_resizer.ResizeAlg.convolution(cykooz_resizer.FilterType.bilinear), use_alpha=False
    )


class ResizingFailed(Exception):
    """The resizer failed for a reason that is not the image's."""


def resize_rgb(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Return the RGB `image`, resized to (width, height) in pixels without cropping. Thread-safe.

    Raises ResizingFailed.
    """
    if not HAS_SIMD:
        return resize_with_pillow(image, size)
    resized = Image.new("RGB", size)
    try:
        # A resizer holds a lock, so each call makes its own. That takes no measurable time.
        cykooz_resizer.Resizer().resize_pil(image, resized, _BILINEAR)
    except BaseException as error:
        if type(error).__name__ != "PanicException":
            raise
        # A panic in Rust is a BaseException, which would fail the whole batch.
        raise ResizingFailed("the resizer panicked") from error
    return resized


def resize_with_pillow(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Return what `resize_rgb` returns, computed by Pillow."""
    return image.resize(size, Image.Resampling.BILINEAR)
