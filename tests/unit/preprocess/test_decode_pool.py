"""Worker processes that decode images: bounded in time and memory, replaced when they die, gone with their parent."""

from __future__ import annotations

import errno
import gc
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import decode_pool
import numpy as np
import psutil
import pytest
from bird_pixels import ImageRejected, PixelFormat, decode
from decode_pool import DecodePool, DecodingMemory, WorkersUnavailable
from PIL import Image

from tests.support.hostile_images import BOMBS, SHREDDED, bmp_row_of_zeros, small_avif_of_268_megapixels
from tests.support.images import BLUE, RED, encoded, flat
from tests.support.processes import eventually
from tools.models.repository import MODEL_REPOSITORY

WANTED = PixelFormat(width=24, height=16, max_pixels=50_000_000, max_bytes=20_000_000)
MEMORY_BYTES = 1_000_000_000
MODULES = MODEL_REPOSITORY / "preprocess" / "1"
# A worker whose decoder can be told to misbehave by the first bytes of a file.
FAULTY_WORKER = f"""
import os, signal, sys, time
sys.path.insert(0, {str(MODULES)!r})
import decode_worker
real = decode_worker.open_image
def open_image(data, *arguments):
    if data.startswith(b"signal "):
        os.kill(os.getpid(), int(data.split()[1]))
    if data.startswith(b"sleep"):
        time.sleep(600)
    if data.startswith(b"print"):
        print(list(os.environ)); print("noise", file=sys.stderr)
    if data.startswith(b"lie"):
        decode_worker.json.dumps = lambda reply: "lies"
    if data.startswith(b"hang up"):
        os.close(decode_worker.json.loads(sys.argv[1])["socket"])
        time.sleep(600)
    if data.startswith(b"bug"):
        raise ZeroDivisionError
    return real(data, *arguments)
decode_worker.open_image = open_image
decode_worker.main()
"""


def new_pool(seconds: float = 3, memory_bytes: int = MEMORY_BYTES) -> DecodePool:
    return DecodePool(seconds, memory_bytes, WANTED.max_bytes, 3 * WANTED.width * WANTED.height)


@pytest.fixture
def pool() -> Iterator[DecodePool]:
    pool = new_pool()
    yield pool
    pool.close()


@pytest.fixture
def faulty_pool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[DecodePool]:
    worker = tmp_path / "decode_worker_with_faults.py"
    worker.write_text(FAULTY_WORKER)
    monkeypatch.setattr(decode_pool, "_WORKER", worker)
    pool = new_pool(seconds=0.5)
    yield pool
    pool.close()


def workers() -> list[psutil.Process]:
    return [child for child in psutil.Process().children() if any("decode_worker" in part for part in child.cmdline())]


def is_red(pool: DecodePool) -> bool:
    return bool(np.abs(pool.decode(flat(RED, "WEBP"), WANTED).pixels.astype(int) - RED).max() <= 6)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "HEIF"])
def test_worker_returns_the_same_pixels(pool: DecodePool, kind: str) -> None:
    noise = Image.fromarray(np.random.default_rng(5).integers(0, 256, (90, 120, 3), dtype=np.uint8))
    data = encoded(noise, kind)
    assert np.array_equal(pool.decode(data, WANTED).pixels, decode(data, WANTED))


def test_worker_decodes_32_bit_grey(pool: DecodePool) -> None:
    """The only mode that needs NumPy, which is loaded under the memory limit."""
    data = encoded(Image.fromarray(np.arange(900, dtype=np.int32).reshape(30, 30), "I"), "TIFF")
    assert np.array_equal(pool.decode(data, WANTED).pixels, decode(data, WANTED))


@pytest.mark.parametrize("name", [*BOMBS, *SHREDDED])
def test_worker_refuses_as_the_decoder_does(pool: DecodePool, name: str) -> None:
    data = {**BOMBS, **SHREDDED}[name]()
    with pytest.raises(ImageRejected) as here:
        decode(data, WANTED)
    with pytest.raises(ImageRejected) as elsewhere:
        pool.decode(data, WANTED)
    assert str(elsewhere.value) == str(here.value)
    assert is_red(pool)


def test_kills_decode_that_takes_too_long(pool: DecodePool) -> None:
    """A BMP of 1,100 bytes that takes 5 s."""
    pool.close()
    pool = new_pool(seconds=0.3)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with pytest.raises(ImageRejected, match=r"^too_expensive: decoding it takes more than 0.3 s of processor time"):
        pool.decode(bmp_row_of_zeros(), WANTED)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)  # the killed worker has been waited for
    assert after.ru_utime - before.ru_utime < 2
    assert is_red(pool)
    pool.close()


def test_neighbours_are_decoded_meanwhile(pool: DecodePool) -> None:
    pool.close()
    pool = new_pool(seconds=3)
    with ThreadPoolExecutor(4) as threads:
        slow = threads.submit(pool.decode, bmp_row_of_zeros(), WANTED)
        assert all(threads.map(lambda _: is_red(pool), range(4)))
        assert not slow.done()
        with pytest.raises(ImageRejected, match=r"^too_expensive: "):
            slow.result()
    pool.close()


def test_kills_decode_that_waits_for_ever(faulty_pool: DecodePool) -> None:
    with pytest.raises(ImageRejected, match=r"^too_expensive: "):
        faulty_pool.decode(b"sleep", WANTED)
    assert is_red(faulty_pool)


def test_kills_worker_that_hangs_up_and_stays(faulty_pool: DecodePool) -> None:
    with pytest.raises(ImageRejected, match=r"^not_an_image: the decoder broke on it"):
        faulty_pool.decode(b"hang up", WANTED)
    assert is_red(faulty_pool)


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGILL, signal.SIGFPE])
def test_crash_of_a_decoder_fails_its_image_only(faulty_pool: DecodePool, number: signal.Signals) -> None:
    for _ in range(3):
        with pytest.raises(ImageRejected, match=r"^not_an_image: the decoder crashed on it"):
            faulty_pool.decode(b"signal %d" % number, WANTED)
        assert is_red(faulty_pool)


def test_killed_worker_is_tried_once_more(faulty_pool: DecodePool) -> None:
    with pytest.raises(ImageRejected, match=r"^too_expensive: its decoder was killed twice"):
        faulty_pool.decode(b"signal 9", WANTED)
    assert is_red(faulty_pool)


def test_image_survives_the_end_of_an_idle_worker(pool: DecodePool) -> None:
    (worker,) = workers()
    worker.kill()
    assert eventually(lambda: worker.status() == psutil.STATUS_ZOMBIE)
    assert is_red(pool)


def test_worker_bug_is_reported_as_a_bug(faulty_pool: DecodePool) -> None:
    with pytest.raises(ImageRejected, match=r"^internal_error: Traceback") as failed:
        faulty_pool.decode(b"bug", WANTED)
    assert "ZeroDivisionError" in failed.value.reason
    assert is_red(faulty_pool)


def test_worker_that_answers_nonsense_is_replaced(faulty_pool: DecodePool) -> None:
    """An attacker who controls a worker must not gain control of its parent."""
    (before,) = workers()
    with pytest.raises(ImageRejected):
        faulty_pool.decode(b"lie from now on", WANTED)
    with pytest.raises(ValueError, match="Expecting value"):
        faulty_pool.decode(flat(RED, "WEBP"), WANTED)
    assert before not in workers()
    assert is_red(faulty_pool)


def test_small_avif_of_a_huge_picture_costs_nothing(pool: DecodePool) -> None:
    """The header says 64 × 64, the first frame 16,384²: the memory limit stops it before it is allocated."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    with pytest.raises(ImageRejected, match=r"^not_an_image: "):
        pool.decode(small_avif_of_268_megapixels(), WANTED)
    (worker,) = workers()
    assert worker.cpu_times().user + worker.cpu_times().system < 2
    pool.close()
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before < 2


def test_worker_writes_nothing_to_our_streams(faulty_pool: DecodePool, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ImageRejected):
        faulty_pool.decode(b"print", WANTED)
    assert capfd.readouterr() == ("", "")


def test_worker_knows_no_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BIRDS_API_KEYS", "secret")
    pool = new_pool()
    assert [worker.environ().get("BIRDS_API_KEYS") for worker in workers()] == [None]
    pool.close()


def test_large_image_gets_the_memory_it_needs(pool: DecodePool) -> None:
    pixels = pool.decode(flat(RED, "PNG", (8000, 6250)), WANTED).pixels
    assert pixels[0, 0].tolist() == list(RED)


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "GIF"])
def test_image_over_the_memory_limit_is_refused(kind: str) -> None:
    pool = new_pool(memory_bytes=20_000_000)
    with pytest.raises(ImageRejected, match=r"^too_expensive: decoding it takes more memory than is allowed"):
        pool.decode(flat(RED, kind, (4000, 3000)), WANTED)
    assert is_red(pool)
    pool.close()


def test_starts_no_more_workers_than_needed(pool: DecodePool) -> None:
    for _ in range(5):
        assert is_red(pool)
    assert len(workers()) == 1
    with ThreadPoolExecutor(3) as threads:
        assert all(threads.map(lambda _: is_red(pool), range(30)))
    assert len(workers()) <= 3


def test_replaces_a_dead_worker_at_once(faulty_pool: DecodePool) -> None:
    with pytest.raises(ImageRejected):
        faulty_pool.decode(b"signal 11", WANTED)
    assert len(workers()) == 1


def test_leaves_no_descriptors_and_no_processes() -> None:
    gc.collect()
    before = os.listdir("/proc/self/fd")
    pool = new_pool(seconds=0.2)
    with pytest.raises(ImageRejected):
        pool.decode(bmp_row_of_zeros(), WANTED)
    pool.close()
    assert not workers()
    assert os.listdir("/proc/self/fd") == before


def test_worker_that_cannot_start_leaves_no_descriptor(pool: DecodePool, monkeypatch: pytest.MonkeyPatch) -> None:
    gc.collect()
    before = os.listdir("/proc/self/fd")
    monkeypatch.setattr(socket, "socketpair", no_descriptor_left)
    with pytest.raises(OSError, match="Too many open files"):
        decode_pool._Worker(1000)
    assert os.listdir("/proc/self/fd") == before


def no_descriptor_left(*_: object) -> None:
    raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))


PARENT = f"""
import sys
sys.path.insert(0, {str(MODULES)!r})
from decode_pool import DecodePool
from image_limits import PixelFormat
pool = DecodePool(60, 10**9, 20_000_000, 1152)
print(pool._idle[0].pid, flush=True)
if len(sys.argv) > 1:
    pool.decode(open(sys.argv[1], "rb").read(), PixelFormat(24, 16, 50_000_000, 20_000_000))
input()
"""


@pytest.mark.parametrize("is_busy", [False, True], ids=["idle", "busy"])
def test_worker_ends_with_its_parent(is_busy: bool, tmp_path: Path) -> None:
    file = tmp_path / "slow.bmp"
    file.write_bytes(bmp_row_of_zeros(5_000_000))
    command = [sys.executable, "-c", PARENT, *([str(file)] if is_busy else [])]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout
        worker = psutil.Process(int(parent.stdout.readline()))
        parent.kill()
    assert eventually(lambda: not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE)


def test_shared_memory_has_no_name(pool: DecodePool) -> None:
    assert is_red(pool)
    named = [path for path in Path("/dev/shm").iterdir() if "decode" in path.name]
    assert not named
    (worker,) = workers()
    with pytest.raises(OSError, match="not permitted"):
        os.truncate(next(path for path in Path(f"/proc/{worker.pid}/fd").iterdir() if "memfd" in os.readlink(path)), 0)


def test_pages_of_a_large_file_are_given_back(pool: DecodePool) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (2200, 2200, 3), dtype=np.uint8)
    pool.decode(encoded(Image.fromarray(noise), "BMP"), WANTED)
    (worker,) = workers()
    assert sum(region.rss for region in worker.memory_maps() if "memfd" in region.path) < 1_000_000


def test_finds_an_interpreter_when_sys_executable_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Inside Triton's stub, sys.executable may be empty or the stub itself."""
    for executable in ("", "/opt/tritonserver/backends/python/triton_python_backend_stub", sys.executable):
        monkeypatch.setattr(sys, "executable", executable)
        decode_pool.find_interpreter.cache_clear()
        version = subprocess.run(
            [decode_pool.find_interpreter(), "--version"], capture_output=True, text=True, check=True
        )
        assert version.stdout.startswith(f"Python {sys.version_info.major}.{sys.version_info.minor}.")


def test_says_so_when_no_worker_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    worker = tmp_path / "decode_worker_broken.py"
    worker.write_text("raise SystemExit(7)")
    monkeypatch.setattr(decode_pool, "_WORKER", worker)
    with pytest.raises(WorkersUnavailable, match="does not start: exit code 7"):
        new_pool()


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
import resource, pathlib, sys
sys.path.insert(0, sys.argv[3])
from bird_pixels import PixelFormat, open_image, pixels
data = pathlib.Path(sys.argv[1]).read_bytes()
wanted = PixelFormat(224, 224, int(sys.argv[2]), 10**9)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
image = open_image(data, wanted)
pixels(image, wanted)
peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
print(peak, image.decoding_bytes)
"""


def peak_and_estimate(path: Path, max_pixels: int = 50_000_000) -> tuple[int, int]:
    command = [sys.executable, "-c", PEAK, str(path), str(max_pixels), str(MODULES)]
    answer = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout
    peak, estimate = answer.split()
    return int(peak), int(estimate)


def test_jpeg_of_280_megapixels_takes_tens_of_megabytes(tmp_path: Path) -> None:
    file = tmp_path / "large.jpg"
    Image.new("RGB", (20_000, 14_000), RED).save(file)
    peak, _ = peak_and_estimate(file, 280_000_000)
    assert peak < 60_000_000


@pytest.mark.parametrize(
    ("kind", "options"),
    [("PNG", {}), ("JPEG", {"progressive": True, "subsampling": 0}), ("GIF", {}), ("BMP", {}), ("WEBP", {"method": 0})],
    ids=["PNG", "progressive JPEG", "GIF", "BMP", "WebP"],
)
def test_fifty_megapixels_take_no_more_than_estimated(kind: str, options: dict[str, object], tmp_path: Path) -> None:
    file = tmp_path / "large"
    file.write_bytes(flat(BLUE, kind, (8000, 6250), **options))
    peak, estimate = peak_and_estimate(file)
    assert peak < estimate < MEMORY_BYTES
