"""A scripted service on loopback and a clock that only sleeps move."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from aiohttp import web

PROJECT_ID = "0d697589d98091f12f92c0073501cd79"
NOW = 1795334400.0  # 2026-11-22T08:00:00Z
Reply = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class VirtualClock:
    """Epoch seconds that pass only while somebody sleeps."""

    now: float = NOW
    sleeps: list[float] = field(default_factory=list)

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)
        self.now += seconds
        await asyncio.sleep(0)


@dataclass(frozen=True)
class Received:
    """A request as it came over the wire."""

    method: str
    raw_path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class ScriptedService:
    """Answers each request with the next reply of its script, the last one for ever."""

    endpoint: str = ""
    script: list[Reply] = field(default_factory=list)
    requests: list[Received] = field(default_factory=list)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        headers = {name.decode().lower(): value.decode() for name, value in request.raw_headers}
        self.requests.append(Received(request.method, request.raw_path, headers, await request.read()))
        reply = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        return await reply(request)


def says(status: int, body: object = None, **headers: str) -> Reply:
    """Answer with *status* and *body* as JSON; `Retry_After="2"` is a header."""

    async def reply(_request: web.Request) -> web.StreamResponse:
        fields = {"X-Request-Id": "req-1"} | {
            name.replace("_", "-"): value for name, value in headers.items()
        }
        return web.json_response({} if body is None else body, status=status, headers=fields)

    return reply


def refuses(status: int, code: str, message: str = "no", **headers: str) -> Reply:
    """Answer with an error body of the service."""
    return says(status, {"error_code": code, "error_msg": message}, **headers)


def shows_page(status: int) -> Reply:
    """Answer as something in between does: with HTML, and nothing of the service's."""

    async def reply(_request: web.Request) -> web.StreamResponse:
        return web.Response(status=status, text="<html>sign in</html>", content_type="text/html")

    return reply


async def hangs_up(request: web.Request) -> web.StreamResponse:
    """Close the connection instead of answering."""
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


async def breaks_off(request: web.Request) -> web.StreamResponse:
    """Close the connection in the middle of the answer."""
    response = web.StreamResponse(headers={"Content-Length": "1000", "Content-Type": "application/json"})
    await response.prepare(request)
    await response.write(b'{"job_id": "')
    assert request.transport is not None
    request.transport.close()
    return response


async def says_nothing(_request: web.Request) -> web.StreamResponse:
    """Never answer; ends when the client goes."""
    await asyncio.Event().wait()
    raise AssertionError
