"""`birds classify`: names the birds in photos."""

from __future__ import annotations

from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from birds_client import Image

    from tools.cli.runner import Question, Service, Tally

DEFAULT_URL = "http://127.0.0.1:8000"


class Code(IntEnum):
    """The exit codes."""

    ALL = 0
    SOME = 1
    USAGE = 2
    NONE = 3
    STOPPED = 4


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
        typer.Option("--from", metavar="FILE", help="A list of more, one on each line; - reads the list from stdin."),
    ] = None,
    k: Annotated[int, typer.Option("--k", "-k", min=0, help="How many species to name for each image.")] = 3,
    model_version: Annotated[
        str | None, typer.Option(metavar="VERSION", help="Ask this version of the model instead of the default one.")
    ] = None,
    output_format: Annotated[Format, typer.Option("--format", "-f", help="How to write the results.")] = "table",
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Append the results to this file as JSON lines. The same command again continues where it stopped.",
        ),
    ] = None,
    url: Annotated[str, typer.Option(envvar="BIRDS_URL", help="The running frontend.")] = DEFAULT_URL,
    triton: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="Ask Triton itself, at its gRPC address, not a frontend.")
    ] = None,
    api_key: Annotated[
        str | None, typer.Option(envvar="BIRDS_API_KEY", help="The frontend's API key, if it asks for one.")
    ] = None,
) -> None:
    """Name the birds in photos: results go to standard output as they come, progress to the terminal.

    \b
    birds classify parrot.jpg https://example.org/owl.jpg
    birds classify ~/photos --format csv > birds.csv
    birds classify --from urls.txt --out results.jsonl

    \b
    Exit code: 0 every image was classified, 1 some failed, 2 the command is wrong,
    3 every image failed, 4 stopped early (the service is gone), 130 interrupted.
    """
    from birds_client import AsyncBirdsClient, ClientError, Unreachable

    from frontend.errors import ServiceError
    from frontend.i18n.messages import message, service_error_message
    from tools.cli.inputs import images
    from tools.cli.language import language_of_this_person
    from tools.cli.runner import Question
    from tools.errors import Stopped, ToolError, UsageError

    class StoppedEarly(ToolError):
        exit_code = Code.STOPPED

    if out and output_format != "table":
        raise UsageError("--out writes JSON lines: leave out --format")
    language = language_of_this_person()
    try:
        wanted = images(sources or [], lists or [])
        if not wanted:
            raise UsageError(message("cli", "no_images", language))
        service: Service
        if triton:
            from tools.cli.direct_client import DirectClient  # its gRPC takes a while to import

            service = DirectClient(triton, language)
        else:
            service = AsyncBirdsClient(url, api_key=api_key, language=language)
        question = Question(k, model_version)
        if out:
            tally = _append_to_file(out, service, wanted, question, language)
        else:
            tally = _print(output_format, service, wanted, question, language)
    except Unreachable as error:
        raise StoppedEarly(message("cli", "unreachable", language, url=url, reason=str(error))) from error
    except ClientError as error:
        raise UsageError(str(error)) from error
    except ServiceError as error:
        text = service_error_message(error, language)
        raise (StoppedEarly if error.status >= 500 else UsageError)(text) from error
    except KeyboardInterrupt as error:
        raise Stopped(message("cli", "interrupted", language)) from error
    raise typer.Exit(Code.ALL if not tally.failed else Code.SOME if tally.succeeded else Code.NONE)


def _print(output_format: Format, service: Service, wanted: list[Image], question: Question, language: str) -> Tally:
    import asyncio
    import sys

    from tools.cli.formats import FORMATS
    from tools.cli.inputs import name_of
    from tools.cli.runner import Tally, classify_all, progress

    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    tally = Tally()
    writer = FORMATS[output_format](sys.stdout, map(name_of, wanted))
    with progress(len(wanted), tally, language) as done:
        asyncio.run(classify_all(service, wanted, question, writer.write, done))
    writer.close()
    return tally


def _append_to_file(out: Path, service: Service, wanted: list[Image], question: Question, language: str) -> Tally:
    import asyncio

    from frontend.i18n.messages import message
    from tools.cli.inputs import name_of
    from tools.cli.results_file import ResultsFile
    from tools.cli.runner import Tally, classify_all, progress, say

    tally = Tally()
    with ResultsFile(out) as file:
        remaining = []
        for image in wanted:
            if (succeeded := file.succeeded.get(name_of(image))) is None:
                remaining.append(image)
            else:
                tally.add(succeeded)
        if len(remaining) < len(wanted):
            say(message("cli", "resumed", language, count=len(wanted) - len(remaining), file=str(out)))
        with progress(len(wanted), tally, language) as done:
            asyncio.run(classify_all(service, remaining, question, file.append, done))
    say(message("cli", "summary", language, succeeded=tally.succeeded, failed=tally.failed, file=str(out)))
    return tally
