"""Files that are not what was planned, and transfers that are stopped."""

from __future__ import annotations

import os
import re
import shutil
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest

from orchestrator.domain.assets import Segment
from orchestrator.domain.errors import InterruptedTransferError, SourceChangedError
from tests.transfer.conftest import EVERY_BODY, Body, Failure, Leaks, MakeAsset, MakeSender, ignore
from tests.transfer.store import Conduct, Connection, serving, store_it

LARGE = 24 * 1024 * 1024
#: No span is longer.
FIRST_SPAN_BYTES = 2 * 1024 * 1024


def truncate(path: Path) -> None:
    """Cut the file's end off."""
    os.truncate(path, LARGE - 1)


def shrink_to_nothing(path: Path) -> None:
    """Cut all of the file off."""
    os.truncate(path, 0)


def append(path: Path) -> None:
    """Let the file grow."""
    with path.open("ab") as file:
        file.write(b"more")


def overwrite(path: Path) -> None:
    """Change a byte in place."""
    with path.open("r+b") as file:
        file.write(b"X")


def replace_with_older(path: Path) -> None:
    """Put another file of the same size and times in its place."""
    status = path.stat()
    copy = path.with_suffix(".copy")
    shutil.copyfile(path, copy)
    os.utime(copy, ns=(status.st_atime_ns, status.st_mtime_ns))
    copy.replace(path)


def delete(path: Path) -> None:
    """Remove the file."""
    path.unlink()


def put_a_pipe(path: Path) -> None:
    """Put something in its place that blocks whoever opens it."""
    path.unlink()
    os.mkfifo(path)


CHANGES = [
    (truncate, "size|shorter"),
    (append, "size"),
    (overwrite, "modification time"),
    (replace_with_older, "another file"),
    (delete, "No such file"),
    (put_a_pipe, "changed"),
]


@pytest.mark.parametrize(("change", "words"), CHANGES)
async def test_a_file_changed_before_the_transfer_is_not_sent(
    make_asset: MakeAsset,
    make_sender: MakeSender,
    failure: Failure,
    change: Callable[[Path], None],
    words: str,
) -> None:
    """The error names the file and what changed, and the store sees no request."""
    asset = make_asset(LARGE)
    change(Path(asset.path))

    async with serving(store_it) as store:
        error = await failure(make_sender().put(asset, Segment(1, 0, 1000), store.url(), ignore))

    assert isinstance(error, SourceChangedError)
    assert asset.path in error.message
    assert re.search(words, error.message)
    assert store.requests == []


@EVERY_BODY
@pytest.mark.parametrize(("change", "words"), [*CHANGES, (shrink_to_nothing, "shorter")])
async def test_a_file_changed_during_the_transfer_never_arrives_whole(
    make_asset: MakeAsset,
    make_sender: MakeSender,
    failure: Failure,
    change: Callable[[Path], None],
    words: str,
) -> None:
    """A change while the store is reading stops the segment before its last byte."""
    asset = make_asset(LARGE)

    async def change_in_the_middle(connection: Connection) -> None:
        request = await connection.head()
        await connection.take(request, 65536)
        change(Path(asset.path))
        await connection.take_all(request)

    async with serving(change_in_the_middle) as store:
        error = await failure(make_sender().put(asset, Segment(1, 0, LARGE), store.url(), ignore))

    assert isinstance(error, SourceChangedError)
    assert asset.path in error.message
    assert re.search(words, error.message)
    assert len(store.requests[0].body) < LARGE


@EVERY_BODY
async def test_a_file_changed_before_the_answer_gives_no_receipt(
    make_asset: MakeAsset, make_sender: MakeSender, failure: Failure
) -> None:
    """The last bytes are read when they go: the file must be the planned one even then."""
    asset = make_asset(1024 * 1024)

    async def change_at_the_end(connection: Connection) -> None:
        await connection.request()
        overwrite(Path(asset.path))
        await connection.answer(200, x_obs_request_id="R1")

    async with serving(change_at_the_end) as store:
        error = await failure(make_sender().put(asset, Segment(1, 0, asset.size), store.url(), ignore))

    assert isinstance(error, SourceChangedError)


async def test_a_file_swapped_while_it_is_opened_is_noticed(
    make_asset: MakeAsset, make_sender: MakeSender, failure: Failure, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The open file is checked as well as the one at the path."""
    asset, impostor = make_asset(1000), make_asset(1001)
    really_open = os.open
    monkeypatch.setattr(os, "open", lambda _path, *how: really_open(impostor.path, *how))

    error = await failure(make_sender().digest(asset, Segment(1, 0, 1000)))

    assert isinstance(error, SourceChangedError)


async def test_a_digest_of_a_changed_file_is_refused(
    make_asset: MakeAsset, make_sender: MakeSender, failure: Failure
) -> None:
    """What is compared with the service's ETags is the planned file."""
    asset = make_asset(1000)
    append(Path(asset.path))

    error = await failure(make_sender().digest(asset, Segment(1, 0, 1000)))

    assert isinstance(error, SourceChangedError)


async def settled(readers: ThreadPoolExecutor) -> None:
    """Wait until the reads in flight are over and the loop has closed what was aborted."""
    await anyio.to_thread.run_sync(readers.shutdown)
    await anyio.lowlevel.checkpoint()


@pytest.fixture
def stall() -> tuple[Conduct, anyio.Event]:
    """A store that reads a request's head and no more, and the event of that."""
    has_begun = anyio.Event()

    async def conduct(connection: Connection) -> None:
        await connection.head()
        has_begun.set()
        await anyio.sleep_forever()

    return conduct, has_begun


@EVERY_BODY
async def test_cancelling_is_prompt_and_leaks_nothing(
    make_asset: MakeAsset,
    make_sender: MakeSender,
    readers: ThreadPoolExecutor,
    stall: tuple[Conduct, anyio.Event],
    leaks: Leaks,
) -> None:
    """A cancelled transfer keeps no file and no connection, not even one with bytes still to flush."""
    asset = make_asset(LARGE)
    conduct, has_begun = stall

    async with serving(conduct) as store:
        sender = make_sender(idle_timeout=30)
        leaks.begin()
        with anyio.fail_after(3):
            async with anyio.create_task_group() as group:
                group.start_soon(sender.put, asset, Segment(1, 0, LARGE), store.url(), ignore)
                await has_begun.wait()
                group.cancel_scope.cancel()
            await settled(readers)
        assert leaks.open_files(asset) == 0
        assert leaks.new_sockets() == 1  # the store's end


@EVERY_BODY
async def test_a_stalled_connection_is_cut_rather_than_flushed(
    make_asset: MakeAsset,
    make_sender: MakeSender,
    failure: Failure,
    stall: tuple[Conduct, anyio.Event],
    leaks: Leaks,
) -> None:
    """After the idle timeout no socket waits for a store that does not read."""
    asset = make_asset(LARGE)

    async with serving(stall[0]) as store:
        leaks.begin()
        await failure(make_sender().put(asset, Segment(1, 0, LARGE), store.url(), ignore))
        await anyio.lowlevel.checkpoint()
        assert leaks.new_sockets() == 1  # the store's end
        assert leaks.open_files(asset) == 0


@pytest.fixture
def hanging_disk(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Holds every read after a file's first span, as long as it would make somebody wait, until the event."""
    is_back = threading.Event()
    really_read = os.preadv

    def read(descriptor: int, buffers: list[memoryview], offset: int, flags: int = 0) -> int:
        if not flags and offset >= FIRST_SPAN_BYTES:
            is_back.wait()
        return really_read(descriptor, buffers, offset, flags)

    monkeypatch.setattr(os, "preadv", read)
    return is_back


@pytest.mark.parametrize(
    "body",
    [Body.COLD_SENDFILE, Body.COPY_UNTOLD, Body.HASHED, Body.HASHED_COPY, Body.LONE_HASHED_SENDFILE],
    ids=str,
)
async def test_a_read_that_blocks_is_cut_and_keeps_its_file_until_it_ends(
    make_asset: MakeAsset,
    make_sender: MakeSender,
    failure: Failure,
    leaks: Leaks,
    hanging_disk: threading.Event,
) -> None:
    """A hanging disk costs one idle timeout; the descriptor is never closed under a read in flight."""
    asset = make_asset(LARGE)
    with ThreadPoolExecutor(1) as readers:
        async with serving(store_it) as store:
            sender = make_sender(readers=readers)
            error = await failure(sender.put(asset, Segment(1, 0, LARGE), store.url(), ignore))
            still_open = leaks.open_files(asset)
            hanging_disk.set()

    assert isinstance(error, InterruptedTransferError)
    assert not error.is_body_sent
    assert still_open == 1
    assert leaks.open_files(asset) == 0


@EVERY_BODY
async def test_every_outcome_closes_the_file(
    make_asset: MakeAsset, make_sender: MakeSender, leaks: Leaks
) -> None:
    """A finished transfer and a digest keep nothing open."""
    asset = make_asset(3 * 1024 * 1024)

    async with serving(store_it) as store:
        sender = make_sender()
        receipt = await sender.put(asset, Segment(1, 0, asset.size), store.url(), ignore)
        digest = await sender.digest(asset, Segment(1, 0, asset.size))

    assert receipt.etag == digest
    assert leaks.open_files(asset) == 0
