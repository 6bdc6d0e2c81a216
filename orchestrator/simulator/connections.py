"""Failures of an exchange: dropped, reset, held until the client gives up, or intercepted by a proxy or portal."""

from __future__ import annotations

import asyncio
import gzip
import socket
import struct
from collections.abc import Awaitable, Callable

from aiohttp import web

_POLL_SECONDS = 0.1
_ESTABLISHED = 1


def drop(request: web.Request) -> web.Response:
    """Close the connection without a response; the returned response is never sent."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


def reset(request: web.Request) -> web.Response:
    """Reset the connection (TCP RST); the returned response is never sent."""
    if request.transport is not None:
        connection: socket.socket = request.transport.get_extra_info("socket")
        # With a linger time of 0, the close sends an RST instead of a FIN, and unsent data is dropped.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    return drop(request)


async def close_after(request: web.Request, response: web.Response) -> web.Response:
    """Send a whole response and close at once, even if the client is still sending."""
    await response.prepare(request)
    await response.write_eof()
    if request.transport is not None:
        request.transport.close()
    return response


async def cut_answer(request: web.Request, text: bytes) -> web.Response:
    """Send *text* unchanged as the beginning of a response, and close."""
    if request.transport is not None:
        request.transport.write(text)
        request.transport.close()
    return web.Response()


class Holder:
    """A holder of unanswered exchanges, until the client disconnects, the time is up or the simulator stops."""

    def __init__(self, seconds: float, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        self._seconds = seconds
        self._sleep = sleep
        self._is_stopping = False

    def stop(self) -> None:
        """Release all held exchanges."""
        self._is_stopping = True

    async def hold(self, request: web.Request) -> web.Response:
        """Keep the client waiting, then drop the connection."""
        waited = 0.0
        while waited < self._seconds and not self._is_stopping and _is_connected(request):
            await self._sleep(_POLL_SECONDS)
            waited += _POLL_SECONDS
        return drop(request)


def _is_connected(request: web.Request) -> bool:
    """Return True while the kernel has the connection open: a paused transport does not notice a disconnect."""
    if request.transport is None or request.transport.is_closing():
        return False
    tcp_info = getattr(socket, "TCP_INFO", None)
    if tcp_info is None:
        return True
    connection: socket.socket = request.transport.get_extra_info("socket")
    return connection.getsockopt(socket.IPPROTO_TCP, tcp_info, 1)[0] == _ESTABLISHED


STRANGER = web.ResponseKey("stranger", bool)
"""On an answer that neither the service nor the store gave: it gets none of their headers."""

_PORTAL = "<!DOCTYPE html><html><head><title>Sign in</title></head><body>Please sign in.</body></html>"
_PADDING_BYTES = 16 << 20


def intercepted_response(turn: int) -> web.Response:
    """Return a 200 of a portal or proxy: HTML, JSON or an empty body, by *turn*."""
    body, content_type = (
        (_PORTAL, "text/html"),
        ('{"status": "ok"}', "application/json"),
        ("", "application/octet-stream"),
    )[turn % 3]
    response = web.Response(text=body, content_type=content_type)
    response[STRANGER] = True
    return response


def missing_page() -> web.Response:
    """Return a 404 of a portal or proxy, as HTML."""
    response = web.Response(status=404, text=_PORTAL, content_type="text/html")
    response[STRANGER] = True
    return response


async def oversized(body: bytes) -> bytes:
    """Return *body* followed by 16 MiB of spaces, compressed with gzip to about 16 KiB."""
    return await asyncio.to_thread(gzip.compress, body + b" " * _PADDING_BYTES)
