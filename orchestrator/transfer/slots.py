"""How many PUTs run at once, and whose they are."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager


class PutSlots:
    """So many PUTs at once over the whole run; whoever has fewest of them is given the next.

    While they are divided, none of those who take part has more than its equal part, even when the others are still
    to come: a PUT cannot be interrupted, and a bandwidth can only be shared by those who have one.
    """

    def __init__(self, total: int, *, is_divided: Callable[[], bool]) -> None:
        """Allow *total* PUTs, and ask *is_divided* each time one is given away."""
        self._total = total
        self._is_divided = is_divided
        self._taking_part = Counter[str]()
        self._held = Counter[str]()
        self._waiting: dict[str, deque[asyncio.Event]] = {}

    @property
    def total(self) -> int:
        """How many PUTs may run at once; fewer than run now takes effect as they end."""
        return self._total

    @total.setter
    def total(self, total: int) -> None:
        self._total = total
        self._give_away()

    @property
    def free(self) -> int:
        """How many more PUTs may begin; negative while more run than may."""
        return self._total - self._held.total()

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Count *name* among those who take part, also while it has nothing to send."""
        self._taking_part[name] += 1
        try:
            yield
        finally:
            _subtract(self._taking_part, name)
            self._give_away()

    @asynccontextmanager
    async def slot(self, name: str) -> AsyncIterator[None]:
        """Wait for one of the PUTs, as *name*."""
        # asyncio's own: a slot that is free is given at once, without a round through the event loop.
        is_given = asyncio.Event()
        self._waiting.setdefault(name, deque()).append(is_given)
        self._give_away()
        try:
            await is_given.wait()
            yield
        finally:
            self._leave(name, is_given)

    def _leave(self, name: str, is_given: asyncio.Event) -> None:
        if is_given.is_set():
            _subtract(self._held, name)
        else:
            self._remove(name, is_given)
        self._give_away()

    def _give_away(self) -> None:
        while self._waiting and self.free > 0:
            name = min(self._waiting, key=self._held.__getitem__)
            if self._held[name] >= self._most():
                return
            first = self._waiting[name][0]
            self._remove(name, first)
            self._held[name] += 1
            first.set()

    def _most(self) -> int:
        """How many one of those who take part may have."""
        if not self._is_divided():
            return self._total
        return -(-self._total // max(len(self._taking_part), 1))

    def _remove(self, name: str, is_given: asyncio.Event) -> None:
        events = self._waiting[name]
        events.remove(is_given)
        if not events:
            del self._waiting[name]


def _subtract(counts: Counter[str], name: str) -> None:
    """One less; what is zero is not kept."""
    counts[name] -= 1
    if not counts[name]:
        del counts[name]
