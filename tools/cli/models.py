"""`birds models`: the versions of the classifier."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tools.cli.build_options import BuiltIn, takes_build_options
from tools.cli.numbers import whole_number
from tools.errors import UsageError
from tools.models.options import BuildOptions
from tools.triton.arguments import Ports

if TYPE_CHECKING:
    from tools.models.commands import Target

app = typer.Typer(
    help="""List, build, publish, roll back and retire versions of the classifier. A running service follows at once.

    \b
    birds models list
    birds models publish --source imagenet-birds
    birds models rollback
    """,
    no_args_is_help=True,
    rich_markup_mode=None,
)

# Options that several commands share.
Repository = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="The model repository; this checkout's if left out.", show_default=False),
]
TritonUrl = Annotated[str, typer.Option("--triton", metavar="URL", help="HTTP address of the Triton that serves it.")]
Offline = Annotated[
    bool, typer.Option("--offline", help="Change the files even if the running service does not answer.")
]
Json = Annotated[bool, typer.Option("--json", help="Answer in JSON; progress goes to standard error.")]
_DEFAULT_TRITON = f"http://127.0.0.1:{Ports().http}"


@app.command("list", short_help="Show the versions.")
def list_versions(repository: Repository = None, triton: TritonUrl = _DEFAULT_TRITON, as_json: Json = False) -> None:
    """Show the versions, which of them is the default, and which the running Triton serves.

    \b
    birds models list
    birds models list --json
    """
    from tools.models import commands

    versions = commands.list_versions(_target(repository, triton))
    typer.echo(json.dumps({"versions": versions}, indent=2) if as_json else _table(versions))


@app.command(short_help="Build the first version.")
@takes_build_options
def build(options: BuildOptions, repository: Repository = None) -> None:
    """Build version 1 for the next start of the service. An existing version 1 is replaced.

    \b
    birds models build
    birds models build --source imagenet-birds
    birds models build --savedmodel PATH --labels FILE

    Without options: aiy-birds-v1 (Google's AIY Birds V1, 964 species), or, if its files cannot be downloaded,
    imagenet-birds (EfficientNet-Lite0, 59 kinds of birds, needs no download).
    """
    from tools.models.build_model import build
    from tools.models.repository import MODEL_REPOSITORY

    build(options, repository or MODEL_REPOSITORY)


@app.command(short_help="Check a model and serve it.")
@takes_build_options
def publish(
    options: BuildOptions,
    version: Annotated[
        int | None,
        typer.Option(
            parser=whole_number(1),
            metavar="N",
            help="Its number; one more than the highest if left out.",
            show_default=False,
        ),
    ] = None,
    not_default: Annotated[
        bool, typer.Option("--not-default", help="Serve it only to requests that name it, and as a canary.")
    ] = False,
    repository: Repository = None,
    triton: TritonUrl = _DEFAULT_TRITON,
    offline: Offline = False,
    as_json: Json = False,
) -> None:
    """Check a model and serve it as a new version, without losing a request.

    \b
    birds models publish --savedmodel PATH --labels FILE --scale -1..1
    birds models publish --source imagenet-birds --not-default
    """
    from tools.models import commands

    _show(commands.publish(_target(repository, triton, offline), options, version, not not_default), as_json)


@app.command()
def rollback(
    to: Annotated[
        int | None,
        typer.Option(
            parser=whole_number(1),
            metavar="N",
            help="The version; the one before the current default if left out.",
            show_default=False,
        ),
    ] = None,
    repository: Repository = None,
    triton: TritonUrl = _DEFAULT_TRITON,
    offline: Offline = False,
    as_json: Json = False,
) -> None:
    """Make an older version the default.

    \b
    birds models rollback
    birds models rollback --to 1
    """
    from tools.models import commands

    _show(commands.rollback(_target(repository, triton, offline), to), as_json)


@app.command()
def retire(
    version: Annotated[int, typer.Argument(parser=whole_number(1), metavar="N", help="The version's number.")],
    repository: Repository = None,
    triton: TritonUrl = _DEFAULT_TRITON,
    offline: Offline = False,
    as_json: Json = False,
) -> None:
    """Take a version out of service and delete it. The default cannot be retired: roll back or publish first.

    \b
    birds models retire 2
    """
    from tools.models import commands

    _show(commands.retire(_target(repository, triton, offline), version), as_json)


@app.command(hidden=True)
def prepare(
    directory: Annotated[Path, typer.Argument(metavar="DIR")],
    source: BuiltIn = None,
    versions: Annotated[
        Path | None, typer.Option(metavar="FROM", help="A folder with one folder for each version.")
    ] = None,
    default: Annotated[
        int | None,
        typer.Option(parser=whole_number(1), metavar="N", help="The version that answers requests that name none."),
    ] = None,
) -> None:
    """Make DIR the model repository of a Triton in a container: build a classifier, or copy versions."""
    from tools.models.prepare_repository import prepare_repository

    if source and versions:
        raise UsageError("--source and --versions exclude each other")
    prepare_repository(directory, source, versions, default)


def _target(repository: Path | None, triton_url: str, offline: bool = False) -> Target:
    from tools.models.commands import Target
    from tools.models.repository import MODEL_REPOSITORY

    return Target(repository or MODEL_REPOSITORY, triton_url, offline)


def _show(answer: dict[str, Any], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(answer, indent=2))
    else:
        for key, value in answer.items():
            if value is not None:
                typer.echo(f"{key.replace('_', ' ')}: {value}")


def _table(versions: list[dict[str, Any]]) -> str:
    if not versions:
        return "There are no versions yet. To build one: birds models build"
    shown = [name for name in versions[0] if name != "note" or any(version["note"] for version in versions)]
    rows = [[name.upper() for name in shown]]
    rows += [[_cell(version[name], name) for name in shown] for version in versions]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


def _cell(value: object, name: str) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if name == "published" and value:
        return str(value).partition("T")[0]  # --json has the time; the table must fit into 80 columns
    return "-" if value is None else str(value)
