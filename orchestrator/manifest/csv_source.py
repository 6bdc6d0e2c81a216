"""CSV manifests, streamed: one row is held at a time."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Collection, Generator, Iterator, Mapping
from contextlib import closing
from itertools import chain
from pathlib import Path

from orchestrator.domain.entries import Place
from orchestrator.manifest.cells import PLAIN_COLUMNS, set_cell
from orchestrator.manifest.fields import COLUMNS, FIELDS, RESULT_COLUMNS, Shape, unknown_field
from orchestrator.manifest.raw_entry import Draft
from orchestrator.manifest.spreadsheets import is_suspect, read_cell
from orchestrator.manifest.text import UnreadableError, check_is_file, read_lines

#: What separates cells; the comma unless the header says otherwise (spreadsheets of many countries: `;`).
DELIMITERS = (",", ";", "\t")
MAX_COLUMNS = 1000
_BATCH_COLUMNS = frozenset({"batch_name", "submit", "submit_requires"})
#: What a results file says of the past is passed over, but for whose row it is.
_JOB_COLUMN = "job_id"
_KNOWN_COLUMNS = {*COLUMNS, *RESULT_COLUMNS, *_BATCH_COLUMNS}
#: A column without a name is read to see that it is empty.
_READ_COLUMNS = {*COLUMNS, *_BATCH_COLUMNS, _JOB_COLUMN, ""}
_REQUIRED = ("name", "training_video")

#: The line a row begins in, and its cells.
Row = tuple[int, list[str]]


class RowPlaces(Mapping[str, Place]):
    """The places of a row's fields: its line, and the column's name."""

    __slots__ = ("_columns", "_line")

    def __init__(self, line: int, columns: Collection[str]) -> None:
        """Keep the row's *line*; *columns* are shared by all rows."""
        self._line = line
        self._columns = columns

    def __getitem__(self, name: str) -> Place:
        """The place of a field; KeyError when the table has no column for it."""
        if name not in self._columns:
            raise KeyError(name)
        return Place(self._line, name)

    def __iter__(self) -> Iterator[str]:
        """The columns."""
        return iter(self._columns)

    def __len__(self) -> int:
        """How many columns there are."""
        return len(self._columns)


class CsvSource:
    """A CSV manifest as drafts; raises UnreadableError when it has no header that can be read."""

    def __init__(self, path: Path, given: Collection[str] = ()) -> None:
        """Read the header and the first row of *path*; fields *given* elsewhere need no column."""
        self._path = path
        check_is_file(path)
        with closing(self._rows()) as rows:
            line, header = next(rows, (1, []))
            self.head = Draft(file=str(path), start=Place(line))
            self.defaults = Draft(file=str(path), start=Place())
            self._columns = self._read_header(header)
            first = next((row for row in rows if _is_filled(row)), None)
        self._places = frozenset(self._columns.values())
        self._plain = self._columns_among(PLAIN_COLUMNS)
        self._shaped = self._columns_among(COLUMNS.keys() - PLAIN_COLUMNS)
        self._others = self._columns_among(self._places - COLUMNS.keys())
        self._absent = [name for name in _REQUIRED if name not in self._places and name not in given]
        for name in self._absent:
            self.head.report("the column is missing, and every avatar needs it", name)
        self._read_head(first)

    def _read_header(self, header: list[str]) -> dict[int, str]:
        """The known columns by position; reports the others."""
        if len(header) > MAX_COLUMNS:
            raise UnreadableError(f"the header has over {MAX_COLUMNS} columns; is this a manifest?", 1)
        names = [name.strip() for name in header]
        if len(names) == 1 and names[0] not in _KNOWN_COLUMNS:
            raise UnreadableError("the header has one column; separate them by commas", self.head.start.line)
        for name, count in Counter(filter(None, names)).items():
            place = Place(self.head.start.line, name[:64])
            if count > 1:
                self.head.report(f"the column appears {count} times", name, place=place)
            if name not in _KNOWN_COLUMNS:
                self.head.report(_unknown_column(name), name, place=place)
        return {index: name for index, name in enumerate(names) if name in _READ_COLUMNS}

    def _columns_among(self, names: Collection[str]) -> list[tuple[int, str]]:
        """The columns that are to be treated alike: to ask each cell's column what it is would cost more."""
        return [(index, name) for index, name in self._columns.items() if name in names]

    def _read_head(self, first: Row | None) -> None:
        """Take the batch's name and its submit from the first row; the others must say the same."""
        line, cells = first or (1, [])
        self.head.places = RowPlaces(line, self._places)
        self._first = {
            name: _batch_cell(name, cells[index])
            for index, name in self._columns.items()
            if name in _BATCH_COLUMNS and index < len(cells)
        }
        self.head.values |= self._first

    def drafts(self) -> Iterator[Draft]:
        """The rows in the order of the file, blank ones left out."""
        with closing(self._rows()) as rows:
            _, header = next(rows, (1, []))
            for row in rows:
                if _is_filled(row):
                    yield self._draft(row, len(header))

    def _draft(self, row: Row, width: int) -> Draft:
        line, cells = row
        places = RowPlaces(line, self._places)
        draft = Draft(file=self.head.file, start=Place(line), places=places, faulty=set(self._absent))
        if len(cells) != width:
            draft.is_broken = True
            draft.report(
                f"the row has {len(cells)} cells, the header {width}; look for a missing comma or quote"
            )
            return draft
        for index, name in self._plain:
            if text := cells[index].strip():
                if is_suspect(name, text):
                    text = _read(draft, name, text)
                draft.values[name] = text
        for index, name in self._shaped:
            if text := cells[index].strip():
                set_cell(draft.values, name, _read(draft, name, text) if is_suspect(name, text) else text)
        for index, name in self._others:
            self._check_other(draft, name, cells[index].strip())
        return draft

    def _check_other(self, draft: Draft, name: str, text: str) -> None:
        """Look at a cell that is no field of the avatar."""
        if name == "" and text:
            draft.report("there is a value in a column without a name", "", place=draft.start)
        if name == _JOB_COLUMN and text:
            draft.job_id = _read(draft, name, text)
        if name in _BATCH_COLUMNS and text and _batch_cell(name, text) != self._first.get(name):
            draft.report("differs from the first row's; a manifest is one batch", name)

    def _rows(self) -> Generator[Row, None, None]:
        """The header, then every row; raises UnreadableError where the file stops being CSV."""
        lines = read_lines(self._path)
        before, header = _header_line(lines)
        reader = csv.reader(chain([header], lines), delimiter=_delimiter(header), strict=True)
        while True:
            line = before + reader.line_num + 1
            try:
                cells = next(reader, None)
            except csv.Error as error:
                raise UnreadableError(_csv_sentence(error, line), line) from None
            if cells is None:
                return
            yield line, cells


def _header_line(lines: Iterator[str]) -> tuple[int, str]:
    """How many lines (blank, or comments with #) come before the header, and the header."""
    for before, line in enumerate(lines):
        if line.strip() and not line.startswith("#"):
            return before, line
    raise UnreadableError("the file has no header; its first line names the columns", 1)


def _delimiter(header: str) -> str:
    """The separator under which the header has the most columns we know."""
    return max(DELIMITERS, key=lambda delimiter: _known_columns(header, delimiter))


def _known_columns(header: str, delimiter: str) -> int:
    names = (name.strip().strip('"') for name in header.split(delimiter))
    return sum(name in _KNOWN_COLUMNS for name in names)


def _read(draft: Draft, name: str, text: str) -> str:
    """The cell's text; reports in *draft* what a spreadsheet did to it."""
    cell = read_cell(name, text)
    if cell.complaint is not None:
        (draft.report if cell.is_error else draft.warn)(cell.complaint, name, rule="M11")
    return cell.text


def _batch_cell(name: str, text: str) -> str:
    """What a cell says of the batch; every row of a results file has one."""
    return read_cell(name, stripped).text if (stripped := text.strip()) else ""


def _is_filled(row: Row) -> bool:
    return any(map(str.strip, row[1]))


def _unknown_column(name: str) -> str:
    if name == "defaults":
        return "a table has no defaults; use --default field=value"
    rule = FIELDS.get(name)
    if rule is not None and rule.shape is Shape.GROUP:
        return f"is a group; its columns are {', '.join(f'{name}.{member}' for member in rule.members)}"
    return unknown_field(name, COLUMNS)


def _csv_sentence(error: csv.Error, line: int) -> str:
    if "unexpected end of data" in str(error):
        return f"the quote opened in the row of line {line} is never closed"
    if "field larger than field limit" in str(error):
        return "a cell has over 131072 characters; is a quote not closed?"
    if "expected after" in str(error):
        return "text follows a closing quote; write a quote inside quotes twice"
    return f"this is not CSV: {error}"
