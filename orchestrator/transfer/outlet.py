"""The two ways in which bytes of a file get into a connection."""

from __future__ import annotations

import asyncio
import os
from asyncio import Transport
from collections.abc import Callable
from typing import Protocol

from aiohttp.http import StreamWriter

from orchestrator.network.tcp import set_tcp_option
from orchestrator.network.tls import TlsTransport, until_writable
from orchestrator.transfer.reader import Reader, SegmentReader
from orchestrator.transfer.source import Span

#: Told how many more bytes the connection has taken, fewer than none when it turns out that it has not.
OnTaken = Callable[[int], None]


class Outlet(Protocol):
    """Puts bytes of a file into a connection."""

    async def send(self, span: Span) -> None:
        """Send *span*; raises OSError for the connection's errors, what the reader raises for the file's."""

    def close(self) -> None:
        """Let go of the connection."""


class TransportOutlet:
    """Writes to the connection's transport, which any connection allows and TLS needs."""

    def __init__(self, reader: Reader, writer: StreamWriter, transport: Transport, on_taken: OnTaken) -> None:
        """Write to *writer*, whose *transport* is made to have nothing of ours left whenever it is drained.

        It may keep what it is given until it is sent, and the reader uses its memory again.
        """
        self._reader = reader
        self._writer = writer
        self._on_taken = on_taken
        # asyncio's transports for TLS, as through a proxy, count as full at a limit of 0 with no byte left, and
        # wait for ever.
        is_encrypted = transport.get_extra_info("sslcontext") is not None
        is_asyncio_tls = is_encrypted and not isinstance(transport, TlsTransport)
        transport.set_write_buffer_limits(high=1 if is_asyncio_tls else 0, low=0)
        self._corked = transport.get_extra_info("socket") if is_encrypted else None
        if self._corked is not None:
            # Each TLS record is a write, and would be the end of a packet.
            set_tcp_option(self._corked, "TCP_CORK", 1)

    async def send(self, span: Span) -> None:
        """Send *span*, as much at a time as the reader hands out."""
        offset = span.offset
        while offset < span.end:
            offset += await self._send_piece(Span(offset, span.end - offset))
        # A store as fast as we are would keep everybody else waiting.
        await asyncio.sleep(0)

    def close(self) -> None:
        """Let the last packet go, though it is not full."""
        if self._corked is not None:
            set_tcp_option(self._corked, "TCP_CORK", 0)

    async def _send_piece(self, piece: Span) -> int:
        found = await self._reader.view(piece)
        # Counted before the wait: the answer to the last byte may come before the wait is over.
        self._on_taken(len(found))
        try:
            await self._writer.write(found, drain=False)
            await self._writer.drain()
            self._reader.release()
        except OSError:
            self._on_taken(-len(found))
            raise
        return len(found)


class SocketOutlet:
    """Writes to the socket itself, past the transport and its buffers; for plain connections.

    The connection goes on reading meanwhile, unlike with asyncio's own sendfile, so that an early refusal is
    heard. That needs a descriptor of our own: asyncio keeps the transport's to itself.
    """

    def __init__(self, reader: SegmentReader, transport: Transport, on_taken: OnTaken) -> None:
        """Send to the socket of *transport*, which has nothing left to send itself."""
        self._reader = reader
        self._on_taken = on_taken
        self._descriptor = os.dup(transport.get_extra_info("socket").fileno())

    async def send(self, span: Span) -> None:
        """Send *span*, as much at a time as the socket takes."""
        await self._reader.make_ready(span)
        while span.length:
            try:
                count = self._reader.send(self._descriptor, span)
            except BlockingIOError:
                await until_writable(self._descriptor)
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
