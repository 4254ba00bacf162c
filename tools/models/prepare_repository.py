"""Makes a folder the model repository of a Triton that runs elsewhere, such as a container with the folder mounted.

python -m tools.models.prepare_repository DIR                    builds a classifier if DIR has none
python -m tools.models.prepare_repository DIR --versions FROM    copies versions that DIR lacks

Copies what the repository in git has, and derives what Triton is started with from the BIRDS_* settings. Repeating it
brings an older folder up to date; the versions in it stay as they are.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from tools.models import build_model
from tools.models.build import SOURCES
from tools.models.publishing import PublishingError, prepare, set_default
from tools.models.repository import CLASSIFIER, MODEL_REPOSITORY, read_default, read_versions, version_path
from tools.triton.settings import TritonSettings


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parse(arguments)
    repository: Path = options.directory
    try:
        settings = TritonSettings()
        copy_templates(repository)
        if options.versions:
            copy_versions(options.versions, repository)
        elif not read_versions(repository):
            source = [f"--source={options.source}"] if options.source else []
            if code := build_model.main([*source, "--repository", str(repository)]):
                return code
        prepare(repository, settings)
        if options.default and options.default != read_default(repository):
            set_default(repository, options.default)
    except (ValidationError, PublishingError, OSError) as error:
        print(f"prepare_repository: {error}", file=sys.stderr)
        return 1
    versions = ", ".join(map(str, read_versions(repository)))
    print(f"{repository} is ready: versions {versions} of the classifier, default {read_default(repository)}")
    return 0


def copy_templates(repository: Path) -> None:
    """Copy what of the model repository is in git: neither versions of the classifier nor anything derived."""
    for config in MODEL_REPOSITORY.glob("*/config.pbtxt"):
        model = config.parent
        if model.name.startswith("birds_v"):
            continue
        ignored = ["configs", "__pycache__", *(["[0-9]*"] if model.name == CLASSIFIER else [])]
        shutil.copytree(model, repository / model.name, ignore=shutil.ignore_patterns(*ignored), dirs_exist_ok=True)


def copy_versions(source: Path, repository: Path) -> None:
    """Copy the version folders that `repository` does not have yet. Raises PublishingError if `source` has none."""
    folders = [path for path in source.iterdir() if (path / "model.savedmodel").is_dir()]
    if not folders:
        raise PublishingError(f"{source} has no version: a folder such as 1/ with model.savedmodel/ and labels.txt")
    for folder in folders:
        if not folder.name.isdecimal() or int(folder.name) < 1:
            raise PublishingError(f"{folder} is no version: versions are whole numbers from 1")
        target = version_path(repository, int(folder.name))
        if not target.exists():
            draft = target.with_name(f".{target.name}.new")
            shutil.rmtree(draft, ignore_errors=True)
            shutil.copytree(folder, draft)
            draft.rename(target)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tools.models.prepare_repository",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("directory", type=Path, metavar="DIR")
    origin = parser.add_mutually_exclusive_group()
    origin.add_argument(
        "--source", choices=SOURCES, help="what to build (see python -m tools.models.build_model --help)"
    )
    origin.add_argument("--versions", type=Path, metavar="FROM", help="a folder with one folder for each version")
    parser.add_argument("--default", type=int, metavar="N", help="the version that answers those who name none")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
