"""Plays rounds of a fleet: workers that are struck, and others that must bring the batch to its end."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from multiprocessing import connection, get_context
from pathlib import Path
from typing import Any

import psycopg

from orchestrator.engine.events import Point
from tests.crash import fleet_worker
from tests.crash.fleet_rounds import (
    CUTS,
    HOLD_SECONDS,
    OF_ALL_HOSTS,
    OF_THE_SERVER,
    TAKING,
    Blow,
    FleetRound,
    Strike,
)
from tests.crash.harness import Life, Peer, Played, trail_lines, write_batch
from tests.crash.network import Link, Network, within
from tests.postgres import OwnServer, schema_of

#: When a round that does not come to its end is given up.
_PATIENCE_SECONDS = 180.0
_FROZEN_SECONDS = HOLD_SECONDS + 1.0
#: The next strike comes also when the workers have done nothing for so long: they may be dead.
_STILL_SECONDS = HOLD_SECONDS + 3.0
#: Keeps every claim with its time by the server's clock; and what was written under another epoch than the entry's,
#: or by another process than the one that claimed it last: segments with their receipts, changes of entries. What it
#: looks at is exact, as who writes these has locked the entry's row.
_GUARD = """
CREATE TABLE claims (entry_id TEXT, epoch INTEGER, holder TEXT, at DOUBLE PRECISION);
CREATE TABLE old_writes (entry_id TEXT, what TEXT, writer TEXT);
CREATE FUNCTION is_other(holder TEXT) RETURNS BOOLEAN LANGUAGE sql AS $$
    SELECT left('orchestrator ' || holder, 63) <> current_setting('application_name')
$$;
CREATE FUNCTION note_entry() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF NEW.epoch > OLD.epoch THEN
        INSERT INTO claims VALUES (NEW.entry_id, NEW.epoch, NEW.holder, extract(epoch FROM clock_timestamp()));
    ELSIF is_other(OLD.holder) AND to_jsonb(NEW) - 'attempts' <> to_jsonb(OLD) - 'attempts' THEN
        INSERT INTO old_writes VALUES (NEW.entry_id, TG_TABLE_NAME, current_setting('application_name'));
    END IF;
    RETURN NEW;
END $$;
CREATE FUNCTION note_part() RETURNS trigger LANGUAGE plpgsql AS $$ DECLARE entry entries; BEGIN
    SELECT * INTO entry FROM entries WHERE batch = NEW.batch AND entry_id = NEW.entry_id;
    IF is_other(entry.holder) OR (to_jsonb(NEW) ->> 'epoch')::integer <> entry.epoch THEN
        INSERT INTO old_writes VALUES (NEW.entry_id, TG_TABLE_NAME, current_setting('application_name'));
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER note_entry AFTER UPDATE ON entries FOR EACH ROW EXECUTE FUNCTION note_entry();
CREATE TRIGGER note_segment AFTER INSERT OR UPDATE ON segments FOR EACH ROW EXECUTE FUNCTION note_part();
CREATE TRIGGER note_transition AFTER INSERT ON transitions FOR EACH ROW EXECUTE FUNCTION note_part()
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
#: How soon a link that drops packets is noticed, at both ends: a tenth of what it takes for users, as the hold is. A
#: server that does not answer is not waited for longer than two seconds, which is the least that libpq takes.
_SOON_NOTICED = "&".join(
    (
        "connect_timeout=2",
        "tcp_user_timeout=1000",
        "keepalives_idle=1",
        "keepalives_interval=1",
        "keepalives_count=1",
    )
)
_SOON_NOTICED_BY_SERVER = (
    "tcp_user_timeout=1s",
    "tcp_keepalives_idle=1",
    "tcp_keepalives_interval=1",
    "tcp_keepalives_count=1",
)
#: Of the rows that a worker has locked which is frozen in a transaction; users have half a minute.
_LET_GO = f"idle_in_transaction_session_timeout={HOLD_SECONDS:g}s"
_HELD = """
SELECT e.holder, e.entry_id, q.id FROM entries e JOIN pgqueuer q
ON e.batch = q.entrypoint AND e.entry_id = convert_from(q.payload, 'UTF8')
WHERE q.status = 'picked' AND e.holder IS NOT NULL
"""
_NEXT_CLAIM = "SELECT at, holder FROM claims WHERE entry_id = %s AND at > %s ORDER BY at LIMIT 1"
_HANDED_BACK = """
SELECT extract(epoch FROM min(created))::float8 FROM pgqueuer_log
WHERE job_id = %s AND status = 'queued' AND created > to_timestamp(%s)
"""
_CUT = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE %s"

#: An entry and its row of the queue.
Held = tuple[str, int]


@dataclass
class Struck:
    """A strike that met a worker alive, or the server while one was, and what was held there."""

    strike: Strike
    at: float
    pid: int | None
    held: list[Held]
    takeovers: list[float] = field(default_factory=list)
    """Seconds until another worker had claimed each of the entries."""


@dataclass
class Cut:
    """Links of a worker's host, and from when to when nothing came through them."""

    worker: int
    links: tuple[Link, ...]
    gone_at: float
    is_of_all: bool
    """Whether those of all other hosts were cut with them."""
    back_at: float = float("inf")


@dataclass(frozen=True)
class Arrival:
    """What the service or the store was sent, from the host of which worker, about which job or avatar.

    It arrived at `at`; its worker began it at `begun_at`, after it had asked whether the entry was still its own.
    """

    at: float
    begun_at: float
    worker: int
    what: str
    about: str


@dataclass
class Frozen:
    """A worker that stopped itself: what there was before it was woken, and when it had come to its end."""

    requests: list[dict[str, int]] = field(default_factory=list)
    """What the service and the store were sent, by operation."""
    journals: list[dict[str, set[str]]] = field(default_factory=list)
    """The rows of each table."""
    jobs: list[set[str]] = field(default_factory=list)
    """The ids of the jobs that the service has."""

    @property
    def problems(self) -> list[str]:
        """What the worker did for an entry that another had brought to its end."""
        (before, after), (was, now) = self.requests, self.journals
        sent = {
            name: count - before.get(name, 0) for name, count in after.items() if count != before.get(name)
        }
        # A create that came too late made a job that only its worker knows, so that worker deletes it.
        cleared = {
            job_id
            for job_id in self.jobs[0] - self.jobs[1]
            if not any(job_id in row for row in was["entries"])
        }
        if cleared and sent.get("delete") == len(cleared):
            del sent["delete"]
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
    outages: list[tuple[float, float]] = field(default_factory=list)
    """From when to when the server was away."""
    frozen: Frozen | None = None
    """None where no worker stopped itself."""
    exit_codes: dict[str, int | None] = field(default_factory=dict)
    entries: list[tuple[Any, ...]] = field(default_factory=list)
    transitions: list[tuple[Any, ...]] = field(default_factory=list)
    segments: tuple[int, int] = (0, 0)
    """How many have a URL still, and how many have no receipt."""
    old_writes: list[tuple[Any, ...]] = field(default_factory=list)
    cuts: list[Cut] = field(default_factory=list)
    arrived: list[Arrival] = field(default_factory=list)
    """All that the hosts of a network sent, in its order."""
    pids: list[int] = field(default_factory=list)
    """The workers' process ids."""
    claims: list[tuple[str, str, float]] = field(default_factory=list)
    """Of which entry, by whom and when, in their order."""


class _Process:
    """A fork; rounds are played in threads, of which one at a time may look after the program's processes.

    Whenever one is started, multiprocessing looks at all others: two threads may read how one ended, and the second
    finds nothing.
    """

    _looking = threading.Lock()
    _context = get_context("forkserver")
    _context.set_forkserver_preload([fleet_worker.__name__])

    def __init__(self, target: Callable[..., object], *arguments: object) -> None:
        with self._looking:
            self._process = self._context.Process(target=target, args=arguments, daemon=True)
            self._process.start()
        assert self._process.pid is not None
        self.pid = self._process.pid

    @property
    def exit_code(self) -> int | None:
        """None while it lives."""
        with self._looking:
            return self._process.exitcode

    def wait(self, seconds: float = _PATIENCE_SECONDS) -> int | None:
        """Its exit code, None when it still lives after *seconds*."""
        connection.wait([self._process.sentinel], max(seconds, 0.0))
        return self.exit_code

    @property
    def is_stopped(self) -> bool:
        """True while it is stopped, as by SIGSTOP."""
        with suppress(FileNotFoundError, ProcessLookupError):
            return Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"
        return False

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal, if it lives."""
        if self.exit_code is None:
            os.kill(self.pid, number)


@dataclass
class _Worker:
    process: _Process
    trail: Path
    is_until_done: bool
    #: Lines of the trail up to which lives were told already.
    told: int = 0
    is_lost: bool = False
    wakes_at: float | None = None
    cut: Cut | None = None
    #: What cut it off, and until when.
    cut_by: Blow | None = None
    mends_at: float = 0.0
    _steps: int = 0
    _read: int = 0

    def life(self, *, cut_off_by: str | None = None) -> Life:
        """What it did since the last one."""
        lines = trail_lines(self.trail)[self.told :]
        self.told += len(lines)
        return Life(None, cut_off_by is not None, lines, cut_off_by or "an update of the job")

    def steps(self) -> int:
        """How many lines its trail has."""
        if self.trail.exists():
            with self.trail.open("rb") as trail:
                trail.seek(self._read)
                fresh = trail.read()
            self._read += len(fresh)
            self._steps += fresh.count(b"\n")
        return self._steps


@dataclass(frozen=True)
class Site:
    """Hosts of their own for the workers, and the database's URL there."""

    network: Network
    url: str


class FleetHarness:
    """A service that lasts, a schema for each round, and the workers of rounds."""

    def __init__(self, folder: Path, postgres: OwnServer | str, site: Site | None = None) -> None:
        """Keep everything in *folder*, which must exist; a URL does for rounds that do not strike the server."""
        self._folder = folder
        self._postgres = postgres
        self._site = site
        with within(site.network.servers) if site else nullcontext():
            self._server = Peer("tests.crash.server", folder / "server.log")

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
            address=Link.SERVICE.server if self._site else None,
        )
        try:
            url = self._postgres if isinstance(self._postgres, str) else self._postgres.url
            options = (_LET_GO, *_SOON_NOTICED_BY_SERVER) if self._site else (_LET_GO,)
            with schema_of(url, *options) as state:
                environ = _environ(fleet, service, state)
                if self._site:
                    environ |= _environ_of_hosts(state.replace(url, f"{self._site.url}?{_SOON_NOTICED}"))
                _Play(done, environ, _Journal(state, self._postgres), self._inspect, self._site).play()
            found = self._inspect()
        finally:
            self._server.ask(do="stop")
        played = done.played
        played.jobs, played.stored, played.faults = found["jobs"], found["stored"], found["faults"]
        played.touched = found["touched"]
        hosts = {Link.SERVICE.address(number): number for number in range(fleet.workers)}
        done.arrived = [
            Arrival(at, begun_at, hosts[address], what, about)
            for at, begun_at, address, what, about in found["arrived"]
        ]
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
        journal: _Journal,
        inspect: Callable[[], dict[str, Any]],
        site: Site | None,
    ) -> None:
        self._done = done
        self._folder = done.played.folder
        self._environ = environ
        self._journal = journal
        self._inspect = inspect
        self._site = site
        self._workers: list[_Worker] = []

    def play(self) -> None:
        self._command("fleet", "install")
        self._journal.ask(_GUARD)
        self._command("enqueue", str(self._folder / "batch.yaml"))
        # Else the first worker has it all before the last is there.
        self._journal.ask(_GIVE_OUT, "1 hour", "%")
        try:
            if self._done.round.stops_at is not None:
                self._freeze(self._done.round.stops_at)
            else:
                # Where nothing but links is struck, all workers come to the end.
                self._start(self._done.round.workers, is_until_done=self._site is not None)
                self._await_ready()
                self._journal.ask(_GIVE_OUT, "0 s", "%")
                self._strike_all()
                if self._site is None:
                    self._start(self._done.round.workers - 1)
            exits = self._await_end()
        finally:
            self._journal.start()
            for worker in self._workers:
                worker.process.signal(signal.SIGKILL)
                worker.process.wait()
                self._done.played.lives.append(worker.life())
        killed, unbegun = -signal.SIGKILL, 128 + signal.SIGTERM
        self._done.exit_codes = {
            name: code
            for name, code in exits.items()
            # A worker that is stopped before it listens ends as any command does, and has done nothing.
            if code != killed and not (code == unbegun and not trail_lines(self._folder / name))
        }
        self._done.outages = self._journal.outages
        self._done.pids = [worker.process.pid for worker in self._workers]
        self._read_journal()
        self._journal.close()

    def _await_end(self) -> dict[str, int | None]:
        """The exit codes of all workers: of those that end by themselves, and then of the others."""
        exits: dict[str, int | None] = {}
        deadline = time.monotonic() + _PATIENCE_SECONDS
        for worker in sorted(self._workers, key=lambda worker: worker.is_until_done, reverse=True):
            if not (worker.is_until_done or worker.is_lost):
                worker.process.signal(signal.SIGTERM)
            exits[worker.trail.name] = worker.process.wait(deadline - time.monotonic())
        return exits

    def _command(self, *arguments: str) -> None:
        surroundings = self._surroundings(self._folder / "commands.log", 0)
        exit_code = _Process(fleet_worker.command, surroundings, *arguments).wait()
        if exit_code != 0:
            told = (self._folder / "commands.log").read_text()
            raise RuntimeError(f"{' '.join(arguments)} exited with {exit_code}: {told}")

    def _start(self, count: int, stops_at: str | None = None, *, is_until_done: bool = True) -> None:
        for _ in range(count):
            trail = self._folder / f"worker-{len(self._workers)}"
            surroundings = self._surroundings(Path(f"{trail}.log"), len(self._workers))
            shift = fleet_worker.Shift(
                str(trail), self._done.round.jobs, HOLD_SECONDS, is_until_done, stops_at
            )
            process = _Process(fleet_worker.work, surroundings, shift)
            self._workers.append(_Worker(process, trail, is_until_done))

    def _surroundings(self, log: Path, host: int) -> fleet_worker.Surroundings:
        namespace = self._site.network.hosts[host] if self._site else None
        return fleet_worker.Surroundings(self._environ, str(log), namespace)

    def _await_ready(self) -> None:
        deadline = time.monotonic() + _PATIENCE_SECONDS
        logs = [Path(f"{worker.trail}.log") for worker in self._workers]
        while not all(log.exists() and "ready" in log.read_text() for log in logs):
            if time.monotonic() > deadline:
                raise RuntimeError("the workers did not become ready; their logs say why")
            time.sleep(0.01)

    def _freeze(self, moment: str) -> None:
        """Let the first worker stop itself at *moment*, another end all entries, and then the first go on."""
        self._start(1, moment)
        self._await_ready()
        frozen = self._workers[0]
        self._journal.ask(_GIVE_OUT, "0 s", self._done.round.drawn.entries[0].entry_id)
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while not frozen.process.is_stopped:
            if frozen.process.exit_code is not None or time.monotonic() > deadline:
                return
            time.sleep(0.01)
        self._journal.ask(_GIVE_OUT, "0 s", "%")
        # After a PUT its segment is stored, and has no receipt; else nothing is on its way.
        cut_off_by = "a SIGSTOP of its own" if moment == Point.PUT.after else None
        self._done.played.lives.append(frozen.life(cut_off_by=cut_off_by))
        self._start(1)
        self._workers[1].process.wait()
        found = self._done.frozen = Frozen()
        for has_ended in (False, True):
            if has_ended:
                frozen.process.signal(signal.SIGCONT)
                frozen.process.wait()
            inspected = self._inspect()
            found.requests.append(inspected["requests"])
            found.jobs.append(set(inspected["live"]))
            rows = {table: f"SELECT ({row})::text FROM {table} AS each" for table, row in _WRITTEN.items()}
            found.journals.append(
                {table: {row for (row,) in self._journal.ask(query)} for table, query in rows.items()}
            )

    def _strike_all(self) -> None:
        due = [*self._done.round.strikes]
        steps, moved_at = 0, time.monotonic()
        while due or self._journal.is_away or any(worker.wakes_at or worker.cut for worker in self._workers):
            time.sleep(0.01)
            now = time.monotonic()
            reached = sum(worker.steps() for worker in self._workers)
            if reached > steps:
                steps, moved_at = reached, now
            self._wake(now)
            patience = _STILL_SECONDS if steps else _PATIENCE_SECONDS
            if due and (steps >= due[0].after_steps or now > moved_at + patience):
                self._strike(due.pop(0))
                moved_at = time.monotonic()

    def _wake(self, now: float) -> None:
        self._journal.start_if_due(now)
        for worker in self._workers:
            if worker.wakes_at is not None and now >= worker.wakes_at:
                worker.wakes_at = None
                worker.process.signal(signal.SIGCONT)
            if worker.cut is not None and now >= worker.mends_at:
                self._mend(worker)

    def _strike(self, strike: Strike) -> None:
        alive = [
            worker for worker in self._workers if not worker.is_lost and worker.process.exit_code is None
        ]
        if strike.blow in OF_THE_SERVER:
            if alive and not self._journal.is_away:
                held = [each for entries in self._journal.held().values() for each in entries]
                self._done.struck.append(Struck(strike, time.time(), None, held))
                self._journal.stop(strike)
            return
        reached = [worker for worker in alive if worker.wakes_at is None and worker.cut is None]
        if strike.blow in OF_ALL_HOSTS:
            if reached:
                held = [each for entries in self._journal.held().values() for each in entries]
                self._done.struck.append(Struck(strike, time.time(), None, held))
                for worker in reached:
                    self._cut(strike, worker)
            return
        worker = self._met(strike, reached)
        # Without a server there are no connections to cut.
        if worker is not None and not (strike.blow is Blow.CUT and self._journal.is_away):
            self._strike_worker(strike, worker)

    def _met(self, strike: Strike, awake: list[_Worker]) -> _Worker | None:
        if strike.worker is not None:
            worker = self._workers[strike.worker]
            return worker if worker in awake else None
        held = self._journal.held()
        return max(awake, key=lambda worker: len(held.get(worker.process.pid, [])), default=None)

    def _strike_worker(self, strike: Strike, worker: _Worker) -> None:
        process, is_halted = worker.process, strike.blow in {Blow.KILL, Blow.FREEZE}
        if is_halted:
            # What it has is looked at while it stands still.
            process.signal(signal.SIGSTOP)
        at = time.time()
        held = self._journal.held().get(process.pid, [])
        self._done.struck.append(Struck(strike, at, process.pid, held))
        match strike.blow:
            case Blow.KILL:
                process.signal(signal.SIGKILL)
                process.wait()
            case Blow.FREEZE:
                worker.wakes_at = time.monotonic() + _FROZEN_SECONDS
            case Blow.STOP:
                process.signal(signal.SIGTERM)
            case Blow.CUT:
                self._journal.ask(_CUT, name_of(process.pid))
            case _:
                self._cut(strike, worker)
        if is_halted:
            self._done.played.lives.append(worker.life(cut_off_by=str(strike.blow)))
        worker.is_lost = strike.blow in {Blow.KILL, Blow.STOP}

    def _cut(self, strike: Strike, worker: _Worker) -> None:
        assert self._site is not None
        number, links = self._workers.index(worker), CUTS[strike.blow]
        for link in links:
            self._site.network.cut(number, link)
        worker.cut = Cut(number, links, time.time(), strike.blow in OF_ALL_HOSTS)
        worker.cut_by, worker.mends_at = strike.blow, time.monotonic() + strike.away_seconds
        self._done.cuts.append(worker.cut)

    def _mend(self, worker: _Worker) -> None:
        assert self._site is not None
        assert worker.cut is not None
        # Until then it may have sent what it could not write down, or what did not arrive.
        self._done.played.lives.append(worker.life(cut_off_by=str(worker.cut_by)))
        worker.cut.back_at = time.time()
        for link in worker.cut.links:
            self._site.network.mend(worker.cut.worker, link)
        worker.cut = None

    def _read_journal(self) -> None:
        done, ask = self._done, self._journal.ask
        done.entries = ask("SELECT entry_id, job_id, delivered, state FROM entries")
        done.transitions = ask(
            "SELECT entry_id, from_state, to_state, epoch FROM transitions ORDER BY entry_id, at, ctid"
        )
        (done.segments,) = ask("SELECT count(url), count(*) FILTER (WHERE stored_at IS NULL) FROM segments")
        done.old_writes = ask("SELECT entry_id, what, writer FROM old_writes")
        done.claims = ask("SELECT entry_id, holder, at FROM claims ORDER BY at")
        for struck in done.struck:
            if struck.strike.blow in TAKING:
                found = [self._taken_over(struck, *held) for held in struck.held]
                struck.takeovers = [seconds for seconds in found if seconds is not None]

    def _taken_over(self, struck: Struck, entry_id: str, row: int) -> float | None:
        """After how many seconds another worker claimed the entry, unless its worker came back to it before."""
        assert struck.pid is not None
        claims = self._journal.ask(_NEXT_CLAIM, entry_id, struck.at)
        ((handed_back,),) = self._journal.ask(_HANDED_BACK, row, struck.at)
        if not claims or name_of(struck.pid).strip("%") in claims[0][1]:
            return None
        at = float(claims[0][0])
        return None if handed_back is not None and handed_back < at else at - struck.at


class _Journal:
    """The round's schema, and the server, which takes connections along when it goes."""

    def __init__(self, state: str, postgres: OwnServer | str) -> None:
        self._state = state
        self._postgres = postgres
        self._connection: psycopg.Connection[Any] | None = None
        self._back_at: float | None = None
        #: What was held when the server went: nobody can take or give back anything while it is away.
        self._held: dict[int, list[Held]] = {}
        self.outages: list[tuple[float, float]] = []

    @property
    def is_away(self) -> bool:
        """True between `stop` and the start."""
        return self._back_at is not None

    def ask(self, query: str, *parameters: object) -> list[tuple[Any, ...]]:
        """All rows of *query*."""
        if self._connection is None:
            self._connection = psycopg.connect(self._state, autocommit=True)
        # Without parameters a query may be several.
        cursor = self._connection.execute(query.encode(), parameters or None)
        return cursor.fetchall() if cursor.description else []

    def held(self) -> dict[int, list[Held]]:
        """What each worker holds, by its process id."""
        if self.is_away:
            return self._held
        found: dict[int, list[Held]] = {}
        for holder, entry_id, row in self.ask(_HELD):
            found.setdefault(int(holder.split()[1]), []).append((entry_id, row))
        return found

    def stop(self, strike: Strike) -> None:
        """Stop the server for as long as *strike* says."""
        assert not isinstance(self._postgres, str)
        self._held = self.held()
        self.close()
        self._gone_at, self._back_at = time.time(), time.monotonic() + strike.away_seconds
        self._postgres.stop(is_crash=strike.blow is Blow.CRASH)

    def start_if_due(self, now: float) -> None:
        """Start the server when it was away for long enough."""
        if self._back_at is not None and now >= self._back_at:
            self.start()

    def start(self) -> None:
        """Start the server, if it is away."""
        if self._back_at is not None and not isinstance(self._postgres, str):
            self._postgres.start()
            self._back_at = None
            self.outages.append((self._gone_at, time.time()))

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def name_of(pid: int) -> str:
    """A pattern of the name by which the journal and the server know a process."""
    return f"%process {pid} %"


def _environ_of_hosts(state: str) -> dict[str, str]:
    return {
        "ORCHESTRATOR_STATE": state,
        "ORCHESTRATOR_INSECURE_HTTP": "true",
        # Of this machine's proxies there is none.
        "no_proxy": "*",
    }


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
