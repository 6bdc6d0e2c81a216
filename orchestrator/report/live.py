"""The live page, served while a run works: each open page receives changes as server-sent events.

The run is not involved: the journal is read repeatedly, and also the run's events file if it has one. So the page can
be opened, stopped and started while a run works, and it survives a killed run.
"""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import json
import os
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import anyio
from aiohttp import web

from orchestrator.domain.errors import JournalError
from orchestrator.domain.untrusted_text import disarmed_json
from orchestrator.report.document import ReportData
from orchestrator.report.page import render_cards, render_page

#: The pause between readings of the journal: at least this, and ten times the last reading to use a tenth of a core.
LEAST_SECONDS: Final = 1.0
_TIMES_AS_LONG: Final = 10
#: Without changes a page receives a heartbeat at this interval, because proxies may close idle connections.
_HEARTBEAT_SECONDS: Final = 15.0
#: The maximum number of changes queued for a page.
MOST_UNREAD: Final = 20
_STREAM_HEADERS = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-store",
    "X-Accel-Buffering": "no",
}
_PAGE_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}

Read = Callable[[], Awaitable[ReportData]]
#: The maximum number of bytes per reading; the rest is left for later readings.
_MOST_BYTES: Final = 4 * 1024**2
#: A new file is read from this many bytes before its end.
_FIRST_BYTES: Final = 256 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class PageAddress:
    """The address at which the page is served; with a *token*, only under a path that begins with it."""

    host: str
    port: int
    token: str | None

    @property
    def prefix(self) -> str:
        """The prefix of every path."""
        return f"/{self.token}" if self.token else ""


def is_loopback(host: str) -> bool:
    """Return True for a name or address that only this machine can reach."""
    with suppress(ValueError):
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    return host.lower() == "localhost"


class LivePage:
    """A page that is updated with data from *read*, and whose changes are sent to every open page."""

    def __init__(self, read: Read, events: EventTail) -> None:
        self._read = read
        self._events = events
        #: The queue of unread changes of each open page; None ends its stream.
        self._pages: set[asyncio.Queue[str | None]] = set()
        self._pictures: Mapping[str, str] = {}
        self.data: ReportData | None = None

    async def keep_up(self) -> None:
        """Read the journal until cancelled; a failed reading is repeated later."""
        while True:
            began = time.monotonic()
            with suppress(JournalError):
                await self.read()
            took = time.monotonic() - began
            await anyio.sleep(max(LEAST_SECONDS, _TIMES_AS_LONG * took))

    async def read(self) -> None:
        """Read the journal once, and send changes to the pages; raises JournalError."""
        data = await self._read()
        now = await anyio.to_thread.run_sync(self._events.read, data.summary["events_path"])
        data = data.with_now(now)
        before, self.data = self.data, data
        if before is not None and (parts := changed_parts(before, data)):
            self._publish(parts)

    def show_pictures(self, pictures: Mapping[str, str]) -> None:
        """Show *pictures* from now on, also on pages that are open."""
        self._pictures = pictures
        self._publish({"pictures": pictures, "rows": list(self.data.rows.values()) if self.data else []})

    def _publish(self, parts: Mapping[str, Any]) -> None:
        message = _event(parts)
        for page in tuple(self._pages):
            try:
                page.put_nowait(message)
            except asyncio.QueueFull:
                # The page reads too slowly. End its stream, so that it reconnects and receives everything.
                self._pages.discard(page)
                page.get_nowait()
                page.put_nowait(None)

    def page(self, *, is_live: bool) -> str:
        """Return the current page; a page that is not live is for a file."""
        assert self.data is not None  # noqa: S101 - nothing is served before the first reading
        return render_page(self.data, self._pictures, stream="stream" if is_live else None)

    def application(self, address: PageAddress) -> web.Application:
        """Return the web application that serves the page and its events at *address*."""

        @web.middleware
        async def guard(request: web.Request, handler: Callable[..., Any]) -> web.StreamResponse:
            # Another site's name may resolve to this machine. Without a token, only accept requests for its own name.
            if address.token is None and not is_loopback(request.url.host or ""):
                raise web.HTTPForbidden(text="this page is for this machine alone\n")
            response: web.StreamResponse = await handler(request)
            return response

        application = web.Application(middlewares=[guard])
        if address.token is None:
            application.router.add_get("/", self._serve_page)
            application.router.add_get("/stream", self._serve_stream)
            return application

        def known(handler: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> Any:
            async def serve(request: web.Request) -> web.StreamResponse:
                given = request.match_info["token"].encode("utf-8", "replace")
                if not hmac.compare_digest(given, (address.token or "").encode("ascii")):
                    raise web.HTTPNotFound(text="not found\n")
                return await handler(request)

            return serve

        application.router.add_get("/{token}/", known(self._serve_page))
        application.router.add_get("/{token}/stream", known(self._serve_stream))
        return application

    async def _serve_page(self, _request: web.Request) -> web.StreamResponse:
        page = await anyio.to_thread.run_sync(lambda: self.page(is_live=True))
        return web.Response(text=page, content_type="text/html", headers=_PAGE_HEADERS)

    async def _serve_stream(self, request: web.Request) -> web.StreamResponse:
        """Send all data first, because a page may reconnect after a break, then changes."""
        response = web.StreamResponse(headers=_STREAM_HEADERS)
        await response.prepare(request)
        news: asyncio.Queue[str | None] = asyncio.Queue(MOST_UNREAD)
        self._pages.add(news)
        try:
            await response.write(self._everything().encode("utf-8"))
            while True:
                try:
                    message = await asyncio.wait_for(news.get(), _HEARTBEAT_SECONDS)
                except TimeoutError:
                    message = ": still here\n\n"
                if message is None:
                    return response
                await response.write(message.encode("utf-8"))
        except ConnectionResetError:
            return response
        finally:
            self._pages.discard(news)

    def _everything(self) -> str:
        data = self.data
        assert data is not None  # noqa: S101 - nothing is served before the first reading
        return _event(
            {
                "is_whole": True,
                "summary": data.summary,
                "attention": data.attention,
                "cards": render_cards(data),
                "night": data.night,
                "rows": list(data.rows.values()),
                "pictures": self._pictures,
            }
        )


def changed_parts(before: ReportData, now: ReportData) -> dict[str, Any]:
    """Return the parts that a page with *before* needs to show *now*; none if only the time differs."""
    parts: dict[str, Any] = {}
    rows = [row for entry_id, row in now.rows.items() if before.rows.get(entry_id) != row]
    if before.rows.keys() - now.rows.keys():
        parts["is_whole"] = True
        rows = list(now.rows.values())
    if rows:
        parts["rows"] = rows
    if before.attention != now.attention:
        parts |= {"attention": now.attention, "cards": render_cards(now)}
    if before.night != now.night:
        parts["night"] = now.night
    if parts or {**before.summary, "made_at": 0} != {**now.summary, "made_at": 0}:
        parts["summary"] = now.summary
    return parts


def _event(parts: Mapping[str, Any]) -> str:
    text = disarmed_json(json.dumps(parts, ensure_ascii=False, separators=(",", ":")))
    return f"event: change\ndata: {text}\n\n"


class EventTail:
    """Reader of the whole lines that were appended since the last reading; an invalid file raises no error."""

    def __init__(self) -> None:
        self._begin(None)

    def _begin(self, path: str | None) -> None:
        """Start to follow the file at *path*, without any state of the last one."""
        self._path: str | None = path
        self._inode = self._offset = 0
        self._is_cut = False
        self._outages: dict[str, dict[str, Any]] = {}
        self._checked: dict[str, Any] | None = None

    def read(self, path: str | None) -> dict[str, Any]:
        """Return the run's current `outages` with their next try, and how many films are `checked`."""
        if path != self._path:
            self._begin(path)
        if path is not None:
            with suppress(OSError):
                for line in self._new_lines(Path(path)):
                    with suppress(ValueError, KeyError, TypeError, AttributeError):
                        self._take(json.loads(line))
        return {"outages": list(self._outages.values()), "checked": self._checked}

    def _new_lines(self, path: Path) -> list[bytes]:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            if status.st_ino != self._inode or status.st_size < self._offset:
                self._inode, self._offset = status.st_ino, max(0, status.st_size - _FIRST_BYTES)
                self._is_cut = self._offset > 0
            file.seek(self._offset)
            content = file.read(_MOST_BYTES)
        whole, newline, _ = content.rpartition(b"\n")
        self._offset += len(whole) + len(newline)
        lines = whole.split(b"\n") if whole else []
        first, self._is_cut = (1 if self._is_cut else 0), False
        return lines[first:]

    def _take(self, event: dict[str, Any]) -> None:
        match event["type"]:
            case "run.started" | "run.finished":
                self._outages.clear()
                self._checked = None
            case "films.checked":
                self._checked = {"done": int(event["done"]), "total": event.get("total")}
            case "outage.begun" | "outage.prolonged":
                self._outages[event["side"]] = {
                    "side": str(event["side"]),
                    "reason": str(event["reason"]),
                    "time": str(event["time"]),
                    "next_try_seconds": float(event["next_try_seconds"]),
                }
            case "outage.ended":
                self._outages.pop(event["side"], None)
