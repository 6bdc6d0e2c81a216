"""A segment's bytes, read and hashed in worker threads one chunk ahead of whoever uses them."""

from __future__ import annotations

import asyncio
import hashlib
from concurrent.futures import Future, ThreadPoolExecutor

from orchestrator.domain.assets import Asset
from orchestrator.domain.segments import Segment
from orchestrator.transfer.source import Source

CHUNK_BYTES = 1024 * 1024


class SegmentReader:
    """Yields a segment once, in order, in constant memory; reading and hashing are one hop into *readers*.

    The last chunk is handed out only after the file has been found unchanged, so that a segment of a changed
    file never gets out whole.
    """

    def __init__(
        self, asset: Asset, segment: Segment, readers: ThreadPoolExecutor, *, is_hashing: bool
    ) -> None:
        """Start reading the first chunk at once; `close` must follow."""
        self._source = Source(asset)
        self._next_offset = segment.offset
        self._end = segment.offset + segment.length
        self._readers = readers
        self._hash = hashlib.md5(usedforsecurity=False) if is_hashing else None
        self._ahead: Future[bytes] | None = readers.submit(self._open_and_read)

    async def next_chunk(self) -> bytes:
        """The next chunk, empty after the last; raises what Source raises."""
        if self._ahead is None:
            return b""
        chunk = await asyncio.wrap_future(self._ahead)
        is_more = self._next_offset < self._end
        self._ahead = self._readers.submit(self._read) if is_more else None
        return chunk

    @property
    def md5(self) -> str | None:
        """The hex digest of the segment, right once all of it is handed out; None when not hashing."""
        return self._hash.hexdigest() if self._hash else None

    def close(self) -> None:
        """Close the file as soon as the read in flight, if any, is over; never blocks."""
        ahead, self._ahead = self._ahead, None
        if ahead is None:
            self._source.close()
            return
        ahead.cancel()
        ahead.add_done_callback(lambda _: self._source.close())

    def _open_and_read(self) -> bytes:
        self._source.open()
        return self._read()

    def _read(self) -> bytes:
        length = min(CHUNK_BYTES, self._end - self._next_offset)
        chunk = self._source.read(self._next_offset, length)
        if self._hash:
            self._hash.update(chunk)
        self._next_offset += length
        if self._next_offset == self._end:
            self._source.check()
        return chunk
