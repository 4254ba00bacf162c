"""The command line `birds`: one place for serving, classifying and the tools."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import Sequence
from enum import IntEnum
from pathlib import Path
from typing import Annotated, Literal

import typer
from birds_client import DEFAULT_URL, AsyncBirdsClient, ConfigurationError, Image, Refused, Unauthorized, Unreachable
from pydantic import ValidationError
from typer.exceptions import TyperException

from frontend.api.schemas import DEFAULT_K
from frontend.errors import ServiceError
from frontend.i18n.messages import message, preferred_language, service_error_message
from tools.cli.formats import FORMATS
from tools.cli.inputs import SourceError, images, name_of
from tools.cli.results_file import ResultsFile, ResultsFileError
from tools.cli.runner import Question, Service, Tally, classify_all, progress, say


class Code(IntEnum):
    """What the exit code says."""

    ALL = 0
    SOME = 1
    USAGE = 2
    NONE = 3
    STOPPED = 4
    INTERRUPTED = 130


Format = Literal["table", "json", "jsonl", "csv"]

app = typer.Typer(
    name="birds",
    help="Bird species from photos: serve the model, classify images, look after model versions.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
_PASSED_ON = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}


@app.command(context_settings=_PASSED_ON)
def serve(context: typer.Context) -> None:
    """Start Triton and the frontend in the foreground, until Ctrl-C. `birds serve --help` lists the options."""
    from tools.serve import service

    raise typer.Exit(service.main(context.args))


@app.command(context_settings=_PASSED_ON)
def models(context: typer.Context) -> None:
    """List, publish, roll back and retire model versions. `birds models --help` lists the sub-commands."""
    from tools.models import commands

    raise typer.Exit(commands.main(context.args))


@app.command(context_settings=_PASSED_ON)
def bench(context: typer.Context) -> None:
    """Measure the service beside what it replaced. `birds bench --help` lists the options."""
    try:
        from tools.measure.bench.__main__ import main
    except ImportError as error:
        _fail(f"{error}: the benchmark needs the development tools, make check installs them", Code.USAGE)
        raise typer.Exit(Code.USAGE) from None

    raise typer.Exit(main(context.args))


@app.command()
def classify(
    sources: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="FILE|DIR|URL|-…",
            help="Photos, folders of photos (with those inside them), URLs; - reads one photo from standard input.",
            show_default=False,
        ),
    ] = None,
    lists: Annotated[
        list[str] | None,
        typer.Option("--from", metavar="FILE", help="More of them, one a line; - reads the list from standard input."),
    ] = None,
    k: Annotated[int, typer.Option("--k", "-k", min=0, help="How many species to name for each image.")] = DEFAULT_K,
    model_version: Annotated[
        str | None, typer.Option(metavar="VERSION", help="Ask this version of the model, not the default one.")
    ] = None,
    output_format: Annotated[Format, typer.Option("--format", "-f", help="How to write the results.")] = "table",
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Append the results to this file as JSON lines. The same command again goes on where it stopped.",
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
    """Name the birds on photos: results as they come to standard output, progress to the terminal.

    \b
    birds classify parrot.jpg https://example.org/owl.jpg
    birds classify ~/photos --format csv > birds.csv
    birds classify --from urls.txt --out results.jsonl

    \b
    Exit code: 0 every image was classified, 1 some failed, 2 the command is wrong,
    3 every image failed, 4 stopped early (the service is gone), 130 interrupted.
    """
    if out and output_format != "table":
        raise typer.BadParameter("--out writes JSON lines: it goes without --format")
    language = _language()
    try:
        wanted = images(sources or [], lists or [])
        if not wanted:
            raise typer.Exit(_fail(message("cli", "no_images", language), Code.USAGE))
        question = Question(k, model_version)
        service = _service(url, triton, api_key, language)
        if out:
            tally = _continue(out, service, wanted, question, language)
        else:
            tally = _print(output_format, service, wanted, question, language)
    except (SourceError, ResultsFileError, ConfigurationError, Refused, Unauthorized) as error:
        raise typer.Exit(_fail(str(error), Code.USAGE)) from error
    except Unreachable as error:
        text = message("cli", "unreachable", language, url=url, reason=str(error))
        raise typer.Exit(_fail(text, Code.STOPPED)) from error
    except ServiceError as error:
        code = Code.STOPPED if error.status >= 500 else Code.USAGE
        raise typer.Exit(_fail(service_error_message(error, language), code)) from error
    except KeyboardInterrupt as error:
        raise typer.Exit(_fail(message("cli", "interrupted", language), Code.INTERRUPTED)) from error
    raise typer.Exit(Code.ALL if not tally.failed else Code.SOME if tally.succeeded else Code.NONE)


def _service(url: str, triton: str | None, api_key: str | None, language: str) -> Service:
    if triton:
        from tools.cli.direct_client import DirectClient  # its gRPC takes a while to import

        return DirectClient(triton, language)
    return AsyncBirdsClient(url, api_key=api_key, language=language)


def _print(output_format: Format, service: Service, wanted: list[Image], question: Question, language: str) -> Tally:
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    tally = Tally()
    writer = FORMATS[output_format](sys.stdout, map(name_of, wanted))
    with progress(len(wanted), tally, language) as done:
        asyncio.run(classify_all(service, wanted, question, writer.write, done))
    writer.close()
    return tally


def _continue(out: Path, service: Service, wanted: list[Image], question: Question, language: str) -> Tally:
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


def _language() -> str:
    """From the variables that name a person's language, as every program on the machine reads them."""
    named = (os.environ.get(name, "") for name in ("LANGUAGE", "LC_ALL", "LC_MESSAGES", "LANG"))
    tags = (tag.partition(".")[0].partition("@")[0] for value in named for tag in value.split(":"))
    return preferred_language(",".join(tag for tag in tags if tag))


def _fail(text: str, code: Code) -> Code:
    print(f"birds: {text}", file=sys.stderr)
    return code


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code; every error is one line."""
    logging.basicConfig(level=logging.ERROR, format="birds: %(message)s")
    try:
        return int(app(arguments, prog_name="birds", standalone_mode=False) or 0)
    except TyperException as error:
        return _fail(f"{error.format_message()} (see birds --help)", Code.USAGE)
    except ValidationError as error:
        problems = (f"BIRDS_{str(problem['loc'][0]).upper()}: {problem['msg']}" for problem in error.errors())
        return _fail(", ".join(problems), Code.USAGE)
    except KeyboardInterrupt:
        return Code.INTERRUPTED
    except BrokenPipeError:  # whoever read our output has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Code.SOME


if __name__ == "__main__":
    sys.exit(main())
