"""Waits for what a non-blocking socket is ready for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


async def until_readable(descriptor: int) -> None:
    """Wait until the socket has something to be read; no transport may be at work on *descriptor*."""
    loop = asyncio.get_running_loop()
    await _until_called(descriptor, loop.add_reader, loop.remove_reader)


async def until_writable(descriptor: int) -> None:
    """Wait until the socket has room for more; no transport may be at work on *descriptor*."""
    loop = asyncio.get_running_loop()
    await _until_called(descriptor, loop.add_writer, loop.remove_writer)


async def _until_called(descriptor: int, add: Callable[..., None], remove: Callable[[int], object]) -> None:
    is_ready = asyncio.get_running_loop().create_future()
    add(descriptor, _wake, is_ready)
    try:
        await is_ready
    finally:
        remove(descriptor)


def _wake(waiter: asyncio.Future[None]) -> None:
    # The loop calls as long as the socket is ready, which may be once more before who waits has gone on.
    if not waiter.done():
        waiter.set_result(None)
