"""How many films of a manifest are checked, for people who wait for it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable

from anyio import from_thread

from orchestrator.domain.entries import Entry

#: Quick manifests are checked before anyone would read of it.
_INTERVAL_SECONDS = 1.0

#: `on_checked(done, total)` is called on the event loop; *total* is None while it is not known.
OnChecked = Callable[[int, int | None], object]


class FilmCount:
    """Counts films while worker threads check them, and calls *on_checked* about once a second."""

    def __init__(self, on_checked: OnChecked, monotonic: Callable[[], float]) -> None:
        self._on_checked = on_checked
        self._monotonic = monotonic
        self._last = monotonic()
        self._done = 0
        self._expected = 0
        self._is_complete = False
        self._lock = threading.Lock()

    def expect(self, entries: Iterable[Entry], *, is_last: bool) -> None:
        """The films of *entries* come next; with *is_last* there are no others."""
        self._expected += sum(map(_films, entries))
        self._is_complete = is_last

    def checked(self, entry: Entry) -> None:
        """The films of *entry* are checked; called in a worker thread of the event loop."""
        with self._lock:
            self._done += _films(entry)
            now = self._monotonic()
            if now - self._last < _INTERVAL_SECONDS:
                return
            self._last = now
            done, total = self._done, self._expected if self._is_complete else None
        from_thread.run_sync(self._on_checked, done, total)


def _films(entry: Entry) -> int:
    """The training video, and the action video where there is one."""
    return 1 if entry.avatar.action_video is None else 2
