"""The limits of PUTs: slots divided among entries, bandwidth in equal shares, and an estimate of a PUT's duration."""

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
    from orchestrator.transfer.payload import Pace  # imports aiohttp

T = TypeVar("T")

#: The time whose bytes may be sent as a burst after an idle time, or after a sleep that took too long.
_BURST_SECONDS: Final = 0.1
#: How long one PUT uses the link before the next, and the limits of its bytes.
_TURN_SECONDS: Final = 0.02
_MIN_TURN_BYTES: Final = 4 * 1024
_MAX_TURN_BYTES: Final = 256 * 1024
#: The number of turns that a share with nothing to send may catch up on.
_KEPT_TURNS: Final = 4
#: A change of the limit is noticed after this many seconds at the latest.
_LONGEST_SLEEP: Final = 1.0


class BandwidthLimit:
    """A token bucket from which all PUTs of a run draw, in equal shares; the limit can be changed at any time.

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
        #: When the bytes granted so far will have passed, at the rates at which they were granted.
        self._free_at = -math.inf

    @property
    def bytes_per_second(self) -> int | None:
        """The current limit; None for no limit."""
        if len(self._timetable.steps) == 1:  # a fast path, as this is read for every piece of every file
            return self._timetable.steps[0][1]
        local = time.localtime(self._clock())
        return self._timetable.bytes_per_second(local.tm_hour * 3600 + local.tm_min * 60 + local.tm_sec)

    def change(self, timetable: Timetable) -> None:
        """Apply the limits of *timetable* from now on."""
        self._timetable = timetable
        self._free_at = min(self._free_at, self._monotonic())

    def share(self, name: str) -> Pace:
        """Return the pace of share *name*; shares divide the bandwidth equally, whatever their number of PUTs."""
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
                # Turns are short at this rate: long ones would let the other connections run dry.
                turn_bytes = min(max(int(rate * _TURN_SECONDS), _MIN_TURN_BYTES), _MAX_TURN_BYTES)
                ticket.granted_bytes = min(wanted_bytes, turn_bytes)
                lasts = ticket.granted_bytes / rate
                self._free_at = max(self._free_at, self._monotonic() - _BURST_SECONDS) + lasts
            return ticket.granted_bytes
        finally:
            self._line.leave(ticket)

    async def _free_rate(self) -> int | None:
        """Wait until the granted bytes have passed; return the limit at that time."""
        while True:
            rate, now = self.bytes_per_second, self._monotonic()
            if rate is None or self._free_at <= now:
                return rate
            await self._sleep(min(self._free_at - now, _LONGEST_SLEEP))


@dataclass(eq=False, slots=True)
class _Ticket:
    """A place in the queue."""

    share: str
    is_first: anyio.Event = field(default_factory=anyio.Event)
    granted_bytes: int = 0


class _Line:
    """The queue of waiting PUTs: least-granted share first, FIFO within a share."""

    def __init__(self) -> None:
        self._waiting: dict[str, deque[_Ticket]] = {}
        self._first: _Ticket | None = None
        #: The bytes granted to each share; for idle shares kept only while they are at most a few turns behind.
        self._had_bytes: dict[str, int] = {}
        self._least_bytes = 0

    def join(self, share: str) -> _Ticket:
        """Return a ticket at the end of *share*'s queue."""
        ticket = _Ticket(share)
        self._waiting.setdefault(share, deque()).append(ticket)
        self._had_bytes.setdefault(share, self._least_bytes)
        if self._first is None:
            self._advance()
        return ticket

    def give_way(self, ticket: _Ticket) -> bool:
        """Requeue *ticket* and return True if a waiting share has been granted less than its own."""
        if all(self._had_bytes[share] >= self._had_bytes[ticket.share] for share in self._waiting):
            return False
        ticket.is_first = anyio.Event()
        self._waiting.setdefault(ticket.share, deque()).appendleft(ticket)
        self._advance()
        return True

    def leave(self, ticket: _Ticket) -> None:
        """Remove *ticket*; if it was the first, the next one becomes the first."""
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
        # A share idle for more than a few turns loses its credit; otherwise it would monopolize the link on return.
        oldest = self._least_bytes - _KEPT_TURNS * _MAX_TURN_BYTES
        for absent in self._had_bytes.keys() - self._waiting.keys():
            if self._had_bytes[absent] < oldest:
                del self._had_bytes[absent]
        self._first = self._waiting[share][0]
        _remove(self._waiting, share, self._first)
        self._first.is_first.set()


class PutSlots:
    """Limits concurrent PUTs across the run; the entry holding the fewest gets the next slot.

    While *bandwidth* is limited, no member holds more than its equal share of slots, even before the others ask: a
    PUT cannot be interrupted, and only running PUTs share the bandwidth.
    """

    def __init__(self, total: int, bandwidth: BandwidthLimit) -> None:
        self._total = total
        self._bandwidth = bandwidth
        self._members = Counter[str]()
        self._held = Counter[str]()
        self._waiting: dict[str, deque[asyncio.Event]] = {}

    @property
    def total(self) -> int:
        """The number of PUTs that may run at once; a reduction takes effect as running PUTs end."""
        return self._total

    @total.setter
    def total(self, total: int) -> None:
        self._total = total
        self._grant_free()

    @property
    def free(self) -> int:
        """The number of PUTs that may start now; negative while more run than are allowed."""
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
        """Wait for a free slot and hold it for the block, as *name*."""
        return _Slot(self, name)

    def ask(self, name: str, is_granted: asyncio.Event) -> None:
        """Queue for a slot as *name*; *is_granted* is set once one is held."""
        self._waiting.setdefault(name, deque()).append(is_granted)
        self._grant_free()

    def give_back(self, name: str, is_granted: asyncio.Event) -> None:
        """Release the slot, or the place in the queue for it."""
        # A slot may have been granted at the moment when the wait for it was cancelled.
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
    """The slot of one PUT; a class rather than a generator, because every PUT makes one."""

    __slots__ = ("_is_granted", "_name", "_slots")

    def __init__(self, slots: PutSlots, name: str) -> None:
        self._slots = slots
        self._name = name
        # asyncio's event rather than anyio's: a free slot is granted at once, without a pass through the event loop.
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
        """Release the slot for another PUT."""
        self._slots.give_back(self._name, self._is_granted)


def _remove(queues: dict[str, deque[T]], name: str, waiting: T) -> None:
    """Remove *waiting* from the queue of *name*; drop an empty queue."""
    queue = queues[name]
    queue.remove(waiting)
    if not queue:
        del queues[name]


def _subtract(counts: Counter[str], name: str) -> None:
    """Subtract one from the count of *name*; drop a count of zero."""
    counts[name] -= 1
    if not counts[name]:
        del counts[name]


class RateEstimate:
    """A moving average of the bytes per second of single PUTs; *weight* is the weight of a new measurement."""

    def __init__(self, weight: float = 0.3) -> None:
        self._weight = weight
        self._bytes_per_second: float | None = None

    def add(self, sent_bytes: int, seconds: float) -> None:
        """Add one finished PUT, if it is large enough to measure the link.

        The time of a small file is mostly the round trip; as a rate it would condemn every part of a film.
        """
        if sent_bytes < MIN_PART_BYTES:
            return
        measured = sent_bytes / max(seconds, 1e-6)
        before = self._bytes_per_second
        self._bytes_per_second = measured if before is None else before + self._weight * (measured - before)

    def forget(self) -> None:
        """Drop the estimate, because it no longer holds."""
        self._bytes_per_second = None

    def seconds_for(self, send_bytes: int) -> float:
        """Return the estimated seconds for a PUT of *send_bytes*; 0.0 without a measurement."""
        return send_bytes / self._bytes_per_second if self._bytes_per_second else 0.0
