"""The two ways in which bytes of a file get into a connection."""

from __future__ import annotations

import asyncio
import os
import socket
from asyncio import Transport
from collections.abc import Callable
from contextlib import suppress
from typing import Final, Protocol

from aiohttp.http import StreamWriter

from orchestrator.transfer.reader import Reader, SegmentReader
from orchestrator.transfer.readiness import until_writable
from orchestrator.transfer.source import Span
from orchestrator.transfer.tls import TlsTransport

#: Told how many more bytes the connection has taken, fewer than none when it turns out that it has not.
OnTaken = Callable[[int], None]

#: What may wait in the kernel to be sent on a connection that is kept short: enough until its next turn.
_WAITING_BYTES: Final = 64 * 1024


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
        self._corked = transport if is_encrypted else None
        if self._corked is not None:
            # Each TLS record is a write, and would be the end of a packet.
            _set_option(self._corked, "TCP_CORK", 1)

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
            _set_option(self._corked, "TCP_CORK", 0)

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


def keep_short(transport: Transport) -> None:
    """Let the kernel take what it can send, and little more.

    Of its own accord it takes megabytes for each connection, by which what was hashed or encrypted a moment
    ago has left the cores' caches when it is sent.
    """
    _set_option(transport, "TCP_NOTSENT_LOWAT", _WAITING_BYTES)


def _set_option(transport: Transport, name: str, value: int) -> None:
    """Set the option of TCP, where the system has it and as long as the connection is there."""
    option = getattr(socket, name, None)
    if option is not None:
        with suppress(OSError):
            transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, option, value)


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
