"""`report --live`: serves the page until a signal, then writes its last state to a file."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
from aiohttp import web
from anyio import to_thread
from platformdirs import user_state_path

from orchestrator.cli.invocation import Invocation
from orchestrator.cli.output import SCHEMA, Output, dumped
from orchestrator.cli.process import run_async
from orchestrator.cli.work.batches import KnownBatch, known_batch
from orchestrator.cli.work.report import PageRequest, can_show, picture_progress, pictures, read_report
from orchestrator.cli.work.results import written_file
from orchestrator.domain.errors import ConfigurationError, ExitCode
from orchestrator.engine.drain import until_signalled
from orchestrator.journal.journal import Journal, open_journal
from orchestrator.report.document import ReportData
from orchestrator.report.live import EventTail, LivePage, PageAddress, is_loopback
from orchestrator.settings.values import APPLICATION

#: Shutdown timeout in seconds: the stream of an open page never ends by itself.
_GOODBYE_SECONDS = 0.5


def serve_report(
    invocation: Invocation, name: str, request: PageRequest, *, host: str, port: int
) -> ExitCode:
    """Serve the page about the batch called *name* until a signal, its usual end; then write the requested file.

    Raises UsageError, ConfigurationError or JournalError if it cannot start, or the file cannot be written.
    """
    known = known_batch(invocation, name)
    token = None if is_loopback(host) else _token()
    run_async(_serve, known, request, PageAddress(host=host, port=port, token=token), invocation.output)
    return ExitCode.OK


async def _serve(known: KnownBatch, request: PageRequest, address: PageAddress, output: Output) -> None:
    async with open_journal(known.effective.values.state, clock=time.time) as journal:

        async def read() -> ReportData:
            return (await read_report(journal, known))[1]

        live = LivePage(read, EventTail())
        await live.read()
        with until_signalled():
            async with _listening(live, address, output), anyio.create_task_group() as group:
                group.start_soon(live.keep_up)
                if request.with_pictures and can_show(output):
                    group.start_soon(_show_pictures, live, journal, known, output)
        if request.file is not None:
            page = await to_thread.run_sync(lambda: live.page(is_live=False))
            async with written_file(request.file) as write:
                await write(page)
            output.note(f"wrote the last state to {request.file}")


@asynccontextmanager
async def _listening(live: LivePage, address: PageAddress, output: Output) -> AsyncIterator[None]:
    """Serve the page for the block, and print its URL."""
    runner = web.AppRunner(live.application(address), access_log=None, shutdown_timeout=_GOODBYE_SECONDS)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, address.host, address.port).start()
        except OSError as error:
            raise ConfigurationError(
                f"the page cannot be served on {address.host}:{address.port}: {error.strerror}",
                hint="choose another --port or --host",
            ) from None
        host = f"[{address.host}]" if ":" in address.host else address.host
        url = f"http://{host}:{runner.addresses[0][1]}{address.prefix}/"
        if output.is_json:
            output.write_data(dumped({"schema": SCHEMA, "url": url}) + "\n")
        else:
            output.write(f"{url}\n")
            output.note("press Ctrl-C to stop; the run is not affected")
        yield
    finally:
        with anyio.CancelScope(shield=True):
            await runner.cleanup()


async def _show_pictures(live: LivePage, journal: Journal, known: KnownBatch, output: Output) -> None:
    facts, data = await read_report(journal, known)
    progress = picture_progress(output)
    live.show_pictures(await to_thread.run_sync(pictures, facts, data, progress, abandon_on_cancel=True))


def _token() -> str:
    """Return this user's token, created once: open pages can reconnect to a restarted server."""
    path = Path(user_state_path(APPLICATION)) / "report.token"
    try:
        if path.exists() and (known := path.read_text(encoding="ascii").strip()):
            return known
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        token = secrets.token_urlsafe(24)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with open(descriptor, "w", encoding="ascii") as file:  # noqa: PTH123 - opens a descriptor
            file.write(token)
    except (OSError, RuntimeError, UnicodeDecodeError):
        # Without a place to store it, the token is valid until the server ends.
        return secrets.token_urlsafe(24)
    return token
