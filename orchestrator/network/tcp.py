"""TCP sockets, with the options that the system may have."""

from __future__ import annotations

import socket
from contextlib import suppress

from aiohttp import AddrInfoType

from orchestrator.domain.hosts import is_loopback

#: The congestion control that every Linux has, and that does not pace.
_UNPACED = b"reno"


def open_socket(address: AddrInfoType) -> socket.socket:
    """A socket to connect to *address*; within this machine, one whose congestion control does not pace.

    A control that paces, as BBR does, has timers let go what nothing on the way would hold back. Where it is the
    system's, a store, gateway or proxy on this machine would get half of what it can take, and what leaves late is in
    no cache any more.
    """
    family, kind, protocol, _, peer = address
    connection = socket.socket(family, kind, protocol)
    if is_loopback(str(peer[0])):
        set_tcp_option(connection, "TCP_CONGESTION", _UNPACED)
    return connection


def set_tcp_option(connection: socket.socket, name: str, value: int | bytes) -> None:
    """Set the option of TCP, where the system has it and as long as the connection is there."""
    option = getattr(socket, name, None)
    if option is not None:
        with suppress(OSError):
            connection.setsockopt(socket.IPPROTO_TCP, option, value)
