"""Search for files that are expensive to decode: `python -m tests.fuzz.cost --minutes 60`.

Mutates valid files, and keeps the most expensive ones of each format as parents of the next. The limits are those of
production: a small file may claim 50 million pixels. A file that is decoded in Triton's own process (`is_cheap`) and
takes more than 1 s of CPU time or 300 MB is a finding: it is written to .cache/fuzz and the exit code is 1. Files
for the worker processes may take more, because those are killed; the most expensive one of each format is reported.
"""

from __future__ import annotations

import argparse
import random
import resource
import struct
import sys
import time
import zlib
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from tools import ROOT
from tools.models.repository import MODEL_REPOSITORY

sys.path.append(str(MODEL_REPOSITORY / "preprocess" / "1"))

from bird_pixels import ImageRejected, PixelFormat, decode_opened, open_if_cheap, open_image
from signatures import format_of

from tests.fuzz.seeds import mutated, seed_files

WANTED = PixelFormat(width=224, height=224, max_pixels=50_000_000, max_bytes=20_000_000)
MAX_SECONDS, MAX_BYTES = 1.0, 300_000_000
FINDINGS = ROOT / ".cache" / "fuzz"
_PARENTS = 20
_SIDES = [1, 2, 7, 100, 1000, 3162, 5000, 7071, 10_000, 16_383, 50_000, 65_535]
_MEMORY_LIMIT = 4_000_000_000


@dataclass(order=True)
class Cost:
    """What one decode took: CPU time in seconds, and peak memory in bytes."""

    seconds: float
    peak_bytes: int = field(compare=False)
    data: bytes = field(compare=False)
    is_cheap: bool = field(compare=False)

    @property
    def is_finding(self) -> bool:
        return self.is_cheap and (self.seconds > MAX_SECONDS or self.peak_bytes > MAX_BYTES)


def measure(data: bytes) -> Cost:
    """Decode one file, whether it is accepted or not."""
    Path("/proc/self/clear_refs").write_text("5")  # sets the peak to what is in memory now
    before, started, is_cheap = _status("VmRSS:"), time.process_time(), False
    try:
        is_cheap = open_if_cheap(data, WANTED) is not None
        decode_opened(open_image(data, WANTED), WANTED)
    except (ImageRejected, MemoryError):
        pass
    return Cost(time.process_time() - started, _status("VmHWM:") - before, data, is_cheap)


def search(seconds: float, chance: random.Random) -> tuple[int, dict[str, list[Cost]], list[Cost]]:
    """Return how many files were tried, the most expensive ones of each format, and the findings."""
    seeds = seed_files()
    best: dict[str, list[Cost]] = defaultdict(list)
    findings: list[Cost] = []
    count, deadline = 0, time.monotonic() + seconds
    while time.monotonic() < deadline:
        count += 1
        parents = [cost.data for costs in best.values() for cost in costs]
        data = chance.choice(parents) if parents and chance.random() < 0.5 else chance.choice(seeds)
        if chance.random() < 0.5:
            data = enlarged(data, chance)
        if chance.random() < 0.7:
            data = mutated(data, seeds, chance)
        cost = measure(data)
        if cost.is_finding:
            findings.append(cost)
        _keep(best, cost)
    return count, best, findings


def enlarged(data: bytes, chance: random.Random) -> bytes:
    """The file with another size in its header, within the limit of pixels."""
    width = chance.choice(_SIDES)
    height = chance.choice([side for side in _SIDES if side * width <= WANTED.max_pixels] or [1])
    changed = bytearray(data)
    if data.startswith(b"\x89PNG") and len(data) > 33:
        changed[16:24] = struct.pack(">II", width, height)
        changed[29:33] = struct.pack(">I", zlib.crc32(changed[12:29]))
    elif data.startswith(b"\xff\xd8"):
        for marker in (b"\xff\xc0", b"\xff\xc2"):
            if 0 < (frame := data.find(marker)) < len(data) - 9:
                changed[frame + 5 : frame + 9] = struct.pack(">HH", min(height, 65_535), min(width, 65_535))
    elif data.startswith(b"GIF") and len(data) > 10:
        size = struct.pack("<HH", min(width, 65_535), min(height, 65_535))
        changed[6:10] = size
        if 0 < (frame := data.find(b"\x2c\0\0\0\0")) < len(data) - 9:
            changed[frame + 5 : frame + 9] = size
    elif data.startswith(b"BM") and len(data) > 26:
        changed[18:26] = struct.pack("<ii", width, height)
    elif data[8:12] == b"WEBP" and data[12:16] == b"VP8X" and len(data) > 30:
        changed[24:30] = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    elif 0 < (size_box := data.find(b"ispe")) < len(data) - 16:
        changed[size_box + 8 : size_box + 16] = struct.pack(">II", width, height)
    return bytes(changed)


def _keep(best: dict[str, list[Cost]], cost: Cost) -> None:
    try:
        kind = format_of(cost.data) + (" (cheap)" if cost.is_cheap else "")
    except ImageRejected:
        return
    costs = best[kind]
    costs.append(cost)
    costs.sort(reverse=True)
    del costs[_PARENTS:]


def _status(name: str) -> int:
    """A figure of this process in bytes."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith(name))) * 1024


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.cost", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10, help="how long to search (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**9))
    options = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_LIMIT, _MEMORY_LIMIT))
    count, best, findings = search(options.minutes * 60, random.Random(options.seed))
    print(f"{count} files, seed {options.seed}. The most expensive of each format:")
    for kind, costs in sorted(best.items()):
        peak = max(cost.peak_bytes for cost in costs)
        print(f"  {kind:14} {costs[0].seconds:6.2f} s  {peak / 1e6:6.0f} MB  a file of {len(costs[0].data)} bytes")
    FINDINGS.mkdir(parents=True, exist_ok=True)
    for number, finding in enumerate(findings):
        path = FINDINGS / f"cost-{options.seed}-{number}"
        path.write_bytes(finding.data)
        print(f"finding: {path.relative_to(ROOT)}: {finding.seconds:.2f} s, {finding.peak_bytes / 1e6:.0f} MB")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
