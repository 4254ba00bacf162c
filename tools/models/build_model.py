"""Builds the classifier's first version and puts it into the model repository, in the place of the one there.

A running Triton is not told: to add versions to a service that is up, see python -m tools.models.commands.

python -m tools.models.build_model                               Google's AIY Birds V1, 964 species
python -m tools.models.build_model --source imagenet-birds       EfficientNet-Lite0, 59 bird classes, no download
python -m tools.models.build_model --savedmodel DIR --labels FILE    a model of your own
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tools.models.build import SOURCES, add_arguments, check_arguments, quiet_tensorflow, write_version
from tools.models.publishing import PublishingError, replace
from tools.models.repository import MODEL_REPOSITORY, image_size, savedmodel_path
from tools.models.weights.fetch import FetchError

if TYPE_CHECKING:
    from tools.models.weights.classifier import Classifier

FALLBACK_WARNING = """\
==============================================================================
WARNING: the default classifier (aiy-birds-v1, 964 species) could not be had:
  {reason}
The fallback imagenet-birds is used instead: 59 kinds of bird, and it names
groups ("Macaw") where the default names species. To get the default later,
  .venv/bin/python -m tools.models.build_model --mirror FOLDER_OR_URL   or, with Internet,
  .venv/bin/python -m tools.models.build_model
=============================================================================="""


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parse(arguments)
    try:
        classifier = _load(options)
        print(f"Building {classifier.source}: {len(classifier.labels)} labels …", flush=True)
        install(classifier, options.repository)
    except (FetchError, PublishingError, ValueError, OSError) as error:
        print(f"build_model: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("build_model: interrupted, nothing was changed", file=sys.stderr)
        return 130
    print(f"Built {savedmodel_path(options.repository)}")
    return 0


def install(classifier: Classifier, repository: Path) -> None:
    """Write, check and place the classifier as version 1; what was there stays until the new one is complete.

    Raises ValueError when the written SavedModel does not answer with one probability a label, and PublishingError
    when the repository is being changed by somebody else.
    """
    replace(repository, lambda directory: write_version(classifier, directory))


def _load(options: argparse.Namespace) -> Classifier:
    with quiet_tensorflow():
        from tools.models.weights import aiy_birds, imagenet_birds, own_savedmodel

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


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="build_model",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--source",
        choices=SOURCES,
        help="build exactly this one (default: aiy-birds-v1, and imagenet-birds if its files cannot be had)",
    )
    add_arguments(parser)
    parser.add_argument(
        "--repository",
        type=Path,
        default=MODEL_REPOSITORY,
        metavar="DIR",
        help="the model repository (default: %(default)s)",
    )
    options = parser.parse_args(arguments)
    check_arguments(parser, options)
    return options


if __name__ == "__main__":
    sys.exit(main())
