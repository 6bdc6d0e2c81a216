"""The end of an events file (docs/events.md): what a run waits for now, which the journal knows only later."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

#: Of one reading; a run that writes faster is caught up with later.
_MOST_BYTES: Final = 4 * 1024**2
#: How far before its end a file is taken up.
_FIRST_BYTES: Final = 256 * 1024


class EventTail:
    """Reads what was appended since the last time, whole lines only; a file that is wrong raises nothing."""

    def __init__(self) -> None:
        self._begin(None)

    def _begin(self, path: str | None) -> None:
        """Follow the file at *path*, of which nothing is known yet."""
        self._path: str | None = path
        self._inode = self._offset = 0
        self._is_cut = False
        self._outages: dict[str, dict[str, Any]] = {}
        self._checked: dict[str, Any] | None = None

    def read(self, path: str | None) -> dict[str, Any]:
        """What the run says of now: the `outages` with their next try, and how many films are `checked`."""
        if path != self._path:
            self._begin(path)
        if path is not None:
            with suppress(OSError):
                for line in self._new_lines(Path(path)):
                    with suppress(ValueError, KeyError, TypeError, AttributeError):
                        self._take(json.loads(line))
        return {"outages": list(self._outages.values()), "checked": self._checked}

    def _new_lines(self, path: Path) -> list[bytes]:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            if status.st_ino != self._inode or status.st_size < self._offset:
                self._inode, self._offset = status.st_ino, max(0, status.st_size - _FIRST_BYTES)
                self._is_cut = self._offset > 0
            file.seek(self._offset)
            content = file.read(_MOST_BYTES)
        whole, newline, _ = content.rpartition(b"\n")
        self._offset += len(whole) + len(newline)
        lines = whole.split(b"\n") if whole else []
        first, self._is_cut = (1 if self._is_cut else 0), False
        return lines[first:]

    def _take(self, event: dict[str, Any]) -> None:
        match event["type"]:
            case "run.started" | "run.finished":
                self._outages.clear()
                self._checked = None
            case "films.checked":
                self._checked = {"done": int(event["done"]), "total": event.get("total")}
            case "outage.begun" | "outage.prolonged":
                self._outages[event["side"]] = {
                    "side": str(event["side"]),
                    "reason": str(event["reason"]),
                    "time": str(event["time"]),
                    "next_try_seconds": float(event["next_try_seconds"]),
                }
            case "outage.ended":
                self._outages.pop(event["side"], None)
