"""Reads the sizes of the frames in AV1 data, as far as its headers state them. Decodes nothing.

Source: the AV1 bitstream specification, sections 5.3 to 5.5 and 5.9.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from heif_items import Size
from image_limits import damaged

_SEQUENCE_HEADER = 1
_FRAME_HEADERS = {3, 6, 7}  # alone, with the frame's data, and repeated
_KEY_FRAME, _SWITCH_FRAME = 0, 3
_IN_FRAME = 2  # a choice that each frame header makes for itself


def read_av1_sizes(av1_data: bytes, units: Iterator[int]) -> Iterator[Size]:
    """Yield the size in each sequence header, and the largest size of each frame that states its own.

    `av1_data` is OBUs (open bitstream units). Each takes one element of `units`, which all data of a file shares.
    Raises IndexError if the data ends too early, ImageRejected if `units` does.
    """
    position, sequence = 0, None
    for _ in units:
        if position >= len(av1_data):
            return
        header = av1_data[position]
        kind, has_extension, has_size = header >> 3 & 15, header & 4, header & 2
        position += 2 if has_extension else 1
        size = len(av1_data) - position
        if has_size:
            size, position = _leb128(av1_data, position)
        bits = _Bits(av1_data[position : position + min(size, _Bits.max_bytes)])
        if kind == _SEQUENCE_HEADER:
            sequence = _sequence_header(bits)
            yield sequence.size
        elif kind in _FRAME_HEADERS and sequence and _has_own_size(bits, sequence):
            yield sequence.max_frame_size
        position += size
    raise damaged("the file is cut into too many pieces")


def _leb128(data: bytes, position: int) -> tuple[int, int]:
    """Return the number at `position`, in the LEB128 encoding of seven bits per byte, and the position after it."""
    value = 0
    for index in range(8):
        byte = data[position + index]
        value |= (byte & 0x7F) << 7 * index
        if byte < 0x80:
            return value, position + index + 1
    raise damaged()


@dataclass
class _Sequence:
    """What a sequence header says, as far as it matters for the sizes of its frames."""

    is_reduced: bool = False  # one picture, which has the size of the sequence
    time_bits: int = 0  # of the presentation time in a frame header
    size: Size = (0, 0)
    max_frame_size: Size = (0, 0)  # the largest one that a frame header has bits for
    frame_id_bits: int = 0
    screen_content: int = _IN_FRAME
    integer_motion: int = _IN_FRAME


def _sequence_header(bits: _Bits) -> _Sequence:
    sequence = _Sequence()
    bits.take(4)  # profile, still_picture
    sequence.is_reduced = bool(bits.take(1))
    if sequence.is_reduced:
        bits.take(5)
    else:
        sequence.time_bits = _operating_points(bits)
    width_bits, height_bits = bits.take(4) + 1, bits.take(4) + 1
    sequence.size = bits.take(width_bits) + 1, bits.take(height_bits) + 1
    if sequence.is_reduced:
        return sequence
    sequence.max_frame_size = 1 << width_bits, 1 << height_bits
    if bits.take(1):  # frames have numbers
        sequence.frame_id_bits = bits.take(4) + 2
        sequence.frame_id_bits += bits.take(3) + 1
    bits.take(7)  # coding tools
    if bits.take(1):  # enable_order_hint
        bits.take(2)
    sequence.screen_content = _IN_FRAME if bits.take(1) else bits.take(1)
    if sequence.screen_content:
        sequence.integer_motion = _IN_FRAME if bits.take(1) else bits.take(1)
    return sequence


def _operating_points(bits: _Bits) -> int:
    """Skip timing information and operating points; return the number of bits of a frame's presentation time."""
    delay_bits = time_bits = 0
    if bits.take(1):  # timing information
        bits.take(64)
        is_steady = bits.take(1)
        if is_steady:
            bits.skip_exponential_golomb()
        if bits.take(1):  # decoder model
            delay_bits = bits.take(5) + 1
            bits.take(32 + 5)
            time_bits = bits.take(5) + 1
            if is_steady:
                time_bits = 0
    has_display_delay = bits.take(1)
    for _ in range(bits.take(5) + 1):
        bits.take(12)
        if bits.take(5) > 7:  # the level
            bits.take(1)
        if delay_bits and bits.take(1):
            bits.take(2 * delay_bits + 1)
        if has_display_delay and bits.take(1):
            bits.take(4)
    return time_bits


def _has_own_size(bits: _Bits, sequence: _Sequence) -> bool:
    """Whether a frame header overrides the size of the sequence."""
    if sequence.is_reduced or bits.take(1):  # show_existing_frame
        return False
    frame_type, is_shown = bits.take(2), bits.take(1)
    bits.take(sequence.time_bits if is_shown else 1)
    if frame_type != _SWITCH_FRAME and not (frame_type == _KEY_FRAME and is_shown):
        bits.take(1)  # error_resilient_mode
    bits.take(1)  # disable_cdf_update
    has_screen_content = bits.take(1) if sequence.screen_content == _IN_FRAME else sequence.screen_content
    if has_screen_content and sequence.integer_motion == _IN_FRAME:
        bits.take(1)
    bits.take(sequence.frame_id_bits)
    return frame_type == _SWITCH_FRAME or bool(bits.take(1))


class _Bits:
    """Reads numbers bit by bit. Raises IndexError at the end."""

    max_bytes = 512  # of a header; 32 operating points take fewer

    def __init__(self, data: bytes) -> None:
        self._value = int.from_bytes(data, "big")
        self._left = 8 * len(data)

    def take(self, count: int) -> int:
        self._left -= count
        if self._left < 0:
            raise IndexError
        return self._value >> self._left & (1 << count) - 1

    def skip_exponential_golomb(self) -> None:
        zeros = 0
        while not self.take(1):
            zeros += 1
        if zeros < 32:
            self.take(zeros)
