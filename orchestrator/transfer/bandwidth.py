"""When a PUT may go and how fast: slots divided among entries, bandwidth in equal shares, how long a PUT takes."""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar

import anyio

from orchestrator.domain.assets import MIN_PART_BYTES
from orchestrator.domain.quantities import Timetable

if TYPE_CHECKING:
    from orchestrator.transfer.payload import Pace  # which brings aiohttp along

T = TypeVar("T")

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
            ticket.granted_bytes = wanted_bytes
            if rate is not None:
                # A turn is a moment at this rate: long ones would let the others' connections run dry.
                turn_bytes = min(max(int(rate * _TURN_SECONDS), _MIN_TURN_BYTES), _MAX_TURN_BYTES)
                ticket.granted_bytes = min(wanted_bytes, turn_bytes)
                lasts = ticket.granted_bytes / rate
                self._free_at = max(self._free_at, self._monotonic() - _BURST_SECONDS) + lasts
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
            _remove(self._waiting, ticket.share, ticket)

    def _advance(self) -> None:
        if not self._waiting:
            return
        share = min(self._waiting, key=self._had_bytes.__getitem__)
        self._least_bytes = self._had_bytes[share]
        # A share idle for more than a few turns loses its credit, or it would have the link to itself on its return.
        oldest = self._least_bytes - _KEPT_TURNS * _MAX_TURN_BYTES
        for absent in self._had_bytes.keys() - self._waiting.keys():
            if self._had_bytes[absent] < oldest:
                del self._had_bytes[absent]
        self._first = self._waiting[share][0]
        _remove(self._waiting, share, self._first)
        self._first.is_first.set()


class PutSlots:
    """Limits concurrent PUTs across the run; the entry holding the fewest gets the next slot.

    While *bandwidth* is limited no member holds more than its equal share, even before the others have asked: a PUT
    cannot be interrupted, and only running PUTs share a bandwidth.
    """

    def __init__(self, total: int, bandwidth: BandwidthLimit) -> None:
        self._total = total
        self._bandwidth = bandwidth
        self._members = Counter[str]()
        self._held = Counter[str]()
        self._waiting: dict[str, deque[asyncio.Event]] = {}

    @property
    def total(self) -> int:
        """How many PUTs may run at once; a number below those running takes effect as they end."""
        return self._total

    @total.setter
    def total(self, total: int) -> None:
        self._total = total
        self._grant_free()

    @property
    def free(self) -> int:
        """How many more PUTs may begin; negative while more run than may."""
        return self._total - self._held.total()

    def __repr__(self) -> str:
        waiting = sum(map(len, self._waiting.values()))
        return (
            f"<{type(self).__name__}: {self._held.total()} of {self._total} held, {waiting} waiting,"
            f" {len(self._members)} members>"
        )

    @contextmanager
    def member(self, name: str) -> Iterator[None]:
        """Register entry *name* as a competitor for slots, even while idle."""
        self._members[name] += 1
        try:
            yield
        finally:
            _subtract(self._members, name)
            self._grant_free()

    def slot(self, name: str) -> AbstractAsyncContextManager[None]:
        """Hold a slot for the block, as *name*; waits until one is free."""
        return _Slot(self, name)

    def ask(self, name: str, is_granted: asyncio.Event) -> None:
        """Queue for a slot as *name*; *is_granted* is set once one is held."""
        self._waiting.setdefault(name, deque()).append(is_granted)
        self._grant_free()

    def give_back(self, name: str, is_granted: asyncio.Event) -> None:
        """Give the slot back, or the place in the queue for it."""
        # A slot may have been granted in the moment in which the wait for it was cancelled.
        if is_granted.is_set():
            _subtract(self._held, name)
        else:
            _remove(self._waiting, name, is_granted)
        self._grant_free()

    def _grant_free(self) -> None:
        while self._waiting and self.free > 0:
            name = min(self._waiting, key=self._held.__getitem__)
            if self._bandwidth.bytes_per_second is not None:
                equal_share = -(-self._total // max(len(self._members), 1))
                if self._held[name] >= equal_share:
                    return
            first = self._waiting[name][0]
            _remove(self._waiting, name, first)
            self._held[name] += 1
            first.set()


class _Slot:
    """One PUT's slot; each PUT makes one, so it is no generator."""

    __slots__ = ("_is_granted", "_name", "_slots")

    def __init__(self, slots: PutSlots, name: str) -> None:
        self._slots = slots
        self._name = name
        # asyncio's own event: a free slot is granted at once, without a pass through the event loop.
        self._is_granted = asyncio.Event()

    async def __aenter__(self) -> None:
        """Wait until a slot is free."""
        self._slots.ask(self._name, self._is_granted)
        try:
            await self._is_granted.wait()
        except BaseException:
            self._slots.give_back(self._name, self._is_granted)
            raise

    async def __aexit__(self, *_ended: object) -> None:
        """Let another PUT have it."""
        self._slots.give_back(self._name, self._is_granted)


def _remove(queues: dict[str, deque[T]], name: str, waiting: T) -> None:
    """Take *waiting* out of the queue of *name*; an empty queue is dropped."""
    queue = queues[name]
    queue.remove(waiting)
    if not queue:
        del queues[name]


def _subtract(counts: Counter[str], name: str) -> None:
    """Subtract one; a count of zero is dropped."""
    counts[name] -= 1
    if not counts[name]:
        del counts[name]


class RateEstimate:
    """A moving average of bytes per second of single PUTs; *weight* is that of each new measurement."""

    def __init__(self, weight: float = 0.3) -> None:
        self._weight = weight
        self._bytes_per_second: float | None = None

    def add(self, sent_bytes: int, seconds: float) -> None:
        """Take one finished PUT into account, if it is long enough to say something of the link.

        What a small file takes is the way there and back, and as a rate it would condemn every part of a film.
        """
        if sent_bytes < MIN_PART_BYTES:
            return
        measured = sent_bytes / max(seconds, 1e-6)
        before = self._bytes_per_second
        self._bytes_per_second = measured if before is None else before + self._weight * (measured - before)

    def forget(self) -> None:
        """Drop what was measured, because it no longer holds."""
        self._bytes_per_second = None

    def seconds_for(self, send_bytes: int) -> float:
        """How long a PUT of *send_bytes* will take; 0.0 while nothing was measured."""
        return send_bytes / self._bytes_per_second if self._bytes_per_second else 0.0
