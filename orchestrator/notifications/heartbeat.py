"""Heartbeat requests to an address while a run works, so that a monitor raises an alarm when they stop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Final

import anyio

from orchestrator.domain.errors import exit_code_of_any
from orchestrator.domain.untrusted_text import shown_address
from orchestrator.network.errors import CONNECTION_ERRORS
from orchestrator.network.http_session import open_http_session

#: Seconds between two heartbeats, and the timeout of one.
BEAT_SECONDS: Final = 60.0
_REQUEST_SECONDS: Final = 10.0


@asynccontextmanager
async def heartbeats(
    url: str, warn: Callable[[str], None], exit_code: Callable[[], int]
) -> AsyncIterator[None]:
    """Send heartbeats to *url* while the block runs; the last one has *exit_code*, or the code of its error."""
    heartbeat = Heartbeat(url, warn)
    failure: BaseException | None = None
    # An asyncio task: a task group would wrap whatever the block raises.
    task = asyncio.create_task(heartbeat.keep_beating())
    try:
        yield
    except BaseException as error:
        failure = error
        raise
    finally:
        task.cancel()
        with anyio.CancelScope(shield=True), suppress(asyncio.CancelledError):
            await task
        with anyio.CancelScope(shield=True):
            code = exit_code() if failure is None else exit_code_of_any(failure)
            await heartbeat.beat(str(int(code)))
            await heartbeat.close()


class Heartbeat:
    """A client that requests *url* at the start and every minute; `heartbeats` sends the end with `beat`."""

    def __init__(self, url: str, warn: Callable[[str], None]) -> None:
        self._url = url
        self._warn = warn
        self._has_failed = False
        self._session = open_http_session(connect_timeout=_REQUEST_SECONDS)

    async def keep_beating(self) -> None:
        """Send heartbeats until cancelled."""
        await self.beat("start")
        while True:
            await anyio.sleep(BEAT_SECONDS)
            await self.beat("log")

    async def beat(self, event: str) -> None:
        """Request the address once, for *event*."""
        url = self._url.replace("{event}", event)
        reason = None
        try:
            with anyio.fail_after(_REQUEST_SECONDS):
                async with self._session.get(url, allow_redirects=False) as answer:
                    reason = None if answer.status < 400 else f"HTTP {answer.status}"
        except (*CONNECTION_ERRORS, TimeoutError, ValueError) as error:
            # The text of these exceptions contains the URL, which is a secret.
            reason = type(error).__name__
        if reason is not None and not self._has_failed:
            self._has_failed = True
            self._warn(
                f"the heartbeat was not taken by {shown_address(self._url)}: {reason}; the run continues"
            )

    async def close(self) -> None:
        """Close the connections."""
        await self._session.close()
