"""Ends a request on which nothing moves any more; aiohttp has no timeout for writing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Self

import anyio

#: Looks per idle timeout: how late a cut may come, at most one look.
_LOOKS = 8


class IdleWatchdog:
    """Cancels what runs inside when *activity* has not changed for *idle_timeout* seconds.

    `activity` returns a mark that differs whenever bytes have moved, None while nothing is expected to move.
    """

    def __init__(self, activity: Callable[[], object], idle_timeout: float) -> None:
        """Watch nothing yet: the watch lasts from `with` to its end, or to `stop`."""
        self._activity = activity
        self._idle_timeout = idle_timeout
        self._scope = anyio.CancelScope()
        self._loop = asyncio.get_running_loop()
        self._moved_at = self._loop.time()
        self._mark: object = None
        self._timer: asyncio.TimerHandle | None = None

    @property
    def has_bitten(self) -> bool:
        """True when the watch ended what ran inside."""
        return self._scope.cancelled_caught

    def __enter__(self) -> Self:
        """Begin to watch."""
        self._scope.__enter__()
        self._look()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        """End the watch; the cancellation it caused stops here."""
        self.stop()
        return bool(self._scope.__exit__(kind, error, traceback))

    def stop(self) -> None:
        """Watch no longer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        now = self._loop.time()
        mark = self._activity()
        if mark is None or mark != self._mark:
            self._mark, self._moved_at = mark, now
        elif now - self._moved_at >= self._idle_timeout:
            self._scope.cancel()
            return
        self._timer = self._loop.call_later(self._idle_timeout / _LOOKS, self._look)
