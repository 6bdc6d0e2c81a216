"""The rows of a CSV file, one at a time, however a spreadsheet has saved it."""

from __future__ import annotations

import csv
import re
from collections.abc import Generator, Iterable, Iterator
from itertools import chain
from pathlib import Path

from orchestrator.manifest.fields import KNOWN_COLUMNS
from orchestrator.manifest.text import UnreadableError, read_lines

#: What separates cells; the comma unless the header says otherwise (spreadsheets of many countries: `;`).
DELIMITERS = (",", ";", "\t")
#: Fewer known names may be words of a sentence.
_HEADER_NAMES = 2
#: The line by which Excel is told the separator; no cell of anyone's.
_SEPARATOR_LINE = re.compile(r'"?sep=(.)"?\s*', re.IGNORECASE)

#: The line a row begins in, and its cells.
Row = tuple[int, list[str]]


def csv_rows(path: Path, encoding: str) -> Generator[Row, None, None]:
    """The header, then every row; raises UnreadableError where the file stops being CSV."""
    lines = read_lines(path, encoding)
    before, header, separator = _header_line(lines)
    # A blank between a separator and a quote is left from typing; cells are stripped anyway.
    reader = csv.reader(
        chain([header], lines), delimiter=separator or _delimiter(header), strict=True, skipinitialspace=True
    )
    while True:
        line = before + reader.line_num + 1
        try:
            cells = next(reader, None)
        except csv.Error as error:
            raise UnreadableError(_csv_sentence(error, line), line) from None
        if cells is None:
            return
        yield line, cells


def _header_line(lines: Iterator[str]) -> tuple[int, str, str | None]:
    """The number of lines (blank, sep=, comments with #) before the header, the header, and what sep= names."""
    separator = None
    for before, line in enumerate(lines):
        if named := _SEPARATOR_LINE.fullmatch(line):
            separator = named[1]
        elif line.strip() and (not line.startswith("#") or looks_like_header([line])):
            return before, line, separator
    raise UnreadableError("the file has no header; its first line names the columns", 1)


def looks_like_header(cells: Iterable[str]) -> bool:
    """True when *cells*, or what separators make of them, name columns that we know."""
    line = ",".join(cells)
    return any(_known_columns(line, delimiter) >= _HEADER_NAMES for delimiter in DELIMITERS)


def _delimiter(header: str) -> str:
    """The separator under which the header has the most columns we know."""
    return max(DELIMITERS, key=lambda delimiter: _known_columns(header, delimiter))


def _known_columns(header: str, delimiter: str) -> int:
    names = (name.strip().strip('"') for name in header.split(delimiter))
    return sum(name in KNOWN_COLUMNS for name in names)


def _csv_sentence(error: csv.Error, line: int) -> str:
    if "unexpected end of data" in str(error):
        return f"the quote opened in the row of line {line} is never closed"
    if "field larger than field limit" in str(error):
        return "a cell has over 131072 characters; is a quote not closed?"
    if "expected after" in str(error):
        return "text follows a closing quote; write a quote inside quotes twice"
    return f"this is not CSV: {error}"
