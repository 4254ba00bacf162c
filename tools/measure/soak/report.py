"""The findings of a soak as a table and as JSON: totals, faults with the time to recover, processes."""

from __future__ import annotations

import json
import statistics
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tools.measure.markdown import table
from tools.measure.soak.answers import Answer
from tools.measure.soak.restarts import Restarts
from tools.measure.soak.samples import Samples

_GRACE_SECONDS = 2  # before and after a fault that cuts connections


@dataclass(frozen=True)
class Injected:
    """A fault that was injected. `recovered_seconds` is None if full service did not come back."""

    name: str
    at: float
    recovered_seconds: float | None
    cuts: bool
    error: str = ""  # why the fault itself, such as a publish, failed


@dataclass
class Findings:
    """Everything that one soak has recorded; `problems` has a line for each thing that must not happen."""

    seconds: float
    seed: int
    answers: list[tuple[str, Answer]]
    injected: list[Injected]
    samples: Samples
    restarts: Restarts
    problems: list[str] = field(default_factory=list)

    def judge(self) -> None:
        """Fill `problems`: wrong and lost answers, faults without recovery, unexplained restarts, growth."""
        for kind, answer in self.answers:
            if answer.verdict in ("wrong", "late") or (answer.verdict == "unreachable" and not self._was_cut(answer)):
                self.problems.append(f"{kind}: {answer.verdict} after {answer.seconds:.1f} s: {answer.detail[:300]}")
        self.problems += [
            f"{f.name}: full service did not come back" for f in self.injected if f.recovered_seconds is None
        ]
        self.problems += [f"{f.name}: {f.error}" for f in self.injected if f.error]
        self.problems += [*self.restarts.unexplained, *self.samples.growth()]

    def _was_cut(self, answer: Answer) -> bool:
        """Whether a fault that cuts connections to the frontend was injected during the request."""
        end = answer.at + answer.seconds
        return any(f.cuts and answer.at - _GRACE_SECONDS <= f.at <= end + _GRACE_SECONDS for f in self.injected)

    def totals(self) -> dict[str, object]:
        verdicts = Counter(answer.verdict for _, answer in self.answers)
        unexpected = sum(a.verdict == "unreachable" and not self._was_cut(a) for _, a in self.answers)
        return {
            "seconds": round(self.seconds),
            "seed": self.seed,
            "requests": len(self.answers),
            "wrong": verdicts["wrong"],
            "lost": verdicts["late"] + unexpected,
            "restarts": dict(self.restarts.counts),
            "restarts_explained": sum(self.restarts.counts.values()) - len(self.restarts.unexplained),
            "answers_by_version": dict(Counter(version for _, answer in self.answers for version in answer.versions)),
            "verdicts": dict(verdicts),
            "codes_of_good_images": dict(sum((answer.codes for _, answer in self.answers), Counter())),
        }

    def text(self) -> str:
        totals = self.totals()
        lines = [f"{totals['requests']} requests in {totals['seconds']} s, seed {self.seed}"]
        lines += [f"wrong answers: {totals['wrong']}   lost answers: {totals['lost']}"]
        lines += [self.restarts.text(), f"answers by version: {totals['answers_by_version']}", ""]
        for rows in (self._answers_by_kind(), self._recoveries(), self._processes()):
            lines += [table(rows), ""]
        lines += [f"PROBLEM {problem}" for problem in self.problems[:20]]
        if len(self.problems) > 20:
            lines.append(f"and {len(self.problems) - 20} more, see the JSON")
        return "\n".join([*lines, "FAILED" if self.problems else "passed"])

    def write(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        content = {
            **self.totals(),
            "faults": [asdict(fault) for fault in self.injected],
            "processes": self.samples.rows(),
            "problems": self.problems,
        }
        path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")

    def _answers_by_kind(self) -> list[list[str]]:
        rows = [["", "requests", "complete", "partial", "refused", "cut", "slowest s"]]
        for kind in sorted({kind for kind, _ in self.answers}):
            answers = [answer for name, answer in self.answers if name == kind]
            verdicts = Counter(answer.verdict for answer in answers)
            counts = [len(answers), *(verdicts[name] for name in ("complete", "partial", "refused", "unreachable"))]
            rows.append([kind, *map(str, counts), f"{max(answer.seconds for answer in answers):.1f}"])
        return rows

    def _recoveries(self) -> list[list[str]]:
        rows = [["", "times", "median s to full service", "slowest s"]]
        for name in sorted({fault.name for fault in self.injected}):
            faults = [fault for fault in self.injected if fault.name == name]
            times = [fault.recovered_seconds for fault in faults if fault.recovered_seconds is not None]
            shown = [f"{statistics.median(times):.1f}", f"{max(times):.1f}"] if times else ["—", "—"]
            rows.append([name, str(len(faults)), *shown])
        return rows

    def _processes(self) -> list[list[str]]:
        head = ["", "MB first quarter", "last", "peak", "descriptors first quarter", "last", "peak"]
        rows = [[str(value) for name, value in row.items() if name != "samples"] for row in self.samples.rows()]
        return [head, *rows]
