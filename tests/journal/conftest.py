"""A journal in a real SQLite file for each test."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from orchestrator.journal.journal import Journal, open_journal
from tests.journal.samples import Clock

Look = Callable[[str], list[tuple[Any, ...]]]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the journal is."""
    return tmp_path / "state" / "journal.db"


@pytest.fixture
async def journal(path: Path) -> AsyncIterator[Journal]:
    """An open, empty journal."""
    async with open_journal(str(path), clock=Clock()) as opened:
        yield opened


@pytest.fixture
def look(path: Path) -> Iterator[Look]:
    """What another process would see in the journal."""

    def query(sql: str) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(path)) as connection:
            return connection.execute(sql).fetchall()

    return query


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not wait for locks."""
    monkeypatch.setattr("orchestrator.journal.sqlite.connections.BUSY_TIMEOUT_MS", 1)
