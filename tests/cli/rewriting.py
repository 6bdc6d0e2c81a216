"""A service that speaks like nobody should: every answer of the simulator, with other words in it."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import aiohttp
from aiohttp import web

#: What is said of a call: method, path and body of the request, status and body of the answer.
Rewrite = Callable[[str, str, Mapping[str, Any], int, dict[str, Any]], tuple[int, dict[str, Any]]]


@contextmanager
def rewriting(service: str, rewrite: Rewrite) -> Iterator[str]:
    """Serve on loopback what *service* answers after *rewrite*; the value is the endpoint."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    def wait_for(work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, loop).result(10)

    runner = wait_for(_start(service, rewrite))
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        wait_for(runner.cleanup())
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _start(service: str, rewrite: Rewrite) -> web.AppRunner:
    async def answer(request: web.Request) -> web.Response:
        sent = await request.read()
        async with (
            aiohttp.ClientSession() as session,
            session.request(
                request.method, service + request.raw_path, data=sent, headers=request.headers
            ) as answered,
        ):
            body = await answered.json(content_type=None) or {}
            status, body = rewrite(
                request.method, request.path, json.loads(sent or "{}"), answered.status, body
            )
            # Escaped, so that half a character can be on the wire.
            return web.Response(
                status=status,
                text=json.dumps(body),
                content_type="application/json",
                headers={"X-Request-Id": answered.headers.get("X-Request-Id", "")},
            )

    application = web.Application()
    application.router.add_route("*", "/{tail:.*}", answer)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    return runner
