"""Events as JSON lines for programs, appended to a file or written to stdout (docs/events.md).

All lines of a tenth of a second are written whole in one write. So a program that follows the file never reads half
a line, and simultaneous events cost little more than one.
"""

from __future__ import annotations

import asyncio
import json
import os
import stat
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, fields, is_dataclass
from datetime import UTC, datetime
from math import isfinite
from pathlib import Path
from typing import Any, Final

from orchestrator.domain.untrusted_text import disarmed_json, masked, without
from orchestrator.engine import events
from orchestrator.engine.events import CallAttempted, Event
from orchestrator.observe.masked import OUR_FIELDS
from orchestrator.observe.streams import SinkFile, open_at_once, reason_of

#: The version of the line format; new fields and types do not change it.
SCHEMA: Final = 1
#: The event types that are written. Progress of bytes and single engine steps are not: an entry has thousands.
PUBLISHED: Final = frozenset(
    {
        events.RunStarted,
        events.RunFinished,
        events.BatchQueued,
        events.BatchFinished,
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
        events.EntryHandedBack,
        events.SegmentStored,
        events.RetryScheduled,
        events.UrlsExpired,
        events.JobStateChanged,
        events.DecisionNeeded,
        events.WarningRaised,
    }
)
#: The maximum number of cached texts.
_REMEMBERED = 2048
_DELAY_SECONDS = 0.1


class EventFile:
    """A subscriber that writes each event to *file*, preceded by *context* and the time from *clock*.

    An empty text in *context* is only used for events that have no field of that name.
    The texts in *hidden* appear in no line.
    """

    name = "the events file"
    event_types = PUBLISHED

    def __init__(
        self,
        file: SinkFile,
        context: Mapping[str, str],
        clock: Callable[[], float],
        hidden: Collection[str] = (),
    ) -> None:
        self._file = file
        self._clock = clock
        self._hidden = hidden
        own = {
            kind: {field.name for field in fields(kind) if not context.get(field.name)} for kind in PUBLISHED
        }
        self._contexts = {
            kind: "".join(
                f',"{name}":{_json(text)}' for name, text in context.items() if name not in own[kind]
            )
            for kind in PUBLISHED
        }
        #: The fields that the context does not replace, each with its JSON key, and True if its values are ours.
        self._fields = {
            kind: [
                (field.name, f',"{field.name}":', field.name in OUR_FIELDS)
                for field in fields(kind)
                if field.name in own[kind]
            ]
            for kind in PUBLISHED
        }
        #: Caches of encoded texts, for our own fields and for others, because most texts occur repeatedly.
        self._ours: dict[str, str] = {}
        self._masked: dict[str, str] = {}
        self._waiting: list[tuple[float, Event]] = []
        self._second = -1
        self._second_text = ""

    def __call__(self, event: Event) -> None:
        """Queue *event* to be written soon; successful calls of the service are not written."""
        if isinstance(event, CallAttempted) and event.outcome == "ok":
            return
        self._waiting.append((self._clock(), event))
        if len(self._waiting) == 1:
            try:
                asyncio.get_running_loop().call_later(_DELAY_SECONDS, self.flush)
            except RuntimeError:  # a caller without a loop
                self.flush()
        elif isinstance(event, events.RunFinished):
            self.flush()

    def flush(self) -> None:
        """Write the queued events."""
        waiting, self._waiting = self._waiting, []
        if waiting:
            self._file.write("".join(self.line(at, event) for at, event in waiting).encode("utf-8"))

    def line(self, at: float, event: Event) -> str:
        """Return the line for *event* at the time *at*, with its line end and without fields that are None."""
        # Built by hand: an encoder costs more than everything else here, and most values are cached.
        parts = [f'{{"schema":{SCHEMA},"type":"{event.name}","time":"{self._time_text(at)}"']
        parts.append(self._contexts[type(event)])
        for name, prefix, is_ours in self._fields[type(event)]:
            value = getattr(event, name)
            if value is None:
                continue
            kind = type(value)
            if isinstance(value, str):
                known = self._ours if is_ours else self._masked
                text = known.get(value) or self._safe_text(value, known)
            elif kind is int:
                text = str(value)
            elif kind is float:
                text = str(round(value, 6)) if isfinite(value) else "null"
            elif kind is bool:
                text = "true" if value else "false"
            else:
                text = _json(asdict(value) if is_dataclass(kind) else value)
            parts += (prefix, text)
        return "".join((*parts, "}\n"))

    def _time_text(self, at: float) -> str:
        second = int(at)
        if second != self._second:
            self._second, self._second_text = (
                second,
                f"{datetime.fromtimestamp(second, UTC):%Y-%m-%dT%H:%M:%S}",
            )
        return f"{self._second_text}.{int((at - second) * 1e6):06}Z"

    def _safe_text(self, text: str, known: dict[str, str]) -> str:
        if len(known) >= _REMEMBERED:
            known.clear()
        clean = without(text, self._hidden)
        known[text] = _json(clean if known is self._ours else masked(clean))
        return known[text]


_ENCODE = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def _json(value: Any) -> str:
    return disarmed_json(_ENCODE(value))


@contextmanager
def event_file(
    opened: Path | int,
    context: Mapping[str, str],
    *,
    clock: Callable[[], float],
    hidden: Collection[str],
    warn: Callable[[str], None],
) -> Iterator[EventFile | None]:
    """Write events to *opened* for the block: a path, created with mode 0600, or a descriptor, closed at the end.

    After the first error *warn* is called with the reason. For a path that cannot be opened, None is yielded.
    """
    name = "stdout" if isinstance(opened, int) else str(opened)

    def lost(error: OSError) -> None:
        warn(f"events are not written to {name}: {reason_of(error)}; the command continues without them")

    try:
        if isinstance(opened, Path):
            opened.parent.mkdir(parents=True, exist_ok=True)
            descriptor = open_at_once(opened, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        else:
            descriptor = opened
    except (OSError, ValueError) as error:
        warn(f"events are not written to {name}: {reason_of(error)}; the command continues without them")
        yield None
        return
    with SinkFile(descriptor, is_owner=True, on_failure=lost) as file:
        if isinstance(opened, Path) and _is_cut(opened):
            file.write(b"\n")
        lines = EventFile(file, context, clock, hidden)
        try:
            yield lines
        finally:
            lines.flush()


def _is_cut(path: Path) -> bool:
    """Return True if *path* ends in a partial line, left by a full disk, that the next line must not extend."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode) or not status.st_size:
            return False
        with path.open("rb") as file:
            file.seek(-1, os.SEEK_END)
            return file.read(1) != b"\n"
    except OSError:
        return False
