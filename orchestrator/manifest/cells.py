"""The cells of a table: reading fields from them, finding damage by spreadsheets, and writing avatars as rows.

Spreadsheets compute no cell that we write, and damage by a spreadsheet is reported (rule M11). A cell that looks
like a formula, or that only looks damaged, is written with a leading apostrophe, which is the spreadsheets' own
mark for text. Reading removes the apostrophe.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import Enum
from typing import Any, Final, NamedTuple

from orchestrator.domain.avatar import Avatar
from orchestrator.manifest.fields import COLUMNS, PATH_FIELDS, Draft, Shape, Value
from orchestrator.manifest.paths import escaped_path

#: By column: the field, the field inside it or '', and whether the cell is a list.
_PARTS = {
    column: (column.partition(".")[0], column.partition(".")[2], rule.shape is Shape.LIST)
    for column, rule in COLUMNS.items()
}
#: Columns whose cell holds the field's value unchanged.
PLAIN_COLUMNS = frozenset(
    column for column, (_, member, is_list) in _PARTS.items() if not member and not is_list
)
_LIST_PIECE = re.compile(r"(?:[^;\\]|\\[;\\]|\\)+")

#: The first characters of formulas, including their full-width forms, and blanks that may be stripped before one.
_FORMULA: Final = frozenset("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")
#: An apostrophe before one of these is the mark for text.
_MARKED: Final = _FORMULA | frozenset("'#0123456789")

#: Error values, including those of Excel in German, French, Spanish, Italian and Portuguese, and of deleted cells.
_MARK_OF_FAILURE = re.compile(
    r"=?#(?:N/A|N/D|NV|GETTING_DATA|[\xa1\xbf]?(?:REF|NAME|VALUE|DIV/0|NULL|NUM|SPILL|CALC|FIELD|BLOCKED|CONNECT|"
    r"BUSY|UNKNOWN|BEZUG|WERT|ZAHL|VALEUR|NOM|NOMBRE|NUL|NULO|VALOR|RIF|VALORE|NOME|N\xdaM)[!?])|#{2,}",
    re.IGNORECASE,
)
_CUT_NUMBER = re.compile(r"\d(?:[.,]\d+)?[eE]\+\d{1,3}")
_DECIMAL_NUMBER = re.compile(r"\d{6,}\.0+")
_FORMULA_FOR_TEXT = re.compile(r'="((?:[^"]|"")*)"')
#: The first is searched anywhere in a text. The second must match all of it, because it could be part of a name.
_TEMPLATE = re.compile(r"\{\{.*?\}\}|\{%.*?%\}|<%.*?%>|\xab[^\xbb]+\xbb|<<[^<>]+>>")
_WHOLE_TEMPLATE = re.compile(r"\{\w+\}|<\w[\w -]*>|%\w{3,}%")
#: In a path this is an environment variable, and `absolute_path` reports one that is not set.
_VARIABLE = re.compile(r"\$\{[\w. ]+\}")
_THOUSANDS = re.compile(r"\d{1,3}(?:,\d{3}){2,}")
_QUOTE_BEFORE_NUMBER = re.compile(r"[\"`\xb4\u2018\u2019\u201c\uff07]\s*\+?\d")

#: Columns of ids and phone numbers, which are text although they look like numbers.
_TEXT_NUMBERS: Final = frozenset({"id", "contact", "job_id", "app_user_id"})
#: The first characters that need a check; for ids and phone numbers, so do the quotation marks.
_FIRST_SUSPECTS: Final = frozenset("#='<%\xab")
_FIRST_QUOTES: Final = frozenset('"`\xb4\u2018\u2019\u201c\uff07')
#: Every cell that `is_suspect` contains one of these, or one of the sequences that `may_be_suspect` searches for.
_SUSPECTS = re.compile("[#='<%\xab{,\"`\xb4\u2018\u2019\u201c\uff07]")
_NUMBER_SUSPECTS: Final = ("e+", ".0", ",", "<", "\xab")
_TYPED_MARK: Final = "begins with an apostrophe, which is taken for a spreadsheet's mark of text"
_CUT_SENTENCE: Final = (
    "is {}: the spreadsheet has cut the number; format the column as text and type it again, "
    "or take it from a file that no spreadsheet has saved"
)


def read_into(draft: Draft, column: str, text: str) -> str:
    """Return the text of a cell that is not blank; reports damage by a spreadsheet in *draft*."""
    cell = read_cell(column, text)
    if cell.complaint is not None:
        (draft.report if cell.is_error else draft.warn)(cell.complaint, column, rule="M11")
    return cell.text


def set_cell(values: dict[str, Value], column: str, text: str) -> None:
    """Put the cell *text* of *column*, a name of COLUMNS, into *values*; a blank cell adds nothing."""
    text = text.strip()
    if not text:
        return
    name, member, is_list = _PARTS[column]
    if member:
        group = values.setdefault(name, {})
        if isinstance(group, dict):
            group[member] = text
    else:
        values[name] = split_list(text) if is_list else text


def split_list(text: str) -> list[str]:
    r"""Return the items of a `;`-separated cell; `\;` and `\\` stand for the characters themselves."""
    pieces = (re.sub(r"\\([;\\])", r"\1", piece).strip() for piece in _LIST_PIECE.findall(text))
    return [piece for piece in pieces if piece]


def join_list(items: tuple[str, ...]) -> str:
    """Join *items* so that `split_list` returns them."""
    return ";".join(re.sub(r"([;\\])", r"\\\1", item) for item in items)


def csv_cells(avatar: Avatar) -> dict[str, str]:
    """Return the cells of an avatar by column; a table of them describes the same avatar and has no formulas."""
    cells = {}
    for column, (name, member, _) in _PARTS.items():
        value = getattr(avatar, name)
        cells[column] = protected(_cell(getattr(value, member, None) if member else value, column))
    return cells


def _cell(value: Any, column: str) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case tuple():
            return join_list(value)
        case Enum():
            return str(value.value)
        case _:
            return escaped_path(value) if column in PATH_FIELDS else str(value)


class Cell(NamedTuple):
    """The text of a cell, and a complaint about damage to it; a cell with an error has no text."""

    text: str
    complaint: str | None = None
    is_error: bool = False


def protected(text: str) -> str:
    """Write *text* so that no spreadsheet computes it and `read_cell` returns it."""
    is_marked = text[:1] == "'" and text[1:2] in _MARKED and len(text) > 1
    is_suspect = text[:1] == "#" or _CUT_NUMBER.fullmatch(text) or _DECIMAL_NUMBER.fullmatch(text)
    return f"'{text}" if text[:1] in _FORMULA or is_marked or is_suspect else text


def to_workbook(cell: str) -> str:
    """Return the text for a workbook's cell from the output of `protected`; text cells need no mark there."""
    return cell[1:] if cell[:1] == "'" and cell[1:2] in _FORMULA and len(cell) > 1 else cell


def from_workbook(text: str) -> str:
    """Return the *text* of a workbook's cell in the form that `read_cell` takes; the inverse of `to_workbook`."""
    return f"'{text}" if text[:1] in _FORMULA and text else text


def is_suspect(column: str, text: str) -> bool:
    """Return True when `read_cell` may change *text*, which is not blank, or complain about it."""
    if text[0] in _FIRST_SUSPECTS or "{" in text or "E+" in text:
        return True
    # Ids and phone numbers can be damaged in more ways, none of which leaves only letters and digits.
    if column not in _TEXT_NUMBERS or text.isalnum():
        return False
    return text[0] in _FIRST_QUOTES or any(mark in text for mark in _NUMBER_SUSPECTS)


def may_be_suspect(cells: Iterable[str]) -> bool:
    """Return False when no cell of a row `is_suspect` in any column; one fast check clears nearly all rows."""
    row = "\n".join(cells)
    return bool(_SUSPECTS.search(row)) or "E+" in row or "e+" in row or ".0" in row


def is_damaged(text: str) -> bool:
    """Return True when *text* is the error value of a spreadsheet that had no value to show."""
    return _MARK_OF_FAILURE.fullmatch(text) is not None


def is_number_as_text(column: str) -> bool:
    """Return True for ids and phone numbers, where an apostrophe before the digits is not part of the value."""
    return column in _TEXT_NUMBERS


def read_cell(column: str, text: str) -> Cell:
    """Read the stripped *text* of a cell of *column*; the complaint does not repeat what may be a contact."""
    if text[0] == "'" and text[1:2] in _MARKED and len(text) > 1:
        kept = text[1:]
        # The apostrophes that we write only precede formulas and texts that look damaged.
        is_typed = kept[0].isdigit() and not (_CUT_NUMBER.fullmatch(kept) or _DECIMAL_NUMBER.fullmatch(kept))
        return Cell(kept, _TYPED_MARK if is_typed else None)
    if wrapped := _FORMULA_FOR_TEXT.fullmatch(text):
        return Cell(wrapped[1].replace('""', '"'), 'is written ="..."; taken for the text inside')
    if _MARK_OF_FAILURE.fullmatch(text):
        return Cell(
            "", f"is {text[:8]}, which a spreadsheet writes where it has no value to show", is_error=True
        )
    if _CUT_NUMBER.fullmatch(text):
        return Cell("", _CUT_SENTENCE.format(text), is_error=True)
    return Cell(text, doubt_of(column, text))


def doubt_of(column: str, text: str) -> str | None:
    """Return a complaint about *text* that may be damaged but is kept; None when there is none."""
    if column in _TEXT_NUMBERS and _DECIMAL_NUMBER.fullmatch(text):
        return "ends in .0: a program has taken it for a number; format the column as text"
    if column == "contact" and _THOUSANDS.fullmatch(text):
        return "has commas: a program has taken the phone number for a number; format the column as text"
    if column == "contact" and _QUOTE_BEFORE_NUMBER.match(text):
        return "begins with a quotation mark; type the number alone"
    if _TEMPLATE.search(text) or _WHOLE_TEMPLATE.fullmatch(text):
        return "contains a template placeholder that was not replaced"
    if column not in PATH_FIELDS and _VARIABLE.search(text):
        return "contains a template placeholder that was not replaced"
    return None
