"""Limits of a run: once one is reached no new work is taken, and what is on its way is finished."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from orchestrator.domain.errors import LimitReachedError
from orchestrator.domain.quantities import format_bytes, format_duration
from orchestrator.engine.events import Event, SegmentProgressed

if TYPE_CHECKING:
    from orchestrator.engine.drain import Drain

_HINT = "run the same command again for the rest"


class TransferLimit:
    """A subscriber that drains the run once *limit_bytes* were handed to the network."""

    name = "the limit of --max-transfer"
    hears = frozenset({SegmentProgressed})

    def __init__(self, limit_bytes: int, drain: Drain) -> None:
        self._limit_bytes = limit_bytes
        self._drain = drain
        self._sent_bytes = 0

    def __call__(self, event: Event) -> None:
        """Count *event*; bytes of a failed attempt were sent as well."""
        if isinstance(event, SegmentProgressed) and event.bytes > 0:
            self._sent_bytes += event.bytes
            if self._sent_bytes >= self._limit_bytes:
                _end(self._drain, f"--max-transfer {format_bytes(self._limit_bytes)} is reached")


async def limit_duration(seconds: float, drain: Drain, sleep: Callable[[float], Awaitable[object]]) -> None:
    """Drain the run after *seconds*."""
    await sleep(seconds)
    _end(drain, f"--max-duration {format_duration(seconds)} is reached")


def _end(drain: Drain, reason: str) -> None:
    drain.begin(f"{reason}; letting running uploads finish", LimitReachedError(reason, hint=_HINT))
