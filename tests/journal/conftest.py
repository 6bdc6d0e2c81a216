"""A journal in a real database for each test: an SQLite file, or a schema of a PostgreSQL server."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest

from orchestrator.journal.backend import is_url
from orchestrator.journal.journal import Journal, open_journal
from tests.journal.samples import Clock
from tests.postgres import postgres, schema_of

__all__ = ["postgres"]

Look = Callable[[str], list[tuple[Any, ...]]]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the journal is when it is a file."""
    return tmp_path / "state" / "journal.db"


@pytest.fixture(params=["sqlite", "postgres"])
def location(request: pytest.FixtureRequest) -> Iterator[str]:
    """Where the journal is; modules about one database have a fixture of this name of their own."""
    if request.param == "sqlite":
        yield str(request.getfixturevalue("path"))
        return
    with schema_of(request.getfixturevalue("postgres")) as url:
        yield url


@pytest.fixture
async def journal(location: str) -> AsyncIterator[Journal]:
    """An open, empty journal."""
    async with open_journal(location, clock=Clock()) as opened:
        yield opened


@pytest.fixture
def look(location: str) -> Iterator[Look]:
    """What another process would see in the journal."""

    def query(sql: str) -> list[tuple[Any, ...]]:
        if is_url(location):
            with psycopg.connect(location) as server:
                return server.execute(sql.encode()).fetchall()
        with closing(sqlite3.connect(location)) as file:
            return file.execute(sql).fetchall()

    return query


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not wait for locks."""
    monkeypatch.setattr("orchestrator.journal.sqlite.BUSY_TIMEOUT_MS", 1)
