"""The events as JSON lines for programs: a file that is appended to, or stdout (docs/events.md).

A line is one write, so that a program that follows the file never reads half of one.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, fields, is_dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from orchestrator.domain.foreign import disarmed_json, masked, without
from orchestrator.engine import events
from orchestrator.engine.events import CallAttempted, Event
from orchestrator.observe.masked import OUR_FIELDS
from orchestrator.observe.streams import SinkFile, open_at_once, reason_of

#: Of the form of a line; fields and types may be added to it.
SCHEMA: Final = 1
#: What is written. Bytes on their way and single steps of the engine are not: there are thousands for each entry.
TOLD: Final = frozenset(
    {
        events.RunStarted,
        events.RunFinished,
        events.BatchDrained,
        events.ServiceWarning,
        events.FilmsChecked,
        events.ComparisonStarted,
        events.CallAttempted,
        events.SubscriberDropped,
        events.OutageBegan,
        events.OutageProlonged,
        events.OutageEnded,
        events.ParallelismAdjusted,
        events.EntryStarted,
        events.EntryTransitioned,
        events.EntryFinished,
        events.EntryFailed,
        events.SegmentStored,
        events.RetryScheduled,
        events.UrlsExpired,
        events.JobStateChanged,
        events.DecisionNeeded,
        events.WarningRaised,
    }
)
#: Texts that are remembered masked: most are said again and again.
_REMEMBERED = 2048


class EventFile:
    """A subscriber that writes each event to *file*, with *context* and the time by *clock* in front.

    The texts in *hidden* appear in no line.
    """

    name = "the events file"
    hears = TOLD

    def __init__(
        self,
        file: SinkFile,
        context: Mapping[str, str],
        clock: Callable[[], float],
        hidden: Collection[str] = (),
    ) -> None:
        self._file = file
        self._context = dict(context)
        self._clock = clock
        self._hidden = hidden
        self._masked: dict[str, str] = {}
        self._names = {kind: [field.name for field in fields(kind)] for kind in TOLD}

    def __call__(self, event: Event) -> None:
        """Write *event*; of the calls of the service only those that failed."""
        if isinstance(event, CallAttempted) and event.outcome == "ok":
            return
        self._file.write(self.line(event).encode("utf-8"))

    def line(self, event: Event) -> str:
        """The line for *event*, with its end; what is not known of it is left out."""
        time = datetime.fromtimestamp(self._clock(), UTC)
        line = {
            "schema": SCHEMA,
            "type": event.name,
            "time": f"{time:%Y-%m-%dT%H:%M:%S}.{time.microsecond:06}Z",
            **self._context,
        }
        for name in self._names[type(event)]:
            value = getattr(event, name)
            if value is not None:
                line[name] = self._told(name, value)
        return disarmed_json(_ENCODE(line)) + "\n"

    def _told(self, name: str, value: Any) -> Any:
        if isinstance(value, float):
            return round(value, 6)
        if isinstance(value, str):
            return without(value, self._hidden) if name in OUR_FIELDS else self._mask(value)
        return asdict(value) if is_dataclass(value) and not isinstance(value, type) else value

    def _mask(self, text: str) -> str:
        known = self._masked.get(text)
        if known is None:
            if len(self._masked) >= _REMEMBERED:
                self._masked.clear()
            known = self._masked[text] = masked(text, hidden=self._hidden)
        return known


_ENCODE = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


@contextmanager
def event_file(
    opened: Path | int,
    context: Mapping[str, str],
    *,
    clock: Callable[[], float],
    hidden: Collection[str],
    warn: Callable[[str], None],
) -> Iterator[EventFile | None]:
    """Write events to *opened* for the block: a path, which is made with mode 0600, or a descriptor, closed then.

    *warn* hears once why nothing is written, or no longer; a path that cannot be opened gives None.
    """
    name = "stdout" if isinstance(opened, int) else str(opened)

    def lost(error: OSError) -> None:
        warn(f"events are not written to {name}: {reason_of(error)}; the command continues without them")

    try:
        descriptor = opened if isinstance(opened, int) else _open_to_append(opened)
    except (OSError, ValueError) as error:
        warn(f"events are not written to {name}: {reason_of(error)}; the command continues without them")
        yield None
        return
    with SinkFile(descriptor, is_owner=True, on_failure=lost) as file:
        if isinstance(opened, Path) and _is_cut(opened):
            file.write(b"\n")
        yield EventFile(file, context, clock, hidden)


def _open_to_append(path: Path) -> int:
    path.parent.mkdir(parents=True, exist_ok=True)
    return open_at_once(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)


def _is_cut(path: Path) -> bool:
    """True where a full disk left half a line at the end, which the next line must not become a part of."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode) or not status.st_size:
            return False
        with path.open("rb") as file:
            file.seek(-1, os.SEEK_END)
            return file.read(1) != b"\n"
    except OSError:
        return False
