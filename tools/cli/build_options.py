"""The options that `birds models build` and `birds models publish` share: what to build a version from.

Typer reads the options of a command from its signature, so a decorator puts the shared ones into both signatures.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from tools.cli.numbers import decimal_number, split_numbers
from tools.errors import UsageError
from tools.models.options import BuildOptions, OutputKind, OwnModel, Scale, Source, parse_size

BuiltIn = Annotated[
    Source | None, typer.Option("--source", help="One of the models that come with the service.", show_default=False)
]


def takes_build_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of `_build_options`, whose result becomes its argument `options`."""
    shared = inspect.signature(_build_options, eval_str=True).parameters
    others = inspect.signature(command, eval_str=True).parameters

    @functools.wraps(command)
    def run(**values: Any) -> None:
        options = _build_options(**{name: values.pop(name) for name in shared})
        command(options, **values)

    parameters = [*shared.values(), *(others[name] for name in others if name != "options")]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return run


def _build_options(
    source: BuiltIn = None,
    savedmodel: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH",
            help="A model of your own; needs --labels. A SavedModel, a .keras or .h5 file, or a zip.",
            show_default=False,
        ),
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Its labels: one per line, CSV with the columns id,name, or JSON.",
            show_default=False,
        ),
    ] = None,
    scale: Annotated[
        Scale | None,
        typer.Option(help="The range of values that the model was trained on, if its input is floating-point."),
    ] = None,
    mean: Annotated[
        str | None,
        typer.Option(metavar="R,G,B", help="Subtracted after --scale 0..1 or 0..255.", show_default=False),
    ] = None,
    std: Annotated[
        str | None, typer.Option(metavar="R,G,B", help="Divided by after --mean.", show_default=False)
    ] = None,
    size: Annotated[
        str | None,
        typer.Option(
            metavar="HEIGHTxWIDTH", help="Size of its images in pixels, if it takes any size.", show_default=False
        ),
    ] = None,
    signature: Annotated[
        str | None, typer.Option(metavar="NAME", help="Which signature to use.", show_default=False)
    ] = None,
    output_name: Annotated[
        str | None, typer.Option(metavar="NAME", help="Which output holds the classes.", show_default=False)
    ] = None,
    output: Annotated[
        OutputKind | None,
        typer.Option(help="The kind of numbers in its output, if that is not recognized.", show_default=False),
    ] = None,
    multi_label: Annotated[
        bool, typer.Option("--multi-label", help="The model scores each label independently: scores need not sum to 1.")
    ] = False,
    allow_random: Annotated[
        bool, typer.Option("--allow-random", help="Accept a model that answers the same image differently each time.")
    ] = False,
    allow_duplicates: Annotated[
        bool, typer.Option("--allow-duplicates", help="Accept labels that appear twice.")
    ] = False,
    mirror: Annotated[
        str | None,
        typer.Option(
            envvar="BIRDS_MODEL_MIRROR",
            metavar="FOLDER_OR_URL",
            help="Where to look for files before the Internet.",
            show_default=False,
        ),
    ] = None,
) -> BuildOptions:
    """What to build a version from. Raises UsageError for an incomplete description of a model."""
    described: dict[str, Any] = {
        "scale": scale,
        "mean": _channels(mean, "--mean") if mean else None,
        "std": _channels(std, "--std") if std else None,
        "size": parse_size(size) if size else None,
        "signature": signature,
        "output_name": output_name,
        "output": output,
        "multi_label": multi_label,
        "allow_random": allow_random,
        "allow_duplicates": allow_duplicates,
    }
    if not savedmodel:
        if labels or any(described.values()):
            raise UsageError("--labels, --scale and the other options that describe a model need --savedmodel")
        return BuildOptions(source, None, mirror)
    if not labels:
        raise UsageError("--savedmodel needs --labels")
    return BuildOptions(source, OwnModel(savedmodel, labels, **described), mirror)


def _channels(text: str, option: str) -> tuple[float, ...]:
    """Three numbers with commas between them, or one for all three channels."""
    numbers = split_numbers(text, decimal_number(), option)
    return numbers * 3 if len(numbers) == 1 else numbers
