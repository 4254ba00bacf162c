"""AVIF and HEIC files that decode to more pixels than they state: their true size counts. All others pass."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from contextlib import suppress

import pytest
from bird_pixels import ImageRejected, PixelFormat, decode, open_image
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pixel_count import count_decoded_pixels

from tests.support.heif_files import Item, box, grid, heif_file, overlay, picture
from tests.support.heif_files import size as size_box
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
    with pytest.raises(ImageRejected, match="too_many_pixels"):
        open_image(small_avif_of_268_megapixels(), WANTED)


KINDS: dict[str, Callable[[int, int], bytes]] = {
    "picture": lambda width, height: avif(width, height),
    "transparency": lambda width, height: avif(width, height, mode="RGBA"),
    "animation": lambda width, height: avif(width, height, frames=3),
    "full colour": lambda width, height: avif(width, height, subsampling="4:4:4"),
    "tiles": lambda width, height: avif(width, height, tile_rows=1, tile_cols=1),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [(1000, 600), (61, 1000), (1000, 61), (1, 1), (127, 129)], ids=str)
def test_av1_data_has_the_size_that_counts(kind: str, size: tuple[int, int]) -> None:
    data = KINDS[kind](*size)
    assert count_decoded_pixels(data) == size[0] * size[1]
    assert count_decoded_pixels(stating(data, 1, 1)) == size[0] * size[1]
    assert decode(data, WANTED).shape == (16, 24, 3)


def test_reads_properties_from_every_association_box() -> None:
    """libavif accepts one `ipma` box for each version and flags, so the picture need not be in the first."""
    data = stating(avif(60, 60), 600, 600)
    other = struct.pack(">I4sIIHB", 19, b"ipma", 1, 1, 999, 0)  # flags 1, one item without properties
    assert count_decoded_pixels(_inserted(data, data.index(b"ipma") - 4, other, [b"iprp", b"meta"])) == 600 * 600


def test_reads_tracks_with_several_descriptions() -> None:
    """libavif takes the first description of a codec that it knows."""
    data = stating(avif(600, 600, frames=2), 64, 64)
    descriptions = data.index(b"stsd") + 12
    other = struct.pack(">I4s8x", 16, b"none")
    parents = [b"stsd", b"stbl", b"minf", b"mdia", b"trak", b"moov"]
    changed = _inserted(data, descriptions, other, parents)
    assert changed.count(b"av01") == 2  # of the item and of the track
    assert count_decoded_pixels(changed.replace(b"av01", b"none", 1)) == 600 * 600


def test_counts_frames_larger_than_their_sequence() -> None:
    """A frame header may state a size of its own. Such a file passed the check and allocated the frame's size."""
    data = overriding_size(2100)
    largest = 4096 * 4096  # what its 12 bits allow
    assert count_decoded_pixels(data) == count_decoded_pixels(stating(data, 64, 64)) == largest
    with pytest.raises(ImageRejected, match="too_many_pixels"):
        open_image(stating(data, 64, 64), PixelFormat(24, 16, max_pixels=4_000_000, max_bytes=20_000_000))


def overriding_size(side: int) -> bytes:
    """An animation of `side` × `side` pixels. The sequence header says 64 × 64, the frame header the true size."""
    data = avif(side, side, frames=2)
    start = data.index(b"mdat") + 4
    sequence_at = data.index(b"\x12\x00\x0a", start) + 4  # behind a temporal delimiter, type and size
    sequence_end = sequence_at + data[sequence_at - 1]
    size_bits = side.bit_length()
    own_size = f"{side - 1:0{size_bits}b}" * 2
    lengths = f"{size_bits - 1:04b}" * 2
    sequence = _bits(data[sequence_at:sequence_end])
    assert lengths + own_size in sequence
    assert len(own_size) == 24  # so that the rest moves by whole bytes
    sequence = sequence.replace(lengths + own_size, lengths + f"{63:0{size_bits}b}" * 2)
    frame_at = sequence_end + 1  # its size takes two bytes
    frame_bytes = (data[frame_at] & 127) + (data[frame_at + 1] << 7)
    header = _bits(data[frame_at + 2 : frame_at + 18])
    override_at = 7 if header[5] == "1" else 6  # behind allow_screen_content_tools, and force_integer_mv if that is 1
    order_hint_end = override_at + 1 + 7
    assert header.startswith("00010")  # a key frame that is shown
    assert header[override_at] == "0"
    header = header[:override_at] + "1" + header[override_at + 1 : order_hint_end] + own_size + header[order_hint_end:]
    changed = bytearray(data[:sequence_at] + _bytes(sequence) + data[sequence_end : frame_at + 2] + _bytes(header))
    changed += data[frame_at + 18 :]
    changed[frame_at : frame_at + 2] = bytes([(frame_bytes + 3) & 127 | 128, (frame_bytes + 3) >> 7])
    for at in (changed.index(b"mdat") - 4, changed.index(b"stsz") + 16, changed.index(b"iloc") + 22):
        struct.pack_into(">I", changed, at, struct.unpack_from(">I", changed, at)[0] + 3)
    return bytes(changed)


def _bits(data: bytes) -> str:
    return "".join(f"{byte:08b}" for byte in data)


def _bytes(bits: str) -> bytes:
    return bytes(int(bits[at : at + 8], 2) for at in range(0, len(bits), 8))


LARGE, SMALL = (512, 512), (64, 64)
TILES = [2, 3, 4, 5]
# Each says that it is 64 × 64 pixels and has a part of 512 × 512.
LARGER: dict[str, Callable[[], list[Item]]] = {
    "AVIF grid": lambda: [grid(2, 2, LARGE, SMALL, TILES), *[picture(b"av01", 256)] * 4],
    "AVIF tile": lambda: [grid(1, 1, SMALL, SMALL, [2]), picture(b"av01", 512)],
    "AVIF transparency": lambda: [picture(b"av01", 64), picture(b"av01", 512, transparency_of=1)],
    "AVIF transparency that says 64": lambda: [picture(b"av01", 64), picture(b"av01", 512, SMALL, transparency_of=1)],
    "HEIC grid": lambda: [grid(2, 2, LARGE, SMALL, TILES), *[picture(b"hvc1", 256)] * 4],
    "HEIC overlay": lambda: [overlay(LARGE, SMALL, [2]), picture(b"hvc1", 64)],
    "HEIC tile": lambda: [grid(1, 1, SMALL, SMALL, [2]), picture(b"hvc1", 512)],
    "HEIC transparency": lambda: [picture(b"hvc1", 64), picture(b"hvc1", 512, transparency_of=1)],
}


def file_of(name: str, items: list[Item]) -> bytes:
    return heif_file(b"avif" if name.startswith("AVIF") else b"heic", items)


@pytest.mark.parametrize("name", LARGER)
def test_counts_pixels_of_the_largest_part(name: str) -> None:
    data = file_of(name, LARGER[name]())
    small = file_of(name, [picture(b"av01" if name.startswith("AVIF") else b"hvc1", 64)])
    assert open_image(data, WANTED).decoding_bytes > 10 * open_image(small, WANTED).decoding_bytes
    with pytest.raises(ImageRejected, match="too_many_pixels"):
        open_image(data, PixelFormat(24, 16, max_pixels=100_000, max_bytes=20_000_000))


HEVC_LARGER: dict[str, Callable[[], list[Item]]] = {
    "picture": lambda: [picture(b"hvc1", 512, SMALL)],
    "transparency": lambda: [picture(b"hvc1", 64), picture(b"hvc1", 512, SMALL, transparency_of=1)],
}


@pytest.mark.parametrize("name", HEVC_LARGER)
def test_hevc_decoder_is_limited_to_the_stated_size(name: str) -> None:
    with pytest.raises(ImageRejected, match="not_an_image") as rejected:
        decode(heif_file(b"heic", HEVC_LARGER[name]()), WANTED)
    assert "Image size 512x512 exceeds the maximum" in str(rejected.value.__cause__)


CORRECT: dict[str, Callable[[], list[Item]]] = {
    "AVIF grid": lambda: [grid(2, 2, (500, 450), (500, 450), TILES), *[picture(b"av01", 256)] * 4],
    "AVIF transparency": lambda: [picture(b"av01", 64), picture(b"av01", 64, transparency_of=1)],
    "HEIC grid": lambda: [grid(2, 2, (500, 450), (500, 450), TILES), *[picture(b"hvc1", 256)] * 4],
    "HEIC overlay": lambda: [overlay(SMALL, SMALL, [2]), picture(b"hvc1", 64)],
    "HEIC transparency": lambda: [picture(b"hvc1", 64), picture(b"hvc1", 64, transparency_of=1)],
}


@pytest.mark.parametrize("name", CORRECT)
def test_decodes_files_of_several_parts(name: str) -> None:
    assert decode(file_of(name, CORRECT[name]()), WANTED).shape == (16, 24, 3)


def test_refuses_hevc_pictures_without_a_size() -> None:
    """libheif would limit their decoder only to a gigapixel."""
    part = picture(b"hvc1", 64, transparency_of=1)
    hidden = Item(part.kind, part.data, part.properties[1:], transparency_of=1)
    with pytest.raises(ImageRejected, match="a picture has no size"):
        open_image(heif_file(b"heic", [picture(b"hvc1", 64), hidden]), WANTED)


def _inserted(data: bytes, position: int, box: bytes, parents: list[bytes]) -> bytes:
    """The same file with another box in these parents, and the data moved back by its size."""
    changed = bytearray(data)
    places = [changed.index(kind) - 4 for kind in parents]  # of their sizes
    places.append(changed.index(b"iloc") + 18)  # version 0, four bytes each, one item with one extent
    places += [changed.index(b"stco") + 12] if b"stco" in changed else []
    for at in places:
        struct.pack_into(">I", changed, at, struct.unpack_from(">I", changed, at)[0] + len(box))
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
    assert count_decoded_pixels(stating(padded, 64, 64)) == 600 * 600


@given(data=st.data())
def test_damaged_files_are_refused_or_left_to_the_decoder(data: st.DataObject) -> None:
    file = bytearray(FILES[data.draw(st.sampled_from(sorted(FILES)))])
    for _ in range(data.draw(st.integers(1, 8))):
        file[data.draw(st.integers(0, len(file) - 1))] = data.draw(st.integers(0, 255))
    del file[data.draw(st.integers(0, len(file))) :]
    with suppress(ImageRejected):  # and nothing else
        count_decoded_pixels(bytes(file))


FILES = {kind: make(40, 30) for kind, make in KINDS.items()}


def av1_items(count: int, units: int, is_shared: bool = False, extents: int = 1, associations: int = 0) -> bytes:
    """Return a file of `count` AVIF items of `units` AV1 units each. Extents beyond the first are empty."""
    data = b"\x12\0" * units  # temporal delimiters
    entries = [box(b"infe", struct.pack(">IHH4sx", 2 << 24, n + 1, 0, b"av01")) for n in range(count)]
    pairs = [struct.pack(">HB", n + 1, associations) + b"\1" * associations for n in range(count)]
    properties = [box(b"ipco", size_box(8, 8)), box(b"ipma", struct.pack(">II", 0, count), *pairs)]

    def file(start: int) -> bytes:
        offsets = [start if is_shared else start + n * len(data) for n in range(count)]
        beyond = struct.pack(">II", 2**31, 1) * (extents - 1)
        places = [
            struct.pack(">HHHII", n + 1, 0, extents, offset, len(data)) + beyond for n, offset in enumerate(offsets)
        ]
        iinf = box(b"iinf", struct.pack(">IH", 0, count), *entries)
        iloc = box(b"iloc", struct.pack(">IBBH", 0, 0x44, 0, count), *places)
        head = box(b"ftyp", b"avif", bytes(4), b"mif1") + box(b"meta", bytes(4), iinf, iloc, box(b"iprp", *properties))
        return head + box(b"mdat", data * (1 if is_shared else count))

    return file(file(0).index(b"mdat") + 4)


@pytest.mark.parametrize(
    "data",
    [
        av1_items(300, 1000, is_shared=True),
        av1_items(8, 4000),
        av1_items(64, 1, extents=100),
        av1_items(300, 1, associations=255),
        box(b"ftyp", b"avif", bytes(4), b"avis") + box(b"moov", *[box(b"trak")] * 17),
    ],
    ids=["shared data", "AV1 units", "extents", "properties", "tracks"],
)
def test_all_parts_of_a_file_are_limited(data: bytes) -> None:
    """1,024 items that shared 1,024 units took 1.8 s in 38 kB, and four times that for twice as many."""
    with pytest.raises(ImageRejected, match=r"too many pieces|larger than the file"):
        count_decoded_pixels(data)


def test_many_tiles_are_not_too_many_parts() -> None:
    assert count_decoded_pixels(av1_items(600, 4, associations=8)) == 64
