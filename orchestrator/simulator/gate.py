"""The API gateway: authentication, rate limits and faults (metastudio-protocol section 3)."""

from __future__ import annotations

import json
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable
from email.utils import formatdate
from typing import Any

from aiohttp import web

from orchestrator.simulator.auth import Call, Credentials
from orchestrator.simulator.connections import (
    Holder,
    close_after,
    drop,
    intercepted_response,
    missing_page,
    oversized,
    reset,
)
from orchestrator.simulator.faults import Faults
from orchestrator.simulator.options import SimulatorOptions
from orchestrator.simulator.persistence import Document
from orchestrator.simulator.requests import ApiError, StoreError
from orchestrator.simulator.stats import Stats

READS = frozenset({"list", "show", "list-parts", "list-action-parts", "projects"})
_DONE_FIRST = frozenset(
    {"lost-create", "lost-confirm", "lost-submit", "lost-update", "lost-delete", "lost-answer-api"}
    | {"false-refusal", "truncated-json", "close-keepalive-api", "oversized-answer-api"}
)
Act = Callable[[], Awaitable[Document]]


class Gate:
    """A gateway that admits calls and answers them in JSON, subject to faults."""

    def __init__(
        self,
        options: SimulatorOptions,
        *,
        credentials: Credentials,
        faults: Faults,
        stats: Stats,
        holder: Holder,
        clock: Callable[[], float],
    ) -> None:
        self._options = options
        self._credentials = credentials
        self._faults = faults
        self._stats = stats
        self._holder = holder
        self._clock = clock
        self._recent: defaultdict[str, deque[float]] = defaultdict(deque)

    async def admit(self, request: web.Request) -> Call:
        """Return the authenticated call or raise ApiError."""
        try:
            body = await request.read()
        except web.HTTPRequestEntityTooLarge:
            raise ApiError(413, "APIGW.0201", "Request entity too large") from None
        headers = {name.lower(): value for name, value in request.headers.items()}
        call = Call(request.method, request.raw_path, headers, body)
        try:
            self._credentials.check(call, self._clock())
        except ApiError as error:
            self._stats.refusals[f"auth {error.code}"] += 1
            raise
        return call

    async def answer(self, request: web.Request, operation: str, act: Act) -> web.StreamResponse:
        """Perform *act* unless throttled, and respond unless a fault applies."""
        with self._stats.api_in_flight.held():
            self._stats.requests[operation] += 1
            try:
                self._throttle(operation)
                return await self._perform(request, self._faults.draw(operation), act)
            except ApiError as error:
                refusal = error
            except StoreError as error:
                refusal = ApiError(
                    500, "MSS.00000004", f"The object store says {error.code}: {error.message}"
                )
            self._stats.refusals[f"{operation} {refusal.code}"] += 1
            return error_response(refusal, self._retry_after(refusal, self._options.retry_after))

    def _throttle(self, operation: str) -> None:
        limit = self._options.reads_per_second if operation in READS else self._options.writes_per_second
        if limit is None:
            return
        now, recent = self._clock(), self._recent[operation]
        window = max(1.0, 1.0 / limit)
        while recent and recent[0] <= now - window:
            recent.popleft()
        if len(recent) >= max(1.0, limit):
            raise _throttled(limit)
        recent.append(now)

    async def _perform(self, request: web.Request, fault: str | None, act: Act) -> web.StreamResponse:
        if fault is None:
            return web.json_response(await act())
        if fault in _DONE_FIRST:
            return await _answer_badly(request, fault, await act())
        return await self._refuse(request, fault)

    async def _refuse(self, request: web.Request, fault: str) -> web.StreamResponse:
        match fault:
            case "stall-api":
                return await self._holder.hold(request)
            case "reset-api":
                return reset(request)
            case "intercepted-api":
                return intercepted_response(self._faults.counts[fault])
            case "page-404-api":
                return missing_page()
            case "task-limit":
                raise ApiError(403, "MSS.41000012", "The number of concurrent tasks exceeds the limit")
            case "error-500-api":
                raise ApiError(500, "MSS.00000004", "Internal Error")
            case "ok-with-error-body":
                return web.json_response(refused("MSS.00000004", "Internal Error"))
            case _:
                kind = fault.removeprefix("throttle-429").lstrip("-") or self._options.retry_after
                error = _throttled(1)
                return error_response(error, self._retry_after(error, kind))

    def _retry_after(self, error: ApiError, kind: str) -> dict[str, str]:
        if error.status != 429 or kind == "none":
            return {}
        return {"Retry-After": "1" if kind == "seconds" else formatdate(self._clock() + 1, usegmt=True)}


def refused(code: str, message: str) -> Document:
    """Return the body for a command refused inside an HTTP 200."""
    return {
        "commond_result": "EXCUTE_FAILED",
        "excute_failed_msg": message,
        "error_info": {"error_code": code, "error_msg": message},
    }


def error_response(error: ApiError, headers: dict[str, str] | None = None) -> web.Response:
    """Return the JSON response for an error."""
    body: dict[str, Any] = {"error_code": error.code, "error_msg": error.message}
    return web.json_response(body, status=error.status, headers=headers)


def _throttled(limit: float) -> ApiError:
    message = (
        f"The throttling threshold has been reached: policy user over ratelimit,limit:{limit:g},time:1 second"
    )
    return ApiError(429, "APIGW.0308", message)


async def _answer_badly(request: web.Request, fault: str, document: Document) -> web.StreamResponse:
    match fault:
        case "false-refusal":
            return web.json_response(refused("MSS.00000004", "Internal Error"))
        case "truncated-json":
            text = json.dumps(document)
            return web.Response(text=text[: len(text) // 2], content_type="application/json")
        case "oversized-answer-api":
            body = await oversized(json.dumps(document).encode())
            return web.Response(
                body=body, content_type="application/json", headers={"Content-Encoding": "gzip"}
            )
        case "close-keepalive-api":
            return await close_after(request, web.json_response(document))
        case _:
            return drop(request)
