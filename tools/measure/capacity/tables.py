"""Plans and validation as Markdown, for the terminal and for docs/scaling.md alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields

from tools.measure.capacity.costs import TRITON_STEPS, Costs
from tools.measure.capacity.plan import Assumptions, Plan, frontend_pod, plan
from tools.measure.capacity.validation import Validation


def steps(costs: Sequence[Costs], assumptions: Assumptions) -> str:
    """What a core does, step by step."""
    rows = [
        [
            found.form,
            *(f"{found.cpu_ms[step]:.1f}" for step in TRITON_STEPS),
            f"{found.frontend_ms:.1f}",
            f"{found.utilisation:.0%}",
            f"{found.images_per_second(1, found.triton_ms):.0f}",
            f"{found.images_per_second(1, found.triton_ms + found.frontend_ms):.0f}",
            f"{frontend_pod(found, assumptions):.0f}",
        ]
        for found in costs
    ]
    head = ["form", *(f"{step}, ms" for step in TRITON_STEPS), "frontend, ms", "use of the cores"]
    return _table([*head, "images/s a core, Triton", "… with the frontend", "images/s a frontend pod"], rows)


def plans(rates: Sequence[float], costs: Costs, assumptions: Assumptions) -> str:
    """What each rate takes, on CPU and on GPU nodes."""
    rows = [_row(plan(rate, costs, assumptions, gpu)) for gpu in (False, True) for rate in rates]
    head = ["images/s", "nodes", "Triton pods", "frontend pods", "cores", "GPUs", "$ a million images"]
    return _table(
        [*head, "Gbit/s of downloads", "a Triton pod is bound by", "several of these", "next to give way"], rows
    )


def _row(found: Plan) -> list[str]:
    many = [ceiling.name.removeprefix("a ").removeprefix("an ") for ceiling in found.exceeded]
    following = found.next
    return [
        f"{found.rate:,g}",
        "GPU (not measured)" if found.gpu else "CPU",
        f"{found.triton_pods:,}",
        f"{found.frontend_pods:,}",
        f"{found.cores:,g}",
        f"{found.gpus:,}" if found.gpu else "—",
        f"{found.dollars_per_million:,.2f}",
        f"{found.gigabits_per_second:,.3g}",
        found.bound_by,
        ", ".join(many) or "—",
        f"{following.name}, at {following.images_per_second:,.0f}/s" if following else "nothing that is modelled",
    ]


def assumed(assumptions: Assumptions) -> str:
    """Every assumption with its value, as the options are called."""
    options = [
        f"`--{field.name.replace('_', '-')} {getattr(assumptions, field.name):g}`" for field in fields(Assumptions)
    ]
    return "Assumed: " + ", ".join(options) + "."


def validated(found: Validation) -> str:
    """Predictions beside measurements."""
    rows = [
        [
            case.name,
            f"{case.predicted:.0f}",
            " / ".join(f"{value:.0f}" for value in case.measured),
            f"{case.error:+.0%}",
            str(case.failed_images),
        ]
        for case in found.cases
    ]
    note = f"Run of {found.started} on {found.machine}; {found.form}, {found.seconds:g} s each."
    return (
        note
        + "\n\n"
        + _table(["", "predicted, images/s", "measured", "error of the prediction", "failed images"], rows)
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"
