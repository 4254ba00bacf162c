"""Markdown: tables, and pages in docs/ that are written by hand except for one part that a command generates."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tools.errors import ToolError

_BEGIN, _END = "<!-- written by birds bench from here -->", "<!-- to here -->"


def table(rows: Sequence[Sequence[str]]) -> str:
    """A table with aligned columns. The first row has their headings."""
    widths = [max(3, *map(len, column)) for column in zip(*rows, strict=True)]
    head, *others = [f"| {' | '.join(map(str.ljust, row, widths))} |" for row in rows]
    return "\n".join([head, f"| {' | '.join('-' * width for width in widths)} |", *others])


def replace_generated_part(page: Path, text: str) -> None:
    """Put `text` between the two marks; a page that does not exist is created. Raises ToolError without the marks."""
    old = page.read_text(encoding="utf-8") if page.is_file() else f"{_BEGIN}\n{_END}\n"
    before, begin, rest = old.partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not (begin and end):
        raise ToolError(f"{page} lacks the lines {_BEGIN} and {_END}, between which the tables go")
    page.write_text(f"{before}{begin}\n\n{text}\n{end}{after}", encoding="utf-8")
