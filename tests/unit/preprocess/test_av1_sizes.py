"""AVIF files whose AV1 data is larger than they state: refused before they are decoded. All others pass."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from contextlib import suppress

import pytest
from av1_sizes import check_av1_sizes
from bird_pixels import ImageRejected, PixelFormat, decode
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tests.support.hostile_images import small_avif_of_268_megapixels

WANTED = PixelFormat(width=24, height=16, max_pixels=50_000_000, max_bytes=20_000_000)


def avif(width: int, height: int, frames: int = 1, mode: str = "RGB", **options: object) -> bytes:
    file = io.BytesIO()
    pictures = [Image.new(mode, (width, height), (200, 30 * n, 30, 90)[: len(mode)]) for n in range(frames)]
    pictures[0].save(file, "AVIF", save_all=frames > 1, append_images=pictures[1:], speed=10, **options)
    return file.getvalue()


def stating(data: bytes, width: int, height: int) -> bytes:
    """The same file with another size in each `ispe` box and track header."""
    patched = bytearray(data)
    for kind, distance, size in (
        (b"ispe", 8, struct.pack(">II", width, height)),
        (b"tkhd", -1, struct.pack(">II", width << 16, height << 16)),
    ):
        position = patched.find(kind)
        while position >= 0:
            length = int.from_bytes(patched[position - 4 : position], "big")
            at = position + distance if distance > 0 else position - 4 + length - 8
            patched[at : at + 8] = size
            position = patched.find(kind, position + 4)
    return bytes(patched)


def test_refuses_small_file_of_268_megapixels() -> None:
    with pytest.raises(ImageRejected, match="16384 x 16384 pixels, but the file states 64 x 64"):
        check_av1_sizes(small_avif_of_268_megapixels())


KINDS: dict[str, Callable[[int, int], bytes]] = {
    "picture": lambda width, height: avif(width, height),
    "transparency": lambda width, height: avif(width, height, mode="RGBA"),
    "animation": lambda width, height: avif(width, height, frames=3),
    "full colour": lambda width, height: avif(width, height, subsampling="4:4:4"),
    "tiles": lambda width, height: avif(width, height, tile_rows=1, tile_cols=1),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [(1000, 600), (61, 1000), (1000, 61)], ids=str)
def test_refuses_data_larger_than_stated(kind: str, size: tuple[int, int]) -> None:
    """A file of 3,472 bytes said 64 × 64 and decoded to 268 megapixels."""
    with pytest.raises(ImageRejected, match=r"^not_an_image: the AV1 data is \d+ x \d+ pixels, but the file states 64"):
        decode(stating(KINDS[kind](*size), 64, 64), WANTED)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [(1, 1), (16, 16), (127, 129), (640, 481)], ids=str)
def test_accepts_data_as_large_as_stated(kind: str, size: tuple[int, int]) -> None:
    data = KINDS[kind](*size)
    check_av1_sizes(data)
    assert decode(data, WANTED).shape == (16, 24, 3)


def test_accepts_size_rounded_to_superblocks() -> None:
    check_av1_sizes(stating(avif(128, 128), 120, 100))


def test_reads_properties_from_every_association_box() -> None:
    """libavif accepts one `ipma` box for each version and flags, so the picture need not be in the first."""
    data = stating(avif(600, 600), 64, 64)
    other = struct.pack(">I4sIIHB", 19, b"ipma", 1, 1, 999, 0)  # flags 1, one item without properties
    position = data.index(b"ipma") - 4
    with pytest.raises(ImageRejected, match="600 x 600"):
        check_av1_sizes(_inserted(data, position, other))


def _inserted(data: bytes, position: int, box: bytes) -> bytes:
    """The same file with another box in its `iprp` box, and the data moved back by its size."""
    changed = bytearray(data)
    for kind in (b"iprp", b"meta"):
        at = changed.index(kind) - 4
        struct.pack_into(">I", changed, at, struct.unpack_from(">I", changed, at)[0] + len(box))
    offset = changed.index(b"iloc") + 18  # version 0, four bytes each, one item with one extent
    struct.pack_into(">I", changed, offset, struct.unpack_from(">I", changed, offset)[0] + len(box))
    changed[position:position] = box
    return bytes(changed)


def test_sees_header_behind_other_data() -> None:
    """The sequence header need not be the first unit, and the file may have other boxes in front."""
    data = avif(600, 600)
    start = data.index(b"\x12\x00\x0a")  # a temporal delimiter, then the sequence header
    padded = data[:start] + b"\x12\x00" + data[start:]
    location = padded.index(b"iloc")
    assert padded[location + 4 : location + 10] == bytes(4) + b"\x44\x00"  # version 0, four bytes each
    length = location + 22
    (old,) = struct.unpack_from(">I", padded, length)
    padded = padded[:length] + struct.pack(">I", old + 2) + padded[length + 4 :]
    check_av1_sizes(padded)
    with pytest.raises(ImageRejected, match="600 x 600"):
        check_av1_sizes(stating(padded, 64, 64))


@given(data=st.data())
def test_damaged_files_are_refused_or_left_to_the_decoder(data: st.DataObject) -> None:
    file = bytearray(FILES[data.draw(st.sampled_from(sorted(FILES)))])
    for _ in range(data.draw(st.integers(1, 8))):
        file[data.draw(st.integers(0, len(file) - 1))] = data.draw(st.integers(0, 255))
    del file[data.draw(st.integers(0, len(file))) :]
    with suppress(ImageRejected):  # and nothing else
        check_av1_sizes(bytes(file))


FILES = {kind: make(40, 30) for kind, make in KINDS.items()}
