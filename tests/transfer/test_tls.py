"""TLS connections that encrypt straight into their sockets, against asyncio's own TLS on the other side."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import cast

import anyio
import pytest

from orchestrator.cli.process import run_on_network
from orchestrator.domain.errors import ConfigurationError
from orchestrator.network.http_session import open_http_session
from orchestrator.network.tls import TlsTransport
from tests.transfer.conftest import Leaks
from tests.transfer.store import Connection, Store, serving, store_it

#: More than the sockets of both sides hold.
LARGE = bytes(range(256)) * 64 * 1024


class Recorder(asyncio.Protocol):
    """Keeps what a transport tells."""

    def __init__(self) -> None:
        self.received = bytearray()
        self.calls: list[str] = []
        self.heard = asyncio.Event()
        self.lost: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Nothing is written before."""
        self.calls.append("made")

    def data_received(self, data: bytes) -> None:
        """Keep it."""
        self.received += data
        self.heard.set()

    def eof_received(self) -> None:
        """The peer sends no more."""
        self.calls.append("eof")

    def pause_writing(self) -> None:
        """The transport is full."""
        self.calls.append("pause")

    def resume_writing(self) -> None:
        """The transport has room."""
        self.calls.append("resume")

    def connection_lost(self, exc: Exception | None) -> None:
        """It is over."""
        self.calls.append("lost")
        self.lost.set_result(exc)

    async def until(self, count: int) -> bytes:
        """Wait for *count* bytes."""
        while len(self.received) < count:
            self.heard.clear()
            await self.heard.wait()
        return bytes(self.received)


Connect = Callable[[Store], Awaitable[tuple[TlsTransport, Recorder]]]


@pytest.fixture
def connect(client_tls: ssl.SSLContext) -> Connect:
    """Connect to a store."""

    async def connect_to(store: Store) -> tuple[TlsTransport, Recorder]:
        loop = asyncio.get_running_loop()
        plain = socket.create_connection(("127.0.0.1", store.port))
        plain.setblocking(False)
        transport, protocol = await loop.create_connection(
            Recorder, ssl=client_tls, sock=plain, server_hostname="localhost"
        )
        assert isinstance(transport, TlsTransport)
        return transport, protocol

    return connect_to


async def echo(connection: Connection) -> None:
    """Send back what comes."""
    while data := await connection.reader.read(65536):
        await connection.send(data)


async def test_requests_over_tls_go_this_way(
    server_tls: ssl.SSLContext, client_tls: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """aiohttp gets its connections from the loop."""
    written: list[bytes] = []
    really_write = TlsTransport.write
    monkeypatch.setattr(
        TlsTransport, "write", lambda self, data: (written.append(bytes(data)), really_write(self, data))
    )

    async with (
        serving(store_it, server_tls) as store,
        open_http_session(ssl_context=client_tls) as session,
        session.put(f"https://localhost:{store.port}/", data=b"film") as response,
    ):
        assert response.status == 200

    assert b"".join(written).startswith(b"PUT / HTTP/1.1")
    assert bytes(store.requests[0].body) == b"film"


async def test_everything_arrives_in_order_and_comes_back(
    server_tls: ssl.SSLContext, connect: Connect
) -> None:
    """However full the sockets get in either direction."""
    async with serving(echo, server_tls) as store:
        transport, recorder = await connect(store)
        for begin in range(0, len(LARGE), 1_000_003):
            transport.write(LARGE[begin : begin + 1_000_003])
        returned = await recorder.until(len(LARGE))
        transport.abort()

    assert returned == LARGE
    assert transport.get_write_buffer_size() == 0


async def test_the_protocol_pauses_while_the_buffer_is_full(
    server_tls: ssl.SSLContext, connect: Connect
) -> None:
    """Above the high limit it is told so, at the low one that it may go on; once each."""
    may_read = anyio.Event()

    async def read_later(connection: Connection) -> None:
        await may_read.wait()
        await echo(connection)

    async with serving(read_later, server_tls) as store:
        transport, recorder = await connect(store)
        transport.set_write_buffer_limits(high=0)
        transport.write(LARGE)
        transport.write(b"more")
        calls_while_full, held = list(recorder.calls), transport.get_write_buffer_size()
        may_read.set()
        await recorder.until(len(LARGE) + 4)
        transport.abort()

    assert calls_while_full == ["made", "pause"]
    assert held > 4
    assert recorder.calls[:3] == ["made", "pause", "resume"]


async def test_what_is_not_encrypted_yet_is_not_copied(server_tls: ssl.SSLContext, connect: Connect) -> None:
    """A body passes through this process once."""
    async with serving(lambda connection: anyio.sleep_forever(), server_tls) as store:
        transport, _ = await connect(store)
        body = bytearray(LARGE)
        transport.write(body)

        with pytest.raises(BufferError, match="exports"):
            body.clear()
        transport.abort()
        await asyncio.sleep(0)
        body.clear()


async def test_nothing_is_received_while_reading_is_paused(
    server_tls: ssl.SSLContext, connect: Connect
) -> None:
    """And all of it afterwards."""
    async with serving(echo, server_tls) as store:
        transport, recorder = await connect(store)
        transport.pause_reading()
        transport.write(LARGE[:100_000])
        with anyio.move_on_after(0.05):
            await recorder.until(1)
        received_while_paused = bytes(recorder.received)
        transport.resume_reading()
        returned = await recorder.until(100_000)
        transport.abort()

    assert received_while_paused == b""
    assert returned == LARGE[:100_000]


async def test_closing_sends_the_rest_and_a_goodbye(server_tls: ssl.SSLContext, connect: Connect) -> None:
    """A peer can tell an end from a cut."""
    ends: list[bytes | Exception] = []

    async def take(connection: Connection) -> None:
        await anyio.sleep(0.02)
        ends.append(await connection.reader.read())

    async with serving(take, server_tls) as store:
        transport, recorder = await connect(store)
        transport.write(LARGE)
        transport.close()
        assert transport.get_write_buffer_size() > 0
        error = await recorder.lost
        await store.ended()

    assert error is None
    assert ends == [LARGE]


@pytest.mark.parametrize("is_clean", [True, False])
async def test_a_goodbye_tells_an_end_from_a_cut(
    server_tls: ssl.SSLContext, connect: Connect, *, is_clean: bool
) -> None:
    """`close` says it, `abort` does not."""
    listener = socket.create_server(("127.0.0.1", 0))

    def read_to_the_end() -> bytes | None:
        plain, _ = listener.accept()
        with server_tls.wrap_socket(plain, server_side=True, suppress_ragged_eofs=False) as peer:
            try:
                return peer.recv(10)
            except ssl.SSLEOFError:
                return None

    with listener:
        reading = asyncio.create_task(asyncio.to_thread(read_to_the_end))
        transport, recorder = await connect(Store(listener.getsockname()[1], "https"))
        if is_clean:
            transport.close()
        else:
            transport.abort()
        await recorder.lost

        assert await reading == (b"" if is_clean else None)


async def test_aborting_drops_what_is_not_sent(
    server_tls: ssl.SSLContext, connect: Connect, leaks: Leaks
) -> None:
    """Nobody waits for a peer that does not read; the socket is closed."""
    async with serving(lambda connection: anyio.sleep_forever(), server_tls) as store:
        leaks.begin()
        transport, recorder = await connect(store)
        transport.write(LARGE)
        transport.abort()
        transport.abort()
        error = await recorder.lost

        assert error is None
        assert transport.get_write_buffer_size() == 0
        # The store's end of it is still open.
        assert leaks.new_sockets() == 1

    transport.write(b"too late")
    transport.close()
    assert recorder.calls.count("lost") == 1


async def test_an_end_by_the_peer_is_heard(server_tls: ssl.SSLContext, connect: Connect) -> None:
    """First what was sent, then the end."""

    async def say_and_close(connection: Connection) -> None:
        await connection.send(b"bye")
        connection.writer.close()
        await connection.writer.wait_closed()

    async with serving(say_and_close, server_tls) as store:
        transport, recorder = await connect(store)
        error = await recorder.lost

    assert error is None
    assert recorder.received == b"bye"
    assert recorder.calls == ["made", "eof", "lost"]
    assert transport.is_closing()


async def test_a_reset_is_told_as_one(server_tls: ssl.SSLContext, connect: Connect) -> None:
    """In the system's words."""

    async def reset(connection: Connection) -> None:
        await connection.reader.read(1)
        connection.reset()

    async with serving(reset, server_tls) as store:
        transport, recorder = await connect(store)
        transport.write(LARGE)
        error = await recorder.lost

    assert isinstance(error, ConnectionError)


async def test_damage_on_the_way_ends_the_connection(server_tls: ssl.SSLContext, connect: Connect) -> None:
    """TLS's own error numbers are not taken for the system's."""

    async def damage(connection: Connection) -> None:
        await connection.reader.read(1)
        descriptor = connection.writer.get_extra_info("socket").fileno()
        os.write(descriptor, b"\x17\x03\x03\x00\x20" + bytes(32))
        with suppress(ssl.SSLError):
            await connection.reader.read()

    async with serving(damage, server_tls) as store:
        transport, recorder = await connect(store)
        transport.write(b"go")
        error = await recorder.lost

    assert isinstance(error, ConnectionAbortedError)
    assert "abort" in str(error)


async def test_a_later_connection_resumes_the_session(server_tls: ssl.SSLContext, connect: Connect) -> None:
    """Which spares both sides the certificate."""
    resumed = []
    async with serving(echo, server_tls) as store:
        for _ in range(2):
            transport, recorder = await connect(store)
            resumed.append(cast(ssl.SSLSocket, transport.get_extra_info("ssl_object")).session_reused)
            transport.write(b"hello")
            await recorder.until(5)
            transport.close()
            await recorder.lost

    assert resumed == [False, True]


async def test_another_peers_session_is_not_resumed(server_tls: ssl.SSLContext, connect: Connect) -> None:
    """What was verified of one says nothing of the other."""
    resumed = []
    async with serving(echo, server_tls) as one, serving(echo, server_tls) as other:
        for store in (one, other):
            transport, recorder = await connect(store)
            resumed.append(cast(ssl.SSLSocket, transport.get_extra_info("ssl_object")).session_reused)
            transport.write(b"hello")
            await recorder.until(5)
            transport.abort()

    assert resumed == [False, False]


@pytest.mark.parametrize(
    ("call", "trouble"), [("recv", ssl.SSLWantWriteError), ("send", ssl.SSLWantReadError)]
)
async def test_either_direction_may_have_to_wait_for_the_other(
    server_tls: ssl.SSLContext,
    connect: Connect,
    monkeypatch: pytest.MonkeyPatch,
    call: str,
    trouble: type[ssl.SSLError],
) -> None:
    """A peer that wants new keys makes receiving wait for room, and sending for the peer."""
    really_call = getattr(ssl.SSLSocket, call)
    troubles = [trouble]

    def call_later(connection: ssl.SSLSocket, *arguments: object) -> object:
        if troubles:
            raise troubles.pop()
        return really_call(connection, *arguments)

    async def greet(connection: Connection) -> None:
        await connection.send(b"hello")
        await echo(connection)

    async with serving(greet, server_tls) as store:
        monkeypatch.setattr(ssl.SSLSocket, call, call_later)
        transport, recorder = await connect(store)
        transport.write(b" and goodbye")
        with anyio.fail_after(3):
            returned = await recorder.until(17)
        transport.abort()

    assert not troubles
    assert returned == b"hello and goodbye"


async def test_a_handshake_that_is_given_up_leaves_no_socket(
    client_tls: ssl.SSLContext, leaks: Leaks
) -> None:
    """Cancelled, as by the time allowed for connecting."""
    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        leaks.begin()
        plain = socket.create_connection(listener.getsockname())
        plain.setblocking(False)
        with anyio.move_on_after(0.05) as scope:
            await loop.create_connection(Recorder, ssl=client_tls, sock=plain, server_hostname="localhost")

        assert scope.cancelled_caught
        assert leaks.new_sockets() == 0


async def test_a_wrong_name_is_refused(
    server_tls: ssl.SSLContext, client_tls: ssl.SSLContext, leaks: Leaks
) -> None:
    """The certificate is for localhost; nothing stays open."""
    loop = asyncio.get_running_loop()
    async with serving(echo, server_tls) as store:
        plain = socket.create_connection(("127.0.0.1", store.port))
        plain.setblocking(False)
        with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
            await loop.create_connection(Recorder, ssl=client_tls, sock=plain, server_hostname="other.test")

    assert plain.fileno() == -1


@pytest.mark.parametrize(("high", "low"), [(1, 2), (-1, None), (None, -1)])
async def test_limits_that_make_no_sense_are_refused(
    server_tls: ssl.SSLContext, connect: Connect, high: int | None, low: int | None
) -> None:
    """As asyncio refuses them."""
    async with serving(echo, server_tls) as store:
        transport, _ = await connect(store)
        with pytest.raises(ValueError, match="must be"):
            transport.set_write_buffer_limits(high=high, low=low)
        transport.abort()


@pytest.mark.parametrize(("choice", "is_own"), [(None, True), ("own", True), ("asyncio", False)])
def test_a_variable_turns_our_transport_off(
    server_tls: ssl.SSLContext,
    client_tls: ssl.SSLContext,
    monkeypatch: pytest.MonkeyPatch,
    choice: str | None,
    is_own: bool,
) -> None:
    """Commands then connect as asyncio does; the bytes arrive either way."""
    begun: list[TlsTransport] = []
    really_begin = TlsTransport.__init__
    monkeypatch.setattr(
        TlsTransport,
        "__init__",
        lambda self, *arguments: (begun.append(self), really_begin(self, *arguments))[1],
    )
    monkeypatch.delenv("ORCHESTRATOR_TLS", raising=False)
    if choice is not None:
        monkeypatch.setenv("ORCHESTRATOR_TLS", choice)

    async def upload() -> bytes:
        async with (
            serving(store_it, server_tls) as store,
            open_http_session(ssl_context=client_tls) as session,
            session.put(f"https://localhost:{store.port}/", data=b"film") as response,
        ):
            assert response.status == 200
        return bytes(store.requests[0].body)

    assert run_on_network(upload) == b"film"
    assert bool(begun) is is_own


def test_a_choice_of_connections_that_is_none_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is sent."""
    monkeypatch.setenv("ORCHESTRATOR_TLS", "openssl")

    with pytest.raises(ConfigurationError, match="ORCHESTRATOR_TLS is 'openssl'") as caught:
        run_on_network(asyncio.sleep, 0)

    assert "ORCHESTRATOR_TLS=asyncio" in (caught.value.hint or "")
