"""What else hears of a run: a command at its end, and an alarm elsewhere that misses a heartbeat."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Final

import anyio

from orchestrator.api.history import code_of
from orchestrator.domain.exit_codes import ExitCode
from orchestrator.domain.notices import shown_address
from orchestrator.network.errors import CONNECTION_ERRORS
from orchestrator.network.session import open_session
from orchestrator.observe.wording import duration

#: What a command may take; a run that waits for it for ever would keep the next one out.
COMMAND_SECONDS: Final = 600.0
#: Between two heartbeats, and what one may take.
BEAT_SECONDS: Final = 60.0
_REQUEST_SECONDS: Final = 10.0


async def feed(command: str, document: str, output: int) -> str | None:
    """Run *command* with the shell and *document* as its input; return what went wrong, None where nothing did.

    *output* is the descriptor to which it writes, or asyncio's DEVNULL.
    """
    process = await asyncio.create_subprocess_shell(
        command, stdin=asyncio.subprocess.PIPE, stdout=output, stderr=output
    )
    try:
        with anyio.fail_after(COMMAND_SECONDS):
            await process.communicate((document + "\n").encode())
    except TimeoutError:
        return f"was stopped: it took longer than {duration(COMMAND_SECONDS)}"
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    return f"failed with exit code {process.returncode}" if process.returncode else None


@dataclass(slots=True)
class Ending:
    """How a run ends, once it is known; until then as one that crashed."""

    exit_code: int = ExitCode.UNEXPECTED


@asynccontextmanager
async def beating(url: str | None, warn: Callable[[str], None]) -> AsyncIterator[Ending]:
    """Request *url*, where there is one, as `Heartbeat` does while the block runs; the block says how it ended."""
    ending = Ending()
    if url is None:
        yield ending
        return
    heartbeat = Heartbeat(url, warn)
    # A task of asyncio's: a task group would wrap whatever the block raises.
    task = asyncio.create_task(heartbeat.keep_beating())
    try:
        yield ending
    except BaseException as error:
        ending.exit_code = code_of(error)
        raise
    finally:
        task.cancel()
        with anyio.CancelScope(shield=True), suppress(asyncio.CancelledError):
            await task
        with anyio.CancelScope(shield=True):
            await heartbeat.beat(str(int(ending.exit_code)))
            await heartbeat.close()


class Heartbeat:
    """Requests *url* at the start, every minute and at the end, so that an alarm elsewhere misses it."""

    def __init__(self, url: str, warn: Callable[[str], None]) -> None:
        self._url = url
        self._warn = warn
        self._has_failed = False
        self._session = open_session(connect_timeout=_REQUEST_SECONDS)

    async def keep_beating(self) -> None:
        """Until it is cancelled."""
        await self.beat("start")
        while True:
            await anyio.sleep(BEAT_SECONDS)
            await self.beat("log")

    async def beat(self, event: str) -> None:
        """Request the address once for *event*."""
        url = self._url.replace("{event}", event)
        reason = None
        try:
            with anyio.fail_after(_REQUEST_SECONDS):
                async with self._session.get(url, allow_redirects=False) as answer:
                    reason = None if answer.status < 400 else f"HTTP {answer.status}"
        except (*CONNECTION_ERRORS, TimeoutError, ValueError) as error:
            # The text of these exceptions holds the URL.
            reason = type(error).__name__
        if reason is not None and not self._has_failed:
            self._has_failed = True
            self._warn(
                f"the heartbeat was not taken by {shown_address(self._url)}: {reason}; the run continues"
            )

    async def close(self) -> None:
        """Close its connections."""
        await self._session.close()
