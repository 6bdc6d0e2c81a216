"""The body of a PUT: a segment streamed with a known length, and the two ways to write it to a connection."""

from __future__ import annotations

import asyncio
import fcntl
import os
import struct
import termios
from asyncio import Transport
from collections.abc import Awaitable, Callable
from typing import NoReturn, Protocol

from aiohttp import Payload
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http import StreamWriter

from orchestrator.network.http_session import set_tcp_option
from orchestrator.network.tls import TlsTransport, until_writable
from orchestrator.transfer.reader import SegmentReader, Span

#: Called with the number of bytes that the connection has taken; negative to correct an earlier call.
OnTaken = Callable[[int], None]


class Reader(Protocol):
    """Hands out the bytes of a segment, span by span, once and in order, as soon as they may be sent."""

    @property
    def md5(self) -> str | None:
        """The hex digest of the segment, complete once all of it is handed out; None when not hashing."""

    async def next_span(self) -> Span | None:
        """Return the next bytes that may be sent, once all before are sent; None after the last.

        Raises the errors of Source.
        """

    async def view(self, piece: Span) -> memoryview:
        """Return the bytes of *piece*, which lies in the last span, or some of its first bytes.

        The result is never empty, and stays unchanged until `release`.
        """

    def release(self) -> None:
        """Return the last viewed buffer to the pool; without this call the caller keeps the bytes."""

    async def check(self) -> None:
        """Raise SourceChangedError unless the file is still as planned."""

    def close(self) -> None:
        """Close the file as soon as no thread uses it; never blocks."""


class Outlet(Protocol):
    """Writes bytes of a file to a connection."""

    async def send(self, span: Span) -> None:
        """Send *span*; raises OSError for errors of the connection, and the reader's errors for those of the file."""

    def close(self) -> None:
        """Release the connection."""


class TransportOutlet:
    """Writes to the connection's transport, which works for any connection and is required for TLS.

    Once *transport* is drained it holds none of our bytes, so that the reader can reuse its memory.
    """

    def __init__(self, reader: Reader, writer: StreamWriter, transport: Transport, on_taken: OnTaken) -> None:
        self._reader = reader
        self._writer = writer
        self._on_taken = on_taken
        # asyncio's TLS transports, used through a proxy, count as full at a limit of 0 even when empty, and would
        # wait forever.
        is_encrypted = transport.get_extra_info("sslcontext") is not None
        is_asyncio_tls = is_encrypted and not isinstance(transport, TlsTransport)
        transport.set_write_buffer_limits(high=1 if is_asyncio_tls else 0, low=0)
        self._corked = transport.get_extra_info("socket") if is_encrypted else None
        if self._corked is not None:
            # Each TLS record is a write, which would otherwise end a packet.
            set_tcp_option(self._corked, "TCP_CORK", 1)

    async def send(self, span: Span) -> None:
        """Send *span* in pieces of the size that the reader hands out."""
        offset = span.offset
        while offset < span.end:
            found = await self._reader.view(Span(offset, span.end - offset))
            # Counted before the wait: the answer to the last byte may arrive before the wait ends.
            self._on_taken(len(found))
            try:
                await self._writer.write(found, drain=False)
                await self._writer.drain()
                self._reader.release()
            except OSError:
                self._on_taken(-len(found))
                raise
            offset += len(found)
        # A store as fast as we are would starve the other tasks.
        await asyncio.sleep(0)

    def close(self) -> None:
        """Send the last packet, even if it is not full."""
        if self._corked is not None:
            set_tcp_option(self._corked, "TCP_CORK", 0)


class SocketOutlet:
    """Writes to the socket directly, bypassing the transport and its buffers; for plain connections.

    Unlike with asyncio's own sendfile, the connection continues to read, so that an early refusal is received. This
    needs a separate descriptor, because asyncio reserves the transport's own.
    """

    def __init__(self, reader: SegmentReader, transport: Transport, on_taken: OnTaken) -> None:
        self._reader = reader
        self._on_taken = on_taken
        self._descriptor = os.dup(transport.get_extra_info("socket").fileno())

    async def send(self, span: Span) -> None:
        """Send *span* in as many calls as the socket needs."""
        await self._reader.make_ready(span)
        while span.length:
            try:
                count = self._reader.send(self._descriptor, span)
            except BlockingIOError:
                await until_writable(self._descriptor)
            else:
                self._on_taken(count)
                span = Span(span.offset + count, span.length - count)
        # A store as fast as we are would starve the other tasks.
        await asyncio.sleep(0)

    def close(self) -> None:
        """Close our descriptor, so that the transport has the only one again."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


#: Called with the number of bytes newly handed to the connection.
OnBytes = Callable[[int], None]
#: Waits until bytes may be sent; returns their number, at most the number requested.
Pace = Callable[[int], Awaitable[int]]

#: The number of bytes per progress report, and the body size from which bypassing the transport pays.
REPORTED_BYTES = 256 * 1024


class SegmentPayload(Payload):
    """The body of one attempt, read from a fresh reader.

    `failure` is the error that kept the body from being read or paced, as opposed to errors of the connection.

    `abandon` closes *reader*. *on_bytes* is called with the number of bytes handed over.
    """

    # aiohttp repeats a PUT by itself after a broken connection unless its body is consumed; the caller decides
    # whether to repeat it.
    _consumed = True

    def __init__(
        self,
        reader: Reader,
        length: int,
        *,
        on_bytes: OnBytes,
        pace: Pace | None,
    ) -> None:
        super().__init__(reader)
        self._size = self._length = length
        self._reader = reader
        self._on_bytes = on_bytes
        self._pace = pace
        self._transport: Transport | None = None
        self._handed_bytes = 0
        self._reported_bytes = 0
        self._is_pacing = False
        self.failure: Exception | None = None

    @property
    def length(self) -> int:
        """The length of the body in bytes."""
        return self._length

    @property
    def md5(self) -> str | None:
        """The hex digest of the body once it is handed over; None when it is not computed."""
        return self._reader.md5

    @property
    def is_handed_over(self) -> bool:
        """True when the connection has taken every byte, so that the other side may have received all of them."""
        return self._transport is not None and self._handed_bytes == self._length

    @property
    def is_on_the_wire(self) -> bool:
        """True when the body is handed over and no byte waits in this process."""
        transport = self._transport
        return self.is_handed_over and transport is not None and not transport.get_write_buffer_size()

    def activity(self) -> object:
        """Return a mark that changes whenever bytes have moved; None while none are expected to move."""
        transport = self._transport
        if transport is None or self._is_pacing:
            return None
        return self._handed_bytes, transport.get_write_buffer_size(), _unacknowledged_bytes(transport)

    async def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> None:
        """Send the segment; the declared length is the segment's own, so *content_length* is not needed."""
        # aiohttp would send the body again after a break, but the caller decides that.
        if self._transport is not None:
            raise ConnectionResetError("a segment's body is sent once")
        if not isinstance(writer, StreamWriter) or writer.transport is None:
            raise ConnectionResetError("the connection was closed")
        self._transport = writer.transport
        try:
            span = await self._reader.next_span()
            outlet = self._outlet(writer, writer.transport)
            try:
                while span is not None:
                    await self._send(outlet, span)
                    span = await self._reader.next_span()
            finally:
                outlet.close()
                self._report()
        except OSError:
            raise  # an error of the connection: the reader raises our own error types
        except Exception as error:
            self.failure = error
            raise

    async def write(self, writer: AbstractStreamWriter) -> None:
        """Send the segment."""
        await self.write_with_length(writer, None)

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> NoReturn:
        """Raise TypeError: a segment is never in memory as a whole."""
        raise TypeError("a segment cannot be decoded")

    async def check_source(self) -> None:
        """Raise SourceChangedError unless the file is still as planned; its last bytes were read while sending."""
        await self._reader.check()

    def abandon(self) -> None:
        """Close the file; if aiohttp is closing the connection, abort it instead of waiting for its buffer."""
        self._reader.close()
        transport = self._transport
        if transport is not None and transport.is_closing():
            # asyncio fails when a transport is aborted whose socket is already closed.
            socket = transport.get_extra_info("socket")
            if socket is not None and socket.fileno() >= 0:
                transport.abort()

    def _outlet(self, writer: StreamWriter, transport: Transport) -> Outlet:
        reader = self._reader
        if self._length >= REPORTED_BYTES:
            # The headers of a small body are sent with it; for a large body that would only copy its first bytes.
            writer.send_headers()
            is_plain = transport.get_extra_info("sslcontext") is None
            # Data waiting in the transport, such as the headers, must be sent before bytes that bypass it.
            is_empty = is_plain and not transport.get_write_buffer_size()
            if is_empty and isinstance(reader, SegmentReader) and reader.can_send:
                return SocketOutlet(reader, transport, self._count)
        return TransportOutlet(reader, writer, transport, self._count)

    async def _send(self, outlet: Outlet, span: Span) -> None:
        while span.length:
            count = span.length
            if self._pace is not None:
                # The watchdog must not mistake the wait for bandwidth for a stalled store.
                self._is_pacing = True
                try:
                    count = await self._pace(span.length)
                finally:
                    self._is_pacing = False
            await outlet.send(Span(span.offset, count))
            span = Span(span.offset + count, span.length - count)

    def _count(self, taken: int) -> None:
        self._handed_bytes += taken
        if self._handed_bytes - self._reported_bytes >= REPORTED_BYTES or self._handed_bytes == self._length:
            self._report()

    def _report(self) -> None:
        news, self._reported_bytes = self._handed_bytes - self._reported_bytes, self._handed_bytes
        if news:
            self._on_bytes(news)


class WithheldPayload(Payload):
    """A placeholder for a body of *length* bytes; when the store asks for it, the connection breaks instead."""

    _consumed = True

    def __init__(self, length: int) -> None:
        super().__init__(None)
        self._size = length

    async def write(self, writer: AbstractStreamWriter) -> NoReturn:
        """Raise ConnectionAbortedError: it is enough to know that the store would accept the body."""
        raise ConnectionAbortedError("the store would take the body")

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> NoReturn:
        """Raise TypeError: there is nothing to decode."""
        raise TypeError("a withheld body cannot be decoded")


def _unacknowledged_bytes(transport: Transport) -> int:
    """Return the bytes that the kernel holds until the peer acknowledges them; 0 when unknown.

    Over TLS the transport's own buffer does not show data that is already encrypted, but this does.
    """
    try:
        answer = fcntl.ioctl(transport.get_extra_info("socket").fileno(), termios.TIOCOUTQ, bytes(4))
    except (OSError, ValueError, AttributeError):
        return 0
    return int(struct.unpack("i", answer)[0])
