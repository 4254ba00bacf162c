"""The memory of decodes: shared in the order of their arrival, and no more than estimated."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest
from decode_pool import DecodingMemory
from PIL import Image

from tests.support.images import RED, encoded
from tests.support.processes import eventually
from tools.models.repository import MODEL_REPOSITORY

_MEMORY_BYTES = 1_000_000_000
MODULES = MODEL_REPOSITORY / "preprocess" / "1"


def test_decoding_memory_is_first_come_first_served() -> None:
    """Small decodes that came later do not pass a large one, which would otherwise wait for as long as they come."""
    budget = DecodingMemory(100)
    order: list[int] = []

    def reserve(size_bytes: int) -> None:
        with budget.reserve(size_bytes):
            order.append(size_bytes)

    waiting = []
    with budget.reserve(60):
        reserve(40)  # fits at once
        for size_bytes in (90, 10, 20, 30):
            waiting.append(threading.Thread(target=reserve, args=(size_bytes,)))
            waiting[-1].start()
            assert eventually(lambda: len(budget._waiting) == len(waiting))
        assert order == [40]
    for thread in waiting:
        thread.join(10)
    assert order[:2] == [40, 90]
    assert sorted(order[2:]) == [10, 20, 30]  # these fit together


def test_decoding_memory_is_returned_after_a_failure() -> None:
    budget = DecodingMemory(100)
    for _ in range(3):
        with pytest.raises(OSError, match="damaged"), budget.reserve(100):
            raise OSError("damaged")


PEAK = """
import pathlib, re, sys
sys.path.insert(0, sys.argv[3])
from bird_pixels import PixelFormat, open_image, decode_opened
data = pathlib.Path(sys.argv[1]).read_bytes()
wanted = PixelFormat(224, 224, int(sys.argv[2]), 10**9)
# Not ru_maxrss, which starts with the size of the process that started this one.
peak_bytes = lambda: 1024 * int(re.search(r"VmHWM:\\s+(\\d+) kB", pathlib.Path("/proc/self/status").read_text())[1])
before = peak_bytes()
image = open_image(data, wanted)
decode_opened(image, wanted)
print(peak_bytes() - before, image.decoding_bytes)
"""


def peak_and_estimate(path: Path, max_pixels: int = 50_000_000) -> tuple[int, int]:
    command = [sys.executable, "-c", PEAK, str(path), str(max_pixels), str(MODULES)]
    answer = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout
    peak, estimate = answer.split()
    return int(peak), int(estimate)


def test_jpeg_of_140_megapixels_takes_tens_of_megabytes(tmp_path: Path) -> None:
    file = tmp_path / "large.jpg"
    Image.new("RGB", (14_000, 10_000), RED).save(file)
    peak, _ = peak_and_estimate(file, 140_000_000)
    assert peak < 60_000_000


@pytest.mark.parametrize(
    ("kind", "mode", "options"),
    [
        pytest.param("PNG", "RGB", {"compress_level": 1}, id="PNG"),
        pytest.param("JPEG", "RGB", {"progressive": True, "subsampling": 0}, id="progressive JPEG"),
        pytest.param("GIF", "P", {}, id="GIF"),
        pytest.param("BMP", "RGB", {}, id="BMP"),
        pytest.param("WEBP", "RGB", {"method": 0}, id="WebP"),
    ],
)
def test_large_image_takes_no_more_than_estimated(
    kind: str, mode: str, options: dict[str, object], tmp_path: Path
) -> None:
    file = tmp_path / "large"
    file.write_bytes(encoded(Image.new(mode, (5000, 4000)), kind, **options))
    peak, estimate = peak_and_estimate(file)
    assert peak < 1.1 * estimate  # another machine's allocator may round up a little more
    assert estimate < _MEMORY_BYTES / 2.5  # the 50 megapixels that are allowed fit too
