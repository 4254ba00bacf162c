"""`birds models`: the versions of the classifier."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tools.errors import UsageError
from tools.models.options import BuildOptions, OutputKind, OwnModel, Scale, Source, parse_numbers, parse_size

if TYPE_CHECKING:
    from tools.models.commands import Target

app = typer.Typer(
    help="List, build, publish, roll back and retire versions of the classifier. A running service follows at once.",
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
BuiltIn = Annotated[
    Source | None, typer.Option("--source", help="One of the models that come with the service.", show_default=False)
]
SavedModel = Annotated[
    Path | None,
    typer.Option(
        metavar="PATH",
        help="A model of your own; needs --labels. A SavedModel, a .keras or .h5 file, or a zip.",
        show_default=False,
    ),
]
Labels = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Its labels: one per line, CSV with the columns id,name, or JSON.",
        show_default=False,
    ),
]
ScaleOption = Annotated[
    Scale | None,
    typer.Option("--scale", help="The range of values that the model was trained on, if its input is floating-point."),
]
Mean = Annotated[
    str | None,
    typer.Option(metavar="R,G,B", help="Subtracted after --scale 0..1 or 0..255.", show_default=False),
]
Std = Annotated[str | None, typer.Option(metavar="R,G,B", help="Divided by after --mean.", show_default=False)]
Size = Annotated[
    str | None,
    typer.Option(
        metavar="HEIGHTxWIDTH", help="Size of its images in pixels, if it takes any size.", show_default=False
    ),
]
SignatureOption = Annotated[
    str | None, typer.Option("--signature", metavar="NAME", help="Which signature to use.", show_default=False)
]
OutputName = Annotated[
    str | None, typer.Option(metavar="NAME", help="Which output holds the classes.", show_default=False)
]
Output = Annotated[
    OutputKind | None,
    typer.Option("--output", help="The kind of numbers in its output, if that is not recognized.", show_default=False),
]
MultiLabel = Annotated[
    bool, typer.Option("--multi-label", help="The model scores each label independently: scores need not sum to 1.")
]
AllowRandom = Annotated[
    bool, typer.Option("--allow-random", help="Accept a model that answers the same image differently each time.")
]
AllowDuplicates = Annotated[bool, typer.Option("--allow-duplicates", help="Accept labels that appear twice.")]
Mirror = Annotated[
    str | None,
    typer.Option(
        envvar="BIRDS_MODEL_MIRROR",
        metavar="FOLDER_OR_URL",
        help="Where to look for files before the Internet.",
        show_default=False,
    ),
]
_DEFAULT_TRITON = "http://127.0.0.1:8010"


@app.command("list", short_help="Show the versions.")
def list_versions(repository: Repository = None, triton: TritonUrl = _DEFAULT_TRITON, as_json: Json = False) -> None:
    """Show the versions, which of them is the default, and which the running Triton serves."""
    from tools.models import commands

    versions = commands.list_versions(_target(repository, triton))
    typer.echo(json.dumps({"versions": versions}, indent=2) if as_json else _table(versions))


@app.command(short_help="Build the first version.")
def build(
    source: BuiltIn = None,
    savedmodel: SavedModel = None,
    labels: Labels = None,
    scale: ScaleOption = None,
    mean: Mean = None,
    std: Std = None,
    size: Size = None,
    signature: SignatureOption = None,
    output_name: OutputName = None,
    output: Output = None,
    multi_label: MultiLabel = False,
    allow_random: AllowRandom = False,
    allow_duplicates: AllowDuplicates = False,
    mirror: Mirror = None,
    repository: Repository = None,
) -> None:
    """Build version 1 for the next start of the service. An existing version 1 is replaced.

    \b
    birds models build                            Google's AIY Birds V1, 964 species
    birds models build --source imagenet-birds    EfficientNet-Lite0, 59 bird classes, no download
    birds models build --savedmodel PATH --labels FILE

    Without options: aiy-birds-v1, or imagenet-birds if the files of aiy-birds-v1 cannot be downloaded.
    """
    from tools.models.build_model import build
    from tools.models.repository import MODEL_REPOSITORY

    own = _own_model(
        savedmodel,
        labels,
        scale,
        mean,
        std,
        size,
        signature,
        output_name,
        output,
        multi_label,
        allow_random,
        allow_duplicates,
    )
    build(BuildOptions(source, own, mirror), repository or MODEL_REPOSITORY)


@app.command(short_help="Check a model and serve it.")
def publish(
    source: BuiltIn = None,
    savedmodel: SavedModel = None,
    labels: Labels = None,
    scale: ScaleOption = None,
    mean: Mean = None,
    std: Std = None,
    size: Size = None,
    signature: SignatureOption = None,
    output_name: OutputName = None,
    output: Output = None,
    multi_label: MultiLabel = False,
    allow_random: AllowRandom = False,
    allow_duplicates: AllowDuplicates = False,
    mirror: Mirror = None,
    version: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Its number; one more than the highest if left out.", show_default=False),
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

    own = _own_model(
        savedmodel,
        labels,
        scale,
        mean,
        std,
        size,
        signature,
        output_name,
        output,
        multi_label,
        allow_random,
        allow_duplicates,
    )
    options = BuildOptions(source, own, mirror)
    _show(commands.publish(_target(repository, triton, offline), options, version, not not_default), as_json)


@app.command()
def rollback(
    to: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="N", help="The version; the one before the current default if left out.", show_default=False
        ),
    ] = None,
    repository: Repository = None,
    triton: TritonUrl = _DEFAULT_TRITON,
    offline: Offline = False,
    as_json: Json = False,
) -> None:
    """Make an older version the default."""
    from tools.models import commands

    _show(commands.rollback(_target(repository, triton, offline), to), as_json)


@app.command()
def retire(
    version: Annotated[int, typer.Argument(min=1, metavar="N", help="The version's number.")],
    repository: Repository = None,
    triton: TritonUrl = _DEFAULT_TRITON,
    offline: Offline = False,
    as_json: Json = False,
) -> None:
    """Take a version out of service and delete it."""
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
        int | None, typer.Option(min=1, metavar="N", help="The version that answers requests that name none.")
    ] = None,
) -> None:
    """Make DIR the model repository of a Triton in a container: build a classifier, or copy versions."""
    from tools.models.prepare_repository import prepare_repository

    if source and versions:
        raise UsageError("--source and --versions exclude each other")
    prepare_repository(directory, source, versions, default)


def _own_model(
    savedmodel: Path | None,
    labels: Path | None,
    scale: Scale | None,
    mean: str | None,
    std: str | None,
    size: str | None,
    *others: Any,
) -> OwnModel | None:
    """The model that the options describe, or None without --savedmodel. Raises UsageError for half a description."""
    if not savedmodel:
        if labels or any((scale, mean, std, size, *others)):
            raise UsageError("--labels, --scale and the other options that describe a model need --savedmodel")
        return None
    if not labels:
        raise UsageError("--savedmodel needs --labels")
    mean_values, std_values = parse_numbers(mean) if mean else None, parse_numbers(std) if std else None
    return OwnModel(savedmodel, labels, scale, mean_values, std_values, parse_size(size) if size else None, *others)


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
    rows = [[name.upper() for name in versions[0]]]
    rows += [[_cell(value) for value in version.values()] for version in versions]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "-" if value is None else str(value)
