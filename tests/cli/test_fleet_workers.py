"""Workers that are killed, frozen and stopped while others work beside them: real processes on a real server."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import psycopg
import pytest

from orchestrator.domain.errors import ExitCode
from orchestrator.journal.journal import Journal
from orchestrator.simulator import Simulator
from tests.cli.conftest import Batch, Cli
from tests.cli.documents import check_document
from tests.cli.fleet_journal import postgres, state
from tests.cli.fleet_worker import BLIND_VARIABLE, HOST_VARIABLE
from tests.cli.test_fleet import commands_of
from tests.journal.severed_link import SeveredLink

__all__ = ["postgres", "state"]

pytestmark = pytest.mark.long

ROOT = Path(__file__).parents[2]
HOLD = 2.0
#: A machine under load is slower than what is measured here.
PATIENCE = 30.0

Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start(simulator: Simulator) -> Iterator[Start]:
    """Start workers that do not outlive the test, each ready to work when it is returned."""
    del simulator
    started: list[subprocess.Popen[str]] = []

    def start_worker(*points: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.cli.fleet_worker", str(HOLD), *points],
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        assert process.stderr is not None
        assert "ready" in process.stderr.readline()
        return process

    yield start_worker
    for process in started:
        process.kill()
        process.communicate()


def until(is_so: Callable[[], object]) -> float:
    """The seconds until *is_so*."""
    began = time.monotonic()
    while not is_so():
        assert time.monotonic() - began < PATIENCE
        time.sleep(0.02)
    return time.monotonic() - began


def is_frozen(process: subprocess.Popen[str]) -> bool:
    """True when the process is stopped, as by SIGSTOP."""
    return Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def confirmed(cli: Cli) -> int:
    """How many entries are done."""
    return int(cli("status", "--json").document["batches"][0]["entries"].get("confirmed", 0))


def assert_delivered(simulator: Simulator, batch: Batch, *names: str) -> None:
    """One live job each, with the files of the entry."""
    assert sorted(job.name for job in simulator.jobs) == sorted(names)
    for job in simulator.jobs:
        assert job.objects["training_video"].read_bytes() == (batch.folder / f"{job.name}.mp4").read_bytes()


def bytes_of(batch: Batch, entries: Iterable[Mapping[str, Any]]) -> int:
    """The length of all files of *entries* together."""
    files = [batch.folder / str(value) for entry in entries for value in entry.values()]
    return sum(path.stat().st_size for path in files if path.is_file())


def test_a_killed_worker_is_taken_over_after_the_hold(
    cli: Cli, batch: Batch, simulator: Simulator, start: Start, state: str
) -> None:
    """Each object is right, and each avatar has one job, though the heir had to find out how far it was."""

    def is_taken_over() -> bool:
        query = "SELECT count(*) FROM entries WHERE state <> 'confirmed' AND holder LIKE %s"
        with psycopg.connect(state) as server:
            return server.execute(query, [f"%process {killed.pid} %"]).fetchall() == [(0,)]

    batch.write(*(batch.entry(name) for name in ("anna", "bo", "cleo", "dora")))
    cli("enqueue", batch.manifest)
    killed = start("put.after")
    until(lambda: is_frozen(killed))
    heir = start()
    killed.kill()
    took = until(is_taken_over)
    until(lambda: confirmed(cli) == 4)
    heir.send_signal(signal.SIGTERM)

    assert heir.wait(PATIENCE) == 0
    assert took < HOLD + 2
    assert_delivered(simulator, batch, "anna", "bo", "cleo", "dora")
    assert simulator.stats.requests["create"] == 4


def test_a_worker_that_was_frozen_before_a_create_makes_no_second_job(
    cli: Cli, batch: Batch, simulator: Simulator, start: Start
) -> None:
    """It wakes with the request ready to be sent, when another worker has the job already."""
    batch.write(batch.entry("anna"))
    cli("enqueue", batch.manifest)
    frozen = start("create.before")
    until(lambda: is_frozen(frozen))
    heir = start()
    until(lambda: confirmed(cli) == 1)
    frozen.send_signal(signal.SIGCONT)
    batch.write(batch.entry("anna"), batch.entry("bo"), batch.entry("cleo"))
    heir.send_signal(signal.SIGTERM)
    heir.wait(PATIENCE)
    cli("enqueue", batch.manifest)
    until(lambda: confirmed(cli) == 3)
    frozen.send_signal(signal.SIGTERM)

    # It has worked on since, so what it had ready was let go, not only late.
    assert frozen.wait(PATIENCE) == 0
    assert simulator.stats.requests["create"] == 3
    assert_delivered(simulator, batch, "anna", "bo", "cleo")


def test_a_stopped_worker_hands_back_and_nothing_is_sent_twice(
    cli: Cli, batch: Batch, simulator: Simulator, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the middle of an upload that another worker continues."""
    entries = [batch.entry(name, size=4_000_000) for name in ("anna", "bo")]
    batch.write(*entries)
    cli("enqueue", batch.manifest, "--part-size", "1MiB")
    with monkeypatch.context() as patch:
        patch.setenv("ORCHESTRATOR_BWLIMIT", "2M")
        patch.setenv("ORCHESTRATOR_PARALLEL", "2")
        stopped = start()
    until(lambda: simulator.stats.put_bytes_stored > 1_000_000)
    stopped.send_signal(signal.SIGTERM)
    heir = start()

    assert stopped.wait(PATIENCE) == 0
    until(lambda: confirmed(cli) == 2)
    heir.send_signal(signal.SIGTERM)
    assert heir.wait(PATIENCE) == 0
    with psycopg.connect(os.environ["ORCHESTRATOR_STATE"]) as server:
        movers = server.execute("SELECT DISTINCT holder FROM transitions").fetchall()
    assert len(movers) == 2
    assert_delivered(simulator, batch, "anna", "bo")
    assert simulator.stats.put_bytes_received == bytes_of(batch, entries)


def test_an_entry_that_one_host_cannot_read_is_uploaded_by_another(
    cli: Cli, batch: Batch, simulator: Simulator, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the first one does not take it again, however long the other lets it wait."""

    def rows(query: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(os.environ["ORCHESTRATOR_STATE"]) as server:
            return server.execute(query.encode()).fetchall()

    monkeypatch.setenv(HOST_VARIABLE, "studio-2")
    seeing = start()
    until(lambda: rows("SELECT name FROM workers"))
    seeing.send_signal(signal.SIGSTOP)
    # It counts as alive however slow this machine is.
    rows("UPDATE workers SET seen_at = seen_at + 3600 RETURNING 1")
    monkeypatch.setenv(HOST_VARIABLE, "studio-1")
    monkeypatch.setenv(BLIND_VARIABLE, str(batch.folder))
    batch.write(batch.entry("anna"))
    cli("enqueue", batch.manifest)
    blind = start()
    until(lambda: rows("SELECT host FROM handbacks"))
    until(lambda: rows("SELECT id FROM pgqueuer WHERE status = 'queued'"))
    # It takes what else there is to do, so it has looked at the queue since.
    monkeypatch.delenv(BLIND_VARIABLE)
    elsewhere = batch.folder.parent / "elsewhere"
    elsewhere.mkdir()
    other = Batch(elsewhere)
    other.write(other.entry("bo"))
    cli("enqueue", other.manifest, "--batch-name", "other")
    until(lambda: rows("SELECT 1 FROM entries WHERE entry_id = 'bo' AND state = 'confirmed'"))
    status = cli("fleet", "status", "--json").document
    picked = rows("SELECT count(*) FROM pgqueuer_log WHERE status = 'picked'")
    seeing.send_signal(signal.SIGCONT)
    until(lambda: rows("SELECT 1 FROM entries WHERE entry_id = 'anna' AND state = 'confirmed'"))
    movers = rows("SELECT DISTINCT holder FROM transitions WHERE entry_id = 'anna'")
    for worker in (blind, seeing):
        worker.send_signal(signal.SIGTERM)

    assert [worker.wait(PATIENCE) for worker in (blind, seeing)] == [0, 0]
    assert picked == [(2,)]
    assert [(each["entry"], each["host"], each["is_parked"]) for each in status["handed_back"]] == [
        ("anna", "studio-1", False)
    ]
    assert sorted(each["name"].rpartition(" ")[2] for each in status["workers"]) == ["studio-1", "studio-2"]
    assert [holder.rpartition(" ")[2] for (holder,) in movers] == ["studio-2"]
    assert simulator.stats.requests["create"] == 2
    assert rows("SELECT name FROM workers") == []


def test_a_brake_stops_all_workers_until_it_is_released(
    cli: Cli, batch: Batch, simulator: Simulator, start: Start
) -> None:
    """Refusals of the account that one worker meets: no other takes an entry, and people see why."""
    names = ["anna", "bo", "cleo", "dora", "emil", "fay"]
    batch.write(*(batch.entry(name) for name in names))
    cli("enqueue", batch.manifest)
    simulator.faults.rates["early-403"] = 1.0
    start()
    until(lambda: cli("fleet", "status", "--json").document["brakes"])
    start()
    stopped = cli("fleet", "status", "--json").document
    waited = cli("enqueue", batch.manifest, "--wait")
    simulator.faults.rates.clear()
    created = simulator.stats.requests["create"]
    (release,) = commands_of(waited)
    released = cli(*release, "--json")
    until(lambda: confirmed(cli) == len(names))
    free = cli("fleet", "status", "--json").document

    check_document("fleet-status", stopped)
    check_document("fleet-release", released.document)
    assert created < len(names)
    assert waited.exit_code == ExitCode.REFUSED
    assert stopped["brakes"][0]["reason"] in waited.stderr
    assert stopped["entries"]["queued"] > 0
    assert released.document["released"] == [stopped["brakes"][0]["reason"]]
    assert free["brakes"] == []


def test_cancel_takes_an_entry_from_the_worker_that_has_it(
    cli: Cli, batch: Batch, simulator: Simulator, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though it writes between the look at the entry and the claim; afterwards it sends nothing and makes no job."""
    batch.write(batch.entry("anna"))
    cli("enqueue", batch.manifest)
    worker = start("put.after")
    until(lambda: is_frozen(worker))
    look, looks = Journal.entries_named, []

    async def look_and_be_late(journal: Journal, digest: str, names: Collection[str]) -> Any:
        records = await look(journal, digest, names)
        looks.append(len(looks))
        # The second look is the canceller's: the one before only counts.
        if len(looks) == 2:
            await journal.claim(records["anna"])
        return records

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "entries_named", look_and_be_late)
        cancelled = cli("cancel", "studio", "--entry", "anna", "--yes")
    worker.send_signal(signal.SIGCONT)
    worker.send_signal(signal.SIGTERM)

    assert cancelled.exit_code == ExitCode.OK
    assert len(looks) > 2
    assert worker.wait(PATIENCE) == 0
    assert simulator.jobs == []
    assert simulator.stats.requests["create"] == 1


def test_connections_to_the_journal_that_are_cut_cost_no_bytes(
    cli: Cli, batch: Batch, simulator: Simulator, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the middle of an upload, all of the worker's at once; it goes on as if nothing had been."""
    entries = [batch.entry(name, size=3_000_000) for name in ("anna", "bo")]
    batch.write(*entries)
    cli("enqueue", batch.manifest, "--part-size", "1MiB")
    monkeypatch.setenv("ORCHESTRATOR_BWLIMIT", "3M")
    worker = start()
    until(lambda: simulator.stats.put_bytes_stored > 1_000_000)
    with psycopg.connect(os.environ["ORCHESTRATOR_STATE"], autocommit=True) as server:
        cut = server.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE %s",
            [f"%process {worker.pid} %"],
        ).fetchall()
    until(lambda: confirmed(cli) == 2)
    worker.send_signal(signal.SIGTERM)

    assert len(cut) >= 2
    assert worker.wait(PATIENCE) == 0
    assert_delivered(simulator, batch, "anna", "bo")
    assert simulator.stats.put_bytes_received == bytes_of(batch, entries)


def test_a_worker_that_cannot_reach_the_journal_ends_soon_after_its_grace(
    cli: Cli, batch: Batch, simulator: Simulator, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With receipts that it cannot write down; others find those segments stored."""
    batch.write(*(batch.entry(name, size=3_000_000) for name in ("anna", "bo")))
    cli("enqueue", batch.manifest, "--part-size", "1MiB")
    monkeypatch.setenv("ORCHESTRATOR_BWLIMIT", "3M")
    monkeypatch.setenv("ORCHESTRATOR_GRACE", "1")
    state = os.environ["ORCHESTRATOR_STATE"]
    with SeveredLink(state) as link:
        monkeypatch.setenv("ORCHESTRATOR_STATE", link.url())
        worker = start()
        until(lambda: simulator.stats.put_bytes_stored > 1_000_000)
        with link.down():
            worker.send_signal(signal.SIGTERM)
            ended = worker.wait(PATIENCE)
            assert worker.stderr is not None
            told = worker.stderr.read()
    monkeypatch.setenv("ORCHESTRATOR_STATE", state)
    heir = start()
    until(lambda: confirmed(cli) == 2)
    heir.send_signal(signal.SIGTERM)

    assert ended == ExitCode.TEMPORARY
    assert "error: the journal's server cannot be reached" in told
    assert "Traceback" not in told
    assert heir.wait(PATIENCE) == 0
    assert_delivered(simulator, batch, "anna", "bo")
