"""`birds evaluate`: how often a version is right on labelled photos, and how far its scores can be trusted."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tools.cli.classify import DEFAULT_URL, Code
from tools.cli.interrupt import run_until_ctrl_c
from tools.errors import UsageError

if TYPE_CHECKING:
    from birds_client import Failure

    from tools.cli.inputs import Inputs
    from tools.measure.evaluation.figures import Figures

_MAX_FAILURES_SHOWN = 5


@dataclass(frozen=True)
class Request:
    """What the command line asked for."""

    folder: Path
    model_version: str | None
    url: str
    api_key: str | None
    plot: Path | None
    as_json: bool
    quiet: bool


def evaluate(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="A folder with one folder of photos for each species.")
    ],
    model_version: Annotated[
        str | None,
        typer.Option("--version", metavar="VERSION", help="Evaluate this version.  [default: the default version]"),
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE.svg", help="Draw how the precision depends on the score.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
    url: Annotated[str, typer.Option(envvar="BIRDS_URL", metavar="URL", help="The running frontend.")] = DEFAULT_URL,
    api_key: Annotated[
        str | None,
        typer.Option(envvar="BIRDS_API_KEY", metavar="KEY", help="The frontend's API key, if it asks for one."),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="The figures only: no bar.")] = False,
) -> None:
    """Measure on your own photos how often the answers are right, and which to doubt.

    \b
    birds evaluate photos
    birds evaluate photos --version 2 --plot precision.svg

    \b
    photos/Turdus merula/garden.jpg    a species by its scientific name
    photos/Scarlet Macaw/1.jpg         or by its common name
    photos/Owl/1.jpg                   a kind: any species called … Owl is right
    photos/Strix/1.jpg                 a genus: any species of it is right
    photos/background/feeder.jpg       photos without a bird
    photos/unknown/dodo.jpg            birds that the model does not know

    The table shows how often answers are right by their score: it helps to
    choose BIRDS_NOT_SURE_BELOW for the service.

    \b
    Exit code: 0 every photo was classified, 1 some failed, 2 the command or
    the name of a folder is wrong, 3 every photo failed, 4 stopped early (the
    service does not answer), 130 interrupted.
    """
    if plot and plot.suffix.lower() != ".svg":
        raise UsageError(f"--plot {plot}: the plot is an SVG file, such as precision.svg")
    if plot and not plot.parent.is_dir():
        raise UsageError(f"--plot {plot}: there is no folder {plot.parent}")
    failed, succeeded = run(Request(folder, model_version, url, api_key, plot, as_json, quiet))
    raise typer.Exit(Code.ALL if not failed else Code.SOME if succeeded else Code.NONE)


def run(request: Request) -> tuple[int, int]:
    """Print the figures, and return how many photos failed and succeeded. Raises UsageError or StoppedEarly."""
    from tools.cli.inputs import find_images
    from tools.cli.language import user_language
    from tools.cli.runner import explain_client_errors

    language = user_language()
    if not request.folder.is_dir():
        raise UsageError(f"{request.folder}: this is not a folder")
    inputs = find_images([str(request.folder)], [])
    photos = _label_photos(request.folder, inputs)
    if not photos:
        raise UsageError(f"{request.folder}: there are no photos in folders named for species, such as Turdus merula")
    with explain_client_errors(request.url, language):
        return run_until_ctrl_c(_evaluate(request, photos, inputs.skipped_note(language), language), "interrupted")


def _label_photos(folder: Path, inputs: Inputs) -> dict[Path, str]:
    """Return each photo with the name of its species' folder. Photos outside such folders count as skipped."""
    photos: dict[Path, str] = {}
    for image in inputs.images:
        assert isinstance(image, Path)
        first, *others = image.relative_to(folder).parts or (".",)
        if others or (first != "." and image.is_dir()):  # a folder that cannot be read is an image that fails
            photos[image] = first
        else:
            inputs.skipped["photos in no folder"] += 1
    return photos


async def _evaluate(request: Request, photos: dict[Path, str], skipped: str, language: str) -> tuple[int, int]:
    from birds_client import AsyncBirdsClient

    from tools.cli.progress import Screen, Tally
    from tools.measure.evaluation.figures import Answer, figures
    from tools.measure.evaluation.folder_names import right_answers

    screen = Screen(len(photos), Tally(), language, request.quiet)
    answers: list[Answer] = []
    failures: dict[str, Failure] = {}
    async with AsyncBirdsClient(
        request.url, api_key=request.api_key, language=language, on_wait=screen.waiting
    ) as client:
        models = await client.models()
        version = request.model_version or models.default
        species = await client.species(version)
        if not species:  # its labels are not known to birds
            raise UsageError(f"version {version} has no list of species: publish it with birds models publish")
        right = right_answers(dict.fromkeys(photos.values()), species)
        with screen:
            async for result in client.classify(photos, model_version=version, min_score=0):
                screen.count(result, is_not_sure=False)
                if result.failure:
                    failures[str(result.image)] = result.failure
                else:
                    names = [prediction.bird_name for prediction in result.predictions]
                    score = result.predictions[0].score if result.predictions else 0.0
                    answers.append(Answer(photos[Path(str(result.image))], names, score))
    _report_left_out(failures, skipped, request.quiet)
    if answers:
        common_names = {one.bird_name: one.common_name for one in species}
        _print(request, version, figures(answers, right, models.not_sure_below), common_names, failures)
    return len(failures), len(answers)


def _report_left_out(failures: Mapping[str, Failure], skipped: str, quiet: bool) -> None:
    """Say on standard error which photos the figures leave out."""
    lines = [f"{name}: {failure.message} ({failure.code})" for name, failure in failures.items()]
    if (more := len(lines) - _MAX_FAILURES_SHOWN) > 0:
        lines[_MAX_FAILURES_SHOWN:] = [f"{more} more photos failed"]
    for line in [*lines, *([skipped] if skipped and not quiet else [])]:
        print(f"birds: {line}", file=sys.stderr)


def _print(
    request: Request,
    version: str | None,
    figures: Figures,
    common_names: Mapping[str, str | None],
    failures: Mapping[str, Failure],
) -> None:
    from tools.measure.evaluation import report
    from tools.measure.evaluation.precision_plot import precision_svg

    if request.plot:
        title = f"Version {version}: {figures.photos} photos in {figures.folders} folders"
        request.plot.write_text(precision_svg(figures, title), encoding="utf-8")
    if request.as_json:
        codes = {name: failure.code for name, failure in failures.items()}
        typer.echo(json.dumps(report.as_json(figures, version, codes), ensure_ascii=False, indent=1))
    else:
        typer.echo("\n".join(report.text(figures, version, common_names)))
        if request.plot:
            typer.echo(f"Wrote {request.plot}")
