"""Pacing: at most so many service calls per second, shared by everything that calls."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from enum import StrEnum

from orchestrator.domain.errors import ConfigurationError


class CallKind(StrEnum):
    """The two classes the service limits separately (metastudio-protocol section 3)."""

    READ = "read"
    WRITE = "write"


@dataclass(frozen=True, slots=True)
class ApiRate:
    """Calls per second; 0 is no limit."""

    writes_per_second: float
    reads_per_second: float


def parse_api_rate(text: str) -> ApiRate:
    """Read `WRITES:READS`, for example `2:5`, or `unlimited`; raises ConfigurationError."""
    if text.strip().lower() == "unlimited":
        return ApiRate(0.0, 0.0)
    try:
        writes, reads = (_calls_per_second(part) for part in text.split(":"))
    except ValueError:
        raise ConfigurationError(
            f"{text!r} is not a call rate",
            hint="write WRITES:READS per second, for example 2:5, or unlimited",
        ) from None
    return ApiRate(writes, reads)


def _calls_per_second(text: str) -> float:
    rate = 0.0 if text.strip().lower() == "unlimited" else float(text)
    if not math.isfinite(rate) or rate < 0:
        raise ValueError
    return rate


class RateLimiter:
    """Hands out slots in even steps, so that no second ever holds more calls than the rate.

    *clock* and *sleep* are in seconds; a rate of 0 is no limit.
    """

    def __init__(
        self,
        writes_per_second: float,
        reads_per_second: float,
        *,
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[object]],
    ) -> None:
        self._lanes = {
            CallKind.WRITE: _Lane(writes_per_second),
            CallKind.READ: _Lane(reads_per_second),
        }
        self._clock = clock
        self._sleep = sleep

    def slot(self, kind: CallKind) -> AbstractAsyncContextManager[None]:
        """Wait for a slot and hold it; a call takes no longer than its own time."""
        return _Slot(self, kind)

    async def acquire(self, kind: CallKind) -> None:
        """Wait for a slot; a pause that begins meanwhile is waited for as well."""
        lane = self._lanes[kind]
        is_current = False
        while not is_current:
            # A pause that starts during the sleep makes the slot void: another one is taken after it.
            pauses = lane.pauses
            wait = lane.reserve(self._clock())
            if wait > 0:
                await self._sleep(wait)
            is_current = lane.pauses == pauses

    def back_off(self, kind: CallKind, seconds: float) -> None:
        """Let no call of this kind start for *seconds*, nor those that wait for a slot already."""
        self._lanes[kind].pause_until(self._clock() + seconds)


class _Slot:
    """One call's slot; each call makes one, so it is no generator."""

    __slots__ = ("_kind", "_limiter")

    def __init__(self, limiter: RateLimiter, kind: CallKind) -> None:
        self._limiter = limiter
        self._kind = kind

    async def __aenter__(self) -> None:
        """Wait for the slot."""
        await self._limiter.acquire(self._kind)

    async def __aexit__(self, *_ended: object) -> None:
        """Nothing is given back: a slot is a moment."""


class _Lane:
    """The next free slot of one kind of call."""

    def __init__(self, per_second: float) -> None:
        self._interval = 1.0 / per_second if per_second else 0.0
        self._next_slot = -math.inf
        self._paused_until = -math.inf
        self.pauses = 0

    def reserve(self, now: float) -> float:
        """Take the next slot; the seconds until it."""
        slot = max(self._next_slot, now)
        self._next_slot = slot + self._interval
        return slot - now

    def pause_until(self, end: float) -> None:
        """Let slots begin at *end* or after a longer pause; those who wait for one must take another."""
        self._paused_until = max(self._paused_until, end)
        # Slots handed out already are taken back by `pauses`, so the first one is free again.
        self._next_slot = self._paused_until
        self.pauses += 1
