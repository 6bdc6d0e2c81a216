"""The event loop that connections to the service and the store run on."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from typing import Any

from orchestrator.network.session import tls_proxy_names
from orchestrator.network.tls import TlsChoice, TlsTransport, shake_hands

#: Whose sessions a TLS session may resume: what was verified of one peer says nothing of another.
_Peer = tuple[ssl.SSLContext, str | None, object]


class TransferLoop(asyncio.SelectorEventLoop):
    """asyncio's usual loop, but TLS on a connected socket is a TlsTransport, and resumes the peer's last session.

    What is to carry another TLS connection, through a proxy, stays asyncio's: its `start_tls` knows no other. With
    `TlsChoice.ASYNCIO` every connection is asyncio's.
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
        """Connect as asyncio would; with nothing but a TLS context, a socket and a name, by a TlsTransport."""
        is_for_asyncio = not self._is_own_tls or address or options or server_hostname in tls_proxy_names()
        if is_for_asyncio or sock is None or not ssl or isinstance(ssl, bool):
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
