"""The child process of build_process.py: loads, checks, wraps and writes one version."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING

from tools.models import sandbox
from tools.models.options import BuildOptions
from tools.models.weights.fetch import FetchError

if TYPE_CHECKING:
    from tools.models.weights.classifier import Classifier


def main(directory: str, height: str, width: str, options_json: str) -> int:
    """Return the exit code. After a failure, the last line on standard error is the reason."""
    options = BuildOptions.from_json(options_json)
    folder = Path(directory)
    sandbox.end_with_parent()
    bytes_allowed = sandbox.limit_memory()
    if options.own:
        for gap in sandbox.confine(folder.parent):
            print(f"Note: {gap}", flush=True)
    try:
        with _quiet_tensorflow():
            from tools.models.version_writer import write_version
        classifier = _load(options, (int(height), int(width)), folder.parent)
        print(f"Building {classifier.source}: {len(classifier.labels)} labels …", flush=True)
        write_version(classifier, folder)
    except MemoryError:
        print(
            f"build: the model needs more memory than the {bytes_allowed / 1e9:.1f} GB that are free", file=sys.stderr
        )
        return 1
    except (FetchError, UnpicklingError, ValueError, OSError) as error:
        print(f"build: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    return 0


def _load(options: BuildOptions, size: tuple[int, int], scratch: Path) -> Classifier:
    from tools.models.weights import aiy_birds, imagenet_birds, own_model

    if options.own:
        return own_model.load(options.own, size, scratch)
    if options.source == imagenet_birds.NAME:
        return imagenet_birds.load()
    return aiy_birds.load(options.mirror)


@contextmanager
def _quiet_tensorflow() -> Iterator[None]:
    """Import TensorFlow, for the CPU, and suppress what it prints to file descriptor 2, which no setting turns off."""
    os.environ.update(CUDA_VISIBLE_DEVICES="-1", TF_CPP_MIN_LOG_LEVEL="3")
    print("Starting TensorFlow …", flush=True)
    kept = os.dup(2)
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        import tensorflow  # noqa: F401

        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
