"""`clean`: finished batches and orphaned jobs, shown first, and never beside a run."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

import anyio
import pytest

from orchestrator.api.engine_settings import real_clocks
from orchestrator.engine.service_connection import connect
from orchestrator.journal.sqlite import hold_batch_lock
from orchestrator.metastudio.credentials import Credentials, FoundCredentials
from orchestrator.simulator import Simulator, SimulatorOptions
from tests.cli.conftest import Batch, Cli, Terminal
from tests.cli.documents import check_document
from tests.rig import service_settings
from tests.strangers import Untouched


def make_late_job(simulator: Simulator, name: str) -> None:
    """Make the job of an entry's create once more, as a request that was repeated on its way would."""
    (job,) = [job for job in simulator.jobs if job.name == name]
    options = simulator.options

    async def make() -> None:
        settings = service_settings(
            endpoint=simulator.endpoint,
            project_id=options.project_id,
            credentials=FoundCredentials(
                secret=Credentials(options.ak, options.sk), source="the test", project_id=None
            ),
        )
        async with connect(settings, real_clocks(), reader_threads=1) as connection:
            body = {"name": job.name, "batch_name": job.batch_name, "tags": list(job.tags)}
            await connection.client.create_job(body)

    anyio.run(make)


@pytest.mark.usefixtures("simulator")
def test_a_finished_batch_is_shown_then_forgotten(cli: Cli, batch: Batch) -> None:
    """Once its last run is long enough ago; --dry-run only shows."""
    cli("run", batch.manifest)

    young = cli("clean", "--older-than", "30d", "--yes", "--json")
    shown = cli("clean", "--older-than", "0s", "--dry-run", "--json")
    forgotten = cli("clean", "--older-than", "0s", "--yes")

    for result in (young, shown):
        check_document("clean", result.document)
    assert young.document["batches"] == []
    assert [found["outcome"] for found in shown.document["batches"]] == ["found"]
    assert (forgotten.exit_code, cli("status", "--json").document["batches"]) == (0, [])
    assert "studio" in forgotten.stdout
    assert "1 removed" in forgotten.stdout


@pytest.mark.usefixtures("simulator")
def test_the_question_names_what_will_be_removed(
    cli: Cli, batch: Batch, answer: Callable[[str], Terminal]
) -> None:
    """On a terminal; any answer but yes keeps it."""
    cli("run", batch.manifest)

    asked = answer("n")
    kept = cli("clean", "--older-than", "0s")

    assert "Remove 1 finished batch from the journal? [y/N]" in asked.getvalue()
    assert kept.exit_code == 0
    assert len(cli("status", "--json").document["batches"]) == 1


@pytest.mark.parametrize("simulator_options", [SimulatorOptions(cap_urls=1)])
@pytest.mark.usefixtures("simulator")
def test_a_batch_with_work_left_stays(cli: Cli, batch: Batch) -> None:
    """However old."""
    batch.write(batch.entry("anna", video_multipart_count=2))
    assert cli("run", batch.manifest).exit_code == 8

    result = cli("clean", "--older-than", "0s", "--yes", "--json")

    assert result.document["batches"] == []
    assert len(cli("status", "--json").document["batches"]) == 1


@pytest.mark.usefixtures("simulator")
def test_a_batch_that_is_being_run_is_left_alone(cli: Cli, batch: Batch, home: Path) -> None:
    """The next time will do."""
    cli("run", batch.manifest)
    (lock,) = home.rglob("*.lock")

    with hold_batch_lock(lock):
        result = cli("clean", "--older-than", "0s", "--yes", "--json")

    check_document("clean", result.document)
    assert result.exit_code == 0
    assert [found["outcome"] for found in result.document["batches"]] == ["kept"]
    assert "another run works on this batch" in result.document["batches"][0]["reason"]
    assert len(cli("status", "--json").document["batches"]) == 1


def test_an_orphan_is_listed_and_deleted_only_with_yes(
    cli: Cli, batch: Batch, simulator: Simulator, home: Path
) -> None:
    """And not while a run works on its batch."""
    cli("run", batch.manifest)
    make_late_job(simulator, "anna")
    (lock,) = home.rglob("*.lock")

    listed = cli("clean", "--orphans")
    with hold_batch_lock(lock):
        kept = cli("clean", "--orphans", "--yes", "--json")
    jobs = [job.name for job in simulator.jobs]
    deleted = cli("clean", "--orphans", "--yes", "--json")
    nothing = cli("clean", "--orphans", "--yes", "--json")

    assert (listed.exit_code, kept.exit_code, deleted.exit_code) == (0, 0, 0)
    assert "jobs of this journal that no entry owns: 1" in listed.stdout
    assert "add --yes to remove what is listed" in listed.stderr
    assert sorted(jobs) == ["anna", "anna", "bo"]
    for result in (kept, deleted, nothing):
        check_document("clean", result.document)
    outcomes = [
        [found["outcome"] for found in result.document["orphans"]] for result in (kept, deleted, nothing)
    ]
    assert outcomes == [["kept"], ["removed"], []]
    assert sorted(job.name for job in simulator.jobs) == ["anna", "bo"]


def test_another_journal_s_jobs_of_the_same_batch_are_listed_and_never_deleted(
    cli: Cli, batch: Batch, simulator: Simulator, home: Path
) -> None:
    """Confirmed or still uploading; the command that takes them over is named."""
    cli("run", batch.manifest)
    other = home.parent / "server.db"
    cli("run", batch.manifest, "--state", other, "--on-existing", "create")
    with sqlite3.connect(other) as connection:
        theirs = {job_id for (job_id,) in connection.execute("SELECT job_id FROM entries")}
    connection.close()
    strangers = Untouched.of(simulator)

    shown = cli("clean", "--orphans", "--yes")
    result = cli("clean", "--orphans", "--yes", "--json")

    strangers.check()
    check_document("clean", result.document)
    assert result.document["orphans"] == []
    assert {found["job_id"] for found in result.document["foreign"]} == theirs
    command = f"orchestrator run {batch.manifest} --on-existing adopt"
    assert {found["adopt"] for found in result.document["foreign"]} == {command}
    assert "jobs of another journal" in shown.stdout
    assert command in shown.stdout


def test_what_cannot_be_agreed_to_or_is_not_said_is_a_wrong_usage(cli: Cli) -> None:
    """Exit 2."""
    nothing_named = cli("clean", "--yes", "--json")
    nobody_asked = cli("clean", "--older-than", "30d", "--json")
    no_time = cli("clean", "--older-than", "a while", "--json")

    for result in (nothing_named, nobody_asked, no_time):
        check_document("error", result.document)
        assert result.exit_code == 2
    assert "--yes" in nobody_asked.stderr
    assert "for example 30d" in no_time.stderr


@pytest.mark.usefixtures("simulator")
def test_orphans_need_a_service_to_ask(cli: Cli, batch: Batch, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which one, no batch tells."""
    cli("run", batch.manifest)
    monkeypatch.delenv("ORCHESTRATOR_ENDPOINT")

    result = cli("clean", "--orphans", "--json")

    check_document("error", result.document)
    assert result.exit_code == 4
