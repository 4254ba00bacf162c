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
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import decode_process
import numpy as np
import psutil
import pytest
from bird_pixels import ImageRejected, PixelFormat, decode
from decode_pool import DecodePool
from decode_process import WorkersUnavailable
from PIL import Image

from tests.support.hostile_images import BOMBS, SHREDDED, bmp_row_of_zeros, small_avif_of_268_megapixels
from tests.support.images import RED, encoded, flat
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


@pytest.fixture(scope="module")
def pool() -> Iterator[DecodePool]:
    """With one worker, unless tests decode at the same time."""
    pool = new_pool()
    yield pool
    pool.close()


@pytest.fixture(scope="module")
def started_faulty_pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[DecodePool, Path]]:
    program = tmp_path_factory.mktemp("faults") / "decode_worker_with_faults.py"
    program.write_text(FAULTY_WORKER)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decode_process, "_WORKER", program)
        pool = new_pool(seconds=0.5)
    yield pool, program
    pool.close()


@pytest.fixture
def faulty_pool(started_faulty_pool: tuple[DecodePool, Path], monkeypatch: pytest.MonkeyPatch) -> DecodePool:
    """Its one worker, and those that replace it, can be told to misbehave."""
    pool, program = started_faulty_pool
    monkeypatch.setattr(decode_process, "_WORKER", program)
    return pool


def workers(pool: DecodePool) -> list[psutil.Process]:
    return [psutil.Process(worker.pid) for worker in pool._idle]


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


def test_kills_decode_that_takes_too_long() -> None:
    """A BMP of 1,100 bytes that takes 5 s."""
    with closing(new_pool(seconds=0.3)) as pool:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        with pytest.raises(ImageRejected, match=r"^too_expensive: decoding it takes more than 0.3 s of CPU time"):
            pool.decode(bmp_row_of_zeros(), WANTED)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)  # the killed worker has been waited for
        assert after.ru_utime - before.ru_utime < 2
        assert is_red(pool)


def test_neighbours_are_decoded_meanwhile() -> None:
    with closing(new_pool(seconds=1)) as pool, ThreadPoolExecutor(4) as threads:
        while len(workers(pool)) < 2:  # so that none has to start meanwhile
            assert all(threads.map(lambda _: is_red(pool), range(8)))
        slow = threads.submit(pool.decode, bmp_row_of_zeros(), WANTED)
        assert all(is_red(pool) for _ in range(4))
        assert not slow.done()
        with pytest.raises(ImageRejected, match=r"^too_expensive: "):
            slow.result()


def test_kills_decode_that_waits_for_ever(faulty_pool: DecodePool) -> None:
    with pytest.raises(ImageRejected, match=r"^too_expensive: "):
        faulty_pool.decode(b"sleep", WANTED)
    assert is_red(faulty_pool)


def test_kills_worker_that_hangs_up_and_stays(faulty_pool: DecodePool) -> None:
    with pytest.raises(ImageRejected, match=r"^not_an_image: the decoder broke on it"):
        faulty_pool.decode(b"hang up", WANTED)
    assert is_red(faulty_pool)


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGABRT])
def test_crash_of_a_decoder_fails_its_image_only(faulty_pool: DecodePool, number: signal.Signals) -> None:
    for _ in range(2):
        with pytest.raises(ImageRejected, match=r"^not_an_image: the decoder crashed on it"):
            faulty_pool.decode(b"signal %d" % number, WANTED)
        assert is_red(faulty_pool)


def test_killed_worker_is_tried_once_more(faulty_pool: DecodePool) -> None:
    with pytest.raises(ImageRejected, match=r"^too_expensive: its decoder was killed twice"):
        faulty_pool.decode(b"signal 9", WANTED)
    assert is_red(faulty_pool)


def test_image_survives_the_end_of_an_idle_worker(pool: DecodePool) -> None:
    (worker,) = workers(pool)
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
    (before,) = workers(faulty_pool)
    with pytest.raises(ImageRejected):
        faulty_pool.decode(b"lie from now on", WANTED)
    with pytest.raises(ValueError, match="Expecting value"):
        faulty_pool.decode(flat(RED, "WEBP"), WANTED)
    assert before not in workers(faulty_pool)
    assert is_red(faulty_pool)


def test_small_avif_of_a_huge_picture_costs_nothing(pool: DecodePool) -> None:
    """The header says 64 × 64, the first frame 16,384²: it is refused before it is decoded."""
    (worker,) = workers(pool)
    before = sum(worker.cpu_times())
    with pytest.raises(ImageRejected, match=r"^too_many_pixels: "):
        pool.decode(small_avif_of_268_megapixels(), WANTED)
    assert sum(worker.cpu_times()) - before < 2


def test_worker_writes_nothing_to_our_streams(faulty_pool: DecodePool, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ImageRejected):
        faulty_pool.decode(b"signal 11", WANTED)  # the next worker starts with the streams that are watched here
    with pytest.raises(ImageRejected):
        faulty_pool.decode(b"print", WANTED)
    assert capfd.readouterr() == ("", "")


def test_worker_knows_no_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BIRDS_API_KEYS", "secret")
    with closing(new_pool()) as pool:
        assert [worker.environ().get("BIRDS_API_KEYS") for worker in workers(pool)] == [None]


def test_large_image_gets_the_memory_it_needs(pool: DecodePool) -> None:
    pixels = pool.decode(flat(RED, "PNG", (6000, 4000), compress_level=1), WANTED).pixels
    assert pixels[0, 0].tolist() == list(RED)


@pytest.mark.parametrize(("kind", "mode"), [("PNG", "RGB"), ("WEBP", "RGB"), ("GIF", "P")])
def test_image_over_the_memory_limit_is_refused(kind: str, mode: str) -> None:
    with closing(new_pool(memory_bytes=20_000_000)) as pool:
        with pytest.raises(ImageRejected, match=r"^too_expensive: decoding it takes more memory than is allowed"):
            pool.decode(encoded(Image.new(mode, (2500, 2000)), kind), WANTED)
        assert is_red(pool)


def test_starts_no_more_workers_than_needed() -> None:
    with closing(new_pool()) as pool:
        for _ in range(5):
            assert is_red(pool)
        assert len(workers(pool)) == 1
        with ThreadPoolExecutor(3) as threads:
            assert all(threads.map(lambda _: is_red(pool), range(30)))
        assert len(workers(pool)) <= 3


def test_replaces_a_dead_worker_at_once(faulty_pool: DecodePool) -> None:
    with pytest.raises(ImageRejected):
        faulty_pool.decode(b"signal 11", WANTED)
    assert len(workers(faulty_pool)) == 1


def test_leaves_no_descriptors_and_no_processes() -> None:
    """What other tests have left may end meanwhile."""
    gc.collect()
    descriptors, children = set(os.listdir("/proc/self/fd")), set(psutil.Process().children())
    with closing(new_pool(seconds=0.2)) as pool, pytest.raises(ImageRejected):
        pool.decode(bmp_row_of_zeros(), WANTED)
    assert set(os.listdir("/proc/self/fd")) <= descriptors
    assert set(psutil.Process().children()) <= children


def test_worker_that_cannot_start_leaves_no_descriptor(monkeypatch: pytest.MonkeyPatch) -> None:
    gc.collect()
    before = set(os.listdir("/proc/self/fd"))
    monkeypatch.setattr(socket, "socketpair", no_descriptor_left)
    with pytest.raises(OSError, match="Too many open files"):
        decode_process.DecodeProcess(1000)
    assert set(os.listdir("/proc/self/fd")) <= before


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
    (worker,) = workers(pool)
    with pytest.raises(OSError, match="not permitted"):
        os.truncate(next(path for path in Path(f"/proc/{worker.pid}/fd").iterdir() if "memfd" in os.readlink(path)), 0)


def test_pages_of_a_large_file_are_given_back(pool: DecodePool) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (2200, 2200, 3), dtype=np.uint8)
    pool.decode(encoded(Image.fromarray(noise), "BMP"), WANTED)
    (worker,) = workers(pool)
    assert sum(region.rss for region in worker.memory_maps() if "memfd" in region.path) < 1_000_000


def test_finds_an_interpreter_when_sys_executable_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Inside Triton's stub, sys.executable may be empty or the stub itself."""
    for executable in ("", "/opt/tritonserver/backends/python/triton_python_backend_stub", sys.executable):
        monkeypatch.setattr(sys, "executable", executable)
        decode_process.find_interpreter.cache_clear()
        version = subprocess.run(
            [decode_process.find_interpreter(), "--version"], capture_output=True, text=True, check=True
        )
        assert version.stdout.startswith(f"Python {sys.version_info.major}.{sys.version_info.minor}.")


def test_says_so_when_no_worker_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    worker = tmp_path / "decode_worker_broken.py"
    worker.write_text("raise SystemExit(7)")
    monkeypatch.setattr(decode_process, "_WORKER", worker)
    with pytest.raises(WorkersUnavailable, match="does not start: exit code 7"):
        new_pool()
