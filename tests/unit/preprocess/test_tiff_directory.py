"""TIFF files that are refused before a decoder sees them: camera raw, shared strips, pixels without a decoder."""

from __future__ import annotations

import struct
import time

import numpy as np
import pytest
from bird_pixels import ImageRejected, PixelFormat, decode, open_image
from PIL import Image

from tests.support.images import RED, encoded, flat

WANTED = PixelFormat(width=24, height=16, max_pixels=50_000_000, max_bytes=20_000_000)

SHORT, LONG, ASCII = 3, 4, 2


def tiff(entries: dict[int, tuple[int, int, bytes]], order: str = "<", tail: bytes = b"") -> bytes:
    """A directory of (type, count, 4 bytes of value) by tag, then `tail` at offset 8 + 2 + 12 × entries + 4."""
    start = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8)
    body = b"".join(struct.pack(order + "HHI", tag, *entries[tag][:2]) + entries[tag][2] for tag in sorted(entries))
    return start + struct.pack(order + "H", len(entries)) + body + bytes(4) + tail


def number(value: int, order: str = "<") -> tuple[int, int, bytes]:
    return LONG, 1, struct.pack(order + "I", value)


def raw(maker: bytes = b"", order: str = "<", **extra: tuple[int, int, bytes]) -> bytes:
    """A camera raw file: its first directory describes a thumbnail and points to the directory of the real picture."""
    entries = {254: number(1, order), 256: number(160, order), 257: number(120, order), 330: number(8, order)}
    entries[271] = (ASCII, len(maker), struct.pack(order + "I", 8 + 2 + 12 * (len(entries) + 1 + len(extra)) + 4))
    entries.update({int(tag[1:]): entry for tag, entry in extra.items()})
    return tiff(entries, order, maker)


@pytest.mark.parametrize(
    ("data", "name"),
    [
        pytest.param(raw(b"NIKON CORPORATION\0", ">"), "NEF", id="NEF"),
        pytest.param(raw(b"SONY\0"), "ARW", id="ARW"),
        pytest.param(raw(b"Some maker\0"), "unknown maker", id="another"),
        pytest.param(raw(b"Canon\0", t50706=number(0x00040100)), "DNG", id="DNG"),
        pytest.param(b"II*\0\x10\0\0\0CR\x02\0" + bytes(4) + raw()[8:], "CR2", id="CR2"),
        pytest.param(tiff({256: number(16), 257: number(16), 262: number(32803)}), "unknown maker", id="Bayer pattern"),
    ],
)
def test_names_camera_raw(data: bytes, name: str) -> None:
    with pytest.raises(ImageRejected, match=rf"^unsupported_format: camera raw \({name}\)"):
        decode(data + bytes(2000), WANTED)


@pytest.mark.parametrize(
    ("data", "name"),
    [
        pytest.param(b"FUJIFILMCCD-RAW 0201FF129502" + flat(RED, "JPEG"), "RAF", id="RAF"),
        pytest.param(b"IIU\0\x18\0\0\0" + bytes(100), "RW2", id="RW2"),
        pytest.param(b"IIRO\x08\0\0\0" + bytes(100), "ORF", id="ORF"),
        pytest.param(b"\0\0\0\x18ftypcrx \0\0\0\1crx isom" + bytes(100), "CR3", id="CR3"),
    ],
)
def test_names_camera_raw_with_a_signature(data: bytes, name: str) -> None:
    with pytest.raises(ImageRejected, match=rf"^unsupported_format: camera raw \({name}\)"):
        decode(data, WANTED)


@pytest.mark.parametrize("compression", [33003, 33005, 34712])
def test_names_jpeg_2000_in_tiff(compression: int) -> None:
    with pytest.raises(ImageRejected, match=r"^unsupported_format: TIFF with JPEG 2000"):
        decode(tiff({256: number(9), 257: number(9), 259: number(compression)}), WANTED)


@pytest.mark.parametrize("samples", [1, 3])
def test_names_floating_point_tiff(samples: int) -> None:
    floats = (
        (SHORT, samples, struct.pack("<HH", 3, 3)) if samples == 1 else (SHORT, 3, struct.pack("<I", 8 + 2 + 36 + 4))
    )
    data = tiff({256: number(9), 257: number(9), 339: floats}, tail=struct.pack("<HHH", 3, 3, 3))
    with pytest.raises(ImageRejected, match=r"^unsupported_format: TIFF with floating-point"):
        decode(data, WANTED)


@pytest.mark.parametrize(("offsets", "byte_counts"), [(273, 279), (324, 325)], ids=["strips", "tiles"])
@pytest.mark.parametrize("order", ["<", ">"])
def test_refuses_strips_larger_than_the_file(offsets: int, byte_counts: int, order: str) -> None:
    """Strips that all point at one block: a file of 67 kB took 10.7 s."""
    count, offset = 8000, 8 + 2 + 12 * 5 + 4
    counts = struct.pack(f"{order}{count}I", *[8000] * count)
    entries = {
        256: number(8000, order),
        257: number(6000, order),
        offsets: (LONG, count, struct.pack(order + "I", offset)),
        byte_counts: (LONG, count, struct.pack(order + "I", offset)),
        278: number(1, order),
    }
    before = time.process_time()
    with pytest.raises(ImageRejected, match=r"^not_an_image: the strips or tiles are larger than the file"):
        decode(tiff(entries, order, counts) + bytes(8000), WANTED)
    assert time.process_time() - before < 0.5


def tiled(side: int, **extra: tuple[int, int, bytes]) -> bytes:
    """A picture of 16 × 16 pixels with one tile of `side` × `side`."""
    numbers = {256: 16, 257: 16, 258: 8, 259: 5, 262: 1, 277: 1, 322: side, 323: side, 324: 8, 325: 50}
    return tiff({tag: number(value) for tag, value in numbers.items()} | {int(t[1:]): e for t, e in extra.items()})


def test_counts_pixels_of_a_large_tile() -> None:
    """1,134 bytes with a tile of 30,000 × 30,000 pixels took 880 MB."""
    with pytest.raises(ImageRejected, match="too_many_pixels"):
        open_image(tiled(30_000), WANTED)
    assert open_image(tiled(1000), WANTED).decoding_bytes > 1000 * 1000


def test_uses_the_first_of_two_entries_as_libtiff_does() -> None:
    second = number(16)
    data = bytearray(tiled(30_000, t65000=second))
    struct.pack_into("<H", data, data.rindex(struct.pack("<H", 65000)), 322)
    with pytest.raises(ImageRejected, match="too_many_pixels"):
        open_image(bytes(data), WANTED)


def test_directory_outside_of_the_file_is_refused() -> None:
    for offset in (0, 4, 100, 2**32 - 1):
        with pytest.raises(ImageRejected, match=r"^not_an_image: "):
            decode(b"II*\0" + struct.pack("<I", offset) + bytes(8), WANTED)


@pytest.mark.parametrize("offset", [0, 100, 2**63 - 1, 2**63, 2**64 - 1])
def test_directory_outside_of_a_bigtiff_is_refused(offset: int) -> None:
    """Found by fuzzing: an offset of 64 bits was an unexpected failure."""
    with pytest.raises(ImageRejected, match=r"^not_an_image: "):
        decode(b"II+\0\x08\0\0\0" + struct.pack("<Q", offset) + bytes(8), WANTED)


@pytest.mark.parametrize("dtype", [np.uint32, np.int32])
def test_scales_32_bit_grey_to_its_own_range(dtype: type) -> None:
    darkest, brightest = (0, 2**32 - 1) if dtype is np.uint32 else (-(2**31), 2**31 - 1)
    greys: np.ndarray = np.full((32, 48), darkest, dtype)
    greys[:, 24:] = brightest
    image = Image.fromarray(greys.view(np.int32), "I")
    data = bytearray(encoded(image, "TIFF"))
    if dtype is np.uint32:
        _set_number(data, 339, 1)
    pixels = decode(bytes(data), WANTED)
    assert pixels[8, 2].tolist() == [0, 0, 0]
    assert pixels[8, -3].tolist() == [255, 255, 255]


def _set_number(data: bytearray, tag: int, value: int) -> None:
    (directory,) = struct.unpack_from("<I", data, 4)
    for entry in range(directory + 2, directory + 2 + 12 * struct.unpack_from("<H", data, directory)[0], 12):
        if struct.unpack_from("<H", data, entry)[0] == tag:
            struct.pack_into("<H", data, entry + 8, value)
