"""`verify` reads the files again, compares them with receipts and objects, and sends nothing."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from orchestrator.simulator import Simulator, SimulatorOptions, World
from tests.cli.conftest import Batch, Cli, Result
from tests.cli.documents import check_document


@pytest.fixture
def simulator_options(request: pytest.FixtureRequest) -> SimulatorOptions:
    """A service that shows objects once they are joined, unless a test says otherwise."""
    return getattr(request, "param", SimulatorOptions())


def files(result: Result) -> Mapping[tuple[str, str], Mapping[str, Any]]:
    """The files by entry and kind; the document is what its schema says."""
    check_document("verify", result.document)
    assert result.document["exit_code"] == result.exit_code
    return {(file["entry"], file["kind"]): file for file in result.document["files"]}


def test_files_that_are_as_they_were_sent_are_the_same_here_and_there(
    cli: Cli, batch: Batch, simulator: Simulator
) -> None:
    """Also after a copy, which has another time and inode; only reads reach the service."""
    cli("run", batch.manifest)
    film = batch.folder / "bo.mp4"
    shutil.copyfile(film, batch.folder / "copy")
    (batch.folder / "copy").replace(film)
    jobs, objects = len(simulator.jobs), dict(simulator.stats.requests)

    result = cli("verify", "studio", "--json")

    assert result.exit_code == 0
    assert {file["state"] for file in files(result).values()} == {"same"}
    assert files(result)["bo", "training_video"]["stored"] == "same"
    asked = {name for name, count in simulator.stats.requests.items() if count != objects.get(name, 0)}
    assert len(simulator.jobs) == jobs
    assert not {"create", "update", "delete", "put"} & asked


def test_one_changed_byte_is_a_change_and_the_other_files_are_not(
    cli: Cli, batch: Batch, simulator: Simulator
) -> None:
    """Of the same size and time; exit 8."""
    cli("run", batch.manifest)
    film = batch.folder / "bo.mp4"
    status = film.stat()
    content = bytearray(film.read_bytes())
    content[-1] ^= 1
    film.write_bytes(content)
    os.utime(film, ns=(status.st_atime_ns, status.st_mtime_ns))
    (batch.folder / "anna.pdf").write_bytes(b"%PDF-1.4 another letter")

    result = cli("verify", "studio", "--json")

    assert result.exit_code == 8
    changed = {place for place, file in files(result).items() if file["state"] == "changed"}
    assert changed == {("bo", "training_video"), ("anna", "grant_file")}
    assert files(result)["bo", "training_video"]["stored"] == "same"


def test_a_missing_file_leaves_it_open(cli: Cli, batch: Batch, simulator: Simulator) -> None:
    """It is put away, as footage that was uploaded is: exit 9, and the object may still be compared."""
    cli("run", batch.manifest)
    (batch.folder / "bo.mp4").unlink()

    result = cli("verify", "studio", "--json")

    assert result.exit_code == 9
    film = files(result)["bo", "training_video"]
    assert (film["state"], film["stored"]) == ("unknown", "same")
    assert result.document["counts"]["unknown"] == 1


def test_another_object_in_the_store_is_a_change(
    cli: Cli, batch: Batch, simulator: Simulator, home: Path
) -> None:
    """Though the file here is as it was."""
    cli("run", batch.manifest)
    anna, bo = simulator.jobs
    journal = next(home.rglob("journal.db"))
    with sqlite3.connect(journal) as connection:
        connection.execute("UPDATE entries SET job_id = ? WHERE job_id = ?", [anna.job_id, bo.job_id])

    result = cli("verify", "studio", "--json")

    assert result.exit_code == 8
    films = {entry: file for (entry, kind), file in files(result).items() if kind == "training_video"}
    assert sorted(film["stored"] for film in films.values()) == ["changed", "same"]


@pytest.mark.parametrize(
    "simulator_options", [SimulatorOptions(world=World(download_urls="never"))], indirect=True
)
def test_what_the_service_does_not_show_is_compared_here_only(
    cli: Cli, batch: Batch, simulator: Simulator
) -> None:
    """And said to be so."""
    cli("run", batch.manifest)

    result = cli("verify", "studio", "--json")

    assert result.exit_code == 0
    assert {file["stored"] for file in files(result).values()} == {None}
    assert "0 of 8 also compared" in cli("verify", "studio").stdout


def test_without_credentials_or_service_the_files_are_compared_all_the_same(
    cli: Cli, batch: Batch, simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A note says what was left out."""
    cli("run", batch.manifest)
    monkeypatch.delenv("HUAWEICLOUD_SDK_SK")
    monkeypatch.delenv("HUAWEICLOUD_SDK_AK")

    result = cli("verify", "studio")

    assert result.exit_code == 0
    assert "stored objects are not compared: no credentials" in result.stderr


def test_what_was_sent_without_a_digest_or_not_at_all_is_unknown(
    cli: Cli, batch: Batch, simulator: Simulator
) -> None:
    """Nothing could prove it."""
    cli("run", batch.manifest, "--verify", "off")

    result = cli("verify", "studio", "--json")

    assert result.exit_code == 9
    assert {file["reason"] for file in files(result).values()} == {"sent without a digest"}


def test_patterns_choose_entries_and_none_is_a_usage_error(
    cli: Cli, batch: Batch, simulator: Simulator
) -> None:
    """Globs over ids; may be repeated."""
    cli("run", batch.manifest)

    assert {entry for entry, _ in files(cli("verify", "studio", "--entry", "an*", "--json"))} == {"anna"}
    both = cli("verify", "studio", "--entry", "a*", "--entry", "b?", "--json")
    assert {entry for entry, _ in files(both)} == {"anna", "bo"}
    assert cli("verify", "studio", "--entry", "zoe*").exit_code == 2
    assert cli("verify", "nightly").exit_code == 2


def test_a_film_in_parts_is_hashed_part_by_part(cli: Cli, batch: Batch, simulator: Simulator) -> None:
    """As it was sent, and its object by the ETag of parts."""
    batch.write(batch.entry("anna", 700_000, video_multipart_count=3))
    cli("run", batch.manifest)

    same = cli("verify", "studio", "--json")
    with Path(batch.folder / "anna.mp4").open("r+b") as film:
        film.seek(400_000)
        film.write(b"x")
    changed = cli("verify", "studio", "--json")

    assert (same.exit_code, changed.exit_code) == (0, 8)
    assert files(same)["anna", "training_video"]["stored"] == "same"
