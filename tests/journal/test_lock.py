"""One run at a time on a batch."""

from __future__ import annotations

import os
import resource
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.domain.errors import ExitCode, JournalError, LockHeldError, exit_code_of
from orchestrator.journal.journal import Journal, open_journal
from orchestrator.journal.sqlite import batch_lock_holder, hold_batch_lock
from tests.journal.samples import KEY, Clock


@pytest.fixture
def location(path: Path) -> str:
    """SQLite's alone."""
    return str(path)


SCRIPT = """
import sys
from pathlib import Path
from orchestrator.journal.sqlite import hold_batch_lock
with hold_batch_lock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def held_by_another_process(path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that holds the lock until it is killed."""
    command = [sys.executable, "-c", SCRIPT, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        try:
            yield process
        finally:
            process.kill()


def test_a_second_run_is_refused_by_name_and_free_to_go_once_the_first_is_killed(tmp_path: Path) -> None:
    """Who holds it, and where; kill -9 leaves nothing to clean."""
    path = tmp_path / "lock"
    with held_by_another_process(path) as holder:
        with pytest.raises(LockHeldError) as caught, hold_batch_lock(path):
            pass
        holder.kill()
        holder.wait()

        with hold_batch_lock(path):
            signature = path.read_text()

    assert f"process {holder.pid} on {socket.gethostname()}" in caught.value.message
    assert exit_code_of(caught.value) is ExitCode.LOCKED
    assert signature == f"process {os.getpid()} on {socket.gethostname()}"


def test_a_refused_run_does_not_disturb_the_holder(tmp_path: Path) -> None:
    """Neither the lock nor the name in it."""
    path = tmp_path / "lock"

    with hold_batch_lock(path):
        for _ in range(2):
            with pytest.raises(LockHeldError), hold_batch_lock(path):
                pass
        assert str(os.getpid()) in path.read_text()


def test_the_lock_is_free_when_the_block_ends(tmp_path: Path) -> None:
    """By its end or by an error; the file stays, so that nobody locks another file of the same name."""
    path = tmp_path / "lock"
    with pytest.raises(ZeroDivisionError), hold_batch_lock(path):
        _ = 1 / 0

    inode = path.stat().st_ino
    with hold_batch_lock(path):
        assert path.stat().st_ino == inode


def test_a_shorter_signature_leaves_nothing_of_a_longer_one(tmp_path: Path) -> None:
    """The name is that of the holder and of nobody before."""
    path = tmp_path / "lock"
    path.write_text("x" * 500)

    with hold_batch_lock(path):
        assert "x" * 100 not in path.read_text()


def test_nobody_else_can_read_the_lock_file(tmp_path: Path) -> None:
    """As everything beside the journal."""
    path = tmp_path / "lock"
    before = os.umask(0)
    try:
        with hold_batch_lock(path):
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
    finally:
        os.umask(before)


def test_a_lock_file_that_cannot_be_made_is_a_journal_error(tmp_path: Path) -> None:
    """A sentence with the path."""
    path = tmp_path / "nowhere" / "lock"

    with (
        pytest.raises(JournalError, match=f"the lock file {path} cannot be opened") as caught,
        hold_batch_lock(path),
    ):
        pass

    assert exit_code_of(caught.value) is ExitCode.CONFIGURATION


@contextmanager
def no_room() -> Iterator[None]:
    """A disk on which no file may grow."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_does_not_keep_a_run_from_its_lock(tmp_path: Path) -> None:
    """What cannot be written is only the holder's name."""
    path = tmp_path / "lock"

    with (
        no_room(),
        hold_batch_lock(path),
        pytest.raises(LockHeldError, match="another process"),
        hold_batch_lock(path),
    ):
        pass


async def test_batches_have_locks_of_their_own_beside_the_journal(journal: Journal, path: Path) -> None:
    """Two batches of one journal run at once."""
    other = replace(KEY, name="other")

    async with journal.hold_batch(KEY), journal.hold_batch(other):
        assert batch_lock_holder(path.with_name(f"journal.db.{KEY.digest}.lock")) is not None
        assert await journal.batch_holder(other) is not None
    assert await journal.batch_holder(KEY) is None


async def test_a_batch_that_is_held_is_refused_through_the_journal_and_free_after_an_error(
    journal: Journal, path: Path
) -> None:
    """Of a second journal on the same file too."""
    async with open_journal(str(path), clock=Clock()) as second:
        with suppress(ZeroDivisionError):
            async with journal.hold_batch(KEY):
                with pytest.raises(LockHeldError, match=f"process {os.getpid()}"):
                    await second.hold_batch(KEY).__aenter__()
                _ = 1 / 0

        async with second.hold_batch(KEY):
            assert await journal.batch_holder(KEY) is not None
