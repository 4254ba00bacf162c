"""Builds the classifier's first version and puts it into the model repository, in the place of the one there.

A running Triton does not notice: `publishing` adds versions to a service that is up.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tools.models.build import BuildError, quiet_tensorflow, write_version
from tools.models.options import BuildOptions
from tools.models.publishing import replace
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
  .venv/bin/birds models build --mirror FOLDER_OR_URL   or, with Internet,
  .venv/bin/birds models build
=============================================================================="""


def build(options: BuildOptions, repository: Path = MODEL_REPOSITORY) -> None:
    """Build what `options` say and install it in `repository`. Raises BuildError, FetchError or PublishingError."""
    try:
        classifier = _load(options, image_size(repository))
        print(f"Building {classifier.source}: {len(classifier.labels)} labels …", flush=True)
        install(classifier, repository)
    except ValueError as error:
        raise BuildError(str(error)) from error
    print(f"Built {savedmodel_path(repository)}")


def install(classifier: Classifier, repository: Path) -> None:
    """Write, check and place the classifier as version 1; what was there stays until the new one is complete.

    Raises ValueError when the written SavedModel does not answer with one probability a label, and PublishingError
    when the repository is being changed by somebody else.
    """
    replace(repository, lambda directory: write_version(classifier, directory))


def _load(options: BuildOptions, size: tuple[int, int]) -> Classifier:
    with quiet_tensorflow():
        from tools.models.weights import aiy_birds, imagenet_birds, own_savedmodel

    if options.savedmodel and options.labels:
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
