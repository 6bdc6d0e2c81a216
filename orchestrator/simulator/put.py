"""Presigned PUTs: the body, its destination, the response, and faults."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from xml.sax.saxutils import escape

from aiohttp import ClientError, web

from orchestrator.simulator.connections import (
    Holder,
    close_after,
    cut_answer,
    drop,
    intercepted_response,
    missing_page,
    oversized,
    reset,
)
from orchestrator.simulator.objects import ObjectStore, Received, shown_etag
from orchestrator.simulator.persistence import Records
from orchestrator.simulator.requests import StoreError
from orchestrator.simulator.stats import Stats
from orchestrator.simulator.urls import SignedTarget

_CHUNK_BYTES = 1 << 18


class Pace:
    """A cap on bytes per second, shared by all bodies."""

    def __init__(
        self, bytes_per_second: float | None, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    ) -> None:
        self._bytes_per_second = bytes_per_second
        self._sleep = sleep
        self._free_at = 0.0

    async def take(self, count: int) -> None:
        """Wait until *count* more bytes are within the cap."""
        if self._bytes_per_second is None:
            return
        now = asyncio.get_running_loop().time()
        self._free_at = max(self._free_at, now) + count / self._bytes_per_second
        await self._sleep(self._free_at - now)


class UsedUrls:
    """The one-time URLs that have already stored something, by signature."""

    def __init__(self, records: Records) -> None:
        self._records = records
        self._signatures: set[str] = set()

    async def open(self) -> None:
        """Load the URLs that an earlier process recorded."""
        self._signatures = {signature for signature, _ in await self._records.load("used")}

    def check(self, target: SignedTarget) -> None:
        """Raise StoreError if the URL has already been used."""
        if target.signature in self._signatures:
            raise StoreError(403, "AccessDenied", "The URL can be used only once")

    @asynccontextmanager
    async def claimed(self, target: SignedTarget) -> AsyncIterator[None]:
        """Mark the URL as used, unless the block fails."""
        self.check(target)
        self._signatures.add(target.signature)
        try:
            yield
        except BaseException:
            self._signatures.discard(target.signature)
            raise
        await self._records.put("used", target.signature, {})


class PutExchange:
    """A verified PUT whose body has not been read yet."""

    def __init__(
        self,
        request: web.Request,
        target: SignedTarget,
        *,
        store: ObjectStore,
        stats: Stats,
        pace: Pace,
        used: UsedUrls | None,
        etags: str,
    ) -> None:
        self.request = request
        self._target = target
        self._store = store
        self._stats = stats
        self._pace = pace
        self._used = used
        self._etags = etags

    async def chunks(self, limit: int | None = None) -> AsyncIterator[bytes]:
        """Yield the body, up to about *limit* bytes; raise StoreError IncompleteBody if it is too short."""
        left = self.request.content_length or 0 if limit is None else limit
        try:
            while left > 0 and (chunk := await self.request.content.read(min(left, _CHUNK_BYTES))):
                left -= len(chunk)
                self._stats.put_bytes_received += len(chunk)
                await self._pace.take(len(chunk))
                yield chunk
        except (ClientError, ConnectionError, web.HTTPException):
            raise incomplete_body() from None
        if left > 0 and limit is None:
            raise incomplete_body()

    async def drain(self, limit: int | None = None) -> None:
        """Read the body and discard it."""
        async for _ in self.chunks(limit):
            pass

    async def receive(self, *, is_corrupted: bool = False) -> Received:
        """Receive the whole body on disk and return it; *is_corrupted* changes one bit of it."""
        receiver = self._store.receiver()
        try:
            async for chunk in self.chunks():
                is_first = is_corrupted and not receiver.taken
                await receiver.write(bytes([chunk[0] ^ 1]) + chunk[1:] if is_first else chunk)
            return await receiver.finish()
        except BaseException:
            await receiver.discard()
            raise

    async def keep(self, received: Received) -> str:
        """Move the body to its final place and return its ETag without quotes."""
        if self._used is None:
            await self._put_in_place(received)
        else:
            async with self._used.claimed(self._target):
                await self._put_in_place(received)
        self._stats.put_bytes_stored += received.size
        self._stats.stored[self._target.label].append(received.size)
        return received.etag

    async def _put_in_place(self, received: Received) -> None:
        if self._target.part_number is None:
            await self._store.keep_object(self._target.key, received)
        else:
            upload_id, number = self._target.upload_id or "", self._target.part_number
            await self._store.keep_part(upload_id, self._target.key, number, received)

    async def store(self) -> web.Response:
        """Receive and store the body, and respond without a fault."""
        return self.stored_response(await self.keep(await self.receive()))

    def stored_response(self, etag: str) -> web.Response:
        """Return the store's 200, with the quoted ETag unless the world omits it."""
        if self._etags == "absent":
            return web.Response()
        return web.Response(headers={"ETag": f'"{shown_etag(etag, self._etags)}"'})


def store_error_response(request: web.Request, error: StoreError) -> web.Response:
    """Return the XML response for an error; its Resource is only the path, never the query."""
    request_id = uuid.uuid4().hex.upper()
    text = (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f"<Error><Code>{error.code}</Code><Message>{escape(error.message)}</Message>"
        f"<Resource>{escape(request.path)}</Resource><RequestId>{request_id}</RequestId>"
        "<HostId>simulator</HostId></Error>"
    )
    headers = {"x-obs-request-id": request_id}
    return web.Response(status=error.status, text=text, content_type="application/xml", headers=headers)


def incomplete_body() -> StoreError:
    """Return the error for a body shorter than announced."""
    return StoreError(400, "IncompleteBody", "The request body is shorter than its Content-Length")


_REFUSALS = {
    "slow-down": StoreError(503, "SlowDown", "Please reduce your request rate."),
    "error-500": StoreError(500, "InternalError", "We encountered an internal error. Please try again."),
    "too-many-requests": StoreError(429, "TooManyRequests", "Too many requests on the same object."),
    "conflict-409": StoreError(409, "OperationAborted", "A conflicting operation is being performed."),
    "incomplete-body": incomplete_body(),
}
_EARLY = {
    "early-403": StoreError(403, "AccessDenied", "Access Denied"),
    "early-slow-down": _REFUSALS["slow-down"],
}
_TIMEOUT = StoreError(
    408, "RequestTimeout", "Your socket connection was not read from or written to in time."
)
_WRONG_ETAG = "0" * 32


async def perform(
    fault: str | None, exchange: PutExchange, holder: Holder, *, turn: int
) -> web.StreamResponse:
    """Store the body, or apply *fault* for the *turn*-th time; raises StoreError for refusals."""
    match fault:
        case None:
            return await exchange.store()
        case "slow-down" | "error-500" | "too-many-requests" | "conflict-409" | "incomplete-body":
            await exchange.drain()
            raise _REFUSALS[fault]
        case "early-403" | "early-slow-down" | "timeout-408" | "reset" | "redirect" | "page-404":
            return await _interrupt(fault, exchange)
        case "stall":
            return await holder.hold(exchange.request)
        case "never-answer":
            await exchange.drain()
            return await holder.hold(exchange.request)
        case "intercepted":
            await exchange.drain()
            return intercepted_response(turn)
        case _:
            return await _store_badly(fault, exchange)


async def _interrupt(fault: str, exchange: PutExchange) -> web.StreamResponse:
    request = exchange.request
    half = (request.content_length or 0) // 2
    match fault:
        case "timeout-408":
            await exchange.drain(half)
            return await close_after(request, store_error_response(request, _TIMEOUT))
        case "reset":
            await exchange.drain(half)
            return reset(request)
        case "redirect":
            await exchange.drain()
            # A different host for any client, but still this machine.
            elsewhere = f"{request.scheme}://127.0.0.2:{request.url.port}{request.raw_path}"
            return web.Response(status=307, headers={"Location": elsewhere})
        case "page-404":
            await exchange.drain()
            return missing_page()
        case _:
            return await close_after(request, store_error_response(request, _EARLY[fault]))


async def _store_badly(fault: str, exchange: PutExchange) -> web.StreamResponse:
    etag = await exchange.keep(await exchange.receive(is_corrupted=fault == "corrupt"))
    request = exchange.request
    match fault:
        case "lost-answer":
            return drop(request)
        case "truncated-answer":
            return await cut_answer(request, b'HTTP/1.1 200 OK\r\nServer: OBS\r\nETag: "' + etag[:7].encode())
        case "close-keepalive":
            return await close_after(request, exchange.stored_response(etag))
        case "wrong-etag":
            return exchange.stored_response(_WRONG_ETAG)
        case "oversized-answer":
            response = exchange.stored_response(etag)
            response.headers["Content-Encoding"] = "gzip"
            response.body = await oversized(b"")
            return response
        case _:
            return exchange.stored_response(etag)
