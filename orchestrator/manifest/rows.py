"""The rows of a table, read one by one: a CSV file in any form that spreadsheets save, or a workbook's first sheet.

Texts are unchanged; a workbook's whole numbers are written without a decimal point, and its dates in ISO format.
"""

from __future__ import annotations

import csv
import re
import zipfile
from collections.abc import Generator, Iterable, Iterator, Mapping
from datetime import date, datetime, time, timedelta
from functools import reduce
from itertools import chain
from pathlib import Path

from orchestrator.manifest.cells import from_workbook
from orchestrator.manifest.fields import KNOWN_COLUMNS
from orchestrator.manifest.text import UnreadableError, check_characters, read_lines

#: Cell separators: the comma unless the header shows another one (spreadsheets of many countries use `;`).
DELIMITERS = (",", ";", "\t")
#: With fewer known names, the line may be a sentence that contains them as words.
_HEADER_NAMES = 2
#: The line that sets the separator for Excel; it is not a row.
_SEPARATOR_LINE = re.compile(r'"?sep=(.)"?\s*', re.IGNORECASE)
#: Enough for a sheet of a million rows. A limit is needed because a small file can inflate to any size.
_MOST_BYTES = 1024**3
#: Below this limit integers are exact in a workbook, which stores numbers as floats.
_EXACT = 1e15
_FIRST_SHEET = re.compile(rb'<sheet\b[^>]*?\br:id="([^"]+)"')
_TARGET = re.compile(rb"<Relationship\b[^>]*>")
_ATTRIBUTE = re.compile(rb'\b(Id|Target)="([^"]*)"')
_ERROR_CELL = re.compile(
    rb'<c r="([A-Z]+)(\d+)"[^>]*\bt="e"[^>]*>(?:<f\b[^>]*/>|<f\b[^>]*>[^<]*</f>)?<v>([^<]*)</v>'
)

#: The line in which a row begins, and its cells.
Row = tuple[int, list[str]]
#: The types of a workbook's cells.
Value = str | float | bool | date | datetime | time | timedelta


def csv_rows(path: Path, encoding: str) -> Generator[Row, None, None]:
    """Yield the header, then every row; raises UnreadableError at the first place that is not CSV."""
    lines = read_lines(path, encoding)
    before, header, separator = _header_line(lines)
    # Unless the file names the separator, use the one that gives the header the most known columns.
    delimiter = separator or max(DELIMITERS, key=lambda mark: _known_columns(header, mark))
    # People type a blank between a separator and a quote; cells are stripped anyway.
    reader = csv.reader(chain([header], lines), delimiter=delimiter, strict=True, skipinitialspace=True)
    line = before + 1
    try:
        for cells in reader:
            yield line, cells
            line = before + reader.line_num + 1
    except csv.Error as error:
        raise UnreadableError(csv_sentence(error, line), line) from None


def _header_line(lines: Iterator[str]) -> tuple[int, str, str | None]:
    """Return the number of lines before the header (blank, sep=, comments with #), the header, and sep='s value."""
    separator = None
    for before, line in enumerate(lines):
        if named := _SEPARATOR_LINE.fullmatch(line):
            separator = named[1]
        elif line.strip() and (not line.startswith("#") or looks_like_header([line])):
            return before, line, separator
    raise UnreadableError("the file has no header; its first line names the columns", 1)


def looks_like_header(cells: Iterable[str]) -> bool:
    """Return True when *cells*, joined and split by any of DELIMITERS, contain at least two known columns."""
    line = ",".join(cells)
    return any(_known_columns(line, delimiter) >= _HEADER_NAMES for delimiter in DELIMITERS)


def _known_columns(header: str, delimiter: str) -> int:
    names = (name.strip().strip('"') for name in header.split(delimiter))
    return sum(name in KNOWN_COLUMNS for name in names)


def csv_sentence(error: csv.Error, line: int) -> str:
    """Return a sentence for the author of the manifest that explains the CSV reader's *error* in *line*."""
    if "unexpected end of data" in str(error):
        return f"the quote opened in the row of line {line} is never closed"
    if "field larger than field limit" in str(error):
        return "a cell has over 131072 characters; is a quote not closed?"
    if "expected after" in str(error):
        return "text follows a closing quote; write a quote inside quotes twice"
    return f"this is not CSV: {error}"


def xlsx_rows(path: Path) -> Generator[Row, None, None]:
    """Yield the header, then every row with its number in the sheet; raises UnreadableError if not a workbook."""
    failures = _failed_cells(path)

    from python_calamine import CalamineError, PasswordError, load_workbook  # noqa: PLC0415 - only workbooks need it

    try:
        sheet = load_workbook(path).get_sheet_by_index(0)
    except PasswordError:
        raise UnreadableError("the workbook has a password; save it without one") from None
    except (CalamineError, IndexError, OSError, ValueError) as error:
        raise UnreadableError(f"this workbook cannot be read: {error}; save it again as .xlsx") from None
    is_header_found = False
    for line, values in enumerate(sheet.to_python(skip_empty_area=False), start=1):
        cells = [text_of(value) for value in values]
        for column in failures.get(line, {}):
            cells[column] = failures[line][column]
        for cell in cells:
            if not cell.isprintable():
                check_characters(cell, line)
        is_comment = "".join(cells[:1]).startswith("#") and not looks_like_header(cells)
        is_header_found |= any(map(str.strip, cells)) and not is_comment
        if is_header_found:
            yield line, cells
    if not is_header_found:
        raise UnreadableError("the first sheet is empty; its first row names the columns", 1)


def text_of(value: Value) -> str:
    """Return the *value* of a workbook's cell as text: whole numbers without a decimal point, dates in ISO format."""
    match value:
        case str():
            return from_workbook(value)
        case bool():
            return "true" if value else "false"
        case float() if value.is_integer() and abs(value) < _EXACT:
            return str(int(value))
        case datetime():
            return value.date().isoformat() if value.time() == time() else value.isoformat(" ")
        case date() | time():
            return value.isoformat()
        case _:
            return str(value)


def _failed_cells(path: Path) -> Mapping[int, Mapping[int, str]]:
    """Return the error values of failed formulas, such as #N/A, by line and column (from 0).

    The workbook reader returns no value for these cells.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(member.file_size for member in archive.infolist()) > _MOST_BYTES:
                raise UnreadableError("the workbook inflates to over 1 GiB; save it as CSV UTF-8")
            sheet = archive.read(_name_of_first_sheet(archive))
    except (zipfile.BadZipFile, KeyError, OSError, NotImplementedError, RuntimeError, EOFError, ValueError):
        raise UnreadableError(
            "this is not an Excel workbook, or not a whole one; save it again as .xlsx"
        ) from None
    found: dict[int, dict[int, str]] = {}
    for letters, line, text in _ERROR_CELL.findall(sheet):
        # A is 1, Z 26, AA 27.
        number = reduce(lambda left, letter: left * 26 + letter - ord("A") + 1, letters, 0)
        found.setdefault(int(line), {})[number - 1] = text.decode(errors="replace")
    return found


def _name_of_first_sheet(archive: zipfile.ZipFile) -> str:
    """Return the archive member that holds the first sheet; raises KeyError when the workbook has none."""
    first = _FIRST_SHEET.search(archive.read("xl/workbook.xml"))
    for relationship in _TARGET.findall(archive.read("xl/_rels/workbook.xml.rels")):
        named = dict(_ATTRIBUTE.findall(relationship))
        if first is not None and named.get(b"Id") == first[1]:
            target = named[b"Target"].decode()
            return target.lstrip("/") if target.startswith("/") else f"xl/{target}"
    raise KeyError("sheet")
