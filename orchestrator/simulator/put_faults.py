"""What goes wrong with a presigned PUT."""

from aiohttp import web

from orchestrator.simulator.between import intercepted_response, missing_page, oversized
from orchestrator.simulator.connections import Holder, close_after, cut_answer, drop, reset
from orchestrator.simulator.errors import StoreError
from orchestrator.simulator.put import PutExchange, incomplete_body, store_error_response

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
    """Store the body, or let *fault* happen to it, for the *turn*-th time; raises StoreError for refusals."""
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
            # Another host to any client, yet still this machine.
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
