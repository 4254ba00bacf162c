"""Memory: shared by agreement, limited by the kernel, and as little of it as promised for the largest images."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest
from decoding_memory import DecodingMemory
from PIL import Image

from tests.support.images import RED, flat
from tools.models.repository import MODEL_REPOSITORY

MEGABYTE = 1_000_000


def in_a_process_of_its_own(code: str, *arguments: str) -> str:
    """What `code` prints; it finds the modules of `preprocess`."""
    path = f"import sys; sys.path.insert(0, {str(MODEL_REPOSITORY / 'preprocess' / '1')!r})\n"
    command = [sys.executable, "-c", path + code, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout


def test_waits_until_there_is_enough() -> None:
    memory = DecodingMemory(100)
    begun, order = threading.Event(), []

    def second() -> None:
        begun.set()
        with memory.reserve(60):
            order.append("second")

    thread = threading.Thread(target=second)
    with memory.reserve(60):
        thread.start()
        begun.wait(5)
        with memory.reserve(40):
            order.append("fits beside it")
        order.append("first ends")
    thread.join(5)
    assert order == ["fits beside it", "first ends", "second"]


def test_gives_back_what_a_failed_decode_held() -> None:
    memory = DecodingMemory(100)
    for _ in range(3):
        with pytest.raises(OSError, match="damaged"), memory.reserve(100):
            raise OSError("damaged")


def test_refuses_more_than_there_is() -> None:
    with pytest.raises(MemoryError), DecodingMemory(100).reserve(101):
        pass


def test_the_kernel_refuses_more_and_the_process_lives_on() -> None:
    answer = in_a_process_of_its_own(
        """
import threading
from decoding_memory import limited_memory
def allocate():
    for size in (10**9, 10**7, 10**9, 10**7):
        try:
            bytearray(size)
            print("given", size)
        except MemoryError:
            print("refused", size)
thread = threading.Thread(target=allocate)
with limited_memory(100_000_000):
    thread.start(); thread.join(); allocate()
allocate()
"""
    )
    lines = answer.splitlines()
    assert lines[:8] == ["refused 1000000000", "given 10000000"] * 4
    assert lines[8:] == ["given 1000000000", "given 10000000"] * 2


PEAK = """
import resource, pathlib
from bird_pixels import PixelFormat, open_image, pixels
data = pathlib.Path(sys.argv[1]).read_bytes()
wanted = PixelFormat(224, 224, int(sys.argv[2]), 10**9)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
image = open_image(data, wanted)
pixels(image, wanted)
peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
print(peak, image.decoding_bytes)
"""


def peak_and_estimate(path: Path, max_pixels: int = 50 * MEGABYTE) -> tuple[int, int]:
    peak, estimate = in_a_process_of_its_own(PEAK, str(path), str(max_pixels)).split()
    return int(peak), int(estimate)


def test_a_jpeg_of_280_megapixels_takes_tens_of_megabytes(tmp_path: Path) -> None:
    file = tmp_path / "large.jpg"
    Image.new("RGB", (20_000, 14_000), RED).save(file)
    peak, _ = peak_and_estimate(file, 280 * MEGABYTE)
    assert peak < 60 * MEGABYTE


@pytest.mark.parametrize(
    ("kind", "options"),
    [("PNG", {}), ("JPEG", {"progressive": True, "subsampling": 0}), ("GIF", {}), ("BMP", {}), ("WEBP", {"method": 0})],
    ids=["PNG", "progressive JPEG", "GIF", "BMP", "WebP"],
)
def test_fifty_megapixels_take_no_more_than_estimated(kind: str, options: dict[str, object], tmp_path: Path) -> None:
    file = tmp_path / "large"
    file.write_bytes(flat(RED, kind, (8000, 6250), **options))
    peak, estimate = peak_and_estimate(file)
    assert peak < estimate < 1000 * MEGABYTE
