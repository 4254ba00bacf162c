"""Converts a decoded image of any mode to RGB, band by band, and averages boxes of pixels of large ones."""

from __future__ import annotations

from colour_profiles import Transform, convert
from image_limits import unsupported
from PIL import Image

_BACKGROUND = (255, 255, 255)  # replaces transparency
# Rows that are converted at a time, so that a large image is not in memory twice.
_BAND_ROWS = 256
_SAMPLE_FORMAT, _UNSIGNED = 339, 1  # of TIFF


def reduce_to_rgb(image: Image.Image, box: tuple[int, int], transform: Transform | None) -> Image.Image:
    """Return `image` as RGB, each `box` of pixels, across and down, averaged to one."""
    if image.mode == "RGB" and box == (1, 1) and not image.has_transparency_data:
        return image  # as most photos are: nothing to convert or to average
    if image.mode == "I":
        image = _scale_grey(image)
    elif image.format == "BMP" and image.mode == "RGBA" and image.getchannel("A").getextrema() == (0, 0):
        image = image.convert("RGB")  # many programs write 32 bits per pixel and leave the fourth byte unused
    (width, height), (across, down) = image.size, box
    rows = down * max(1, _BAND_ROWS // down)
    reduced = Image.new("RGB", (-(-width // across), -(-height // down)))
    for top in range(0, height, rows):
        band = _to_rgb(image.crop((0, top, width, min(top + rows, height))), transform)
        reduced.paste(band.reduce(box), (0, top // down))
    return reduced


def _to_rgb(image: Image.Image, transform: Transform | None) -> Image.Image:
    if image.mode.startswith("I;16"):  # convert() alone would clip nearly everything to white
        return image.convert("I").point(lambda value: value / 256).convert("L").convert("RGB")
    if image.mode == "F":
        raise unsupported("TIFF with floating-point pixels")  # they have no agreed range
    if image.mode == "CMYK" and transform:
        return convert(image, transform)
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        backdrop = Image.new("RGBA", layer.size, _BACKGROUND)
        return Image.alpha_composite(backdrop, layer).convert("RGB")
    return image.convert("RGB")


def _scale_grey(image: Image.Image) -> Image.Image:
    """32-bit grey has no agreed white, so scale the image's own range to 0 to 255."""
    import numpy as np  # rarely needed, and workers start sooner without it

    greys = np.asarray(image)
    if getattr(image, "tag_v2", {}).get(_SAMPLE_FORMAT, _UNSIGNED) in (_UNSIGNED, (_UNSIGNED,)):
        greys = greys.view(np.uint32)  # Pillow has signed numbers only
    darkest, brightest = int(greys.min()), int(greys.max())
    scaled = Image.new("L", image.size)
    for top in range(0, image.height, _BAND_ROWS):
        band = greys[top : top + _BAND_ROWS].astype(np.float64) - darkest
        scaled.paste(Image.fromarray((band * (255 / max(brightest - darkest, 1))).astype(np.uint8)), (0, top))
    return scaled
