"""Small segments: read whole in worker threads, those of one moment in one hop."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from orchestrator.domain.assets import Asset, AssetKind, Segment
from orchestrator.domain.errors import SourceChangedError
from orchestrator.transfer.hashing import best_md5
from orchestrator.transfer.reader import SmallSegmentReader, Span
from tests.transfer.conftest import asset_at


class CountingPool(ThreadPoolExecutor):
    """Worker threads that know how often they were given something to do."""

    hops = 0

    def submit(self, work: Callable[..., Any], /, *arguments: Any, **named: Any) -> Future[Any]:
        """Count, and do it."""
        self.hops += 1
        return super().submit(work, *arguments, **named)


@pytest.fixture
def pool() -> Iterator[CountingPool]:
    """One thread, shut down at the end."""
    with CountingPool(max_workers=1) as threads:
        yield threads


def make_asset(path: Path, content: bytes) -> Asset:
    """Write *content* and plan it."""
    path.write_bytes(content)
    return asset_at(path, AssetKind.COVER)


def open_descriptors() -> int:
    """How many this process has."""
    return len(list(Path("/dev/fd").iterdir()))


async def test_segments_asked_for_at_the_same_moment_share_a_hop(tmp_path: Path, pool: CountingPool) -> None:
    """Six files of an entry cost one wake-up of a thread, and each gets its own bytes and digest."""
    contents = [bytes([number]) * 1000 for number in range(6)]
    assets = [make_asset(tmp_path / str(number), content) for number, content in enumerate(contents)]
    reader = SmallSegmentReader(pool, md5=best_md5())

    found = await asyncio.gather(*(reader.read(asset, Segment(1, 100, 500)) for asset in assets))

    assert pool.hops == 1
    assert [small.md5 for small in found] == [hashlib.md5(content[:500]).hexdigest() for content in contents]
    assert bytes(await found[3].view(Span(150, 200))) == contents[3][:200]


async def test_a_file_that_changed_spoils_no_other(tmp_path: Path, pool: CountingPool) -> None:
    """Its error reaches the one who asked for it; no descriptor stays open."""
    assets = [make_asset(tmp_path / name, b"content") for name in ("changed", "gone", "kept")]
    (tmp_path / "changed").write_bytes(b"another")
    os.utime(tmp_path / "changed", ns=(1, 1))
    (tmp_path / "gone").unlink()
    reader = SmallSegmentReader(pool, md5=None)
    before = open_descriptors()

    results = await asyncio.gather(
        *(reader.read(asset, Segment(1, 0, 7)) for asset in assets), return_exceptions=True
    )

    assert isinstance(results[0], SourceChangedError)
    assert isinstance(results[1], SourceChangedError)
    assert not isinstance(results[2], BaseException)
    assert results[2].md5 is None
    assert open_descriptors() == before


async def test_one_who_no_longer_waits_spoils_no_other(tmp_path: Path, pool: CountingPool) -> None:
    """A cancelled worker's file is read in vain, and that is all."""
    asset = make_asset(tmp_path / "file", b"content")
    reader = SmallSegmentReader(pool, md5=best_md5())
    cancelled = asyncio.create_task(reader.read(asset, Segment(1, 0, 7)))
    kept = asyncio.create_task(reader.read(asset, Segment(1, 0, 7)))
    await asyncio.sleep(0)
    cancelled.cancel()

    assert (await kept).md5 == hashlib.md5(b"content").hexdigest()
    assert cancelled.cancelled()
