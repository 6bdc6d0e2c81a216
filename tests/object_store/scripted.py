"""A store on loopback that has one answer."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from aiohttp import web


@asynccontextmanager
async def store_that_says(
    status: int,
    code: str,
    headers: Mapping[str, str] | None = None,
    seen: list[Mapping[str, str]] | None = None,
) -> AsyncIterator[str]:
    """Serve a store that lists its bucket, and to all else answers with that error; yield its URL.

    The headers of all else go to *seen*.
    """

    async def answer(request: web.Request) -> web.Response:
        if "list-type" in request.query:
            return web.Response(text="<ListBucketResult/>")
        if seen is not None:
            seen.append(request.headers)
        text = f"<Error><Code>{code}</Code><Message>no</Message></Error>"
        return web.Response(status=status, text=text, headers=headers)

    application = web.Application()
    application.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()
