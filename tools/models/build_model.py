"""Builds the classifier's first version and installs it in the model repository, replacing the first version there.

A running Triton does not notice: publishing.py adds versions to a service that is running.
"""

from __future__ import annotations

import sys
from dataclasses import replace as with_changes
from pathlib import Path

from tools.models.build_process import build_version
from tools.models.options import FALLBACK, BuildOptions
from tools.models.publishing import replace
from tools.models.repository import MODEL_REPOSITORY, image_size, savedmodel_path
from tools.models.stop_signals import stoppable
from tools.models.weights.fetch import FetchError

FALLBACK_WARNING = """\
==============================================================================
WARNING: the default classifier (aiy-birds-v1, 964 species) is not available:
  {reason}
The fallback imagenet-birds is used instead: 59 kinds of bird, and it names
groups ("Macaw") where the default names species. To get the default later,
  .venv/bin/birds models build --mirror FOLDER_OR_URL   or, with Internet,
  .venv/bin/birds models build
=============================================================================="""


def build(options: BuildOptions, repository: Path = MODEL_REPOSITORY) -> None:
    """Build what `options` say and install it in `repository`. The old version stays until the new one is complete.

    Without a source or a model: the default source, or the fallback if its files cannot be fetched. Raises BuildError,
    FetchError, PublishingError or Stopped.
    """
    size = image_size(repository)
    with stoppable():
        try:
            replace(repository, lambda directory: build_version(directory, options, size))
        except FetchError as error:
            if options.source or options.own:  # the user chose it, so there is no fallback
                raise
            print(FALLBACK_WARNING.format(reason=error), file=sys.stderr, flush=True)
            fallback = with_changes(options, source=FALLBACK)
            replace(repository, lambda directory: build_version(directory, fallback, size))
    print(f"Built {savedmodel_path(repository)}")
