"""The body of a PUT: a segment, streamed with a known length."""

from __future__ import annotations

import fcntl
import struct
import termios
from asyncio import Transport
from collections.abc import Awaitable, Callable, Iterator
from typing import NoReturn

from aiohttp import Payload
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http import StreamWriter

from orchestrator.transfer.reader import SegmentReader

#: Waits until that many bytes may be sent.
Pace = Callable[[int], Awaitable[None]]

#: How much is handed to the transport at a time: what progress, pacing and the idle watchdog can tell apart.
PIECE_BYTES = 256 * 1024


class SegmentPayload(Payload):
    """Sends what a fresh SegmentReader yields; good for one attempt.

    `failure` is what kept the body from being read or paced, as opposed to the connection's own errors.
    """

    # aiohttp repeats a PUT by itself after a broken connection unless its body is consumed; whether to repeat
    # is our caller's decision.
    _consumed = True

    def __init__(
        self, reader: SegmentReader, length: int, *, on_bytes: Callable[[int], None], pace: Pace | None
    ) -> None:
        """Take *reader* over: closing the payload closes it. *on_bytes* hears of each piece handed over."""
        super().__init__(reader)
        self._size = self._length = length
        self._reader = reader
        self._on_bytes = on_bytes
        self._pace = pace
        self._transport: Transport | None = None
        self._handed_bytes = 0
        self._is_pacing = False
        self.failure: Exception | None = None

    @property
    def length(self) -> int:
        """The bytes the body has."""
        return self._length

    @property
    def md5(self) -> str | None:
        """The hex digest of the body once it is handed over, None when it is not computed."""
        return self._reader.md5

    @property
    def is_handed_over(self) -> bool:
        """True when the connection has taken every byte, so that the other side may hold all of them."""
        return self._transport is not None and self._handed_bytes == self._length

    @property
    def is_on_the_wire(self) -> bool:
        """True when in addition no byte waits in this process any more."""
        transport = self._transport
        return self.is_handed_over and transport is not None and not transport.get_write_buffer_size()

    def activity(self) -> object:
        """A mark that differs whenever bytes have moved; None while nothing is expected to move."""
        transport = self._transport
        if transport is None or self._is_pacing:
            return None
        return self._handed_bytes, transport.get_write_buffer_size(), _unacknowledged_bytes(transport)

    async def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> None:
        """Send the segment; the declared length is the segment's own, so *content_length* adds nothing."""
        self._begin(writer)
        try:
            while chunk := await self._reader.next_chunk():
                for piece in _pieces(chunk):
                    await self._wait_for_pace(len(piece))
                    await self._hand_over(writer, piece)
        except OSError:
            raise  # the connection's: what the reader meets it reports as one of our errors
        except Exception as error:
            self.failure = error
            raise

    async def write(self, writer: AbstractStreamWriter) -> None:
        """Send the segment."""
        await self.write_with_length(writer, None)

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> NoReturn:
        """Refuse: a segment never is in memory as a whole."""
        raise TypeError("a segment cannot be decoded")

    def abandon(self) -> None:
        """Close the file; when aiohttp gave the connection up, cut it instead of waiting for its buffer."""
        self._reader.close()
        if self._transport is not None and self._transport.is_closing():
            self._transport.abort()

    def _begin(self, writer: AbstractStreamWriter) -> None:
        if self._transport is not None:
            raise ConnectionResetError("a segment's body is sent once")
        if not isinstance(writer, StreamWriter) or writer.transport is None:
            raise ConnectionResetError("the connection is gone")
        self._transport = writer.transport

    async def _wait_for_pace(self, piece_bytes: int) -> None:
        if self._pace is None:
            return
        self._is_pacing = True
        try:
            await self._pace(piece_bytes)
        finally:
            self._is_pacing = False

    async def _hand_over(self, writer: AbstractStreamWriter, piece: memoryview) -> None:
        # Counted before the wait: the answer to the last byte may come before the wait is over.
        self._handed_bytes += len(piece)
        self._on_bytes(len(piece))
        try:
            await writer.write(piece)
        except OSError:
            self._handed_bytes -= len(piece)
            raise


class WithheldPayload(Payload):
    """Stands for a body of *length* bytes; when the store asks for it, the connection breaks instead."""

    _consumed = True

    def __init__(self, length: int) -> None:
        """Only the length is ever told."""
        super().__init__(None)
        self._size = length

    async def write(self, writer: AbstractStreamWriter) -> NoReturn:
        """Break the connection: that the store invites the body is all there is to know."""
        raise ConnectionAbortedError("the store would take the body")

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> NoReturn:
        """Refuse: there is nothing to decode."""
        raise TypeError("a withheld body cannot be decoded")


def _pieces(chunk: bytes) -> Iterator[memoryview]:
    view = memoryview(chunk)
    for start in range(0, len(view), PIECE_BYTES):
        yield view[start : start + PIECE_BYTES]


def _unacknowledged_bytes(transport: Transport) -> int:
    """What the kernel still holds because the peer has not acknowledged it; 0 where it cannot be told.

    Over TLS the transport's own buffer does not show what has been encrypted already, but this does.
    """
    try:
        answer = fcntl.ioctl(transport.get_extra_info("socket").fileno(), termios.TIOCOUTQ, bytes(4))
    except (OSError, ValueError, AttributeError):
        return 0
    return int(struct.unpack("i", answer)[0])
