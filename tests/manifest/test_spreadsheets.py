"""Cells that spreadsheets would compute, and cells that they have changed."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from orchestrator.manifest import Severity, open_manifest
from orchestrator.manifest.cells import is_suspect, may_be_suspect, protected, read_cell

#: Often enough what matters.
TEXT = st.text(st.sampled_from("=+-@'#1.0E{}\t\r\n\uff1dab \"") | st.characters(), min_size=1)
ODD_CELLS = (
    "1e+10",
    "138,001,380",
    "138000.0",
    "\u201c138",
    "\xb4138",
    "a<<b>>",
    "x \xabN\xbb",
    "${a}",
    "%NAME%",
)
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")


@given(TEXT, st.sampled_from(["name", "contact", "id"]))
@example("'=1", "name")
@example("1.38E+10", "contact")
@example("#N/A", "id")
@example('="1"', "contact")
def test_what_is_written_is_no_formula_and_is_read_back_to_the_letter(text: str, column: str) -> None:
    """Whatever a manifest, or a reviewer, calls a thing; and no word is said about what is ours."""
    cell = protected(text)

    assert not cell.startswith(FORMULA_STARTS)
    read = read_cell(column, cell) if is_suspect(column, cell) else None
    assert (cell if read is None else read.text) == text
    assert read is None or not read.is_error
    assert cell == text or read is None or read.complaint is None


@given(
    st.lists(TEXT | st.sampled_from(ODD_CELLS), min_size=1),
    st.sampled_from(["name", "contact", "id", "cover"]),
)
def test_a_row_is_passed_over_only_where_no_cell_of_it_is_suspect(cells: list[str], column: str) -> None:
    """It is looked at as a whole first; and what is not suspect is read as it is."""
    for cell in filter(None, map(str.strip, cells)):
        if not is_suspect(column, cell):
            assert column in {"name", "cover"} or read_cell(column, cell) == (cell, None, False)
        elif not may_be_suspect(cells):
            pytest.fail(f"{cell!r} was passed over")


def entries_of(path: Path, *rows: dict[str, str]) -> tuple[dict[str, str | None], list[tuple[str, str, str]]]:
    """The contact of each valid entry of such a table, and rule, field and severity of every problem."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, ["id", "name", "contact", "training_video", "tags", "job_id"])
        writer.writeheader()
        writer.writerows({"name": row["id"], "training_video": "a.mp4", **row} for row in rows)
    manifest = open_manifest(path)
    contacts = {entry.entry_id: entry.avatar.contact for entry in manifest.entries()}
    problems = [(one.rule, str(one.field), one.severity.value) for one in manifest.problems]
    return contacts, problems


@pytest.mark.parametrize(
    "cell",
    [
        *("1.38E+10", "8,61381E+12", "1E+11", "#N/A", "#REF!", "#NAME?", "#VALUE!", "#DIV/0!", "###########"),
        *(
            "#n/a",
            "#NULL!",
            "#NUM!",
            "#SPILL!",
            "#CALC!",
            "=#REF!",
            "#BEZUG!",
            "#NV",
            "#VALEUR!",
            "#\u00a1REF!",
        ),
    ],
)
def test_what_a_spreadsheet_destroyed_is_an_error(tmp_path: Path, cell: str) -> None:
    """Only the one who typed it knows what it was."""
    contacts, problems = entries_of(tmp_path / "m.csv", {"id": "anna", "contact": cell})

    assert contacts == {}
    assert problems == [("M11", "contact", "error")]


@pytest.mark.parametrize(
    ("cell", "contact"),
    [
        ('="13800000000"', "13800000000"),
        ("'13800000000", "13800000000"),
        ("13800000000.0", "13800000000.0"),
        ("13,800,000,000", "13,800,000,000"),
        ("\u201913800000000", "\u201913800000000"),
        ("`13800000000", "`13800000000"),
        ("{{phone}}", "{{phone}}"),
        ("${phone}", "${phone}"),
    ],
)
def test_what_is_nearly_right_is_read_and_warned_of(tmp_path: Path, cell: str, contact: str) -> None:
    """The warning does not repeat it."""
    contacts, problems = entries_of(tmp_path / "m.csv", {"id": "anna", "contact": cell})

    assert contacts == {"anna": contact}
    assert problems == [("M11", "contact", "warning")]


@pytest.mark.parametrize("name", ["1E+5 style", "#1", "Bo's", "'s", "v1.0", "= and +", "a@b"])
def test_names_that_only_resemble_damage_are_names(tmp_path: Path, name: str) -> None:
    """Ids and contacts are numbers that are texts; a name is a name."""
    contacts, problems = entries_of(tmp_path / "m.csv", {"id": "anna", "name": name})

    assert (contacts, problems) == ({"anna": None}, [])


def test_a_damaged_mark_in_a_list_is_found(tmp_path: Path) -> None:
    """Every column of the avatar is looked at."""
    _, problems = entries_of(tmp_path / "m.csv", {"id": "anna", "tags": "#REF!"})

    assert problems == [("M11", "tags", Severity.ERROR.value)]
