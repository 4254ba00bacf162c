"""Builds one version of the classifier, in a process of its own: loads, checks, wraps and writes it.

What a stranger's SavedModel does to the memory, or to TensorFlow, then ends this process and nothing else.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tools import ROOT
from tools.errors import ToolError
from tools.models.options import BuildOptions
from tools.models.repository import About, write_about

sys.path.append(str(ROOT / "backends" / "tensorflow"))

from placement import Device
from quantization import FILE as QUANTIZATION
from savedmodel_engines import EngineError, load_engine

if TYPE_CHECKING:
    import numpy as np

    from tools.models.weights.classifier import Classifier

_AGREE_WITHIN = 0.01  # probabilities of the two engines; rounding alone stays far below


class BuildError(ToolError):
    """The version cannot be built; the text says why."""


def build_apart(directory: Path, options: BuildOptions, size: tuple[int, int]) -> None:
    """Build into `directory` in a child process that may use the memory that is free now. Raises BuildError.

    What the child tells of its progress goes to standard error.
    """
    height, width = size
    command = [sys.executable, "-m", "tools.models.build", str(directory), str(height), str(width), options.to_json()]
    # TensorFlow leaves temporary files when it is killed: where they are removed with the unfinished version.
    environment = {**os.environ, "TMPDIR": str(directory.parent)}
    child = subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=sys.__stderr__, stderr=subprocess.PIPE, text=True
    )
    try:
        _, errors = child.communicate()
    finally:
        child.kill()
        child.wait()
    if child.returncode < 0:
        raise BuildError(
            f"the build was killed by signal {-child.returncode}, most likely because it needs more memory than there "
            f"is ({_free_bytes() / 1e9:.1f} GB are free)"
        )
    if child.returncode != 0:
        lines = errors.strip().splitlines()
        raise BuildError(lines[-1].removeprefix("build_version: ") if lines else f"exit code {child.returncode}")


def write_version(classifier: Classifier, directory: Path) -> None:
    """Write and check `directory` as a version folder: model.savedmodel, and labels.txt beside it.

    Raises ValueError when the written SavedModel does not answer with one probability a label.
    """
    from tools.models.weights.classifier import save

    savedmodel = directory / "model.savedmodel"
    save(classifier, savedmodel)
    by_tensorflow = _verified_rows(classifier, savedmodel)
    engine = _best_engine(classifier, savedmodel, by_tensorflow)
    published = datetime.now(timezone.utc).isoformat(timespec="seconds")
    write_about(savedmodel, About(classifier.source, *classifier.size, engine, published))
    if classifier.quantization and engine == "openvino":
        _write_quantization(classifier.quantization, savedmodel)
    (directory / "labels.txt").write_text("".join(f"{label}\n" for label in classifier.labels), encoding="utf-8")


def _write_quantization(ranges: Mapping[str, Any], savedmodel: Path) -> None:
    """Raises ValueError if they do not fit the graph, which would be a mistake in the rebuilding of it."""
    (savedmodel / QUANTIZATION).write_text(json.dumps(ranges) + "\n", encoding="utf-8")
    try:
        load_engine("openvino", savedmodel, Device(threads=1), "int8")
    except EngineError as error:
        raise ValueError(str(error)) from error


def _verified_rows(classifier: Classifier, savedmodel: Path) -> np.ndarray:
    import numpy as np
    import tensorflow as tf

    from tools.models.weights.classifier import INPUT, OUTPUT, sample_batch

    pixels = sample_batch(classifier.size)
    signature = tf.saved_model.load(str(savedmodel)).signatures["serving_default"]
    rows: np.ndarray = signature(**{INPUT: tf.constant(pixels)})[OUTPUT].numpy()
    if rows.shape != (len(pixels), len(classifier.labels)) or not np.allclose(rows.sum(axis=1), 1, atol=1e-3):
        raise ValueError(f"{classifier.source} does not answer with one probability for each of its labels")
    return rows


def _best_engine(classifier: Classifier, savedmodel: Path, by_tensorflow: np.ndarray) -> str:
    """OpenVINO, if it loads the SavedModel and answers like TensorFlow."""
    import numpy as np

    from tools.models.weights.classifier import INPUT, OUTPUT, sample_batch

    try:
        engine = load_engine("openvino", savedmodel, Device(threads=1))
        by_openvino = engine.run({INPUT: sample_batch(classifier.size)})[OUTPUT]
    except (EngineError, RuntimeError) as error:
        print(f"OpenVINO cannot run it ({str(error).splitlines()[0]}): TensorFlow will.", flush=True)
        return "tensorflow"
    difference = float(np.abs(by_openvino - by_tensorflow).max())
    if not difference <= _AGREE_WITHIN:
        print(f"OpenVINO's answers differ from TensorFlow's by up to {difference:.3f}: TensorFlow will run it.")
        return "tensorflow"
    return "openvino"


@contextmanager
def quiet_tensorflow() -> Iterator[None]:
    """Import TensorFlow on the CPU without what it tells the file descriptor, which no setting of its own turns off."""
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


def main(directory: str, height: str, width: str, options_json: str) -> int:
    """The child process of `build_apart`, which passes these arguments."""
    options = BuildOptions.from_json(options_json)
    free = _free_bytes()
    resource.setrlimit(resource.RLIMIT_DATA, (free, free))
    with quiet_tensorflow():
        from tools.models.weights import aiy_birds, imagenet_birds, own_savedmodel
        from tools.models.weights.fetch import FetchError
    try:
        if options.savedmodel and options.labels:
            classifier = own_savedmodel.load(
                options.savedmodel, options.labels, options.scale, (int(height), int(width))
            )
        elif options.source == imagenet_birds.NAME:
            classifier = imagenet_birds.load()
        else:
            classifier = aiy_birds.load(options.mirror)
        print(f"Building {classifier.source}: {len(classifier.labels)} labels …", flush=True)
        write_version(classifier, Path(directory))
    except MemoryError:
        print(f"build_version: it needs more memory than the {free / 1e9:.1f} GB that are free", file=sys.stderr)
        return 1
    except (FetchError, ValueError, OSError) as error:
        print(f"build_version: {error}", file=sys.stderr)
        return 1
    return 0


def _free_bytes() -> int:
    """Memory that can be had without swapping, of the machine or of the container if that has less."""
    meminfo = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    free = int(meminfo["MemAvailable"].split()[0]) * 1024
    try:
        limit = int(Path("/sys/fs/cgroup/memory.max").read_text())
        used = int(Path("/sys/fs/cgroup/memory.current").read_text())
    except (OSError, ValueError):  # no container, or one without a limit
        return free
    return min(free, max(limit - used, 0))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
