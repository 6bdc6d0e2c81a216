"""Excel workbooks as manifests: text stays text, numbers are what people see."""

from __future__ import annotations

import csv
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import xlsxwriter
from hypothesis import HealthCheck, given, settings

from orchestrator.domain.avatar import Avatar
from orchestrator.manifest import COLUMNS, Manifest, csv_cells, open_manifest
from orchestrator.manifest.cells import to_workbook
from tests.manifest.test_round_trip import avatars


def write(path: Path, rows: Sequence[Sequence[Any]], first_row: int = 0) -> Path:
    """A workbook whose first sheet has *rows* from *first_row* on."""
    with xlsxwriter.Workbook(path) as workbook:
        sheet = workbook.add_worksheet("Handover")
        workbook.add_worksheet("Other").write(0, 0, "not read")
        date = workbook.add_format({"num_format": "yyyy-mm-dd"})
        for line, row in enumerate(rows, start=first_row):
            for column, value in enumerate(row):
                if isinstance(value, datetime):
                    sheet.write_datetime(line, column, value, date)
                elif isinstance(value, str) and value.startswith("FORMULA "):
                    sheet.write_formula(line, column, "=NA()", None, value.removeprefix("FORMULA "))
                elif isinstance(value, str):
                    sheet.write_string(line, column, value)
                else:
                    sheet.write(line, column, value)
    return path


def read(path: Path) -> tuple[list[Mapping[str, Any]], Manifest]:
    """The avatars, and the manifest with all its problems."""
    manifest = open_manifest(path)
    return [entry.avatar.model_dump(exclude_none=True) for entry in manifest.entries()], manifest


def test_text_stays_text_and_numbers_are_what_people_see(tmp_path: Path) -> None:
    """Ids and phones above all; other sheets are not read."""
    header = [
        "id",
        "name",
        "training_video",
        "contact",
        "video_multipart_count",
        "is_flexus",
        "tags",
        "x-when",
    ]
    path = write(
        tmp_path / "m.xlsx",
        [
            header,
            [
                "007",
                "Anna",
                "a.mp4",
                13800138000,
                16,
                True,
                datetime.fromisoformat("2026-11-28"),
                datetime.fromisoformat("2026-11-28T09:00"),
            ],
            [8, 42, "b.mp4", "+8613800138000", None, None, 1.5, None],
            [],
        ],
    )

    (anna, other), manifest = read(path)

    assert manifest.problems == []
    assert manifest.batch_name == "m"
    assert (anna["id"], anna["contact"], anna["video_multipart_count"]) == ("007", "13800138000", 16)
    assert (anna["is_flexus"], anna["tags"]) == (True, ("2026-11-28",))
    assert (other["id"], other["name"], other["contact"]) == ("8", "42", "+8613800138000")
    assert other["tags"] == ("1.5",)


def test_problems_name_the_row_of_the_sheet(tmp_path: Path) -> None:
    """Blank rows above and between count, as they do in Excel."""
    rows = [["# written by hand"], ["name", "training_video", "cover"], [], ["Anna", None, "c.png"]]
    _, manifest = read(write(tmp_path / "m.xlsx", rows, first_row=2))

    assert [(problem.line, problem.column) for problem in manifest.problems] == [(6, "training_video")]


@pytest.mark.parametrize(
    "value", ["FORMULA #N/A", "FORMULA #REF!", "#N/A", 8.61381380013800e17, "8.61381E+12"]
)
def test_what_excel_destroyed_is_an_error(tmp_path: Path, value: object) -> None:
    """A formula that failed has no value, and a long number only its first digits."""
    rows = [["name", "training_video", "contact"], ["Anna", "a.mp4", value], ["Bo", "b.mp4", "1"]]

    avatars_read, manifest = read(write(tmp_path / "m.xlsx", rows))

    assert [avatar["name"] for avatar in avatars_read] == ["Bo"]
    assert [(problem.rule, problem.field) for problem in manifest.problems] == [("M11", "contact")]


def test_a_title_above_the_header_is_named(tmp_path: Path) -> None:
    """By its row in the sheet."""
    rows = [["Handover"], ["name", "training_video"], ["Anna", "a.mp4"]]

    _, manifest = read(write(tmp_path / "m.xlsx", rows))

    assert "line 2 looks like the header" in manifest.problems[0].message


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"name,training_video\nAnna,a.mp4\n", "name it .csv"),
        (b"PK\x03\x04 cut off", "not a whole one"),
        (bytes.fromhex("d0cf11e0a1b11ae1") + bytes(600), "password"),
        (b"", "empty"),
    ],
)
def test_what_is_no_workbook_is_one_clear_problem(tmp_path: Path, content: bytes, words: str) -> None:
    """Never a traceback."""
    path = tmp_path / "m.xlsx"
    path.write_bytes(content)

    _, manifest = read(path)

    (problem,) = manifest.problems
    assert words in problem.message


def test_a_cut_workbook_is_one_clear_problem(tmp_path: Path) -> None:
    """Wherever it was cut."""
    whole = write(tmp_path / "whole.xlsx", [["name", "training_video"], ["Anna", "a.mp4"]]).read_bytes()
    path = tmp_path / "cut.xlsx"
    for size in range(100, len(whole), len(whole) // 15):
        path.write_bytes(whole[:size])

        _, manifest = read(path)

        assert manifest.has_errors


def test_an_empty_sheet_and_a_control_character_are_named(tmp_path: Path) -> None:
    """As in CSV."""
    _, empty = read(write(tmp_path / "m.xlsx", []))
    rows = [["name", "training_video"], ["An\x07na", "a.mp4"]]
    _, ringing = read(write(tmp_path / "n.xlsx", rows))

    assert "first sheet is empty" in empty.problems[0].message
    assert "U+0007" in ringing.problems[0].message


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    deadline=None,
    max_examples=25,
)
@given(avatar=avatars())
def test_an_avatar_survives_a_workbook(tmp_path: Path, avatar: Avatar) -> None:
    """To the letter, also what a CSV must protect from being a formula."""
    cells = csv_cells(avatar)
    path = write(tmp_path / "m.xlsx", [list(COLUMNS), [to_workbook(cells[column]) for column in COLUMNS]])

    manifest = open_manifest(path)
    (entry,) = manifest.entries()

    assert not manifest.has_errors
    assert entry.avatar == avatar


def test_the_same_table_as_csv_and_as_workbook_is_the_same_batch(tmp_path: Path) -> None:
    """The specs decide whether a run sees a change."""
    rows = [
        ["id", "name", "training_video", "tags"],
        ["007", "陈静", "a.mp4", "x;y"],
        ["-1", '="1"', "b.mp4", ""],
    ]
    with (tmp_path / "m.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(
            [[cell if cell[:1] not in {"=", "-"} else f"'{cell}" for cell in row] for row in rows]
        )
    write(tmp_path / "m.xlsx", rows)

    one, other = (list(open_manifest(tmp_path / name).entries()) for name in ("m.csv", "m.xlsx"))

    assert [(each.entry_id, each.spec) for each in one] == [(each.entry_id, each.spec) for each in other]


def test_the_library_is_loaded_for_workbooks_only(tmp_path: Path) -> None:
    """It costs a start some milliseconds."""
    program = "import sys, orchestrator.manifest; sys.exit('python_calamine' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
