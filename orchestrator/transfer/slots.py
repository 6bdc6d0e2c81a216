"""Slots for concurrent PUTs, divided among entries."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager


class PutSlots:
    """Limits concurrent PUTs across the run; the entry holding the fewest gets the next slot.

    While slots are divided no member holds more than its equal share, even before the others have asked: a PUT cannot
    be interrupted, and only running PUTs share a bandwidth.

    *is_divided* is asked each time a slot is granted.
    """

    def __init__(self, total: int, *, is_divided: Callable[[], bool]) -> None:
        self._total = total
        self._is_divided = is_divided
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

    @asynccontextmanager
    async def slot(self, name: str) -> AsyncIterator[None]:
        """Hold a slot for the block, as *name*; waits until one is free."""
        # asyncio's own event: a free slot is granted at once, without a pass through the event loop.
        is_granted = asyncio.Event()
        self._waiting.setdefault(name, deque()).append(is_granted)
        self._grant_free()
        try:
            await is_granted.wait()
            yield
        finally:
            # A slot may have been granted in the moment in which the wait for it was cancelled.
            if is_granted.is_set():
                _subtract(self._held, name)
            else:
                self._remove(name, is_granted)
            self._grant_free()

    def _grant_free(self) -> None:
        while self._waiting and self.free > 0:
            name = min(self._waiting, key=self._held.__getitem__)
            if self._held[name] >= self._most():
                return
            first = self._waiting[name][0]
            self._remove(name, first)
            self._held[name] += 1
            first.set()

    def _most(self) -> int:
        """The slots that one member may hold."""
        if not self._is_divided():
            return self._total
        return -(-self._total // max(len(self._members), 1))

    def _remove(self, name: str, is_granted: asyncio.Event) -> None:
        events = self._waiting[name]
        events.remove(is_granted)
        if not events:
            del self._waiting[name]


def _subtract(counts: Counter[str], name: str) -> None:
    """Subtract one; a count of zero is dropped."""
    counts[name] -= 1
    if not counts[name]:
        del counts[name]
