"""The results as a workbook: read back, changed as Excel does, and run again, it makes no second job."""

from __future__ import annotations

import csv
import sys
from pathlib import Path
from typing import Any

import pytest
import xlsxwriter
from python_calamine import load_workbook

from orchestrator.simulator import Simulator
from tests.cli.conftest import Batch, Cli

PHONE = "+8613800138000"


@pytest.fixture
def workbook(cli: Cli, batch: Batch, simulator: Simulator, tmp_path: Path) -> Path:
    """The results of a batch whose ids have zeros before them."""
    batch.write(
        batch.entry("anna", contact=PHONE) | {"id": "007", "name": "=1+1"},
        batch.entry("bo", contact="13800138000") | {"id": "008", "name": "陈静"},
    )
    assert cli("run", batch.manifest).exit_code == 0
    path = tmp_path / "results.xlsx"
    assert cli("results", "studio", "-o", path).exit_code == 0
    return path


def rows_of(path: Path) -> list[dict[str, Any]]:
    """The rows of the first sheet by column, values as Excel has them."""
    header, *rows = load_workbook(path).get_sheet_by_index(0).to_python(skip_empty_area=False)
    return [dict(zip(map(str, header), row, strict=True)) for row in rows]


def save(path: Path, rows: list[dict[str, Any]]) -> Path:
    """Save *rows* as Excel would: each value with its own type. An imitation of Excel, not Excel."""
    with xlsxwriter.Workbook(path) as book:
        sheet = book.add_worksheet()
        sheet.write_row(0, 0, list(rows[0]))
        for line, row in enumerate(rows, start=1):
            for column, value in enumerate(row.values()):
                (sheet.write_string if isinstance(value, str) else sheet.write_number)(line, column, value)
    return path


def test_ids_and_phones_are_text_and_sizes_are_numbers(workbook: Path) -> None:
    """Formulas are what they were called, without a mark; the file is its owner's only."""
    anna, bo = rows_of(workbook)

    assert (anna["id"], anna["contact"], anna["name"]) == ("007", PHONE, "=1+1")
    assert (bo["id"], bo["contact"], bo["name"]) == ("008", "13800138000", "陈静")
    assert isinstance(anna["bytes"], float)
    assert anna["bytes"] > 400_000
    assert anna["started_at"] <= anna["finished_at"]
    assert anna["finished_at"].endswith("Z")
    assert workbook.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in workbook.parent.glob("*results*")] == ["results.xlsx"]


def test_it_has_what_the_csv_has(cli: Cli, workbook: Path, tmp_path: Path) -> None:
    """Column by column; a CSV protects what a spreadsheet would compute."""
    cli("results", "studio", "-o", tmp_path / "results.csv")
    with (tmp_path / "results.csv").open(encoding="utf-8-sig", newline="") as file:
        table = list(csv.DictReader(file))

    for row, other in zip(rows_of(workbook), table, strict=True):
        assert list(row) == list(other)
        assert [float(row[name]) for name in ("bytes", "seconds", "attempts")] == [
            float(other[name]) for name in ("bytes", "seconds", "attempts")
        ]
        assert {row[name] for name in ("id", "name", "contact")} == {
            other[name].removeprefix("'") for name in ("id", "name", "contact")
        }


@pytest.mark.parametrize("change", ["saved", "sorted", "columns moved", "own column"])
def test_run_again_it_makes_no_second_job(
    cli: Cli, simulator: Simulator, workbook: Path, change: str
) -> None:
    """What people do with a table that they were sent."""
    rows = rows_of(workbook)
    if change == "sorted":
        rows.reverse()
    elif change == "columns moved":
        rows = [dict(sorted(row.items())) for row in rows]
    elif change == "own column":
        rows = [{"x-notes": "call back", **row} for row in rows]
    save(workbook, rows)

    again = cli("run", workbook, "--json")

    assert again.exit_code == 0
    assert again.document["entries"]["done"] == 2
    assert len(simulator.jobs) == 2


@pytest.mark.parametrize(
    ("damage", "rule"),
    [({"id": 7}, "M13"), ({"contact": "8.61381E+12"}, "M11"), ({"name": "#N/A"}, "M11")],
)
def test_what_excel_damaged_is_named_and_nothing_is_sent(
    cli: Cli, simulator: Simulator, workbook: Path, damage: dict[str, Any], rule: str
) -> None:
    """Lost zeros, a cut number, a failed formula."""
    anna, bo = rows_of(workbook)
    save(workbook, [{**anna, **damage}, bo])

    result = cli("run", workbook, "--json")

    assert result.exit_code == 3
    errors = [problem for problem in result.document["problems"] if problem["severity"] == "error"]
    assert {problem["rule"] for problem in errors} == {rule}
    assert len(simulator.jobs) == 2


@pytest.mark.parametrize("command", ["validate", "plan", "run"])
@pytest.mark.parametrize(
    ("damage", "rule"), [({"contact": "8.61381E+12"}, "M11"), ({"video_multipart_count": "many"}, "M03")]
)
def test_a_row_of_another_entry_is_named_beside_its_damaged_cell(
    cli: Cli, workbook: Path, command: str, damage: dict[str, str], rule: str
) -> None:
    """Both at once: after the first was fixed alone, the row would make a second job."""
    anna, bo = rows_of(workbook)
    save(workbook, [{**anna, "id": "7", **damage}, bo])

    problems = cli(command, workbook, "--json").document["problems"]

    errors = {(problem["rule"], problem["line"]) for problem in problems if problem["severity"] == "error"}
    assert errors == {(rule, 2), ("M13", 2)}


def test_a_damaged_id_is_not_taken_for_another_entry(cli: Cli, workbook: Path) -> None:
    """The name would make an id that no job is known under."""
    anna, bo = rows_of(workbook)
    save(workbook, [{**anna, "id": "7E+10"}, bo])

    problems = cli("validate", workbook, "--json").document["problems"]

    assert [problem["rule"] for problem in problems if problem["severity"] == "error"] == ["M11"]


def test_without_the_extra_one_line_says_what_to_install(
    cli: Cli, workbook: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the file of before stays."""
    before = workbook.read_bytes()
    monkeypatch.setitem(sys.modules, "xlsxwriter", None)
    monkeypatch.setattr("orchestrator.cli.work.results.find_spec", lambda _: None)

    result = cli("results", "studio", "-o", workbook)

    assert result.exit_code == 4
    assert "pip install 'metastudio-orchestrator[excel]'" in result.stderr
    assert workbook.read_bytes() == before
