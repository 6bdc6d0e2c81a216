"""Whether to try again, and when: decisions on an error and an attempt, and the one loop that carries them out."""

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
    """Exponential backoff with full jitter: at most *attempts* tries, waits of at most *cap_seconds*."""

    attempts: int = 8
    base_seconds: float = 0.5
    cap_seconds: float = 30.0
    throttled_floor_seconds: float = 1.0
    retry_after_cap_seconds: float = 300.0

    def delay_after(self, error: Exception, attempt: int, draw: Draw) -> float | None:
        """Seconds to wait after *attempt* (from 1) failed with *error*; None when it was the last.

        A wait the other side asked for is kept, with jitter on top so that workers do not return together.
        """
        if not isinstance(error, RetryableError) or attempt >= self.attempts:
            return None
        # Beyond 2**64 the cap holds anyway, and a float would overflow.
        jitter = draw() * min(self.cap_seconds, self.base_seconds * 2.0 ** min(attempt - 1, 64))
        if error.retry_after is not None:
            return min(error.retry_after, self.retry_after_cap_seconds) + jitter
        if isinstance(error, ThrottledError):
            return self.throttled_floor_seconds + jitter
        return jitter


#: Waits after an error as a policy and budgets say; returns 1 when the failed attempt counts, 0 when it does not, and
#: raises what ends the attempts.
Wait = Callable[[RetryableError, "Attempts"], Awaitable[int]]


class Attempts:
    """Runs a block again after each RetryableError in it, for as long as *wait* allows that.

        async for attempt in attempts:
            with attempt:
                ...

    Only errors of the kind *on* are taken; others leave the block. A caller that has something to do between the
    wait and the next attempt catches the error itself and awaits `wait_after`.
    """

    def __init__(self, wait: Wait, *, on: type[RetryableError] = RetryableError) -> None:
        self._wait = wait
        self._on = on
        self._is_due = True
        self.number = 1  #: of this attempt; those that failed in an outage are not counted
        self.made = 1  #: attempts so far, this one too
        self.error: RetryableError | None = None  #: what this attempt failed with

    def __aiter__(self) -> Attempts:
        """The attempts are their own iterator."""
        return self

    async def __anext__(self) -> Attempts:
        """Wait after a failure; ends once an attempt did not fail."""
        if self.error is not None:
            await self.wait_after(self.error)
        if not self._is_due:
            raise StopAsyncIteration
        self._is_due = False
        return self

    def __enter__(self) -> None:
        """Try once."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        """Keep an error that calls for another attempt."""
        if not isinstance(error, self._on):
            return False
        self.error = error
        return True

    async def wait_after(self, error: RetryableError) -> None:
        """Wait after *error*, so that another attempt is due; raises what ends the attempts."""
        self.error = None
        self.number += await self._wait(error, self)
        self.made += 1
        self._is_due = True


class RetryBudget:
    """Counts the retries of an entry or a run, so that no fault can keep either busy for ever.

    Each one is also taken from *parent*.
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
    """Read a Retry-After header, seconds or an HTTP date, as seconds from *now* (since the epoch).

    None when there is no header or nothing can be read from it; a date that is past means 0.
    """
    text = (header or "").strip()
    if _SECONDS.fullmatch(text):
        return float(text)
    date = http_date_seconds(text)
    return None if date is None else max(date - now, 0.0)


@lru_cache(maxsize=16)  # every answer carries one, and it is the same for a second
def http_date_seconds(text: str | None) -> float | None:
    """Read an HTTP date as seconds since the epoch; None when it is none."""
    try:
        date = parsedate_to_datetime(text or "")
        return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None
