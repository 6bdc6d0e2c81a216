"""The hold: a worker's right to act for an entry, which its own clock ends before another host may take it over.

The journal's epoch keeps a worker that was frozen from writing; it cannot keep it from sending. So what is sent asks
the hold first: each call of the service right before its request, and each PUT.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import Final, Protocol, TypeVar

import anyio

from orchestrator.domain.errors import HoldLostError

T = TypeVar("T")

#: Of the time after which another host may take over. The rest is for a request that was let through on its way.
_GOOD_SHARE: Final = 0.9


def awake_and_asleep() -> float:
    """A monotonic clock, in seconds, that goes on while the machine is suspended, where there is one."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class Held(Protocol):
    """What is asked before anything is sent."""

    async def check(self) -> None:
        """Return where the entry is held; raises HoldLostError."""

    def uncut(self) -> AbstractContextManager[object]:
        """Keep the block from being cut off when the hold is lost meanwhile; what follows it is."""


class _Always:
    """The hold of a run that has the batch to itself, by its lock: no other worker can take an entry over."""

    async def check(self) -> None:
        """Return at once."""

    def uncut(self) -> AbstractContextManager[object]:
        """Do nothing: it cannot be lost."""
        return nullcontext()


ALWAYS_HELD: Final = _Always()


class Hold:
    """The hold of one entry for *seconds* from its last renewal; who gives it renews it meanwhile by `renewed`.

    *renew* asks the giver itself, and may wait for it; it returns whether the entry is still this worker's. The hold
    was given at *since*, by *monotonic*; None is now.
    """

    def __init__(
        self,
        seconds: float,
        *,
        renew: Callable[[], Awaitable[bool]],
        monotonic: Callable[[], float] = awake_and_asleep,
        since: float | None = None,
    ) -> None:
        self._seconds = seconds
        self._renew = renew
        self._monotonic = monotonic
        self._renewed_at = monotonic() if since is None else since
        self._asking = anyio.Lock()
        self._scope = anyio.CancelScope()
        self._uncut = 0
        self.is_lost = False

    def __repr__(self) -> str:
        age = self._monotonic() - self._renewed_at
        return f"<Hold {'lost' if self.is_lost else 'held'}, renewed {age:.1f} s ago, good for {self._seconds:g} s>"

    async def check(self) -> None:
        """Return while the hold is young, and else ask whether it is; raises HoldLostError when it is not.

        After a beat that came late, a suspended machine or a server that was away, others may not have taken over.
        """
        if self._is_good():
            return
        async with self._asking:
            # An answer that came too late is worth nothing: it says how it was when it was asked for.
            while not (self.is_lost or self._is_good()):
                asked_at = self._monotonic()
                if await self._renew():
                    self.renewed(asked_at)
                else:
                    self.lose()
        if self.is_lost:
            raise HoldLostError("another worker has taken the entry over; nothing was sent")

    def _is_good(self) -> bool:
        return not self.is_lost and self._monotonic() <= self._renewed_at + _GOOD_SHARE * self._seconds

    def renewed(self, at: float) -> None:
        """Count from *at*, the time before the giver was asked: it counts from a later one."""
        self._renewed_at = max(self._renewed_at, at)

    def lose(self) -> None:
        """Another worker has the entry: cut off what this one does for it."""
        self.is_lost = True
        if not self._uncut:
            self._scope.cancel()

    @contextmanager
    def uncut(self) -> Iterator[None]:
        """Let what the block has sent come to its end: only its answer tells what would be left behind."""
        self._uncut += 1
        try:
            yield
        finally:
            self._uncut -= 1
            if self.is_lost and not self._uncut:
                self._scope.cancel()

    async def work(self, do: Callable[[], Awaitable[T]]) -> T:
        """*do* what is to be done under this hold, once; raises HoldLostError when it was lost meanwhile."""
        with self._scope, acting_under(self):
            return await do()
        raise HoldLostError("another worker has taken the entry over")


#: Of a task and those it starts. Requests are sent many layers below the step that asks for them, and one that is
#: added later must not go past the check.
_acting_under: ContextVar[Held] = ContextVar("acting_under", default=ALWAYS_HELD)


async def check_hold() -> None:
    """Check the hold under which this task acts; raises HoldLostError."""
    await _acting_under.get().check()


def uncut() -> AbstractContextManager[object]:
    """Keep the block from being cut off when the hold under which this task acts is lost meanwhile."""
    return _acting_under.get().uncut()


@contextmanager
def acting_under(hold: Held) -> Iterator[None]:
    """Act under *hold* in the block."""
    token = _acting_under.set(hold)
    try:
        yield
    finally:
        _acting_under.reset(token)
