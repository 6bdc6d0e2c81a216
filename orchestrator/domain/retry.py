"""Retries: decisions on an error and an attempt, and the one loop that carries them out."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from functools import lru_cache
from types import TracebackType

from orchestrator.domain.errors import RetryableError, ThrottledError

#: A uniform draw from [0, 1).
Draw = Callable[[], float]

_SECONDS = re.compile(r"[0-9]+(\.[0-9]+)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """A policy of exponential backoff with full jitter: at most *attempts* tries, waits of at most *cap_seconds*."""

    attempts: int = 8
    base_seconds: float = 0.5
    cap_seconds: float = 30.0
    throttled_floor_seconds: float = 1.0
    retry_after_cap_seconds: float = 300.0

    def delay_after(self, error: Exception, attempt: int, draw: Draw) -> float | None:
        """Return the seconds to wait after *attempt* (from 1) failed with *error*; None if it was the last.

        A wait the other side asked for is honored, with jitter on top so that workers do not return together.
        """
        if not isinstance(error, RetryableError) or attempt >= self.attempts:
            return None
        # Beyond 2**64 the cap applies anyway, and a float would overflow.
        jitter = draw() * min(self.cap_seconds, self.base_seconds * 2.0 ** min(attempt - 1, 64))
        if error.retry_after is not None:
            return min(error.retry_after, self.retry_after_cap_seconds) + jitter
        if isinstance(error, ThrottledError):
            return self.throttled_floor_seconds + jitter
        return jitter


#: Waits after an error according to a policy and budgets. Returns 1 if the failed attempt counts, 0 if it does not,
#: and raises the error that ends the attempts.
Wait = Callable[[RetryableError, "Attempts"], Awaitable[int]]


class Attempts:
    """An iterator that runs a block again after each RetryableError in it, as long as *wait* allows it.

        async for attempt in attempts:
            with attempt:
                ...

    Only errors of the type *on* are caught; others leave the block. A caller that has something to do between the
    wait and the next attempt catches the error itself and awaits `wait_after`.
    """

    def __init__(self, wait: Wait, *, on: type[RetryableError] = RetryableError) -> None:
        self._wait = wait
        self._on = on
        self._is_due = True
        self.number = 1  #: the number of this attempt; those that failed in an outage are not counted
        self.made = 1  #: the attempts so far, including this one
        self.error: RetryableError | None = None  #: the error that this attempt failed with

    def __aiter__(self) -> Attempts:
        """Return this object, which is its own iterator."""
        return self

    async def __anext__(self) -> Attempts:
        """Wait after a failure; the iteration ends once an attempt has not failed."""
        if self.error is not None:
            await self.wait_after(self.error)
        if not self._is_due:
            raise StopAsyncIteration
        self._is_due = False
        return self

    def __enter__(self) -> None:
        """Begin an attempt."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        """Suppress and keep an error that calls for another attempt."""
        if not isinstance(error, self._on):
            return False
        self.error = error
        return True

    async def wait_after(self, error: RetryableError) -> None:
        """Wait after *error*, so that another attempt is due; raises the error that ends the attempts."""
        self.error = None
        self.number += await self._wait(error, self)
        self.made += 1
        self._is_due = True


class RetryBudget:
    """A budget of retries for an entry or a run, so that no fault can keep either busy for ever.

    Each retry is also taken from *parent*.
    """

    def __init__(self, retries: int, parent: RetryBudget | None = None) -> None:
        self._left = retries
        self._parent = parent

    def take(self) -> bool:
        """Take one retry; False when this budget or its parent is used up."""
        if self._left <= 0 or (self._parent is not None and not self._parent.take()):
            return False
        self._left -= 1
        return True


def retry_after_seconds(header: str | None, now: float) -> float | None:
    """Parse a Retry-After header, seconds or an HTTP date, as seconds from *now* (since the epoch).

    Returns None if there is no header or it cannot be parsed; a date in the past means 0.
    """
    text = (header or "").strip()
    if _SECONDS.fullmatch(text):
        return float(text)
    date = http_date_seconds(text)
    return None if date is None else max(date - now, 0.0)


@lru_cache(maxsize=16)  # every answer carries one, and it is the same for a second
def http_date_seconds(text: str | None) -> float | None:
    """Parse an HTTP date as seconds since the epoch; None if it is invalid."""
    try:
        date = parsedate_to_datetime(text or "")
        return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None
