"""Files that commands write for people: whole or not at all, and never in the place of what is no file."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import aiofiles
import anyio
from anyio import to_thread

from orchestrator.domain.errors import ConfigurationError
from orchestrator.observe.streams import open_at_once

Write = Callable[[str], Awaitable[object]]


@asynccontextmanager
async def written_file(path: Path) -> AsyncIterator[Write]:
    """Write UTF-8 text to *path*, for its owner only, which holds all of it or what it held before.

    A device or a pipe is written to as it is; of a symbolic link the file it leads to is replaced. Raises
    ConfigurationError where it cannot be written.
    """
    try:
        target = await to_thread.run_sync(_target, path)
        writing = _written_through(path) if target is None else _replaced(target)
        async with writing as write:
            yield write
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ConfigurationError(f"{path} cannot be written: {reason}") from None


def _target(path: Path) -> Path | None:
    """The file to replace; None for what is no file, or a stream that only has a name, as /dev/stdout."""
    real = Path(os.path.realpath(path))
    folder = os.path.realpath(path.parent)
    try:
        is_file = stat.S_ISREG(path.stat().st_mode)
    except FileNotFoundError:
        is_file = True
    return real if is_file and folder != "/dev" and not folder.startswith("/proc/") else None


@asynccontextmanager
async def _written_through(path: Path) -> AsyncIterator[Write]:
    descriptor = await to_thread.run_sync(open_at_once, path, os.O_WRONLY)
    async with aiofiles.open(descriptor, "w", encoding="utf-8", newline="") as stream:
        yield stream.write
        await stream.flush()


@asynccontextmanager
async def _replaced(path: Path) -> AsyncIterator[Write]:
    """Write to a file beside *path* that takes its place once it is whole."""
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        async with aiofiles.open(descriptor, "w", encoding="utf-8", newline="") as stream:
            yield stream.write
            await stream.flush()
            await to_thread.run_sync(os.fsync, stream.fileno())
        await anyio.Path(name).replace(path)
    except BaseException:
        with anyio.CancelScope(shield=True), suppress(FileNotFoundError):
            await anyio.Path(name).unlink()
        raise
