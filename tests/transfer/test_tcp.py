"""The sockets that connections are made with."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from contextlib import suppress
from pathlib import Path

import pytest
from aiohttp import AddrInfoType

from orchestrator.domain.assets import Segment
from orchestrator.network.http_session import open_http_session, open_socket, set_tcp_option
from tests.transfer.conftest import MakeAsset, MakeSender, ignore
from tests.transfer.store import serving, store_it

SMALL = 1000


def control_of(connection: socket.socket) -> str:
    """The name of its congestion control."""
    return connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16).rstrip(b"\0").decode()


def usual_control() -> str | None:
    """The system's congestion control; None where it has no name."""
    if not hasattr(socket, "TCP_CONGESTION"):
        return None
    with socket.socket() as connection:
        return control_of(connection)


def controls_towards(port: int) -> set[str]:
    """The congestion controls of this process's connections to *port*."""
    controls = set()
    for link in Path("/proc/self/fd").iterdir():
        with suppress(OSError):  # one that is gone, or no connection
            if str(link.readlink()).startswith("socket:"):
                with socket.socket(fileno=os.dup(int(link.name))) as connection:
                    if connection.family == socket.AF_INET and connection.getpeername()[1] == port:
                        controls.add(control_of(connection))
    return controls


def address(family: socket.AddressFamily, host: str) -> AddrInfoType:
    """*host* as aiohttp resolved it."""
    peer = (host, 443) if family == socket.AF_INET else (host, 443, 0, 0)
    return family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", peer


needs_another_control = pytest.mark.skipif(
    usual_control() in {None, "reno"}, reason="the system's congestion control is what it would be made"
)


@needs_another_control
@pytest.mark.parametrize("is_encrypted", [False, True], ids=["plain", "tls"])
async def test_nothing_paces_a_connection_within_this_machine(
    make_asset: MakeAsset,
    make_sender: MakeSender,
    server_tls: ssl.SSLContext,
    client_tls: ssl.SSLContext,
    is_encrypted: bool,
) -> None:
    """Nothing on the way has to be spared."""
    asset = make_asset(SMALL)
    tls = server_tls if is_encrypted else None

    async with serving(store_it, tls) as store, open_http_session(ssl_context=client_tls) as session:
        sender = make_sender(session=session)
        await sender.put(asset, Segment(1, 0, SMALL), store.url(host="localhost"), ignore)
        controls = await asyncio.to_thread(controls_towards, store.port)

    assert controls == {"reno"}


@needs_another_control
@pytest.mark.parametrize(
    ("family", "host", "is_own"),
    [
        (socket.AF_INET, "127.0.0.1", True),
        (socket.AF_INET6, "::1", True),
        (socket.AF_INET, "192.0.2.1", False),
        (socket.AF_INET6, "2001:db8::1", False),
    ],
)
def test_the_system_says_how_others_are_sent_to(
    family: socket.AddressFamily, host: str, is_own: bool
) -> None:
    """How to share a link is the decision of who runs the machine."""
    try:
        connection = open_socket(address(family, host))
    except OSError:
        pytest.skip("this machine has no such addresses")

    with connection:
        assert control_of(connection) == ("reno" if is_own else usual_control())


def test_an_option_that_the_system_lacks_is_left_out() -> None:
    """It makes things faster where it is there."""
    with socket.socket() as connection:
        set_tcp_option(connection, "TCP_NO_SUCH_OPTION", 1)


def test_a_connection_that_is_gone_takes_no_option() -> None:
    """A sender learns of that from the connection itself."""
    with socket.socket() as connection:
        connection.close()
        set_tcp_option(connection, "TCP_NODELAY", 1)
