"""The classifier's versions: which there are, which is the default, and how they come and go while requests run.

  python -m tools.models.commands list
  python -m tools.models.commands publish --savedmodel DIR --labels FILE    your own; see docs/models.md
  python -m tools.models.commands publish --source imagenet-birds
  python -m tools.models.commands rollback                  to the version before; with --to N to any other
  python -m tools.models.commands retire 1                  take a version out of service and delete it

A running Triton follows at once and no request fails. If none is running, the change takes effect when it starts.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from tools.models import publishing
from tools.models.build import SOURCES, BuildError, add_arguments, build_apart, check_arguments
from tools.models.repository import (
    CLASSIFIER,
    MODEL_REPOSITORY,
    Version,
    image_size,
    read_default,
    read_versions,
    savedmodel_path,
)
from tools.triton.control import ControlError, TritonControl


class _Stopped(BaseException):
    """A signal asked us to stop; what was begun is undone on the way out."""


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parse(arguments)
    triton = TritonControl(options.triton)
    control = triton if triton.is_running() else None
    try:
        with _stoppable():
            answer = options.run(options, control)
            if control is None and options.run is not _list and triton.is_running():  # it has come up meanwhile
                publishing.catch_up(options.repository, triton)
                control = triton
    except (publishing.PublishingError, BuildError, ControlError, OSError) as error:
        print(f"models: {error}", file=sys.stderr)
        return 1
    except _Stopped:
        print("models: stopped; nothing was changed", file=sys.stderr)
        return 130
    if control is None and options.run is not _list:
        _say(f"No Triton answers at {triton.url}: this takes effect when it starts.")
    print(json.dumps(answer, indent=2) if options.json else _text(answer))
    return 0


def _list(options: argparse.Namespace, control: TritonControl | None) -> dict[str, Any]:
    served = control.ready_versions(CLASSIFIER) if control else set()
    default = read_default(options.repository)
    versions = read_versions(options.repository).values()
    return {"versions": [_described(version, default, served) for version in versions]}


def _publish(options: argparse.Namespace, control: TritonControl | None) -> dict[str, Any]:
    started = time.monotonic()
    built = started

    def build(directory: Path) -> None:
        nonlocal built
        build_apart(directory, options, image_size(options.repository))
        built = time.monotonic()
        _say("Publishing …")

    number = publishing.publish(options.repository, build, options.version, not options.not_default, control)
    return {
        "published": number,
        "default": read_default(options.repository),
        "seconds_to_build": round(built - started, 2),
        "seconds_to_first_answer": round(time.monotonic() - built, 2) if control else None,
    }


def _rollback(options: argparse.Namespace, control: TritonControl | None) -> dict[str, Any]:
    return {"default": publishing.set_default(options.repository, options.to, control)}


def _retire(options: argparse.Namespace, control: TritonControl | None) -> dict[str, Any]:
    publishing.retire(options.repository, options.version, control)
    return {"retired": options.version, "default": read_default(options.repository)}


def _described(version: Version, default: int | None, served: set[int]) -> dict[str, Any]:
    about = version.about
    return {
        "version": version.number,
        "default": version.number == default,
        "served": version.number in served,
        "labels": version.labels,
        "size": f"{about.height}x{about.width}" if about else None,
        "engine": about and about.engine,
        "published": about and about.published,
        "source": about and about.source,
    }


def _text(answer: dict[str, Any]) -> str:
    if "versions" not in answer:
        return "\n".join(f"{key.replace('_', ' ')}: {value}" for key, value in answer.items() if value is not None)
    if not answer["versions"]:
        return "There are no versions yet: python -m tools.models.commands publish --help"
    rows = [[name.upper() for name in answer["versions"][0]]]
    rows += [[_cell(value) for value in version.values()] for version in answer["versions"]]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "-" if value is None else str(value)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


@contextmanager
def _stoppable() -> Iterator[None]:
    """Turn the signals that end a program into _Stopped, so that what was begun is undone."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, _stop) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _stop(number: int, frame: FrameType | None) -> None:
    signal.signal(number, signal.SIG_IGN)  # undoing is under way
    raise _Stopped


def _version_number(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is no version: versions are whole numbers from 1")
    return int(text)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--json", action="store_true", help="answer in JSON, progress on standard error")
    common.add_argument(
        "--repository",
        type=Path,
        default=MODEL_REPOSITORY,
        metavar="DIR",
        help="the model repository (default: %(default)s)",
    )
    common.add_argument(
        "--triton",
        default="http://127.0.0.1:8010",
        metavar="URL",
        help="HTTP address of the Triton that serves this repository (default: %(default)s)",
    )
    shape: dict[str, Any] = {"parents": [common], "formatter_class": argparse.RawDescriptionHelpFormatter}
    parser = argparse.ArgumentParser(
        prog="birds models",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="list | publish | rollback | retire")

    listing = commands.add_parser("list", help="the versions there are", **shape)
    listing.set_defaults(run=_list)

    publish = commands.add_parser("publish", help="check a model and serve it as a new version", **shape)
    publish.set_defaults(run=_publish)
    publish.add_argument("--source", choices=SOURCES, help="one of the models that come with the service")
    add_arguments(publish)
    publish.add_argument("--version", type=_version_number, metavar="N", help="its number (default: the next)")
    publish.add_argument(
        "--not-default", action="store_true", help="serve it to those who name it, and to the canary, alone"
    )

    rollback = commands.add_parser("rollback", help="make an older version the default", **shape)
    rollback.set_defaults(run=_rollback)
    rollback.add_argument("--to", type=_version_number, metavar="N", help="which one (default: the one before)")

    retire = commands.add_parser("retire", help="take a version out of service and delete it", **shape)
    retire.set_defaults(run=_retire)
    retire.add_argument("version", type=_version_number, metavar="N")

    options = parser.parse_args(arguments)
    if options.run is _publish:
        check_arguments(publish, options)
        if not options.source and not options.savedmodel:
            publish.error("say what to publish: --savedmodel DIR --labels FILE, or --source NAME")
    if not savedmodel_path(options.repository).parents[1].is_dir():
        parser.error(f"{options.repository} is no model repository: it has no folder {CLASSIFIER}")
    return options


if __name__ == "__main__":
    sys.exit(main())
