"""Builds the classifier's SavedModel and labels and puts them into the model repository.

python -m tools.build_model                               Google's AIY Birds V1, 964 species
python -m tools.build_model --source imagenet-birds       EfficientNet-Lite0, 59 bird classes, no download
python -m tools.build_model --savedmodel DIR --labels FILE    a model of your own
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tools.model_repository import MODEL_REPOSITORY, image_size, labels_path, savedmodel_path
from tools.weights.fetch import FetchError

if TYPE_CHECKING:
    from tools.weights.classifier import Classifier

SOURCES = ("aiy-birds-v1", "imagenet-birds")
SCALES = ("0..255", "0..1", "-1..1")

FALLBACK_WARNING = """\
==============================================================================
WARNING: the default classifier (aiy-birds-v1, 964 species) could not be had:
  {reason}
The fallback imagenet-birds is used instead: 59 kinds of bird, and it names
groups ("Macaw") where the default names species. To get the default later,
  python -m tools.build_model --mirror FOLDER_OR_URL   or, with Internet,
  python -m tools.build_model
=============================================================================="""


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parse(arguments)
    # This is a build step on the CPU: keep TensorFlow from looking for GPUs and from narrating.
    os.environ.update(CUDA_VISIBLE_DEVICES="-1", TF_CPP_MIN_LOG_LEVEL="3")
    try:
        classifier = _load(options)
        print(f"Building {classifier.source}: {len(classifier.labels)} labels …", flush=True)
        install(classifier, options.repository)
    except (FetchError, ValueError, OSError) as error:
        print(f"build_model: {error}", file=sys.stderr)
        return 1
    print(f"Built {savedmodel_path(options.repository)}")
    return 0


def install(classifier: Classifier, repository: Path) -> None:
    """Write, verify and place the classifier as version 1; what was there stays until the new one is complete.

    Raises ValueError when the written SavedModel does not answer with one probability a label.
    """
    from tools.weights.classifier import save

    target, labels = savedmodel_path(repository).parent, labels_path(repository)
    with tempfile.TemporaryDirectory(prefix=".building-", dir=target.parent) as name:
        building = Path(name)
        version = building / "version"
        version.mkdir()
        save(classifier, version / "model.savedmodel")
        _verify(classifier, version / "model.savedmodel")
        (building / "labels.txt").write_text("".join(f"{label}\n" for label in classifier.labels), encoding="utf-8")
        if target.exists():
            target.rename(building / "replaced")
        (building / "labels.txt").replace(labels)
        version.rename(target)


def _verify(classifier: Classifier, savedmodel: Path) -> None:
    import numpy as np
    import tensorflow as tf

    from tools.weights.classifier import INPUT, OUTPUT

    pixels = np.random.default_rng(0).integers(0, 256, (3, *classifier.size, 3), dtype=np.uint8)
    signature = tf.saved_model.load(str(savedmodel)).signatures["serving_default"]
    rows = signature(**{INPUT: tf.constant(pixels)})[OUTPUT].numpy()
    if rows.shape != (3, len(classifier.labels)) or not np.allclose(rows.sum(axis=1), 1, atol=1e-3):
        raise ValueError(f"{classifier.source} does not answer with one probability for each of its labels")


def _load(options: argparse.Namespace) -> Classifier:
    print("Starting TensorFlow …", flush=True)
    with _quiet_stderr():
        import tensorflow  # noqa: F401
    from tools.weights import aiy_birds, imagenet_birds, own_savedmodel

    if options.savedmodel:
        size = image_size(options.repository)
        return own_savedmodel.load(options.savedmodel, options.labels, options.scale, size)
    if options.source == imagenet_birds.NAME:
        return imagenet_birds.load()
    try:
        return aiy_birds.load(options.mirror)
    except FetchError as error:
        if options.source:  # asked for by name: nothing else will do
            raise
        print(FALLBACK_WARNING.format(reason=error), file=sys.stderr, flush=True)
        return imagenet_birds.load()


@contextmanager
def _quiet_stderr() -> Iterator[None]:
    """TensorFlow's import writes notes to the file descriptor that no setting of its own turns off."""
    kept = os.dup(2)
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tools.build_model", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--source",
        choices=SOURCES,
        help="build exactly this one (default: aiy-birds-v1, and imagenet-birds if its files cannot be had)",
    )
    parser.add_argument("--savedmodel", type=Path, metavar="DIR", help="a SavedModel of your own; needs --labels")
    parser.add_argument(
        "--labels", type=Path, metavar="FILE", help="its labels, one a line, as its outputs are ordered"
    )
    parser.add_argument("--scale", choices=SCALES, help="the pixel range it was trained on, if it takes floats")
    parser.add_argument(
        "--mirror",
        default=os.environ.get("BIRDS_MODEL_MIRROR"),
        metavar="FOLDER_OR_URL",
        help="where to look for files before the Internet (default: $BIRDS_MODEL_MIRROR)",
    )
    parser.add_argument(
        "--repository",
        type=Path,
        default=MODEL_REPOSITORY,
        metavar="DIR",
        help="the model repository (default: %(default)s)",
    )
    options = parser.parse_args(arguments)
    if bool(options.savedmodel) != bool(options.labels):
        parser.error("--savedmodel and --labels go together")
    if options.savedmodel and options.source:
        parser.error("--savedmodel and --source exclude each other")
    return options


if __name__ == "__main__":
    sys.exit(main())
