"""TLS connections that encrypt straight into their sockets, and the event loop that creates them.

asyncio's own TLS connections encrypt into memory and copy the result into a socket, which takes a sixth of the CPU
time of an upload.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import ssl
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from enum import StrEnum
from typing import Any, Final

from orchestrator.domain.errors import ConfigurationError
from orchestrator.network.http_session import tls_proxy_names

#: More than a TLS record holds, so that no decrypted data stays behind, for which there would be no event.
_RECEIVED_BYTES: Final = 64 * 1024
#: asyncio's default limit of a transport's buffer before the protocol has to pause.
_USUAL_HIGH_BYTES: Final = 64 * 1024

OnSession = Callable[[ssl.SSLSession], None]

TLS_VARIABLE: Final = "ORCHESTRATOR_TLS"
#: The key of resumable TLS sessions: the verification of one peer proves nothing about another.
_Peer = tuple[ssl.SSLContext, str | None, object]


class TlsChoice(StrEnum):
    """The implementation of TLS connections that a run uses."""

    OWN = "own"
    ASYNCIO = "asyncio"


def chosen_tls(environment: Mapping[str, str]) -> TlsChoice:
    """Return the value of ORCHESTRATOR_TLS: `own`, the default, or `asyncio`, the fallback if our transport fails.

    Raises ConfigurationError for another value.
    """
    text = environment.get(TLS_VARIABLE) or TlsChoice.OWN
    if text not in set(TlsChoice):
        raise ConfigurationError(
            f"{TLS_VARIABLE} is {text!r}, which is neither own nor asyncio",
            hint=f"unset it, or set {TLS_VARIABLE}=asyncio to use asyncio's TLS connections",
        )
    return TlsChoice(text)


async def until_readable(descriptor: int) -> None:
    """Wait until the socket is readable; no transport may use *descriptor*."""
    loop = asyncio.get_running_loop()
    await _until_called(descriptor, loop.add_reader, loop.remove_reader)


async def until_writable(descriptor: int) -> None:
    """Wait until the socket is writable; no transport may use *descriptor*."""
    loop = asyncio.get_running_loop()
    await _until_called(descriptor, loop.add_writer, loop.remove_writer)


async def _until_called(descriptor: int, add: Callable[..., None], remove: Callable[[int], object]) -> None:
    is_ready = asyncio.get_running_loop().create_future()
    add(descriptor, _wake, is_ready)
    try:
        await is_ready
    finally:
        remove(descriptor)


def _wake(waiter: asyncio.Future[None]) -> None:
    # The loop calls this while the socket is ready, possibly once more before the waiting task resumes.
    if not waiter.done():
        waiter.set_result(None)


async def shake_hands(connection: ssl.SSLSocket) -> None:
    """Do the TLS handshake of a non-blocking *connection*; raise ssl.SSLError or OSError on failure."""
    while True:
        try:
            connection.do_handshake()
        except ssl.SSLWantReadError:
            await until_readable(connection.fileno())
        except ssl.SSLWantWriteError:
            await until_writable(connection.fileno())
        else:
            return


class TlsTransport(asyncio.Transport):
    """An open TLS connection.

    Its write buffer holds references to the data that is not yet encrypted and sent: callers must not modify that
    data until it is sent. Data that the socket takes at once is not kept.

    The handshake of *connection* is complete; *on_session* is called with the session by which it can be resumed.
    """

    def __init__(self, connection: ssl.SSLSocket, protocol: asyncio.Protocol, on_session: OnSession) -> None:
        super().__init__(
            {
                "socket": connection,
                "sslcontext": connection.context,
                "ssl_object": connection,
                "peername": connection.getpeername(),
            }
        )
        self._loop = asyncio.get_running_loop()
        self._connection = connection
        self._descriptor = connection.fileno()
        self._protocol = protocol
        self._on_session = on_session
        self._has_session_told = False
        self._backlog: deque[memoryview] = deque()
        self._backlog_bytes = 0
        self._low_bytes, self._high_bytes = _USUAL_HIGH_BYTES // 4, _USUAL_HIGH_BYTES
        self._is_writing_paused = False
        self._is_reading = False
        self._is_waiting_for_room = False
        self._is_receiving_blocked = False
        self._is_closing = False
        self._is_lost = False
        protocol.connection_made(self)
        self.resume_reading()

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Pass events to *protocol*, an asyncio.Protocol, from now on."""
        assert isinstance(protocol, asyncio.Protocol)  # noqa: S101 - for the type checker
        self._protocol = protocol

    def get_protocol(self) -> asyncio.Protocol:
        """Return the protocol that receives the events."""
        return self._protocol

    def is_closing(self) -> bool:
        """True once the connection is closed or about to be."""
        return self._is_closing

    def is_reading(self) -> bool:
        """True while incoming data is received."""
        return self._is_reading

    def pause_reading(self) -> None:
        """Stop receiving data for now."""
        if self._is_reading:
            self._is_reading = False
            self._loop.remove_reader(self._descriptor)

    def resume_reading(self) -> None:
        """Receive incoming data again."""
        if not self._is_reading and not self._is_closing:
            self._is_reading = True
            self._loop.add_reader(self._descriptor, self._on_readable)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Pause the protocol above *high* bytes and resume it at *low*."""
        if high is None:
            high = _USUAL_HIGH_BYTES if low is None else 4 * low
        low = high // 4 if low is None else low
        if not high >= low >= 0:
            raise ValueError(f"high ({high}) must be >= low ({low}) must be >= 0")
        self._low_bytes, self._high_bytes = low, high
        self._pause_or_resume()

    def get_write_buffer_limits(self) -> tuple[int, int]:
        """Return the limits, low and high."""
        return self._low_bytes, self._high_bytes

    def get_write_buffer_size(self) -> int:
        """Return the bytes that are written but not sent yet."""
        return self._backlog_bytes

    def can_write_eof(self) -> bool:
        """Return False: TLS has no half-closed connections."""
        return False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send *data*; the part that the socket does not take now is buffered by reference."""
        if self._is_closing or not data:
            return
        self._backlog.append(memoryview(data))
        self._backlog_bytes += len(data)
        if len(self._backlog) == 1:
            self._flush()
        self._pause_or_resume()

    def close(self) -> None:
        """Close once everything is sent."""
        if self._is_closing:
            return
        self.pause_reading()
        self._is_closing = True
        if not self._backlog:
            self._say_goodbye()

    def abort(self) -> None:
        """Close now and drop unsent data."""
        self._end(None)

    def _on_readable(self) -> None:
        if self._is_reading:
            self._receive()
        if self._backlog:
            # Sending may have waited for the peer, which may request a new key exchange first.
            self._flush()
            self._pause_or_resume()

    def _on_writable(self) -> None:
        self._wait_for_room(is_wanted=False)
        if self._is_receiving_blocked and self._is_reading:
            self._receive()
        self._flush()
        self._pause_or_resume()

    def _receive(self) -> None:
        """Pass received data to the protocol; a reply of TLS itself may have to wait until the socket is writable."""
        self._is_receiving_blocked = False
        try:
            self._hand_over(self._connection.recv(_RECEIVED_BYTES))
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLWantWriteError:
            self._is_receiving_blocked = True
            self._wait_for_room(is_wanted=True)
        except OSError as error:
            self._break(error)

    def _hand_over(self, data: bytes) -> None:
        if not data:
            self._protocol.eof_received()
            self.close()
            return
        if not self._has_session_told:
            # With TLS 1.3 the session only exists now; with TLS 1.2 it already did.
            self._has_session_told = True
            session = self._connection.session
            if session is not None:
                self._on_session(session)
        self._protocol.data_received(data)

    def _flush(self) -> None:
        """Encrypt and send as much of the backlog as the socket takes."""
        backlog, send = self._backlog, self._connection.send
        try:
            while backlog:
                count = send(backlog[0])
                self._backlog_bytes -= count
                backlog[0] = backlog[0][count:]
                if not backlog[0]:
                    backlog.popleft()
        except ssl.SSLWantWriteError:
            self._wait_for_room(is_wanted=True)
        except ssl.SSLWantReadError:
            pass  # _on_readable retries
        except OSError as error:
            self._break(error)
        else:
            if self._is_closing:
                self._say_goodbye()

    def _wait_for_room(self, *, is_wanted: bool) -> None:
        if is_wanted and not self._is_waiting_for_room and not self._is_lost:
            self._loop.add_writer(self._descriptor, self._on_writable)
        elif self._is_waiting_for_room and not is_wanted:
            self._loop.remove_writer(self._descriptor)
        self._is_waiting_for_room = is_wanted

    def _pause_or_resume(self) -> None:
        if self._is_lost:
            return
        if self._is_writing_paused:
            if self._backlog_bytes <= self._low_bytes:
                self._is_writing_paused = False
                self._protocol.resume_writing()
        elif self._backlog_bytes > self._high_bytes:
            self._is_writing_paused = True
            self._protocol.pause_writing()

    def _say_goodbye(self) -> None:
        """Send the peer a close notification without waiting for its answer, then end the connection."""
        with suppress(OSError):
            self._connection.unwrap()
        self._end(None)

    def _break(self, error: OSError) -> None:
        if isinstance(error, ssl.SSLError):
            # The errno of an SSLError is not one of the system's.
            error = ConnectionAbortedError(errno.ECONNABORTED, os.strerror(errno.ECONNABORTED))
        self._end(error)

    def _end(self, error: OSError | None) -> None:
        if self._is_lost:
            return
        self.pause_reading()
        self._wait_for_room(is_wanted=False)
        self._is_closing = self._is_lost = True
        self._backlog.clear()
        self._backlog_bytes = 0
        self._loop.call_soon(self._lose, error)

    def _lose(self, error: OSError | None) -> None:
        try:
            self._protocol.connection_lost(error)
        finally:
            self._connection.close()


class TransferLoop(asyncio.SelectorEventLoop):
    """asyncio's usual loop, except that TLS on a connected socket is a TlsTransport that resumes the last session.

    A connection to a proxy that will carry another TLS connection stays asyncio's, because `start_tls` supports no
    other. With `TlsChoice.ASYNCIO` every connection is asyncio's.
    """

    def __init__(self, tls: TlsChoice = TlsChoice.OWN) -> None:
        super().__init__()
        self._is_own_tls = tls is TlsChoice.OWN
        self._sessions: dict[_Peer, ssl.SSLSession] = {}

    async def create_connection(  # type: ignore[override]  # the base has overloads for what is passed on here
        self,
        protocol_factory: Callable[[], asyncio.Protocol],
        *address: Any,
        ssl: ssl.SSLContext | bool | None = None,
        sock: socket.socket | None = None,
        server_hostname: str | None = None,
        **options: Any,
    ) -> tuple[asyncio.Transport, asyncio.Protocol]:
        """Connect like asyncio; given only a TLS context, a connected socket and a name, use a TlsTransport."""
        is_for_asyncio = not self._is_own_tls or address or options
        # The proxies are checked last: that scans the whole environment, which plain connections do not need.
        if (
            is_for_asyncio
            or sock is None
            or not ssl
            or isinstance(ssl, bool)
            or server_hostname in tls_proxy_names()
        ):
            return await super().create_connection(
                protocol_factory, *address, ssl=ssl, sock=sock, server_hostname=server_hostname, **options
            )
        return await self._connect_tls(protocol_factory, ssl, sock, server_hostname)

    async def _connect_tls(
        self,
        protocol_factory: Callable[[], asyncio.Protocol],
        context: ssl.SSLContext,
        connected: socket.socket,
        server_name: str | None,
    ) -> tuple[asyncio.Transport, asyncio.Protocol]:
        connection = connected
        try:
            peer: _Peer = (context, server_name, connected.getpeername())
            connection = encrypted = context.wrap_socket(
                connected,
                server_hostname=server_name,
                do_handshake_on_connect=False,
                session=self._sessions.get(peer),
            )
            await shake_hands(encrypted)
            protocol = protocol_factory()
            return TlsTransport(encrypted, protocol, lambda it: self._sessions.update({peer: it})), protocol
        except BaseException:
            connection.close()
            raise
