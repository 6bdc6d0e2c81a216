"""`results`: a table of what came of a batch that is a manifest of the same batch."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest

from orchestrator.manifest import RESULT_COLUMNS
from orchestrator.simulator import Simulator, SimulatorOptions
from tests.cli.conftest import Batch, Cli
from tests.cli.documents import check_document


def rows(text: str) -> list[dict[str, str]]:
    """The table as dictionaries."""
    return list(csv.DictReader(io.StringIO(text)))


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
