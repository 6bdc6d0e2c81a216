"""`results`: a table of what came of a batch that is a manifest of the same batch."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.manifest import RESULT_COLUMNS
from orchestrator.simulator import Simulator, SimulatorOptions
from tests.cli.conftest import Batch, Cli
from tests.cli.documents import check_document


def rows(text: str) -> list[dict[str, str]]:
    """The table as dictionaries."""
    return list(csv.DictReader(io.StringIO(text.removeprefix("\ufeff"))))


@pytest.mark.parametrize("simulator_options", [SimulatorOptions(cap_urls=1)])
def test_running_the_table_does_only_what_is_left(
    cli: Cli, batch: Batch, simulator: Simulator, tmp_path: Path
) -> None:
    """The entry that failed, mended in the table; the other is known to be done."""
    batch.write(
        batch.entry("anna", video_multipart_count=2, tags=["a;b", "c"], contact="13800138000"),
        {**batch.entry("bo"), "id": None, "name": "Bo $HOME"},
    )
    batch.manifest.write_text(batch.manifest.read_text().replace("  id: null\n", ""))
    failed = cli("run", batch.manifest, "--submit")
    table = tmp_path / "results.csv"
    written = cli("results", "studio", "-o", table)
    (batch.folder / "bo.mp4").unlink()  # put away: it is on the service

    anna, bo = rows(table.read_text())
    table.write_text(table.read_text().replace(",2,", ",1,", 1))
    again = cli("run", table, "--json")
    repeated = cli("run", batch.manifest, "--json")

    assert (failed.exit_code, written.exit_code, again.exit_code, written.stdout) == (8, 0, 0, "")
    assert "wrote 2 entries" in written.stderr
    assert (anna["id"], anna["state"], anna["error_code"]) == ("anna", "failed", "UrlCount")
    assert (bo["id"], bo["state"], bo["delivered"]) == ("bo-home", "submitted", "verified")
    assert again.document["batch"] == "studio"
    assert again.document["entries"] == {"total": 2, "done": 2, "failed": 0, "skipped": 0, "pending": 0}
    assert len(simulator.jobs) == 2
    assert sorted(job.submissions for job in simulator.jobs) == [1, 1]
    assert repeated.exit_code == 0, "in how many parts a file is sent is no change"


@pytest.mark.usefixtures("simulator")
def test_the_columns_are_those_in_use_then_ours(cli: Cli, batch: Batch) -> None:
    """In the order of the fields, files absolute."""
    batch.write(batch.entry("anna", contact="13800138000"), batch.entry("bo", tags=["x"]))
    cli("run", batch.manifest)

    result = cli("results", "studio")

    header, *_ = result.stdout.splitlines()
    assert header.split(",") == [
        *("id", "name", "training_video", "id_card_image1", "id_card_image2", "grant_file", "contact"),
        *("video_multipart_count", "tags", "batch_name", *RESULT_COLUMNS),
    ]
    anna, bo = rows(result.stdout)
    assert anna["training_video"] == str(batch.folder / "anna.mp4")
    assert (anna["contact"], bo["contact"], bo["tags"]) == ("13800138000", "ops@example.com", "x")
    assert (anna["batch_name"], anna["state"], anna["attempts"]) == ("studio", "confirmed", "0")
    assert int(anna["bytes"]) > 400_000
    assert float(anna["seconds"]) >= 0


@pytest.mark.usefixtures("simulator")
def test_the_file_is_private_and_whole_or_not_there(cli: Cli, batch: Batch, tmp_path: Path) -> None:
    """It takes the place of the one before, and holds contacts."""
    cli("run", batch.manifest)
    table = tmp_path / "results.csv"
    table.write_text("before")
    table.chmod(0o644)

    result = cli("results", "studio", "-o", table)
    nowhere = cli("results", "studio", "-o", tmp_path / "none" / "results.csv", "--json")

    assert (result.exit_code, nowhere.exit_code) == (0, 4)
    assert table.stat().st_mode & 0o777 == 0o600
    assert len(rows(table.read_text())) == 2
    assert sorted(path.name for path in tmp_path.glob("*results*")) == ["results.csv"]
    check_document("error", nowhere.document)


@pytest.mark.usefixtures("simulator")
def test_the_document_has_no_contacts(cli: Cli, batch: Batch, tmp_path: Path) -> None:
    """Nothing reads it back, and it may end up in a log."""
    batch.write(batch.entry("anna", contact="13800138000"))
    cli("run", batch.manifest)

    result = cli("results", "studio", "--json", "-o", tmp_path / "results.csv")

    check_document("results", result.document)
    assert "13800138000" not in result.stdout + result.stderr
    assert "13800138000" in (tmp_path / "results.csv").read_text()
    (anna,) = result.document["results"]
    assert anna["avatar"]["training_video"] == str(batch.folder / "anna.mp4")
    assert result.document["file"] == str(tmp_path / "results.csv")


@pytest.mark.parametrize("simulator_options", [SimulatorOptions(speed=1e9)])
@pytest.mark.usefixtures("simulator")
def test_a_failed_review_is_in_the_table(cli: Cli, batch: Batch) -> None:
    """Words and code."""
    batch.write(batch.entry("anna") | {"name": "review-fail"})
    cli("run", batch.manifest, "--submit")
    cli("watch", "studio", "--interval", "0.01")

    (anna,) = rows(cli("results", "studio").stdout)

    assert anna["state"] == "review_failed"
    assert anna["submit"] == "true"
    assert anna["review_reason"].endswith("(44005901)")


FORMULA = '=HYPERLINK("http://evil.example")'


@pytest.mark.usefixtures("simulator")
def test_the_file_opens_as_it_is_in_a_spreadsheet(cli: Cli, batch: Batch, tmp_path: Path) -> None:
    """With the mark by which Excel knows UTF-8, and nothing that it would compute, also behind its own separators."""
    batch.write(
        batch.entry("anna", contact="+8613800138000", tags=["=1+1", "a", "@b"])
        | {"id": "-anna", "name": FORMULA},
        batch.entry("bo", tags=["x;=1+1"]) | {"name": "陈静"},
    )
    cli("run", batch.manifest)
    table = tmp_path / "results.csv"

    written = cli("results", "studio", "-o", table)
    shown = cli("results", "studio")

    assert (written.exit_code, shown.exit_code) == (0, 0)
    assert table.read_bytes().startswith(b"\xef\xbb\xbfid,name,")
    assert not shown.stdout.startswith("\ufeff")
    for row in [*rows(table.read_text()), *rows(shown.stdout)]:
        assert not [cell for cell in row.values() if cell[:1] in set("=+-@\t\r")]
    # A table that is split at semicolons and tabs, too, but knows quotes, begins no cell with a formula.
    for line in csv.reader(io.StringIO(table.read_text().replace(";", ","))):
        assert not [cell for cell in line if cell[:1] in set("=+-@")]


@pytest.fixture
def table(cli: Cli, batch: Batch, simulator: Simulator, tmp_path: Path) -> Path:
    """The results of two finished avatars."""
    batch.write(batch.entry("anna") | {"id": "007"}, batch.entry("bo") | {"id": "008"})
    cli("run", batch.manifest)
    path = tmp_path / "results.csv"
    cli("results", "studio", "-o", path)
    assert len(simulator.jobs) == 2
    return path


def damaged(table: Path, change: Callable[[list[dict[str, str]]], object]) -> Path:
    """The table after somebody changed its rows in a spreadsheet and saved it."""
    changed = rows(table.read_text())
    change(changed)
    with table.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.DictWriter(file, list(changed[0]))
        writer.writeheader()
        writer.writerows(changed)
    return table


def lose_zeros(table: list[dict[str, str]]) -> None:
    """As Excel does when it opens the file."""
    for row in table:
        row["id"] = row["id"].lstrip("0")


def sort_one_column(table: list[dict[str, str]]) -> None:
    """The ids, without the rest of their rows."""
    for row, entry_id in zip(table, sorted((row["id"] for row in table), reverse=True), strict=True):
        row["id"] = entry_id


def copy_a_row(table: list[dict[str, str]]) -> None:
    """To make another avatar of it."""
    table.append({**table[0], "id": "009", "name": "Di"})


def drop_the_ids(table: list[dict[str, str]]) -> None:
    """They are made of the names, then."""
    for row in table:
        del row["id"]


@pytest.mark.parametrize(
    ("change", "wrong"),
    [(lose_zeros, "7"), (sort_one_column, "008"), (copy_a_row, "009"), (drop_the_ids, "anna")],
)
def test_a_row_whose_job_is_another_entrys_is_an_error_before_anything_is_sent(
    cli: Cli,
    simulator: Simulator,
    table: Path,
    change: Callable[[list[dict[str, str]]], object],
    wrong: str,
) -> None:
    """A second job for an avatar that has one would be trained, and paid for."""
    damaged(table, change)
    requests = simulator.stats.requests.total()

    results = {command: cli(command, table, "--json") for command in ("validate", "plan", "run")}

    assert {command: result.exit_code for command, result in results.items()} == dict.fromkeys(results, 3)
    for result in results.values():
        problem = next(problem for problem in result.document["problems"] if problem["severity"] == "error")
        assert (problem["rule"], problem["field"], problem["column"]) == ("M13", "job_id", "job_id")
        assert f"is that of entry 007, not of {wrong}:" in problem["message"]
        assert "write 007 in the column id, or clear this cell" in problem["message"]
    assert simulator.stats.requests.total() == requests


@pytest.mark.parametrize(
    "change", [lambda table: table.reverse(), lambda _table: None], ids=["sorted", "saved"]
)
def test_whole_rows_may_be_sorted_and_columns_moved(
    cli: Cli, simulator: Simulator, table: Path, change: Callable[[list[dict[str, str]]], object]
) -> None:
    """Each row still is about its own job: nothing is left to do."""
    damaged(table, lambda rows: rows.__setitem__(slice(None), [dict(reversed(row.items())) for row in rows]))
    damaged(table, change)

    again = cli("run", table, "--json")

    assert (again.exit_code, len(simulator.jobs)) == (0, 2)


def test_without_a_journal_the_rows_of_results_are_a_manifest_like_any(
    cli: Cli, table: Path, tmp_path: Path
) -> None:
    """There is nothing to compare them with, and looking makes no journal."""
    damaged(table, lose_zeros)
    elsewhere = tmp_path / "elsewhere.db"

    checked = cli("validate", table, "--state", elsewhere)

    assert (checked.exit_code, elsewhere.exists()) == (0, False)


@pytest.mark.usefixtures("simulator")
@pytest.mark.parametrize("column", ["contact", "id", "job_id"])
def test_a_number_that_a_spreadsheet_has_cut_is_an_error(
    cli: Cli, batch: Batch, tmp_path: Path, column: str
) -> None:
    """A phone with a country code has too many digits for its cell."""
    batch.write(batch.entry("anna", contact="8613810000000"))
    cli("run", batch.manifest)
    table = tmp_path / "results.csv"
    cli("results", "studio", "-o", table)
    damaged(table, lambda rows: rows[0].__setitem__(column, "8.61381E+12"))

    checked = cli("validate", table, "--json")

    assert checked.exit_code == 3
    (problem,) = [problem for problem in checked.document["problems"] if problem["severity"] == "error"]
    assert (problem["rule"], problem["field"], problem["line"]) == ("M11", column, 2)
    assert problem["message"].startswith(
        "is 8.61381E+12: the spreadsheet has cut the number; format the column as text"
    )
