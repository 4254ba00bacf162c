"""One run of `birds classify`: images to results, on the screen or in a file that a later run continues."""

from __future__ import annotations

import logging
import os
import stat
import sys
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from birds_client import (
    AsyncBirdsClient,
    ClientError,
    ConnectionRefused,
    Image,
    Models,
    Result,
    Unauthorized,
    Unreachable,
)
from birds_client.connection import is_loopback

from frontend.errors import ServiceError
from frontend.i18n.messages import message, service_error_message
from tools.cli.formats import BACKGROUND, FORMATS, record
from tools.cli.inputs import Inputs, find_images, name_of, read_list
from tools.cli.interrupt import run_until_ctrl_c
from tools.cli.language import user_language
from tools.cli.progress import Screen, Tally
from tools.cli.results_file import ResultsFile
from tools.errors import ToolError, UsageError

STOPPED_EARLY = 4
_STANDARD_OUTPUT = {"-", "/dev/stdout"}


class StoppedEarly(ToolError):
    """The service no longer answers."""

    exit_code = STOPPED_EARLY


class Service(Protocol):
    """Classifies images: the client of a frontend, or DirectClient."""

    async def __aenter__(self) -> Service: ...

    async def __aexit__(self, *_: object) -> None: ...

    def classify(
        self,
        images: Iterable[Image],
        k: int,
        *,
        model_version: str | None,
        min_score: float | None,
        species: str | Sequence[str] | None,
    ) -> AsyncGenerator[Result, None]: ...

    async def models(self) -> Models: ...


@dataclass(frozen=True)
class Request:
    """What the command line asked for. Without `out`, results go to standard output in `output_format`."""

    sources: list[str]
    lists: list[str]
    k: int
    model_version: str | None
    min_score: float | None
    species: str | None  # a file, or the name of a list of the service
    output_format: str
    out: Path | None
    url: str
    triton: str | None
    api_key: str | None
    quiet: bool


def classify_all(request: Request) -> Tally:
    """Classify every image and write its result. Raises UsageError, StoppedEarly or Stopped."""
    logging.basicConfig(level=logging.ERROR, format="birds: %(message)s")
    language = user_language()
    inputs = find_images(request.sources, request.lists)
    if not inputs.images:
        raise UsageError(_no_images(request, inputs, language))
    with explain_client_errors(request.triton or request.url, language):
        if request.out is None or str(request.out) in _STANDARD_OUTPUT:
            return _to_screen(request, inputs, language)
        return _to_file(request, request.out, inputs, language)


@contextmanager
def explain_client_errors(url: str, language: str) -> Iterator[None]:
    """Turn the errors of the service at `url` into a UsageError or StoppedEarly that says what to do."""
    try:
        yield
    except Unreachable as error:
        text = message("cli", "unreachable", language, url=url, reason=str(error))
        if isinstance(error, ConnectionRefused) and is_loopback(urlsplit(url).hostname or ""):
            text += f". {message('cli', 'start_hint', language)}"
        raise StoppedEarly(text) from error
    except Unauthorized as error:
        raise UsageError(f"{error}. {message('cli', 'api_key_hint', language)}") from error
    except ClientError as error:
        raise UsageError(str(error)) from error
    except ServiceError as error:
        text = service_error_message(error, language)
        if error.status < 500:
            raise UsageError(text) from error
        raise StoppedEarly(message("cli", "unreachable", language, url=url, reason=text)) from error


def _no_images(request: Request, inputs: Inputs, language: str) -> str:
    named, skipped = ", ".join([*request.sources, *request.lists]), inputs.skipped_note(language)
    if not named:
        return message("cli", "no_images", language)
    return message("cli", "no_images_in", language, names=named) + (f" ({skipped})" if skipped else "")


def _to_screen(request: Request, inputs: Inputs, language: str) -> Tally:
    for stream in (sys.stdout, sys.stderr):  # a terminal may know fewer characters than a name has
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    output_format = "jsonl" if request.out else request.output_format
    into_pipe = stat.S_ISFIFO(os.fstat(1).st_mode)
    screen = Screen(len(inputs.images), Tally(), language, request.quiet, into_pipe)
    writer = FORMATS[output_format]([name_of(image) for image in inputs.images], screen.width, language)

    def write(result: Result, is_not_sure: bool) -> None:
        for line in writer.lines(record(result), is_not_sure):
            screen.print(line)
        screen.count(result, is_not_sure)

    for line in writer.first_lines():
        screen.print(line)
    run_until_ctrl_c(_run(request, inputs.images, write, screen, language), message("cli", "interrupted", language))
    for line in writer.last_lines():
        screen.print(line)
    screen.summarise(inputs.skipped_note(language))
    return screen.tally


def _to_file(request: Request, out: Path, inputs: Inputs, language: str) -> Tally:
    tally = Tally()
    with ResultsFile(out) as file:
        remaining = []
        for image in inputs.images:
            if (succeeded := file.succeeded.get(name_of(image))) is None:
                remaining.append(image)
            else:
                tally.add_earlier(succeeded)
        screen = Screen(len(inputs.images), tally, language, request.quiet)
        if already := len(inputs.images) - len(remaining):
            screen.say(message("cli", "resumed", language, count=already, file=str(out)))

        def write(result: Result, is_not_sure: bool) -> None:
            file.append(record(result))
            screen.count(result, is_not_sure)

        run_until_ctrl_c(_run(request, remaining, write, screen, language), message("cli", "interrupted", language))
    screen.summarise(inputs.skipped_note(language), [str(out)])
    return tally


def _service(request: Request, language: str, screen: Screen) -> Service:
    if request.triton:
        from tools.cli.direct_client import DirectClient  # its gRPC takes a while to import

        return DirectClient(request.triton, language)
    return AsyncBirdsClient(request.url, api_key=request.api_key, language=language, on_wait=screen.waiting)


async def _run(
    request: Request, images: list[Image], write: Callable[[Result, bool], None], screen: Screen, language: str
) -> None:
    """Write each result as soon as it is known, and whether the service is not sure of it."""
    service = _service(request, language, screen)
    results = service.classify(
        images,
        request.k,
        model_version=request.model_version,
        min_score=request.min_score,
        species=request.species and _species(request.species),
    )
    not_sure_below: float | None = None
    with screen:
        async with service, aclosing(results):
            async for result in results:
                if not_sure_below is None and result.predictions:
                    not_sure_below = await _not_sure_below(service)
                write(result, _is_not_sure(result, not_sure_below or 0))


async def _not_sure_below(service: Service) -> float:
    """Ask the service for the score below which it is not sure. If it does not answer: 0, so that it is always sure."""
    try:
        return (await service.models()).not_sure_below
    except (ClientError, ServiceError):
        return 0


def _is_not_sure(result: Result, not_sure_below: float) -> bool:
    best = result.predictions[0] if result.predictions else None
    return best is not None and best.bird_name != BACKGROUND and best.score < not_sure_below


def _species(named: str) -> str | list[str]:
    """Return the names in the file `named`. If it cannot be a file, `named` is the name of a list of the service."""
    if not (Path(named).is_file() or "/" in named or named.endswith(".txt")):
        return named
    if names := read_list(named):
        return names
    raise UsageError(f"{named}: this file names no species")
