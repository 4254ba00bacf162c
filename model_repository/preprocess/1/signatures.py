"""Tells the format of a file by its first bytes: the accepted ones by Pillow's names, others by their own name."""

from __future__ import annotations

from image_limits import damaged, unsupported

_ACCEPTED = {
    b"\xff\xd8\xff": "JPEG",
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"GIF87a": "GIF",
    b"GIF89a": "GIF",
    b"BM": "BMP",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"II+\0": "TIFF",
    b"MM\0+": "TIFF",
}
_AVIF_BRANDS = {b"avif", b"avis"}
_HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"}
_GENERIC_BRANDS = {b"mif1", b"msf1", b"mif2", b"miaf"}  # AVIF or HEIF: the compatible brands tell which
_MAX_BRANDS_BYTES = 256
_OTHERS = {
    b"\0\0\1\0": "ICO",
    b"8BPS": "Photoshop",
    b"%!PS": "PostScript",
    b"\xff\x0a": "JPEG XL",
    b"\xff\x4f\xff\x51": "JPEG 2000",
    b"P4": "PBM",
    b"P5": "PGM",
    b"P6": "PPM",
    b"qoif": "QOI",
    b"FUJIFILMCCD-RAW": "camera raw (RAF)",
    b"IIU\0": "camera raw (RW2)",
    b"IIRO": "camera raw (ORF)",
    b"IIRS": "camera raw (ORF)",
    b"MMOR": "camera raw (ORF)",
}
_OTHER_BOXES = {
    b"ftypcrx ": "camera raw (CR3)",
    b"JXL \r\n\x87\n": "JPEG XL",
    b"jP  \r\n\x87\n": "JPEG 2000",
}


def format_of(data: bytes) -> str:
    """Return the format by Pillow's name. Raises ImageRejected with the codes not_an_image and unsupported_format."""
    for start, kind in _ACCEPTED.items():
        if data.startswith(start):
            return kind
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    if data[4:8] == b"ftyp" and (still := _format_by_brands(data)):
        return still
    if name := _name_of_other(data):
        raise unsupported(name)
    raise damaged("the bytes are not an image")


def _format_by_brands(data: bytes) -> str | None:
    size = min(int.from_bytes(data[:4], "big"), _MAX_BRANDS_BYTES)
    major = data[8:12]
    brands = [major] if major not in _GENERIC_BRANDS else [data[at : at + 4] for at in range(16, size - 3, 4)]
    if _AVIF_BRANDS.intersection(brands):
        return "AVIF"
    return "HEIF" if _HEIF_BRANDS.intersection(brands) or major in _GENERIC_BRANDS else None


def _name_of_other(data: bytes) -> str | None:
    for start, name in _OTHERS.items():
        if data.startswith(start):
            return name
    if b"<svg" in data[:1024]:
        return "SVG"
    return next((name for box, name in _OTHER_BOXES.items() if data[4:12].startswith(box)), None)
