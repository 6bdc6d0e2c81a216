"""A table as an Excel workbook, in which ids and phone numbers stay text."""

from __future__ import annotations

from collections.abc import AsyncIterable, Collection
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path

from orchestrator.domain.errors import ConfigurationError
from orchestrator.manifest.spreadsheets import to_workbook

WORKBOOK_SUFFIX = ".xlsx"
#: Columns that people sum up; all others are text, whatever they look like.
NUMBER_COLUMNS = frozenset({"bytes", "seconds", "attempts"})
#: Excel's own limits.
_MOST_CHARACTERS = 32_767
_MOST_ROWS = 1_048_576
_TEXT_FORMAT = {"num_format": "@"}


def check_can_write() -> None:
    """Raise ConfigurationError where the extra that writes workbooks is not installed."""
    if find_spec("xlsxwriter") is None:
        raise ConfigurationError(
            "writing .xlsx needs the extra excel", hint="`pip install 'metastudio-orchestrator[excel]'`"
        )


async def workbook_of(
    rows: AsyncIterable[list[str]], numbers: Collection[str], *, folder: Path
) -> tuple[bytes, int]:
    """The workbook of *rows*, the first of which is the header, and the number of the others.

    Cells are those of a CSV file; those of the columns *numbers* become numbers. Rows wait in a file in *folder*, so
    that no more of them than one is held. Raises ConfigurationError for more rows than a sheet has.
    """
    import xlsxwriter  # noqa: PLC0415 - an extra

    content = BytesIO()
    count = 0
    # Its own way to tell links, formulas and numbers from text would take a phone number for one.
    with xlsxwriter.Workbook(content, {"constant_memory": True, "tmpdir": str(folder)}) as workbook:
        sheet = workbook.add_worksheet("results")
        sheet.freeze_panes(1, 0)
        text = workbook.add_format(_TEXT_FORMAT)
        header: list[str] = []
        async for cells in rows:
            if count >= _MOST_ROWS:
                raise ConfigurationError("a sheet has no room for as many entries", hint="write a .csv file")
            header = header or cells
            for column, cell in enumerate(cells):
                if count and cell and header[column] in numbers:
                    sheet.write_number(count, column, float(cell))
                elif cell:
                    sheet.write_string(count, column, to_workbook(cell)[:_MOST_CHARACTERS], text)
            count += 1
        # What is typed into an empty cell later is text too.
        for column, name in enumerate(header):
            sheet.set_column(column, column, None, None if name in numbers else text)
    return content.getvalue(), count - 1
