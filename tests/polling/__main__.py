"""Which holds up better under load, Triton's model control or its polling: `python -m tests.polling`.

A Triton of each kind serves a small model to a steady stream of requests, while a second version is published, rolled
back and retired, several times; at last one is published that Triton refuses to load. The files and their order are the
same; only who tells Triton of them differs. Polling tells no command when Triton has followed, so every other round
waits between rollback and retirement, and the others retire at once. The stream tells when the new version answers.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tritonclient.utils import InferenceServerException

from tests.conftest import copy_templates, install_classifier
from tests.live.test_versions import STRANGE_LABELS, Load, ask_triton, save_strange
from tests.ports import free_triton_ports
from tests.savedmodels import mean_colours, save_module
from tests.tiny_model import LABELS, save_tiny_model
from tools.models import publishing
from tools.models.build import write_version
from tools.models.live_config import ensemble_of
from tools.models.repository import read_default
from tools.models.weights import own_savedmodel
from tools.serve.triton_process import TritonServer
from tools.triton.control import ControlError, TritonControl

_POLL_SECONDS = 1
_SETTLE_SECONDS = 3  # so that a poll falls into it
_GIVE_UP_SECONDS = 30


class PollingTriton(TritonServer):
    """The same Triton, told to look at its repository by itself."""

    def _command(self, wheel: Path, scratch: Path) -> list[str]:
        explicit = ("--model-control-mode=", "--load-model=")
        command = [word for word in super()._command(wheel, scratch) if not word.startswith(explicit)]
        return [*command, "--model-control-mode=poll", f"--repository-poll-secs={_POLL_SECONDS}"]


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.polling", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5, help="publish and roll back this often (default: %(default)s)")
    rounds = parser.parse_args().rounds
    if rounds < 1:
        parser.error("--rounds must be at least 1")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        save_tiny_model(folder / "tiny")
        save_strange(folder / "strange")
        (folder / "labels.txt").write_text("".join(f"{label}\n" for label in STRANGE_LABELS))
        (folder / "version").mkdir()
        classifier = own_savedmodel.load(folder / "strange", folder / "labels.txt", None, (224, 224))
        write_version(classifier, folder / "version")
        save_module(folder / "broken" / "model.savedmodel", mean_colours, input_name="picture")
        (folder / "broken" / "labels.txt").write_text("a\nb\nc\n")
        _measure("explicit", TritonServer, folder, rounds)
        _measure("poll", PollingTriton, folder, rounds)
    return 0


def _measure(name: str, kind: type[TritonServer], folder: Path, rounds: int) -> None:
    repository = folder / name
    copy_templates(repository)
    install_classifier(repository, folder / "tiny", LABELS)
    load = Load()
    seconds: list[float] = []
    never = 0
    failed: Counter[str] = Counter()
    with kind(free_triton_ports(), folder / f"{name}.log", repository) as triton:
        triton.wait_until_ready()
        control = TritonControl(triton.http_url) if kind is TritonServer else None
        streams = {
            "birds": ask_triton(triton.grpc_url),
            "birds_v1": ask_triton(triton.grpc_url, "birds_v1"),
            "classifier 1": ask_triton(triton.grpc_url, "classifier", "1"),
        }
        with ThreadPoolExecutor(len(streams)) as threads:
            for stream, ask in streams.items():
                threads.submit(load.run, stream, ask)
            try:
                for number in range(rounds):
                    before = len(load.failures)
                    started = time.monotonic()
                    _publish(repository, folder / "version", control)
                    if _seen(load, "birds strange"):
                        seconds.append(time.monotonic() - started)
                    else:
                        never += 1
                    publishing.set_default(repository, 1, control)
                    if number % 2 == 0:
                        _seen(load, "birds 1")
                        time.sleep(_SETTLE_SECONDS)
                    publishing.retire(repository, 2, control)
                    _seen(load, "birds 1")
                    time.sleep(_SETTLE_SECONDS)
                    failed["at once" if number % 2 else "after a wait"] += len(load.failures) - before
                _report(name, load, seconds, never)
                print(f"  failed in the rounds that retired {dict(failed)}")
                _publish_what_triton_refuses(repository, folder / "broken", control)
                time.sleep(2 * _SETTLE_SECONDS)
            finally:
                load.stop.set()
        _report(f"{name}, in all", load)
        print(f"  versions 1 and 2 of birds_v<N> serve: {_answers(triton, 1)} and {_answers(triton, 2)}", flush=True)


def _publish(repository: Path, version: Path, control: TritonControl | None) -> None:
    publishing.publish(repository, lambda draft: _copy(version, draft), 2, control=control)


def _publish_what_triton_refuses(repository: Path, version: Path, control: TritonControl | None) -> None:
    try:
        _publish(repository, version, control)
    except ControlError as error:
        print(f"  a version that Triton refuses: {error}")
    else:
        print("  a version that Triton refuses: taken for published")
    print(f"  the default is then version {read_default(repository)}")


def _answers(triton: TritonServer, version: int) -> bool:
    try:
        ask_triton(triton.grpc_url, ensemble_of(version))()
    except InferenceServerException:
        return False
    return True


def _copy(version: Path, draft: Path) -> None:
    shutil.copytree(version, draft, dirs_exist_ok=True)


def _seen(load: Load, answer: str) -> bool:
    """Wait for one more `answer` from the stream; False if none comes."""
    before, deadline = load.answers[answer], time.monotonic() + _GIVE_UP_SECONDS
    while load.answers[answer] == before:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True


def _report(name: str, load: Load, seconds: Sequence[float] = (), never: int = 0) -> None:
    total = load.answers.total() + len(load.failures)
    print(f"{name}: {len(load.failures)} of {total} requests failed", flush=True)
    if seconds:
        print(
            f"  first answer of the new version after {statistics.median(seconds):.2f} s "
            f"(median of {len(seconds)}; {min(seconds):.2f} to {max(seconds):.2f})"
        )
    if never:
        print(f"  {never} times no answer of it within {_GIVE_UP_SECONDS} s")
    for failure in sorted(set(load.failures))[:5]:
        print(f"  {load.failures.count(failure)} times {failure[:240]}")


if __name__ == "__main__":
    raise SystemExit(main())
