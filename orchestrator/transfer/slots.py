"""Slots for concurrent PUTs, divided among entries."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager


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


def _subtract(counts: Counter[str], name: str) -> None:
    """Subtract one; a count of zero is dropped."""
    counts[name] -= 1
    if not counts[name]:
        del counts[name]
