"""The commands of a fleet, from the queue's tables to the last avatar."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Iterator
from importlib import util
from pathlib import Path
from typing import NoReturn

import psycopg
import pytest

from orchestrator.domain.errors import ExitCode, JournalError
from orchestrator.fleet.queue import OwnedQueries
from orchestrator.simulator import Simulator
from tests.cli.conftest import Batch, Cli, Result
from tests.cli.documents import check_document
from tests.postgres import postgres, schema_of

__all__ = ["postgres"]


@pytest.fixture(autouse=True)
def state(postgres: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An empty schema of the server, which the environment names."""
    with schema_of(postgres) as url:
        monkeypatch.setenv("ORCHESTRATOR_STATE", url)
        yield url


def commands_of(result: Result) -> list[list[str]]:
    """The commands in a hint, without the program's name."""
    hint = next(line for line in result.stderr.splitlines() if line.startswith("hint: "))
    return [shlex.split(part)[1:] for part in hint.split("`") if part.startswith("orchestrator ")]


def test_what_is_queued_is_uploaded_by_a_worker(cli: Cli, batch: Batch, simulator: Simulator) -> None:
    """Each avatar once, however often it is queued; the second round finds nothing to do."""
    not_ready = cli("enqueue", batch.manifest)
    (install,) = commands_of(not_ready)
    installed = [cli(*install, "--json").document for _ in range(2)]
    first = cli("enqueue", batch.manifest, "--json")
    again = cli("enqueue", batch.manifest, "--json")
    worked = cli("work", "--until-done", "--json")
    after = cli("enqueue", batch.manifest, "--wait", "--json")

    assert not_ready.exit_code == ExitCode.CONFIGURATION
    assert [each["is_new"] for each in installed] == [True, False]
    check_document("fleet-install", installed[0])
    check_document("enqueue", first.document)
    check_document("work", worked.document)
    assert (first.exit_code, worked.exit_code, after.exit_code) == (ExitCode.OK,) * 3
    names = ("entries", "queued", "already")
    counts = [[each.document[name] for name in names] for each in (first, again, after)]
    assert counts == [[2, 2, 0], [2, 0, 2], [0, 0, 0]]
    (status,) = (line for line in cli("enqueue", batch.manifest, "--wait").stderr.splitlines() if "`" in line)
    shown = cli(*shlex.split(status.split("`")[1])[1:], "--json").document
    assert shown["entries"]["confirmed"] == 2
    assert sorted(job.name for job in simulator.jobs) == ["anna", "bo"]
    for job in simulator.jobs:
        assert job.objects["training_video"].read_bytes() == (batch.folder / f"{job.name}.mp4").read_bytes()


def test_a_file_that_another_host_sees_under_another_inode_is_the_same(
    cli: Cli, batch: Batch, simulator: Simulator, state: str
) -> None:
    """As file systems in user space have it: neither a worker nor a second `enqueue` minds."""
    cli("fleet", "install")
    cli("enqueue", batch.manifest)
    with psycopg.connect(state) as server:
        before = server.execute("SELECT files, updated_at FROM entries").fetchall()
    for film in batch.folder.glob("*.mp4"):
        copy = film.with_suffix(".copy")
        shutil.copy2(film, copy)
        copy.replace(film)
    cli("enqueue", batch.manifest)
    with psycopg.connect(state) as server:
        after = server.execute("SELECT files, updated_at FROM entries").fetchall()
    worked = cli("work", "--until-done", "--json")

    assert after == before
    assert worked.document["done"] == 2
    assert len(simulator.jobs) == 2


def test_what_is_decided_when_a_batch_is_queued_counts_wherever_it_is_uploaded(
    cli: Cli, batch: Batch, simulator: Simulator, tmp_path: Path
) -> None:
    """How large its parts are, and what becomes of jobs that exist: the command that the hint names works."""
    cli("run", batch.manifest, "--entry", "anna", "--state", tmp_path / "journal.db")
    cli("fleet", "install")
    cli("enqueue", batch.manifest, "--part-size", "100KiB")
    cli("work", "--until-done")
    (taken_over,) = [job for job in simulator.jobs if job.name == "anna"]
    error = cli("status", "studio", "--entry", "anna", "--json").document["error"]
    adopted = cli("enqueue", batch.manifest, "--on-existing", "adopt", "--json")
    cli("work", "--until-done")
    ended = cli("enqueue", batch.manifest, "--wait")

    assert (error["code"], "--on-existing adopt" in error["hint"]) == ("JobExists", True)
    assert (adopted.document["queued"], ended.exit_code) == (1, ExitCode.OK)
    parts = {
        job.name: sum(f"{job.job_id}_" in target and "#" in target for target in simulator.stats.stored)
        for job in simulator.jobs
    }
    assert parts == {"anna": 1, "bo": 3}
    assert [job.job_id for job in simulator.jobs if job.name == "anna"] == [taken_over.job_id]


def test_submit_and_retry_queue_what_they_want(cli: Cli, batch: Batch, simulator: Simulator) -> None:
    """A named entry is submitted, and no other; a cancelled one comes back with another job."""
    cli("fleet", "install")
    cli("enqueue", batch.manifest)
    cli("work", "--until-done")
    submitted = cli("submit", "studio", "--entry", "anna", "--json")
    cli("work", "studio", "--until-done")
    submissions = {job.name: job.submissions for job in simulator.jobs}
    cli("cancel", "studio", "--entry", "bo", "--yes")
    retried = cli("retry", "studio", "--entry", "bo", "--json")
    cli("work", "--until-done")

    for result in (submitted, retried):
        check_document("enqueue", result.document)
        assert (result.exit_code, result.document["queued"]) == (ExitCode.OK, 1)
    assert submissions == {"anna": 1, "bo": 0}
    assert sorted((job.name, job.submissions) for job in simulator.jobs) == [("anna", 1), ("bo", 0)]


@pytest.mark.usefixtures("simulator")
def test_run_leaves_the_journal_to_the_workers(cli: Cli, batch: Batch) -> None:
    """The commands that it names instead work."""
    refused = cli("run", batch.manifest)
    enqueue, wait = commands_of(refused)
    cli("fleet", "install")
    queued = cli(*enqueue)
    cli("work", "--until-done")
    waited = cli(*wait)

    assert refused.exit_code == ExitCode.USAGE
    assert (queued.exit_code, waited.exit_code) == (ExitCode.OK, ExitCode.OK)


@pytest.mark.usefixtures("simulator")
def test_what_a_worker_cannot_do_is_refused_with_what_it_can(
    cli: Cli, batch: Batch, tmp_path: Path, state: str
) -> None:
    """One entry at once, too short a hold, a signal as a failure where it is the end, a journal in a file."""
    cli("fleet", "install")
    refused = [cli("work", "-j", "1"), cli("work", "--hold", "3s"), cli("work", "--fail-if-stopped")]
    for result in refused:
        (command,) = commands_of(result)
        assert cli(*command, "--until-done").exit_code == ExitCode.OK
    in_a_file = cli("enqueue", batch.manifest, "--state", tmp_path / "journal.db")
    on_a_server = cli("enqueue", batch.manifest, "--state", state)

    assert [result.exit_code for result in (*refused, in_a_file)] == [ExitCode.USAGE] * 4
    assert "postgresql://USER@HOST/DATABASE" in in_a_file.stderr
    assert on_a_server.exit_code == ExitCode.OK


def test_without_the_extra_the_commands_say_what_to_install(
    cli: Cli, batch: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one sentence."""
    found = util.find_spec
    monkeypatch.setattr(
        "orchestrator.fleet.requirements.find_spec", lambda name: None if name == "pgqueuer" else found(name)
    )
    results = [cli("fleet", "install"), cli("enqueue", batch.manifest), cli("work")]

    assert [result.exit_code for result in results] == [ExitCode.CONFIGURATION] * 3
    assert all("pip install 'metastudio-orchestrator[fleet]'" in result.stderr for result in results)


@pytest.mark.usefixtures("simulator")
def test_an_entry_that_ends_its_workers_is_laid_aside(cli: Cli, batch: Batch, state: str) -> None:
    """After more than ten, with the command that queues it again."""
    cli("fleet", "install")
    cli("enqueue", batch.manifest, "--entry", "anna")
    with psycopg.connect(state) as server:
        # What eleven workers leave that claimed it and died before they had done anything.
        server.execute("UPDATE entries SET epoch = 11, holder = 'process 7 on studio-2'")
        server.execute(
            "INSERT INTO pgqueuer_log (job_id, status, entrypoint, priority)"
            " SELECT id, 'picked', entrypoint, 0 FROM pgqueuer, generate_series(1, 11)"
        )
    worked = cli("work", "--until-done", "--json")
    failed = cli("status", "studio", "--entry", "anna", "--json").document["error"]
    cli(*shlex.split(failed["hint"].split("`")[1])[1:])
    again = cli("work", "--until-done", "--json")

    assert worked.document["failed"] == 1
    assert (failed["kind"], failed["message"].split(" ")[0]) == ("parked", "11")
    assert (again.document["done"], again.document["failed"]) == (1, 0)


@pytest.mark.usefixtures("simulator")
def test_a_queue_that_is_away_for_too_long_ends_the_worker(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the code for "start it again later", as any command that needs the server."""
    away = JournalError("the journal's server went away", hint="run again", is_temporary=True)

    async def dequeue(*_: object, **__: object) -> NoReturn:
        raise away

    cli("fleet", "install")
    monkeypatch.setattr(OwnedQueries, "dequeue", dequeue)
    ended = cli("work")

    assert ended.exit_code == ExitCode.TEMPORARY
    assert f"error: {away.message}" in ended.stderr
