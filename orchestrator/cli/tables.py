"""Tables: drawn on a terminal, aligned columns elsewhere."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.cli.output import Output
from orchestrator.domain.foreign import shown

Row = Sequence[str]

_STYLES = {
    "confirmed": "green",
    "submitted": "green",
    "trained": "green",
    "failed": "red",
    "review_failed": "red",
    "cancelled": "dim",
    "skip": "dim",
    "decide": "yellow",
}


def print_table(output: Output, headings: Row, rows: Sequence[Row]) -> None:
    """Print *rows* under *headings*; the last column takes what room is left."""
    if output.is_json or output.is_quiet:
        return
    if output.is_terminal:
        _draw(output, headings, rows)
    else:
        _align(output, headings, rows)


def _draw(output: Output, headings: Row, rows: Sequence[Row]) -> None:
    from rich.box import SIMPLE_HEAD  # noqa: PLC0415 - slow to load, and only terminals need it
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for heading in headings[:-1]:
        table.add_column(heading, overflow="ellipsis", no_wrap=True)
    table.add_column(headings[-1], overflow="fold")
    for row in rows:
        table.add_row(*(Text(shown(cell), style=_STYLES.get(cell, "")) for cell in row))
    output.console().print(table)


def _align(output: Output, headings: Row, rows: Sequence[Row]) -> None:
    lines = [list(map(shown, line)) for line in (headings, *rows)]
    widths = [max(len(line[place]) for line in lines) for place in range(len(headings))]
    for line in lines:
        cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        output.say("  ".join(cells).rstrip())
