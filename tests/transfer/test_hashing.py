"""The pool that hashes several segments in one go: who waits for whom, and what becomes of failures."""

from __future__ import annotations

import asyncio
import hashlib
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import anyio
import pytest

from orchestrator.domain.assets import Segment
from orchestrator.domain.errors import SourceChangedError
from orchestrator.transfer.hashing import Hashed, HashPool, Md5, Piece, best_md5
from orchestrator.transfer.reader import PIECE_BYTES, Buffers, SegmentReader, Source, Span
from tests.transfer.conftest import MakeAsset, content_of

LANES = 4
SPAN_BYTES = 128 * 1024
NOTHING = Span(0, 0)
FIRST = Span(0, 1000)


@dataclass
class CountingMd5:
    """Four lanes, of which it is remembered how many were used each time and on what, and which may be held up."""

    widths: list[int] = field(default_factory=list)
    #: What pieces were in, by its id; kept, so that no id comes twice.
    buffers: dict[int, object] = field(default_factory=dict)
    gate: threading.Event = field(default_factory=threading.Event)

    def update_all(self, digests: Sequence[Any], pieces: Sequence[Piece]) -> None:
        """Count, wait, hash."""
        self.widths.append(len(digests))
        self.buffers |= {id(piece.obj): piece.obj for piece in pieces if isinstance(piece, memoryview)}
        self.gate.wait()
        for digest, piece in zip(digests, pieces, strict=True):
            digest.update(piece)

    @property
    def md5(self) -> Md5:
        """This one as the pool wants it."""
        return Md5(lanes=LANES, new_digest=hashlib.md5, update_all=self.update_all)


@pytest.fixture
def counting() -> CountingMd5:
    """Hashing that is not held up."""
    counting = CountingMd5()
    counting.gate.set()
    return counting


@pytest.fixture
def pool(readers: ThreadPoolExecutor, counting: CountingMd5) -> HashPool:
    """A pool with four lanes."""
    return HashPool(readers, counting.md5)


@pytest.fixture
def make_streams(make_asset: MakeAsset, pool: HashPool) -> Iterator[Callable[[int], list[Hashed]]]:
    """Make so many streams, of files of 1000, 1001, ... bytes; they are closed at the end."""
    made: list[Hashed] = []

    def make(count: int) -> list[Hashed]:
        made.extend(pool.join(Source(make_asset(1000 + number))) for number in range(count))
        return made[-count:]

    yield make
    for stream in made:
        stream.leave()
        stream.source.close()


def ask(stream: Hashed, span: Span = FIRST, *, ahead: Span = NOTHING) -> Future[None]:
    """Ask for *span* of *stream*."""
    done = stream.start(span, ahead, is_first=span.offset == 0)
    assert done is not None
    return done


MakeStreams = Callable[[int], list[Hashed]]


def test_a_span_waits_for_company_until_the_lanes_are_full(
    make_streams: MakeStreams, counting: CountingMd5
) -> None:
    """Hashing four streams costs what hashing one does, so nobody is hashed alone without need."""
    streams = make_streams(LANES + 1)
    early = [ask(stream) for stream in streams[: LANES - 1]]
    assert counting.widths == []

    last = ask(streams[LANES - 1])
    for done in [*early, last]:
        done.result(timeout=10)

    assert counting.widths == [LANES]


def test_a_span_waits_for_nobody_when_nobody_is_left_to_come(
    make_streams: MakeStreams, counting: CountingMd5
) -> None:
    """The only stream there is, and the last ones of a run, are hashed at once."""
    first, second = make_streams(2)
    done = ask(first)
    assert counting.widths == []

    second.leave()

    done.result(timeout=10)
    assert counting.widths == [1]


def test_a_span_waits_for_nobody_as_soon_as_somebody_waits_for_it(
    make_streams: MakeStreams, pool: HashPool, counting: CountingMd5
) -> None:
    """A connection that has nothing left to send takes along whoever is there."""
    streams = make_streams(LANES)
    done = [ask(stream) for stream in streams[:2]]

    pool.flush(streams[3])
    assert counting.widths == []  # it asked for nothing
    pool.flush(streams[1])

    for one in done:
        one.result(timeout=10)
    assert counting.widths == [2]


def test_spans_asked_for_while_a_batch_is_hashed_go_together(
    make_asset: MakeAsset, counting: CountingMd5
) -> None:
    """Behind a busy thread the lanes fill up by themselves."""
    counting.gate.clear()
    with ThreadPoolExecutor(1) as thread:
        pool = HashPool(thread, counting.md5)
        streams = [pool.join(Source(make_asset(1000 + number))) for number in range(2 * LANES + 2)]
        done = [ask(stream) for stream in streams]
        counting.gate.set()
        for one in done:
            one.result(timeout=10)
    for stream in streams:
        stream.source.close()

    assert counting.widths == [LANES, LANES, 2]


def test_memory_is_that_of_the_lanes_however_much_is_hashed(
    make_asset: MakeAsset, counting: CountingMd5
) -> None:
    """What one batch was read into serves the next one, and every piece of it."""
    asset = make_asset(2 * LANES * SPAN_BYTES)
    with ThreadPoolExecutor(1) as thread:
        pool = HashPool(thread, counting.md5)
        for _ in range(2):
            streams = [pool.join(Source(asset)) for _ in range(LANES)]
            done = [ask(stream, Span(0, asset.size)) for stream in streams]
            for one in done:
                one.result(timeout=10)
            for stream in streams:
                stream.source.close()

    assert len(counting.widths) > 2
    assert len(counting.buffers) == LANES


def test_a_stream_is_expected_until_its_last_span(make_streams: MakeStreams, counting: CountingMd5) -> None:
    """While more of one is to come the other waits for it, afterwards no more."""
    long, short = make_streams(2)
    done = [ask(long, ahead=Span(1000, 0)), ask(short, ahead=Span(1000, 1))]
    for one in done:
        one.result(timeout=10)
    last = ask(short, Span(1000, 1))

    last.result(timeout=10)

    assert counting.widths == [2, 1]


@pytest.mark.parametrize("lanes", [1, best_md5().lanes])
def test_spans_of_any_lengths_are_hashed_in_order(
    make_asset: MakeAsset, readers: ThreadPoolExecutor, lanes: int
) -> None:
    """Streams of one batch have spans of different lengths, which end in the middle of a block or at its end."""
    md5 = best_md5()
    pool = HashPool(
        readers,
        Md5(lanes=lanes, new_digest=md5.new_digest, update_all=md5.update_all),
    )
    sizes = [2, 64, SPAN_BYTES, SPAN_BYTES + 1, 3 * SPAN_BYTES - 17, 3 * SPAN_BYTES, 100, 65]
    assets = [make_asset(size + number) for number, size in enumerate(sizes)]
    streams = [pool.join(Source(asset)) for asset in assets]

    half = [
        ask(stream, Span(0, a.size // 2), ahead=Span(a.size // 2, 1))
        for stream, a in zip(streams, assets, strict=True)
    ]
    for one in half[1:]:
        one.result(timeout=10)
    rest = [
        ask(stream, Span(a.size // 2, a.size - a.size // 2))
        for stream, a in zip(streams, assets, strict=True)
    ]
    for one in rest:
        one.result(timeout=10)

    expected = [hashlib.md5(content_of(asset)).hexdigest() for asset in assets]
    assert [stream.digest.hexdigest() for stream in streams] == expected
    for stream in streams:
        stream.source.close()


def test_a_file_that_changed_spoils_no_other_of_its_batch(make_asset: MakeAsset, pool: HashPool) -> None:
    """One is gone at the start, one becomes shorter, one has changed at the end; the fourth gets its digest."""
    gone, shorter, touched, kept = (make_asset(1000 + number) for number in range(4))
    streams = [pool.join(Source(asset)) for asset in (gone, shorter, touched, kept)]
    Path(gone.path).unlink()
    done = [ask(stream) for stream in streams[:3]]
    os.truncate(shorter.path, 10)
    os.utime(touched.path, ns=(1, 1))
    done.append(ask(streams[3]))

    errors = [one.exception(timeout=10) for one in done]
    assert [type(error) for error in errors] == [SourceChangedError] * 3 + [type(None)]
    assert streams[3].digest.hexdigest() == hashlib.md5(content_of(kept)[:1000]).hexdigest()
    for stream in streams:
        stream.source.close()


def test_a_batch_that_cannot_be_hashed_keeps_nobody_waiting(make_asset: MakeAsset) -> None:
    """Even a failure that nothing here foresees reaches all who wait, and the next batch is hashed."""
    counting = CountingMd5()
    counting.gate.set()

    def fail_once(digests: Sequence[Any], pieces: Sequence[Piece]) -> None:
        if not counting.widths:
            counting.widths.append(0)
            raise MemoryError
        counting.update_all(digests, pieces)

    with ThreadPoolExecutor(1) as thread:
        pool = HashPool(thread, Md5(lanes=2, new_digest=hashlib.md5, update_all=fail_once))
        streams = [pool.join(Source(make_asset(1000 + number))) for number in range(3)]
        errors = [one.exception(timeout=10) for one in [ask(stream) for stream in streams]]

    assert [type(error) for error in errors] == [MemoryError, MemoryError, type(None)]
    for stream in streams:
        stream.source.close()


def test_a_stream_that_left_is_neither_read_nor_waited_for(
    make_streams: MakeStreams, counting: CountingMd5
) -> None:
    """A cancelled upload costs nothing more, and the file may be closed."""
    first, second = make_streams(2)
    cancelled = ask(first, ahead=Span(1000, 1))
    assert cancelled.cancel()
    first.leave()

    ask(second, ahead=Span(1000, 1)).result(timeout=10)
    ask(second, Span(1000, 1)).result(timeout=10)

    assert counting.widths == [1, 1]


async def test_a_reader_waits_for_the_company_of_others_only_so_long(
    make_asset: MakeAsset, readers: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection that sends slowly, and so asks for nothing, does not keep another from its bytes."""
    monkeypatch.setattr("orchestrator.transfer.hashing._PATIENCE_SECONDS", 0)
    pool = HashPool(readers, replace(best_md5(), lanes=LANES))
    asset = make_asset(1000)
    idle = pool.join(Source(asset))
    hashed = pool.join(Source(asset))
    reader = SegmentReader(Segment(1, 0, asset.size), hashed, readers, Buffers(PIECE_BYTES))

    with anyio.fail_after(10):
        assert await reader.next_span() == Span(0, 1000)

    assert bytes(await reader.view(Span(10, 20))) == content_of(asset)[10:30]
    reader.close()
    idle.leave()


async def test_the_state_of_the_pool_can_be_read_in_a_debugger(
    make_asset: MakeAsset, readers: ThreadPoolExecutor
) -> None:
    """How many spans wait for a batch, and for whom."""
    pool = HashPool(readers, replace(best_md5(), lanes=LANES))
    asset = make_asset(1000)
    asked, idle = pool.join(Source(asset)), pool.join(Source(asset))
    hashing = ask(asked)

    text = repr(pool)
    idle.leave()
    await asyncio.wrap_future(hashing)
    asked.source.close()

    assert text == f"<HashPool: 1 spans queued, 1 streams absent, {LANES} lanes>"
