"""Where the journal is, who may read it, and how durable it is."""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from orchestrator.domain.errors import JournalError
from orchestrator.journal.journal import Journal, open_journal
from orchestrator.journal.sqlite import find_journal
from tests.journal.samples import SIGNATURE, Clock, add_entry, confirm, database_of, pragma, upload


@pytest.fixture
def location(path: Path) -> str:
    """SQLite's alone."""
    return str(path)


@pytest.fixture
def no_umask() -> Iterator[None]:
    """A process whose files everybody may read unless it says otherwise."""
    before = os.umask(0)
    yield
    os.umask(before)


def mode_of(path: Path) -> int:
    """The permission bits."""
    return stat.S_IMODE(path.stat().st_mode)


async def test_nobody_else_can_read_a_new_journal(no_umask: None, path: Path) -> None:
    """The journal, its log, its index and the directory made for them."""
    async with open_journal(str(path), clock=Clock()) as journal:
        await add_entry(journal)
        modes = {file.name: mode_of(file) for file in path.parent.iterdir()}

    assert modes == {"journal.db": 0o600, "journal.db-wal": 0o600, "journal.db-shm": 0o600}
    assert mode_of(path.parent) == 0o700


def make_readable(path: Path) -> None:
    """An empty file that everybody may read."""
    path.parent.mkdir()
    path.touch(0o644)


async def test_a_journal_others_could_read_is_taken_from_them(no_umask: None, path: Path) -> None:
    """It holds presigned URLs."""
    make_readable(path)

    async with open_journal(str(path), clock=Clock()):
        assert mode_of(path) == 0o600


def make_database_of_another(path: Path) -> None:
    """A database that others use."""
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE theirs (x)")
    path.chmod(0o644)


def content_of(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Every file with its bytes and who may use them."""
    return {path.name: (path.read_bytes(), mode_of(path)) for path in folder.iterdir()}


async def test_a_database_of_another_program_is_left_as_it_is(path: Path) -> None:
    """A slip in --state must neither add tables to it nor take it from those who use it."""
    make_database_of_another(path)
    before = content_of(path.parent)

    with pytest.raises(JournalError, match="of another program"):
        async with open_journal(str(path), clock=Clock()):
            pass

    assert content_of(path.parent) == before


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("journal_mode", "wal"),
        ("synchronous", 2),
        ("foreign_keys", 1),
        ("secure_delete", 1),
        ("busy_timeout", 30_000),
    ],
)
async def test_the_connection_that_writes_is_durable(journal: Journal, name: str, value: object) -> None:
    """WAL with synchronous=FULL: what is committed survives a power cut."""
    assert await pragma(journal, name) == value


async def test_urls_of_a_confirmed_job_are_gone_from_the_disk(path: Path) -> None:
    """Not only from the tables: from every byte of every file."""
    async with open_journal(str(path), clock=Clock()) as journal:
        record = await upload(journal, await add_entry(journal), parts=200)
        assert is_on_disk(path, SIGNATURE)
        await confirm(journal, record)

    assert not is_on_disk(path, SIGNATURE)
    assert is_on_disk(path, "footage")


def is_on_disk(path: Path, text: str) -> bool:
    """True when a file of the journal holds *text*."""
    return any(text.encode() in file.read_bytes() for file in path.parent.iterdir())


@pytest.mark.parametrize("name", ["what?x=1", "100%20", "a#b", "Größe und 王", "file:x"])
async def test_any_directory_name_will_do(tmp_path: Path, name: str) -> None:
    """A path is a path, not a URL."""
    folder = tmp_path / name
    folder.mkdir()

    async with open_journal(str(folder / "journal.db"), clock=Clock()) as journal:
        await add_entry(journal)

    assert (folder / "journal.db").stat().st_size > 0
    assert names_in(tmp_path) == [name]


def names_in(folder: Path) -> list[str]:
    """What is in *folder*."""
    return [place.name for place in folder.iterdir()]


def test_a_location_is_a_file_or_the_directory_of_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`~` is the user's home."""
    monkeypatch.setenv("HOME", str(tmp_path))

    assert find_journal(str(tmp_path)).path == tmp_path / "journal.db"
    assert find_journal(str(tmp_path / "other.db")).path == tmp_path / "other.db"
    assert find_journal("~/mine.db").path == tmp_path / "mine.db"


async def test_what_is_no_file_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    """Making a device private would take it from the whole machine."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    pipe.chmod(0o666)

    with pytest.raises(JournalError, match="it is not a file"):
        async with open_journal(str(pipe), clock=Clock()):
            pass

    assert mode_of(pipe) == 0o666


async def test_two_processes_may_open_a_new_journal_at_once(path: Path) -> None:
    """Both find the tables; neither finds them half made."""
    async with open_journal(str(path), clock=Clock()) as one, open_journal(str(path), clock=Clock()) as other:
        await add_entry(one)

        assert len(await other.batches()) == 1
        assert database_of(one) is not database_of(other)
