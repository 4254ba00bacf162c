"""One run over many images: results written as they come, progress shown to whoever watches."""

from __future__ import annotations

import sys
import time
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from typing import Protocol

from birds_client import Image, Result
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

from frontend.i18n.messages import message
from tools.cli.formats import Record, record


class Service(Protocol):
    """Whatever classifies images: a frontend's client, or Triton asked directly."""

    async def __aenter__(self) -> Service: ...

    async def __aexit__(self, *_: object) -> None: ...

    def classify(
        self, images: Iterable[Image], k: int, *, model_version: str | None
    ) -> AsyncGenerator[Result, None]: ...


@dataclass(frozen=True)
class Question:
    """What is asked of every image; no version means the default one."""

    k: int
    model_version: str | None


@dataclass
class Tally:
    """How many images have been dealt with."""

    succeeded: int = 0
    failed: int = 0

    def add(self, succeeded: bool) -> None:
        self.succeeded += succeeded
        self.failed += not succeeded


async def classify_all(
    service: Service,
    images: Iterable[Image],
    question: Question,
    write: Callable[[Record], None],
    done: Callable[[bool], None],
) -> None:
    """Write a record of every image as soon as it is known, then call `done` with whether it was classified."""
    async with service, aclosing(service.classify(images, question.k, model_version=question.model_version)) as results:
        async for result in results:
            write(record(result))
            done(result.failure is None)


@contextmanager
def progress(total: int, tally: Tally, language: str) -> Iterator[Callable[[bool], None]]:
    """Show how far a run of `total` images is while the block runs, on a terminal only; yields what counts one more."""
    started, already = time.monotonic(), tally.succeeded + tally.failed
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        TextColumn("[red]{task.fields[failed]}"),
    )
    console = Console(stderr=True)
    with Progress(
        *columns,
        console=console,
        disable=not sys.stderr.isatty(),
        redirect_stdout=sys.stdout.isatty(),
        transient=True,
    ) as bar:
        task = bar.add_task(message("cli", "classifying", language), total=total, completed=already, rate="", failed="")

        def count(succeeded: bool) -> None:
            tally.add(succeeded)
            finished = tally.succeeded + tally.failed
            speed = (finished - already) / max(time.monotonic() - started, 1e-9)
            bar.update(
                task,
                completed=finished,
                rate=message("cli", "rate", language, count=f"{speed:.1f}"),
                failed=message("cli", "failed", language, count=tally.failed) if tally.failed else "",
            )

        yield count


def say(text: str) -> None:
    """Tell whoever watches; a pipe is left alone."""
    if sys.stderr.isatty():
        print(text, file=sys.stderr)
