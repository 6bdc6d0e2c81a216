"""Plays rounds of a fleet: workers that are struck, and others that must bring the batch to its end."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing import get_context
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import psycopg

from orchestrator.engine.events import Point
from tests.crash import fleet_worker
from tests.crash.fleet_rounds import HOLD_SECONDS, Blow, FleetRound, Strike
from tests.crash.harness import Life, Peer, Played, trail_lines, write_batch
from tests.postgres import schema_of

#: When a round that does not come to its end is given up.
_PATIENCE_SECONDS = 90.0
_FROZEN_SECONDS = HOLD_SECONDS + 1.0
#: Keeps what is written under another epoch than the entry's, which it sees exactly: the entry's row is locked.
_GUARD = """
CREATE TABLE old_writes (entry_id TEXT, epoch INTEGER, to_state TEXT);
CREATE FUNCTION note_old_write() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF NEW.epoch <> (SELECT epoch FROM entries WHERE batch = NEW.batch AND entry_id = NEW.entry_id) THEN
        INSERT INTO old_writes VALUES (NEW.entry_id, NEW.epoch, NEW.to_state);
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER old_write AFTER INSERT ON transitions FOR EACH ROW EXECUTE FUNCTION note_old_write()
"""
_GIVE_OUT = (
    "UPDATE pgqueuer SET execute_after = now() + %s::interval WHERE convert_from(payload, 'UTF8') LIKE %s"
)
#: What a worker writes of entries, without its attempts: one that failed before it was frozen may be noted late.
_WRITTEN = {
    "entries": "to_jsonb(each) - 'attempts'",
    "segments": "to_jsonb(each)",
    "transitions": "to_jsonb(each)",
    "creates": "to_jsonb(each)",
}
#: Of the rows that a worker has locked which is frozen in a transaction; users have half a minute.
_LET_GO = f"idle_in_transaction_session_timeout={HOLD_SECONDS:g}s"
_HELD = """
SELECT q.id FROM pgqueuer q JOIN entries e ON e.batch = q.entrypoint AND e.entry_id = convert_from(q.payload, 'UTF8')
WHERE q.status = 'picked' AND e.holder LIKE %s
"""
_TAKEN_OVER = """
SELECT extract(epoch FROM min(created))::float8 - %s FROM pgqueuer_log
WHERE job_id = ANY(%s) AND status = 'picked' AND created > to_timestamp(%s) GROUP BY job_id
"""
_CUT = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE %s"


@dataclass
class Struck:
    """A strike that met a worker alive, and the rows of the queue that this had."""

    strike: Strike
    at: float
    rows: list[int]
    had_heir: bool = False
    """Another worker with a free place lived on, untouched."""
    takeovers: list[float] = field(default_factory=list)
    """Seconds until another worker had each of its entries."""


@dataclass
class Frozen:
    """A worker that stopped itself: what there was before it was woken, and when it had come to its end."""

    requests: list[dict[str, int]] = field(default_factory=list)
    """What the service and the store were sent, by operation."""
    journals: list[dict[str, set[str]]] = field(default_factory=list)
    """The rows of each table."""

    @property
    def problems(self) -> list[str]:
        """What the worker did for an entry that another had brought to its end."""
        (before, after), (was, now) = self.requests, self.journals
        sent = [name for name in after if after[name] != before.get(name)]
        return [
            *(f"{name} was sent after another worker had ended the entry" for name in sent),
            *(f"{table} was changed afterwards: {row}" for table in was for row in was[table] ^ now[table]),
        ]


@dataclass
class FleetPlayed:
    """A round that was played, and what there is to judge it by."""

    round: FleetRound
    played: Played
    struck: list[Struck] = field(default_factory=list)
    frozen: Frozen | None = None
    """None where no worker stopped itself."""
    exit_codes: dict[str, int | None] = field(default_factory=dict)
    entries: list[tuple[Any, ...]] = field(default_factory=list)
    transitions: list[tuple[Any, ...]] = field(default_factory=list)
    segments: tuple[int, int] = (0, 0)
    """How many have a URL still, and how many have no receipt."""
    old_writes: list[tuple[Any, ...]] = field(default_factory=list)


@dataclass
class _Worker:
    process: ForkServerProcess
    trail: Path
    #: Lines of the trail up to which lives were told already.
    told: int = 0
    is_lost: bool = False

    @property
    def pid(self) -> int:
        assert self.process.pid is not None
        return self.process.pid

    def life(self, *, is_killed: bool) -> Life:
        """What it did since the last one."""
        lines = trail_lines(self.trail)[self.told :]
        self.told += len(lines)
        return Life(None, is_killed, lines)


class FleetHarness:
    """A service that lasts, a schema for each round, and the workers of rounds."""

    def __init__(self, folder: Path, postgres: str) -> None:
        """Keep everything in *folder*, which must exist; *postgres* is the URL of a database."""
        self._folder = folder
        self._postgres = postgres
        self._server = Peer("tests.crash.server", folder / "server.log")
        self._processes = get_context("forkserver")
        self._processes.set_forkserver_preload([fleet_worker.__name__])

    def close(self) -> None:
        """End the service."""
        self._server.close()

    def play(self, fleet: FleetRound) -> FleetPlayed:
        """Play one round to its end; the folder stays for the judge."""
        drawn = fleet.drawn
        folder = self._folder / f"round-{drawn.number}"
        folder.mkdir()
        done = FleetPlayed(fleet, Played(drawn, folder))
        write_batch(folder, drawn)
        service = self._server.ask(
            do="start",
            data=str(folder / "service"),
            options=drawn.options,
            scripts=drawn.scripts,
            batch_name=drawn.batch_name,
            names=[entry.name for entry in drawn.entries],
            has_twins=False,
        )
        try:
            with (
                schema_of(self._postgres, _LET_GO) as state,
                psycopg.connect(state, autocommit=True) as journal,
            ):
                _Play(
                    done, _environ(fleet, service, state), journal, self._processes.Process, self._inspect
                ).play()
            found = self._inspect()
        finally:
            self._server.ask(do="stop")
        played = done.played
        played.jobs, played.stored, played.faults = found["jobs"], found["stored"], found["faults"]
        played.touched = found["touched"]
        return done

    def _inspect(self) -> dict[str, Any]:
        found: dict[str, Any] = self._server.ask(do="inspect")
        return found


class _Play:
    """One round being played."""

    def __init__(
        self,
        done: FleetPlayed,
        environ: dict[str, str],
        journal: psycopg.Connection[Any],
        process: type[ForkServerProcess],
        inspect: Callable[[], dict[str, Any]],
    ) -> None:
        self._done = done
        self._folder = done.played.folder
        self._environ = environ
        self._journal = journal
        self._process = process
        self._inspect = inspect
        self._workers: list[_Worker] = []

    def play(self) -> None:
        self._command("fleet", "install")
        self._journal.execute(_GUARD)
        self._command("enqueue", str(self._folder / "batch.yaml"))
        # Else the first worker has it all before the last is there.
        self._journal.execute(_GIVE_OUT, ["1 hour", "%"])
        try:
            if self._done.round.stops_at is not None:
                self._freeze(self._done.round.stops_at)
            else:
                self._start(self._done.round.workers)
                self._await_ready()
                self._journal.execute(_GIVE_OUT, ["0 s", "%"])
                self._strike_all()
                self._start(self._done.round.workers - 1)
            self._await_end()
        finally:
            exits = {worker.trail.name: worker.process.exitcode for worker in self._workers}
            for worker in self._workers:
                worker.process.kill()
                worker.process.join()
                self._done.played.lives.append(worker.life(is_killed=False))
        killed, stopped = -signal.SIGKILL, 128 + signal.SIGTERM
        asked = {
            f"worker-{each.strike.worker}" for each in self._done.struck if each.strike.blow is Blow.STOP
        }
        self._done.exit_codes = {
            name: code
            for name, code in exits.items()
            if code != killed and not (code == stopped and name in asked)
        }
        self._read_journal()

    def _command(self, *arguments: str) -> None:
        surroundings = fleet_worker.Surroundings(self._environ, str(self._folder / "commands.log"))
        process = self._process(target=fleet_worker.command, args=(surroundings, *arguments), daemon=True)
        process.start()
        process.join(_PATIENCE_SECONDS)
        if process.exitcode != 0:
            told = (self._folder / "commands.log").read_text()
            raise RuntimeError(f"{' '.join(arguments)} exited with {process.exitcode}: {told}")

    def _start(self, count: int, stops_at: str | None = None) -> None:
        for _ in range(count):
            number = len(self._workers)
            trail = self._folder / f"worker-{number}"
            surroundings = fleet_worker.Surroundings(self._environ, f"{trail}.log")
            arguments = (surroundings, str(trail), self._done.round.jobs, HOLD_SECONDS, stops_at)
            process = self._process(target=fleet_worker.work, args=arguments, daemon=True)
            process.start()
            self._workers.append(_Worker(process, trail))

    def _await_ready(self) -> None:
        deadline = time.monotonic() + _PATIENCE_SECONDS
        logs = [Path(f"{worker.trail}.log") for worker in self._workers]
        while not all(log.exists() and "ready" in log.read_text() for log in logs):
            if time.monotonic() > deadline:
                raise RuntimeError("the workers did not become ready; their logs say why")
            time.sleep(0.01)

    def _await_end(self) -> None:
        deadline = time.monotonic() + _PATIENCE_SECONDS
        for worker in self._workers:
            worker.process.join(max(deadline - time.monotonic(), 0.0))

    def _freeze(self, moment: str) -> None:
        """Let the first worker stop itself at *moment*, another end all entries, and then the first go on."""
        self._start(1, moment)
        self._await_ready()
        frozen = self._workers[0]
        self._journal.execute(_GIVE_OUT, ["0 s", self._done.round.drawn.entries[0].entry_id])
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while not _is_stopped(frozen.pid):
            if not frozen.process.is_alive() or time.monotonic() > deadline:
                return
            time.sleep(0.01)
        self._journal.execute(_GIVE_OUT, ["0 s", "%"])
        # After a PUT its segment is stored, and has no receipt; else nothing is on its way.
        self._done.played.lives.append(frozen.life(is_killed=moment == Point.PUT.after))
        self._start(1)
        self._workers[1].process.join(_PATIENCE_SECONDS)
        found = self._done.frozen = Frozen()
        for has_ended in (False, True):
            if has_ended:
                os.kill(frozen.pid, signal.SIGCONT)
                frozen.process.join(_PATIENCE_SECONDS)
            found.requests.append(self._inspect()["requests"])
            found.journals.append(
                {
                    table: {
                        row
                        for (row,) in self._journal.execute(
                            f"SELECT ({row})::text FROM {table} AS each".encode()
                        )
                    }
                    for table, row in _WRITTEN.items()
                }
            )

    def _strike_all(self) -> None:
        began = time.monotonic()
        waking: list[tuple[float, _Worker]] = []
        due = [*self._done.round.strikes]
        while due or waking:
            now = time.monotonic()
            if due and now >= began + due[0].after_seconds:
                self._strike(due.pop(0), waking)
            elif waking and now >= waking[0][0]:
                os.kill(waking.pop(0)[1].pid, signal.SIGCONT)
            else:
                time.sleep(0.01)

    def _strike(self, strike: Strike, waking: list[tuple[float, _Worker]]) -> None:
        worker = self._workers[strike.worker]
        if worker.is_lost or any(each is worker for _, each in waking) or not worker.process.is_alive():
            return
        if strike.blow in {Blow.KILL, Blow.FREEZE}:
            # What it has is looked at while it stands still.
            os.kill(worker.pid, signal.SIGSTOP)
        name = f"%process {worker.pid} %"
        rows = [row[0] for row in self._journal.execute(_HELD, [name])]
        struck = Struck(strike, time.time(), rows)
        self._done.struck.append(struck)
        match strike.blow:
            case Blow.KILL:
                worker.process.kill()
                worker.process.join()
            case Blow.FREEZE:
                waking.append((time.monotonic() + _FROZEN_SECONDS, worker))
            case Blow.STOP:
                os.kill(worker.pid, signal.SIGTERM)
            case Blow.CUT:
                self._journal.execute(_CUT, [name])
        if strike.blow in {Blow.KILL, Blow.FREEZE}:
            self._done.played.lives.append(worker.life(is_killed=True))
        worker.is_lost = strike.blow in {Blow.KILL, Blow.STOP}

    def _read_journal(self) -> None:
        done, read = self._done, self._journal.execute
        done.entries = read("SELECT entry_id, job_id, delivered, state FROM entries").fetchall()
        done.transitions = read(
            "SELECT entry_id, from_state, to_state, epoch FROM transitions ORDER BY entry_id, at, ctid"
        ).fetchall()
        (done.segments,) = read(
            "SELECT count(url), count(*) FILTER (WHERE stored_at IS NULL) FROM segments"
        ).fetchall()
        done.old_writes = read("SELECT entry_id, epoch, to_state FROM old_writes").fetchall()
        for struck in done.struck:
            if struck.strike.blow in {Blow.KILL, Blow.FREEZE}:
                seconds = read(_TAKEN_OVER, [struck.at, struck.rows, struck.at]).fetchall()
                struck.takeovers = [float(row[0]) for row in seconds]
            touched = {other.strike.worker for other in done.struck}
            struck.had_heir = done.round.has_room and len(touched) < done.round.workers


def _is_stopped(pid: int) -> bool:
    """True when the process is stopped, as by SIGSTOP."""
    with suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"
    return False


def _environ(fleet: FleetRound, service: dict[str, Any], state: str) -> dict[str, str]:
    return {
        "ORCHESTRATOR_STATE": state,
        "ORCHESTRATOR_ENDPOINT": service["endpoint"],
        "ORCHESTRATOR_API_RATE": fleet.api_rate,
        "ORCHESTRATOR_PART_SIZE": "100KiB",
        # A worker that stops itself has nothing else on its way.
        "ORCHESTRATOR_PARALLEL": "1" if fleet.stops_at else "3",
        # So slow that strikes meet workers in the middle of the batch.
        "ORCHESTRATOR_BWLIMIT": "off" if fleet.stops_at else "250K",
        "ORCHESTRATOR_ON_EXISTING": fleet.drawn.on_existing,
        "ORCHESTRATOR_SUBMIT": str(fleet.drawn.is_submit_wanted).lower(),
        "HUAWEICLOUD_SDK_AK": service["ak"],
        "HUAWEICLOUD_SDK_SK": service["sk"],
        "HUAWEICLOUD_SDK_PROJECT_ID": service["project_id"],
    }
