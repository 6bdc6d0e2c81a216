"""The two ways in which bytes of a file get into a connection."""

from __future__ import annotations

import asyncio
import os
from asyncio import Transport
from collections.abc import Callable
from typing import Protocol

from aiohttp.http import StreamWriter

from orchestrator.transfer.buffers import Buffers
from orchestrator.transfer.reader import SegmentReader
from orchestrator.transfer.small import SmallSegment
from orchestrator.transfer.source import Span

#: What is copied into a connection at a time.
PIECE_BYTES = 256 * 1024

#: Told how many more bytes the connection has taken, fewer than none when it turns out that it has not.
OnTaken = Callable[[int], None]


class Outlet(Protocol):
    """Puts bytes of a file into a connection."""

    async def send(self, span: Span) -> None:
        """Send *span*; raises OSError for the connection's errors, what Source raises for the file's."""

    def close(self) -> None:
        """Let go of the connection."""


class CopyingOutlet:
    """Copies through a buffer of this process, which any connection allows and TLS needs."""

    def __init__(
        self,
        reader: SegmentReader | SmallSegment,
        writer: StreamWriter,
        transport: Transport,
        buffers: Buffers,
        on_taken: OnTaken,
    ) -> None:
        """Write to *writer*, whose *transport* tells whether it still needs a buffer."""
        self._reader = reader
        self._writer = writer
        self._transport = transport
        self._buffers = buffers
        self._on_taken = on_taken

    async def send(self, span: Span) -> None:
        """Send *span* piece by piece."""
        offset = span.offset
        while offset < span.end:
            offset += await self._send_piece(Span(offset, min(PIECE_BYTES, span.end - offset)))

    def close(self) -> None:
        """Hold nothing."""

    async def _send_piece(self, piece: Span) -> int:
        buffer = self._buffers.take()
        count = await self._reader.read_into(buffer[: piece.length], piece.offset)
        # Counted before the wait: the answer to the last byte may come before the wait is over.
        self._on_taken(count)
        try:
            await self._writer.write(buffer[:count], drain=False)
            # A transport may keep what it is given until it is sent.
            if not self._transport.get_write_buffer_size():
                self._buffers.give_back(buffer)
            await self._writer.drain()
        except OSError:
            self._on_taken(-count)
            raise
        return count


class SendfileOutlet:
    """Lets the kernel copy from its cache to the socket (sendfile(2)); for plain connections on Linux.

    The connection goes on reading meanwhile, unlike with asyncio's own sendfile, so that an early refusal is
    heard. That needs a descriptor of our own: asyncio keeps the transport's to itself.
    """

    def __init__(self, reader: SegmentReader, transport: Transport, on_taken: OnTaken) -> None:
        """Send to the socket of *transport*, which has nothing left to send itself."""
        self._reader = reader
        self._source = reader.source
        self._on_taken = on_taken
        self._loop = asyncio.get_running_loop()
        self._descriptor = os.dup(transport.get_extra_info("socket").fileno())

    @staticmethod
    def is_possible(reader: SegmentReader, transport: Transport) -> bool:
        """True for a plain connection and a file of which the system tells what is in memory."""
        return transport.get_extra_info("sslcontext") is None and reader.source.can_tell_cached

    async def send(self, span: Span) -> None:
        """Send *span*, as much at a time as the socket takes."""
        if not self._source.is_cached(span):
            await self._reader.fetch(span)
        while span.length:
            try:
                count = self._source.send(self._descriptor, span)
            except BlockingIOError:
                await self._until_writable()
            else:
                self._on_taken(count)
                span = Span(span.offset + count, span.length - count)
        # A store as fast as we are would keep everybody else waiting.
        await asyncio.sleep(0)

    def close(self) -> None:
        """Close our descriptor, so that the transport's is the connection again."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    async def _until_writable(self) -> None:
        is_writable = self._loop.create_future()
        self._loop.add_writer(self._descriptor, self._wake, is_writable)
        try:
            await is_writable
        finally:
            self._loop.remove_writer(self._descriptor)

    def _wake(self, waiter: asyncio.Future[None]) -> None:
        self._loop.remove_writer(self._descriptor)
        if not waiter.done():
            waiter.set_result(None)
