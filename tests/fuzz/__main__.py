"""Fuzz the decoder, the header check and the URL parser for a given time: `python -m tests.fuzz --minutes 30`.

Half of the time goes to coverage-guided fuzzing, a fifth to the search for files that are expensive to decode, the rest
to mutated real files. Findings and the corpus, which later runs extend, are kept in .cache/fuzz. Exit code 1 means that
something was found.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys

from tools import ROOT

CACHE = ROOT / ".cache" / "fuzz"
_SHARES = {"decoder": 0.3, "header": 0.1, "urls": 0.1}
_COST_SHARE = 0.2
_MUTATIONS_PER_MINUTE = 400_000  # throughput of one core
_EXAMPLES_PER_MINUTE = 30
_COST = [sys.executable, "-m", "tests.fuzz.cost"]


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.fuzz", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=10, help="about how long to fuzz (default: %(default)s)")
    minutes = parser.parse_args().minutes
    if minutes <= 0:
        parser.error("--minutes must be more than 0")
    failed = [target for target, share in _SHARES.items() if not _coverage_guided(target, share * minutes * 60)]
    print(f"Searching for expensive files for {_COST_SHARE * minutes * 60:.0f} s …", flush=True)
    if subprocess.run([*_COST, f"--minutes={_COST_SHARE * minutes}"], cwd=ROOT, check=False).returncode:
        failed.append("cost")
    if not _properties(minutes):
        failed.append("properties")
    for finding in sorted(CACHE.glob("*-crash-*")) + sorted(CACHE.glob("*-timeout-*")) + sorted(CACHE.glob("*-oom-*")):
        print(f"finding: {finding.relative_to(ROOT)} ({finding.stat().st_size} bytes)")
    print(f"Findings in: {', '.join(failed)}" if failed else "No findings.")
    return 1 if failed else 0


def _coverage_guided(target: str, seconds: float) -> bool:
    print(f"Fuzzing {target} for {seconds:.0f} s …", flush=True)
    log = CACHE / f"{target}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    options = ["-max_len=16384", "-timeout=20", "-rss_limit_mb=2048", f"-max_total_time={max(1, round(seconds))}"]
    command = [sys.executable, "-m", "tests.fuzz.coverage_guided", target, str(CACHE / target), *options]
    with log.open("wb") as output:
        code = subprocess.run(command, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT, check=False).returncode
    text = log.read_text(errors="replace")
    runs = re.findall(r"^(?:Done (\d+) runs|#(\d+)\s)", text, re.MULTILINE)
    count = int(next(filter(None, runs[-1]))) if runs else 0
    print(f"  {count} inputs, {'no findings' if code == 0 else f'exit code {code}, see {log.relative_to(ROOT)}'}")
    return code == 0


def _properties(minutes: float) -> bool:
    environment = {
        **os.environ,
        "BIRDS_FUZZ_MUTATIONS": str(round(_MUTATIONS_PER_MINUTE * minutes * (1 - _COST_SHARE - sum(_SHARES.values())))),
        "BIRDS_FUZZ_EXAMPLES": str(max(25, round(_EXAMPLES_PER_MINUTE * minutes))),
    }
    print(f"Fuzzing with {environment['BIRDS_FUZZ_MUTATIONS']} mutated files and made-up requests …", flush=True)
    tests = ROOT / "tests" / "unit" / "test_fuzz.py"
    return (
        subprocess.run([sys.executable, "-m", "pytest", "-q", tests], env=environment, cwd=ROOT, check=False).returncode
        == 0
    )


if __name__ == "__main__":
    sys.exit(main())
