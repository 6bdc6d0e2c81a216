"""How many PUTs at once are worth it, found out while they run (`-p auto`)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import anyio

from orchestrator.engine.events import (
    Event,
    EventBus,
    ParallelismAdjusted,
    RetryScheduled,
    SegmentProgressed,
)
from orchestrator.transfer.exchange import TimeoutCode

MAX_PARALLEL: Final = 64
FIRST_PARALLEL: Final = 8
#: After a change: how long goodput needs to follow, and how long it is then measured.
_SETTLE_SECONDS: Final = 1.0
_MEASURE_SECONDS: Final = 3.0
#: A probe is judged more exactly than a step of the first ascent.
_PROBE_SECONDS: Final = 4.0
#: How much more goodput justifies twice as many connections, or some more; how much less is none.
_GAIN_OF_DOUBLING: Final = 1.15
_GAIN_OF_PROBE: Final = 1.03
_FALL: Final = 0.7
#: Between two probes, growing from one to the other as probes bring nothing.
_REST_SECONDS: Final = (6.0, 60.0)
#: One overload reaches many PUTs: it counts once in this time.
_PRESSURE_SECONDS: Final = 3.0


class Reason(StrEnum):
    """Why the number of PUTs at once was changed."""

    ASCENT = "ascent"
    PROBE = "probe"
    NO_GAIN = "no_gain"
    GOODPUT_FELL = "goodput_fell"
    OVERLOAD = "overload"


@dataclass(frozen=True, slots=True)
class Adjustment:
    """A decision; *goodput* is what was measured before it, in bytes per second."""

    before: int
    after: int
    reason: Reason
    goodput: float


class HillClimber:
    """Doubles while that pays, then rests and probes one step up or down at a time; halves on overload.

    It is told of bytes and overloads as they come, and asked for a decision at any time.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        """Begin low, at *clock* seconds."""
        self._clock = clock
        self.parallel = FIRST_PARALLEL
        self._is_ascending = True
        self._direction = 1
        self._rest_seconds = _REST_SECONDS[0]
        self._proven: tuple[int, float] | None = None
        self._overloaded_at = -math.inf
        self._has_overload = False
        self._bytes = 0
        self._measure(_SETTLE_SECONDS, _MEASURE_SECONDS)

    def moved(self, count: int) -> None:
        """So many more bytes were taken, fewer than none when an attempt failed."""
        if self._clock() >= self._measured_from:
            self._bytes += count

    def overloaded(self) -> None:
        """The store asks for less, or does not keep up."""
        self._has_overload = True

    def decide(self, *, is_limit_reached: bool) -> Adjustment | None:
        """What to change now, if anything; *is_limit_reached* tells that more PUTs would wait than may run."""
        now = self._clock()
        if self._has_overload:
            self._has_overload = False
            return self._halve(now)
        if not is_limit_reached:
            # What is measured now says nothing about the link.
            self._measure(0.0, self._measured_until - self._measured_from)
            return None
        if now < self._measured_until:
            return None
        goodput = max(self._bytes, 0) / (now - self._measured_from)
        return self._ascend(goodput) if self._is_ascending else self._climb(goodput)

    def _halve(self, now: float) -> Adjustment | None:
        if now - self._overloaded_at < _PRESSURE_SECONDS:
            return None
        self._overloaded_at = now
        self._is_ascending = False
        self._rest_seconds = _REST_SECONDS[0]
        self._proven = None
        goodput = max(self._bytes, 0) / max(now - self._measured_from, _MEASURE_SECONDS)
        return self._change(max(self.parallel // 2, 1), Reason.OVERLOAD, goodput, _MEASURE_SECONDS)

    def _ascend(self, goodput: float) -> Adjustment | None:
        proven = self._proven
        has_gained = proven is None or goodput >= proven[1] * _GAIN_OF_DOUBLING
        if has_gained and self.parallel < MAX_PARALLEL:
            self._proven = self.parallel, goodput
            return self._change(
                min(self.parallel * 2, MAX_PARALLEL), Reason.ASCENT, goodput, _MEASURE_SECONDS
            )
        self._is_ascending = False
        return self._settle(goodput, is_first=True)

    def _climb(self, goodput: float) -> Adjustment | None:
        """Judge a probe, watch over what is proven, or probe again after the rest."""
        proven = self._proven
        if proven is None or proven[0] == self.parallel:
            return self._watch(goodput)
        return self._settle(goodput, is_first=False)

    def _settle(self, goodput: float, *, is_first: bool) -> Adjustment | None:
        """Keep what was tried if it is better than what is proven, or as good with less; else go back."""
        count, before = self._proven or (self.parallel, goodput)
        needed = before * _GAIN_OF_PROBE if self.parallel > count else before * (2 - _GAIN_OF_PROBE)
        if self.parallel == count or goodput >= needed:
            self._rest_seconds = _REST_SECONDS[0]
            self._proven = self.parallel, max(goodput, before)
            self._measure(0.0, self._rest_seconds)
            return None
        self._direction = 1 if is_first else -self._direction
        self._rest_seconds = min(self._rest_seconds * 2, _REST_SECONDS[1])
        return self._change(count, Reason.NO_GAIN, goodput, self._rest_seconds)

    def _watch(self, goodput: float) -> Adjustment | None:
        """Probe again, upwards where less comes through than was proven; begin anew where it is far less."""
        proven = self._proven[1] if self._proven else goodput
        if goodput < proven * _FALL:
            self._is_ascending = True
            self._proven = None
            return self._change(max(self.parallel // 2, 1), Reason.GOODPUT_FELL, goodput, _MEASURE_SECONDS)
        if goodput * _GAIN_OF_PROBE < proven:
            self._direction = 1
        self._proven = self.parallel, (goodput + proven) / 2
        return self._probe(goodput)

    def _probe(self, goodput: float) -> Adjustment | None:
        step = max(self.parallel // (4 if self._direction > 0 else 8), 1)
        after = min(max(self.parallel + self._direction * step, 1), MAX_PARALLEL)
        if after == self.parallel:
            self._direction = -self._direction
            self._measure(0.0, self._rest_seconds)
            return None
        return self._change(after, Reason.PROBE, goodput, _PROBE_SECONDS)

    def _change(
        self, after: int, reason: Reason, goodput: float, measure_seconds: float
    ) -> Adjustment | None:
        before, self.parallel = self.parallel, after
        self._measure(_SETTLE_SECONDS, measure_seconds)
        return Adjustment(before, after, reason, goodput) if after != before else None

    def _measure(self, settle_seconds: float, seconds: float) -> None:
        self._bytes = 0
        self._measured_from = self._clock() + settle_seconds
        self._measured_until = self._measured_from + seconds


class AdaptiveParallelism:
    """A subscriber that keeps a limiter at what a HillClimber finds; its decisions are events.

    It acts when something happens, so it needs no task of its own.
    """

    def __init__(self, limiter: anyio.CapacityLimiter, events: EventBus, clock: Callable[[], float]) -> None:
        """Govern *limiter* by what *events* tell."""
        self._limiter = limiter
        self._events = events
        self._climber = HillClimber(clock)
        limiter.total_tokens = self._climber.parallel

    def __call__(self, event: Event) -> None:
        """Take *event* into account."""
        if isinstance(event, SegmentProgressed):
            self._climber.moved(event.bytes)
        elif isinstance(event, RetryScheduled) and is_overload(event):
            self._climber.overloaded()
        else:
            return
        adjustment = self._climber.decide(is_limit_reached=self._limiter.available_tokens <= 0)
        if adjustment is not None:
            self._adjust(adjustment)

    def _adjust(self, adjustment: Adjustment) -> None:
        self._limiter.total_tokens = adjustment.after
        self._events.publish(
            ParallelismAdjusted(
                before=adjustment.before,
                after=adjustment.after,
                reason=adjustment.reason,
                goodput=adjustment.goodput,
            )
        )


def is_overload(event: RetryScheduled) -> bool:
    """True when a PUT failed in a way that calls for fewer of them."""
    return event.asset is not None and (event.kind == "throttled" or event.code in set(TimeoutCode))
