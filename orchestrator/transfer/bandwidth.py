"""How many bytes a second all PUTs together may send: by the time of day, in equal shares, without bursts."""

from __future__ import annotations

import math
import re
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Final

import anyio

from orchestrator.domain.errors import ConfigurationError
from orchestrator.domain.quantities import parse_bytes

if TYPE_CHECKING:
    from orchestrator.transfer.payload import Pace  # which brings aiohttp along

#: What may be made up for after an idle time, or after a sleep that took too long.
_BURST_SECONDS: Final = 0.1
#: How long one PUT has the link before the next, within these limits.
_TURN_SECONDS: Final = 0.02
_MIN_TURN_BYTES: Final = 4 * 1024
_MAX_TURN_BYTES: Final = 256 * 1024
#: How many turns a share that had nothing to send may make up for.
_KEPT_TURNS: Final = 4
#: A change of the limit is noticed at the latest after this many seconds.
_LONGEST_SLEEP: Final = 1.0

_STEP: Final = re.compile(r"([01]?\d|2[0-3]):([0-5]\d),(\S+)")
#: A smaller number without a suffix was mostly meant in megabytes, as some programs take it.
_LEAST_PLAIN_RATE: Final = 10_000
_HINT: Final = "write bytes per second, for example 20M; off; or a timetable such as 08:00,5M 20:00,off"


@dataclass(frozen=True, slots=True)
class Timetable:
    """Bytes per second from a second of the day on, None for no limit; the last step holds past midnight."""

    steps: tuple[tuple[float, int | None], ...] = ((0.0, None),)

    def __str__(self) -> str:
        """The timetable as `parse_timetable` reads it."""
        words = [(start, _word(rate)) for start, rate in self.steps]
        if len(words) == 1:
            return words[0][1]
        return " ".join(f"{start // 3600:02.0f}:{start % 3600 // 60:02.0f},{word}" for start, word in words)

    def bytes_per_second(self, second_of_day: float) -> int | None:
        """The limit at *second_of_day*, None for none."""
        begun = [rate for start, rate in self.steps if start <= second_of_day]
        return begun[-1] if begun else self.steps[-1][1]


def _word(rate: int | None) -> str:
    if rate is None:
        return "off"
    return f"{rate}B" if rate < _LEAST_PLAIN_RATE else str(rate)


def parse_timetable(text: str) -> Timetable:
    """Read `20M`, `off` or `08:00,5M 20:00,off` (local time); raises ConfigurationError."""
    words = text.split()
    if len(words) == 1 and "," not in words[0]:
        return Timetable(((0.0, _rate(words[0])),))
    steps = dict(_step(word) for word in words)
    if not steps or len(steps) < len(words):
        raise ConfigurationError(f"{text!r} is not a bandwidth", hint=_HINT)
    return Timetable(tuple(sorted(steps.items())))


def _step(word: str) -> tuple[float, int | None]:
    match = _STEP.fullmatch(word)
    if match is None:
        raise ConfigurationError(f"{word!r} is not a step of a bandwidth timetable", hint=_HINT)
    return int(match[1]) * 3600.0 + int(match[2]) * 60.0, _rate(match[3])


def _rate(word: str) -> int | None:
    if word.lower() == "off":
        return None
    try:
        rate = parse_bytes(word)
    except ValueError:
        rate = 0
    if not rate:
        raise ConfigurationError(f"{word!r} is not a bandwidth", hint=_HINT)
    if word.strip().isdecimal() and rate < _LEAST_PLAIN_RATE:
        raise ConfigurationError(
            f"{rate} bytes a second; did you mean {word}M?", hint=f"write {word}B if not"
        )
    return rate


class BandwidthLimit:
    """A token bucket that all PUTs of a run draw from, in equal shares; it can be changed at any time.

    Without *timetable* there is no limit; *clock* is in epoch seconds.
    """

    def __init__(
        self,
        timetable: Timetable | None = None,
        *,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[object]] = anyio.sleep,
    ) -> None:
        self._timetable = timetable or Timetable()
        self._clock = clock
        self._monotonic = monotonic
        self._sleep = sleep
        self._line = _Line()
        #: When the bytes granted so far have passed at the rate of their time.
        self._free_at = -math.inf

    @property
    def bytes_per_second(self) -> int | None:
        """The current limit, None for none."""
        if len(self._timetable.steps) == 1:  # asked for every piece of every file
            return self._timetable.steps[0][1]
        local = time.localtime(self._clock())
        return self._timetable.bytes_per_second(local.tm_hour * 3600 + local.tm_min * 60 + local.tm_sec)

    def change(self, timetable: Timetable) -> None:
        """Limit to *timetable* from now on."""
        self._timetable = timetable
        self._free_at = min(self._free_at, self._monotonic())

    def share(self, name: str) -> Pace:
        """The pace of one of the shares that divide the bandwidth equally, however many PUTs each has."""
        return partial(self._take, name)

    async def _take(self, share: str, wanted_bytes: int) -> int:
        if self.bytes_per_second is None:
            return wanted_bytes
        ticket = self._line.join(share)
        try:
            await ticket.is_first.wait()
            rate = await self._free_rate()
            while self._line.give_way(ticket):
                await ticket.is_first.wait()
                rate = await self._free_rate()
            ticket.granted_bytes = self._grant(wanted_bytes, rate)
            return ticket.granted_bytes
        finally:
            self._line.leave(ticket)

    async def _free_rate(self) -> int | None:
        """Wait until what was granted has passed; returns the rate that holds then."""
        while True:
            rate, now = self.bytes_per_second, self._monotonic()
            if rate is None or self._free_at <= now:
                return rate
            await self._sleep(min(self._free_at - now, _LONGEST_SLEEP))

    def _grant(self, wanted_bytes: int, rate: int | None) -> int:
        if rate is None:
            return wanted_bytes
        turn_bytes = min(max(int(rate * _TURN_SECONDS), _MIN_TURN_BYTES), _MAX_TURN_BYTES)
        granted = min(wanted_bytes, turn_bytes)
        self._free_at = max(self._free_at, self._monotonic() - _BURST_SECONDS) + granted / rate
        return granted


@dataclass(eq=False, slots=True)
class _Ticket:
    """A place in the line."""

    share: str
    is_first: anyio.Event = field(default_factory=anyio.Event)
    granted_bytes: int = 0


class _Line:
    """Waiting PUTs: least-granted share first, FIFO within a share."""

    def __init__(self) -> None:
        self._waiting: dict[str, deque[_Ticket]] = {}
        self._first: _Ticket | None = None
        #: What each share was granted; kept for idle shares only while they are a few turns behind.
        self._had_bytes: dict[str, int] = {}
        self._least_bytes = 0

    def join(self, share: str) -> _Ticket:
        """Take the last place of *share*."""
        ticket = _Ticket(share)
        self._waiting.setdefault(share, deque()).append(ticket)
        self._had_bytes.setdefault(share, self._least_bytes)
        if self._first is None:
            self._advance()
        return ticket

    def give_way(self, ticket: _Ticket) -> bool:
        """Requeue *ticket* if a share that joined meanwhile has been granted less; True if so."""
        if all(self._had_bytes[share] >= self._had_bytes[ticket.share] for share in self._waiting):
            return False
        ticket.is_first = anyio.Event()
        self._waiting.setdefault(ticket.share, deque()).appendleft(ticket)
        self._advance()
        return True

    def leave(self, ticket: _Ticket) -> None:
        """Give the place up; the next ticket becomes the first."""
        if ticket is self._first:
            self._had_bytes[ticket.share] += ticket.granted_bytes
            self._first = None
            self._advance()
        else:
            self._remove(ticket)

    def _advance(self) -> None:
        if not self._waiting:
            return
        share = min(self._waiting, key=self._had_bytes.__getitem__)
        self._least_bytes = self._had_bytes[share]
        self._forget_absent()
        self._first = self._waiting[share][0]
        self._remove(self._first)
        self._first.is_first.set()

    def _remove(self, ticket: _Ticket) -> None:
        tickets = self._waiting[ticket.share]
        tickets.remove(ticket)
        if not tickets:
            del self._waiting[ticket.share]

    def _forget_absent(self) -> None:
        """Drop the credit of shares idle for more than a few turns."""
        oldest = self._least_bytes - _KEPT_TURNS * _MAX_TURN_BYTES
        absent = self._had_bytes.keys() - self._waiting.keys()
        for share in absent:
            if self._had_bytes[share] < oldest:
                del self._had_bytes[share]
