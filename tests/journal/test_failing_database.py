"""A database that fails: a sentence that helps, the right exit code, and nothing half-written."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest

from orchestrator.domain.errors import ExitCode, JournalError, exit_code_of
from orchestrator.domain.states import EntryState
from orchestrator.journal.journal import Journal, open_journal
from orchestrator.journal.records import EntryRecord
from tests.journal.conftest import Look
from tests.journal.samples import (
    BATCH,
    Clock,
    add_entries,
    add_entry,
    database_of,
    planned,
    reading,
    upload,
    writing,
)


@pytest.fixture
def location(path: Path) -> str:
    """SQLite's alone."""
    return str(path)


async def failure_of(path: Path) -> JournalError:
    """How opening the journal and writing to it fails."""
    with pytest.raises(JournalError) as caught:
        await write_into(path)
    return caught.value


async def write_into(path: Path) -> EntryRecord:
    """Open the journal and write an entry."""
    async with open_journal(str(path), clock=Clock()) as journal:
        return await add_entry(journal)


async def fill_the_disk(journal: Journal) -> None:
    """Leave the journal no page to grow by."""
    pages = await database_of(journal).write(reading("PRAGMA page_count"))
    await database_of(journal).write(writing(f"PRAGMA max_page_count={pages}"))


async def test_a_full_disk_is_temporary_and_nothing_is_half_written(journal: Journal, look: Look) -> None:
    """The write that did not fit is rolled back whole; with space again the same write goes through."""
    record = await journal.transition(await add_entry(journal), EntryState.CREATING, "requested")
    await fill_the_disk(journal)

    with pytest.raises(JournalError) as caught:
        await journal.job_created(record, "job-1", planned(1000), "created")

    assert caught.value.message == "the journal cannot be written: the disk is full"
    assert caught.value.hint == "free some space and run again; nothing is lost"
    assert exit_code_of(caught.value) is ExitCode.TEMPORARY
    assert look("SELECT state, job_id FROM entries") == [("creating", None)]
    assert look("SELECT count(*) FROM segments") == [(0,)]
    assert look("SELECT count(*) FROM transitions") == [(1,)]

    await database_of(journal).write(writing("PRAGMA max_page_count=1000000"))
    await journal.job_created(record, "job-1", planned(1000), "created")
    assert look("SELECT count(*) FROM segments") == [(1001,)]


async def test_a_journal_that_became_read_only_says_so(journal: Journal) -> None:
    """It stays readable, and writable again once it is allowed."""
    record = await add_entry(journal)
    await database_of(journal).write(writing("PRAGMA query_only=ON"))

    with pytest.raises(JournalError, match="permission denied or read-only") as caught:
        await journal.claim(record)

    assert exit_code_of(caught.value) is ExitCode.CONFIGURATION
    assert caught.value.hint == "make it writable, or name another place with --state"
    assert await journal.entry(BATCH, record.entry_id) == record


@contextmanager
def locked_elsewhere(path: Path) -> Iterator[None]:
    """Another process that writes and does not come to an end."""
    script = (
        "import sqlite3, sys\n"
        "connection = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        "connection.execute('BEGIN EXCLUSIVE')\n"
        "print('locked', flush=True)\n"
        "sys.stdin.read()\n"
    )
    command = [sys.executable, "-c", script, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"locked\n"
        try:
            yield
        finally:
            process.kill()


@pytest.mark.usefixtures("impatient")
async def test_a_journal_that_another_process_locks_is_temporary(path: Path) -> None:
    """At opening as in the middle of a run; afterwards everything goes on."""
    async with open_journal(str(path), clock=Clock()) as journal:
        record = await add_entry(journal)
        with locked_elsewhere(path):
            opening = await failure_of(path)
            with pytest.raises(JournalError) as writing_failed:
                await journal.claim(record)
        claimed = await journal.claim(record)

    assert claimed.epoch == 1
    for error in (opening, writing_failed.value):
        assert "is locked by another process" in error.message
        assert exit_code_of(error) is ExitCode.TEMPORARY


def make_text(path: Path) -> None:
    """A file of another kind."""
    path.write_text("id,name,training_video\n" * 100)


def make_short(path: Path) -> None:
    """The first bytes of a journal."""
    path.write_bytes(b"SQLite format 3\0" + bytes(84))


def make_directory(path: Path) -> None:
    """A directory where the file should be."""
    (path / "journal.db").mkdir(parents=True)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (make_text, "is not a readable journal (damaged, or another kind of file)"),
        (make_short, "is not a readable journal (damaged, or another kind of file)"),
        (make_directory, "cannot be opened: Is a directory"),
    ],
)
async def test_what_is_no_journal_is_refused_with_its_path(tmp_path: Path, make, sentence: str) -> None:
    """The file may be somebody's manifest: it stays as it is."""
    path = tmp_path / "state"
    make(path)
    content = path.read_bytes() if path.is_file() else None

    error = await failure_of(path)

    assert sentence in error.message
    assert str(path) in error.message
    assert "--state" in (error.hint or "")
    assert exit_code_of(error) is ExitCode.CONFIGURATION
    assert content is None or path.read_bytes() == content


def damage(path: Path) -> None:
    """Leave the first page of a journal, and noise after it."""
    content = path.read_bytes()
    path.write_bytes(content[:4096] + os.urandom(len(content) - 4096))


async def test_a_damaged_journal_is_refused(path: Path) -> None:
    """Whether the damage shows at opening or in the middle."""
    async with open_journal(str(path), clock=Clock()) as journal:
        await add_entries(journal, 300)
    damage(path)

    error = await failure_of(path)

    assert "is not a readable journal" in error.message
    assert exit_code_of(error) is ExitCode.CONFIGURATION


@pytest.mark.parametrize(
    ("location", "sentence"),
    [
        ("/proc/nowhere/journal.db", "cannot be opened: "),
        ("{file}/journal.db", "cannot be opened: Not a directory"),
    ],
)
async def test_a_place_where_no_file_can_be_is_refused(tmp_path: Path, location: str, sentence: str) -> None:
    """The system's own words follow the path."""
    file = tmp_path / "file"
    file.touch()

    error = await failure_of(Path(location.format(file=file)))

    assert sentence in error.message
    assert exit_code_of(error) is ExitCode.CONFIGURATION


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system with room for some pages only."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k,nr_inodes=16", "tmpfs", str(folder)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("mounting a file system is not allowed here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(ballast: Path) -> None:
    """Take all the room there is."""
    with suppress(OSError), ballast.open("wb", buffering=0) as file:
        while file.write(bytes(4096)):
            pass


def make_read_only(folder: Path) -> None:
    """Nobody may write to the file system of *folder* any more."""
    subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)


async def test_a_disk_that_is_really_full_is_temporary(small_disk: Path) -> None:
    """What was written before is there when there is room again."""
    path, ballast = small_disk / "journal.db", small_disk / "ballast"
    async with open_journal(str(path), clock=Clock()) as journal:
        record = await add_entry(journal)
        fill(ballast)
        with pytest.raises(JournalError) as caught:
            await upload(journal, record, parts=1000)
        ballast.unlink()

    assert exit_code_of(caught.value) is ExitCode.TEMPORARY
    assert "the disk" in caught.value.message
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT count(*) FROM segments").fetchone() == (0,)
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


async def test_a_new_journal_on_a_full_disk_is_temporary(small_disk: Path) -> None:
    """Exit 5: run again later."""
    fill(small_disk / "ballast")

    error = await failure_of(small_disk / "journal.db")

    assert exit_code_of(error) is ExitCode.TEMPORARY


async def test_a_disk_without_room_for_another_file_is_temporary(small_disk: Path) -> None:
    """The journal cannot even be made."""
    with suppress(OSError):
        for number in range(100):
            (small_disk / f"ballast-{number}").touch()

    error = await failure_of(small_disk / "journal.db")

    assert "No space left on device" in error.message
    assert exit_code_of(error) is ExitCode.TEMPORARY


async def test_a_journal_on_a_read_only_file_system_is_refused(small_disk: Path) -> None:
    """Also one that is there already."""
    path = small_disk / "journal.db"
    await write_into(path)
    make_read_only(small_disk)

    error = await failure_of(path)

    assert "Read-only file system" in error.message
    assert exit_code_of(error) is ExitCode.CONFIGURATION
