"""Draws how the precision of the answers depends on their score, as an SVG file written by hand."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

from tools.measure.evaluation.figures import Figures

_WIDTH, _HEIGHT = 640, 400
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 616, 48, 336
_STYLE = (
    "text{font:13px sans-serif;fill:#222}.grid{stroke:#ddd}.band{fill:#1f77b4;opacity:.18}"
    ".line{fill:none;stroke:#1f77b4;stroke-width:2}.share{fill:none;stroke:#777;stroke-dasharray:5 4}"
    ".below{stroke:#c33;stroke-dasharray:2 3}"
)


def precision_svg(figures: Figures, title: str) -> str:
    """Return an SVG document: precision with its 95% interval and the share of the answers, over the lowest score."""
    steps = [step for step in figures.steps if step.answers]
    total = max(steps[0].answers if steps else 0, 1)
    band = [(s.score, s.interval[1]) for s in steps] + [(s.score, s.interval[0]) for s in reversed(steps)]
    below = _x(figures.not_sure_below)
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img">',
            f"<title>{escape(title)}</title><style>{_STYLE}</style>",
            f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#fff"/>',
            _text(_LEFT, 24, title, "start"),
            *(_grid_line(tenth) for tenth in range(0, 11, 2)),
            f'<polygon class="band" points="{_points(band)}"/>',
            f'<polyline class="line" points="{_points((s.score, s.precision or 0) for s in steps)}"/>',
            f'<polyline class="share" points="{_points((s.score, s.answers / total) for s in steps)}"/>',
            f'<line class="below" x1="{below}" y1="{_TOP}" x2="{below}" y2="{_BOTTOM}"/>',
            _text(below, _TOP - 6, f"not sure below {figures.not_sure_below:g}", "middle"),
            _text((_LEFT + _RIGHT) / 2, _BOTTOM + 36, "lowest score of the answers", "middle"),
            f'<line class="line" x1="{_LEFT}" y1="388" x2="{_LEFT + 24}" y2="388"/>',
            _text(_LEFT + 30, 392, "right answers, with 95% interval", "start"),
            '<line class="share" x1="340" y1="388" x2="364" y2="388"/>',
            _text(370, 392, "share of the answers that remain", "start"),
            "</svg>\n",
        ]
    )


def _grid_line(tenth: int) -> str:
    x, y = _x(tenth / 10), _y(tenth / 10)
    return (
        f'<line class="grid" x1="{_LEFT}" y1="{y}" x2="{_RIGHT}" y2="{y}"/>'
        f'<line class="grid" x1="{x}" y1="{_TOP}" x2="{x}" y2="{_BOTTOM}"/>'
        + _text(_LEFT - 8, y + 4, f"{tenth * 10}%", "end")
        + _text(x, _BOTTOM + 18, f"{tenth / 10:g}", "middle")
    )


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}">{escape(text)}</text>'


def _points(points: Iterable[tuple[float, float]]) -> str:
    return " ".join(f"{_x(x)},{_y(y)}" for x, y in points)


def _x(score: float) -> float:
    return round(_LEFT + score * (_RIGHT - _LEFT), 1)


def _y(share: float) -> float:
    return round(_BOTTOM - share * (_BOTTOM - _TOP), 1)
