"""The rows of an Excel workbook's first sheet, texts as they are and numbers as people see them."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Generator, Mapping
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.manifest.csv_rows import Row, looks_like_header
from orchestrator.manifest.spreadsheets import from_workbook
from orchestrator.manifest.text import UnreadableError, check_characters

if TYPE_CHECKING:
    from python_calamine import CalamineSheet

Value = str | float | bool | date | datetime | time | timedelta

#: More than a sheet of a million rows; a small file can inflate to any size.
_MOST_BYTES = 1024**3
#: Up to here a workbook's numbers, which are floats, are exact.
_EXACT = 1e15
_FIRST_SHEET = re.compile(rb'<sheet\b[^>]*?\br:id="([^"]+)"')
_TARGET = re.compile(rb"<Relationship\b[^>]*>")
_ATTRIBUTE = re.compile(rb'\b(Id|Target)="([^"]*)"')
_ERROR_CELL = re.compile(
    rb'<c r="([A-Z]+)(\d+)"[^>]*\bt="e"[^>]*>(?:<f\b[^>]*/>|<f\b[^>]*>[^<]*</f>)?<v>([^<]*)</v>'
)


def xlsx_rows(path: Path) -> Generator[Row, None, None]:
    """The header, then every row with its number in the sheet; raises UnreadableError for what is no workbook."""
    failures = _failed_cells(path)
    rows = enumerate(_first_sheet(path).to_python(skip_empty_area=False), start=1)
    is_header_found = False
    for line, values in rows:
        cells = [_text(value) for value in values]
        for column in failures.get(line, {}):
            cells[column] = failures[line][column]
        for cell in cells:
            if not cell.isprintable():
                check_characters(cell, line)
        is_header_found |= any(map(str.strip, cells)) and not _is_comment(cells)
        if is_header_found:
            yield line, cells
    if not is_header_found:
        raise UnreadableError("the first sheet is empty; its first row names the columns", 1)


def _is_comment(cells: list[str]) -> bool:
    return cells[0].startswith("#") and not looks_like_header(cells)


def _text(value: Value) -> str:
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


def _first_sheet(path: Path) -> CalamineSheet:
    from python_calamine import CalamineError, PasswordError, load_workbook  # noqa: PLC0415 - only workbooks need it

    try:
        return load_workbook(path).get_sheet_by_index(0)
    except PasswordError:
        raise UnreadableError("the workbook has a password; save it without one") from None
    except (CalamineError, IndexError, OSError, ValueError) as error:
        raise UnreadableError(f"this workbook cannot be read: {error}; save it again as .xlsx") from None


def _failed_cells(path: Path) -> Mapping[int, Mapping[int, str]]:
    """What the cells of failed formulas show, as #N/A, by line and column (from 0): they have no value to read."""
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
        found.setdefault(int(line), {})[_column(letters)] = text.decode(errors="replace")
    return found


def _name_of_first_sheet(archive: zipfile.ZipFile) -> str:
    """The member that holds the first sheet; raises KeyError where the workbook names none."""
    first = _FIRST_SHEET.search(archive.read("xl/workbook.xml"))
    for relationship in _TARGET.findall(archive.read("xl/_rels/workbook.xml.rels")):
        named = dict(_ATTRIBUTE.findall(relationship))
        if first is not None and named.get(b"Id") == first[1]:
            target = named[b"Target"].decode()
            return target.lstrip("/") if target.startswith("/") else f"xl/{target}"
    raise KeyError("sheet")


def _column(letters: bytes) -> int:
    """The position, from 0, of a column: A is 0, AA is 26."""
    number = 0
    for letter in letters:
        number = number * 26 + letter - ord("A") + 1
    return number - 1
