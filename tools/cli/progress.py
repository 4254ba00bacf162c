"""What a user at a terminal sees while images are classified: results above a progress bar, and a summary line."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from birds_client import Result
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

from frontend.i18n.messages import message
from tools.cli.formats import BACKGROUND


@dataclass
class Tally:
    """How many images are done, and what was found in them. Each image counts once. `species` belong to `birds`."""

    birds: int = 0
    species: set[str] = field(default_factory=set)
    not_sure: int = 0
    without_bird: int = 0
    without_species: int = 0  # all predictions were left out, because of the options
    earlier: int = 0  # classified by an earlier run
    failed: int = 0

    def add(self, result: Result, is_not_sure: bool) -> None:
        best = result.predictions[0].bird_name if result.predictions else None
        if result.failure:
            self.failed += 1
        elif result.no_bird or best == BACKGROUND:
            self.without_bird += 1
        elif best is None:
            self.without_species += 1
        elif is_not_sure:
            self.not_sure += 1
        else:
            self.birds += 1
            self.species.add(best)

    def add_earlier(self, succeeded: bool) -> None:
        """Count an image that an earlier run has recorded."""
        self.earlier += succeeded
        self.failed += not succeeded

    @property
    def succeeded(self) -> int:
        return self.birds + self.not_sure + self.without_bird + self.without_species + self.earlier

    @property
    def done(self) -> int:
        return self.succeeded + self.failed


class Screen:
    """Prints results to standard output, and on a terminal a bar below them; use as a context manager.

    Results and bar share one console, which redraws the bar below each result. With `quiet` only the results are
    printed. If the results go through a pipe, bar and summary are left out: the next program, such as `head` or `less`,
    may write to the same terminal.
    """

    def __init__(self, total: int, tally: Tally, language: str, quiet: bool, into_pipe: bool = False) -> None:
        self.tally = tally
        self._language = language
        self._quiet = quiet
        self._prints_above_bar = sys.stdout.isatty() and not quiet
        self._shows_summary = sys.stderr.isatty() and not quiet and not into_pipe
        console = Console(stderr=not self._prints_above_bar, highlight=False)
        self.width = Console().width if sys.stdout.isatty() else None
        columns = (
            SpinnerColumn("line"),
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}", markup=False),
            TimeRemainingColumn(),
            TextColumn("{task.fields[failed]}", style="red", markup=False),
        )
        disabled = not (self._prints_above_bar or self._shows_summary)
        self._bar = Progress(
            *columns,
            console=console,
            disable=disabled,
            transient=True,
            # By default, rich also sends to the bar's terminal what is written to a file or a pipe.
            redirect_stdout=False,
            redirect_stderr=sys.stderr.isatty(),
        )
        self._already, self._started = tally.done, time.monotonic()
        self._classifying = message("cli", "classifying", language)
        self._task = self._bar.add_task(self._classifying, total=total, completed=tally.done, rate="", failed="")

    def __enter__(self) -> Screen:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def print(self, line: str) -> None:
        """Write a line of results."""
        if self._prints_above_bar:
            self._bar.console.print(line, markup=False, soft_wrap=True)
        else:
            print(line, flush=True)

    def count(self, result: Result, is_not_sure: bool) -> None:
        self.tally.add(result, is_not_sure)
        failed = self.tally.failed
        self._bar.update(
            self._task,
            description=self._classifying,
            completed=self.tally.done,
            rate=self._rate(),
            failed=message("cli", "failed", self._language, count=failed) if failed else "",
        )

    def waiting(self, reason: str, seconds: float) -> None:
        """Show in the bar that the client waits, and why."""
        text = message("cli", "waiting", self._language, seconds=f"{seconds:.0f}", reason=reason)
        self._bar.update(self._task, description=text)

    def say(self, text: str) -> None:
        """Print a note for a user at a terminal. A pipe gets nothing."""
        if self._shows_summary:
            print(text, file=sys.stderr, flush=True)

    def summarise(self, skipped: str, ending: Sequence[str] = ()) -> None:
        """Print the summary line: what was found, how much failed and was skipped, and how fast it was.

        In a pipe only the number of skipped files is printed: otherwise nobody would know about them.
        """
        if self._shows_summary:
            speed = [self._rate()] if self.tally.done > self._already else []
            parts = [*self._found(), *([skipped] if skipped else []), *speed, *ending]
            Console(stderr=True, highlight=False).print(", ".join(parts), markup=False)  # breaks lines between words
        elif skipped and not self._quiet:
            print(f"birds: {skipped}", file=sys.stderr)

    def _found(self) -> Iterator[str]:
        """Yield what was found, and in how many images, such as `42 birds of 17 species`; zeros are left out."""
        tally = self.tally
        if tally.birds:
            birds, species = self._counted("birds", tally.birds), self._counted("species", len(tally.species))
            yield message("cli", "birds_of_species", self._language, birds=birds, species=species)
        counts = {
            "not_sure": tally.not_sure,
            "without_bird": tally.without_bird,
            "without_species": tally.without_species,
            "classified_earlier": tally.earlier,
            "failed": tally.failed,
        }
        yield from (self._counted(key, count) for key, count in counts.items() if count)

    def _counted(self, key: str, count: int) -> str:
        return message("cli", key, self._language, count=count)

    def _rate(self) -> str:
        speed = (self.tally.done - self._already) / max(time.monotonic() - self._started, 1e-9)
        return message("cli", "rate", self._language, count=f"{speed:.1f}")
