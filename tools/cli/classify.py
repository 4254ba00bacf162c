"""`birds classify`: names the birds in photos."""

from __future__ import annotations

from enum import IntEnum
from pathlib import Path
from typing import Annotated, Literal

import typer

from tools.cli.numbers import decimal_number, whole_number

DEFAULT_URL = "http://127.0.0.1:8000"


class Code(IntEnum):
    """The exit codes of a run that was not stopped early. 2, 4 and 130 come from the errors that stop a run."""

    ALL = 0
    SOME = 1
    NONE = 3


Format = Literal["table", "json", "jsonl", "csv"]


def classify(
    sources: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="FILE|DIR|URL|-…",
            help="Photos, folders of photos (with their subfolders), URLs; - reads one photo from standard input.",
            show_default=False,
        ),
    ] = None,
    lists: Annotated[
        list[str] | None,
        typer.Option("--from", metavar="FILE", help="A file that names more, one per line; - reads it from stdin."),
    ] = None,
    k: Annotated[
        int,
        typer.Option("--k", "-k", parser=whole_number(0), metavar="N", help="How many species to name for each image."),
    ] = 3,
    model_version: Annotated[
        str | None, typer.Option(metavar="VERSION", help="Ask this version of the model instead of the default one.")
    ] = None,
    min_score: Annotated[
        float | None,
        typer.Option(parser=decimal_number(0, 1), metavar="S", help="Leave out species with a lower score, 0 to 1."),
    ] = None,
    species: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|NAME",
            help="Only these species: a file of scientific names, one per line, or the name of a list of the service.",
        ),
    ] = None,
    output_format: Annotated[
        Format | None, typer.Option("--format", "-f", help="How to write the results.  [default: table]")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Append the results to this file as JSON lines; - is standard output. To continue a run that was "
            "stopped, repeat the command.",
        ),
    ] = None,
    url: Annotated[str, typer.Option(envvar="BIRDS_URL", metavar="URL", help="The running frontend.")] = DEFAULT_URL,
    triton: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="Ask Triton directly, at its gRPC address, without a frontend."),
    ] = None,
    api_key: Annotated[
        str | None,
        typer.Option(envvar="BIRDS_API_KEY", metavar="KEY", help="The frontend's API key, if it asks for one."),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Results and errors only: no bar, no summary.")] = False,
) -> None:
    """Name the birds in photos: results go to standard output as they come, progress to the terminal.

    \b
    birds classify parrot.jpg https://example.org/owl.jpg
    birds classify ~/photos --format csv > birds.csv
    birds classify --from urls.txt --out results.jsonl

    \b
    Exit code: 0 every image was classified, 1 some failed, 2 the command is
    wrong, 3 every image failed, 4 stopped early (the service does not answer),
    130 interrupted.
    """
    from tools.cli.runner import Request, classify_all
    from tools.errors import UsageError

    if out and output_format not in (None, "jsonl"):
        raise UsageError("--out writes JSON lines: leave out --format")
    tally = classify_all(
        Request(
            sources=sources or [],
            lists=lists or [],
            k=k,
            model_version=model_version,
            min_score=min_score,
            species=species,
            output_format=output_format or "table",
            out=out,
            url=url,
            triton=triton,
            api_key=api_key,
            quiet=quiet,
        )
    )
    raise typer.Exit(Code.ALL if not tally.failed else Code.SOME if tally.succeeded else Code.NONE)
