"""The hours of a batch on one axis: the activity of each entry, the bytes sent, the failures. Without I/O."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final, NamedTuple

from orchestrator.domain.states import EntryState
from orchestrator.journal.history import RunRecord, StateChange, StoredSegment

#: The maximum number of bars for one canvas; more are merged into coarser ones.
MOST_SPANS: Final = 12_000
#: The number of points of the goodput curve.
GOODPUT_POINTS: Final = 300
SLOWEST_PARTS: Final = 10


class SpanKind(IntEnum):
    """The activity of an entry or of one of its segments during a span."""

    WAIT = 0  #: for a slot, a limit, or the service
    SEND = 1  #: the PUT that succeeded
    RETRY = 2  #: failed attempts, and the waits after them
    CONFIRM = 3  #: the service joins and checks the parts


class Span(NamedTuple):
    """A span in epoch seconds; a segment is row *row* of its entry's *rows*, an entry's own span is row 0 of 1."""

    entry_id: str
    kind: SpanKind
    start: float
    end: float
    row: int = 0
    rows: int = 1


class Window(NamedTuple):
    """A run on the axis, in epoch seconds; a running one ends now, a killed one at its last recorded activity."""

    run: RunRecord
    start: float
    end: float
    state: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Night:
    """The data of the chart; `goodput` has the bytes per second of bins of `bin_seconds` from `start` on."""

    start: float
    end: float
    windows: Sequence[Window]
    spans: Sequence[Span]
    is_coarse: bool
    bin_seconds: float
    goodput: Sequence[float]
    slowest: Sequence[StoredSegment] = field(default_factory=tuple)


def windows_of(
    runs: Iterable[RunRecord], last_signs: Sequence[float], now: float, holder: str | None
) -> list[Window]:
    """Return the runs in the order of their start; *last_signs* are the times of recorded activity, in order.

    *holder* is the process that works on the batch now.
    """
    ordered = sorted(runs, key=lambda run: run.started_at)
    found = []
    for place, run in enumerate(ordered):
        if run.ended_at is not None:
            found.append(Window(run, run.started_at, run.ended_at, "ended"))
        elif run.process == holder and place == len(ordered) - 1:
            found.append(Window(run, run.started_at, max(now, run.started_at), "running"))
        else:
            following = ordered[place + 1].started_at if place + 1 < len(ordered) else now
            before = bisect_right(last_signs, following) - 1
            last = last_signs[before] if before >= 0 else run.started_at
            found.append(Window(run, run.started_at, max(last, run.started_at), "killed"))
    return found


_SPAN_OF_STATE: Mapping[str, SpanKind] = {
    EntryState.CREATING: SpanKind.WAIT,
    EntryState.UPLOADING: SpanKind.WAIT,
    EntryState.UPLOADED: SpanKind.CONFIRM,
    EntryState.CONFIRMING: SpanKind.CONFIRM,
    EntryState.SUBMITTING: SpanKind.CONFIRM,
}


def entry_spans(changes: Sequence[StateChange], windows: Sequence[Window]) -> Iterator[Span]:
    """Yield the spans of each entry between its transitions, limited to the times when a run worked."""
    by_entry: dict[str, list[StateChange]] = defaultdict(list)
    for change in changes:
        by_entry[change.entry_id].append(change)
    end = max((window.end for window in windows), default=0.0)
    for entry_id, mine in by_entry.items():
        for place, change in enumerate(mine):
            kind = _SPAN_OF_STATE.get(change.to_state)
            if kind is None:
                continue
            until = mine[place + 1].at if place + 1 < len(mine) else end
            for window in windows:
                start, stop = max(change.at, window.start), min(until, window.end)
                if stop > start:
                    yield Span(entry_id, kind, start, stop)


def segment_spans(segments: Sequence[StoredSegment]) -> Iterator[Span]:
    """Yield when each segment was sent, and its wait before; segments sent by another program have no times."""
    by_entry: dict[str, list[StoredSegment]] = defaultdict(list)
    for segment in segments:
        if segment.took_seconds is not None:
            by_entry[segment.entry_id].append(segment)
    for entry_id, mine in by_entry.items():
        for row, segment in enumerate(mine):
            put, took = segment.put_seconds or 0.0, segment.took_seconds or 0.0
            sent_at = segment.stored_at - put
            if took > put:
                kind = SpanKind.RETRY if segment.attempts > 1 else SpanKind.WAIT
                yield Span(entry_id, kind, segment.stored_at - took, sent_at, row, len(mine))
            yield Span(entry_id, SpanKind.SEND, sent_at, segment.stored_at, row, len(mine))


def coarser(spans: Sequence[Span], most: int, length: float) -> list[Span]:
    """Return *spans* joined per entry and kind until at most *most* remain; *length* is that of the axis."""
    gap = length / 4000
    joined = list(spans)
    while len(joined) > most and gap <= length:
        joined = list(_joined(joined, gap))
        gap *= 2
    # The axis is full, so the shortest spans, which are smaller than a point, are left out.
    return sorted(joined, key=lambda span: span.start - span.end)[:most] if len(joined) > most else joined


def _joined(spans: Iterable[Span], gap: float) -> Iterator[Span]:
    ordered = sorted(spans, key=lambda span: (span.entry_id, span.kind, span.start))
    held: Span | None = None
    for span in ordered:
        if held is not None and held[:2] == span[:2] and span.start - held.end <= gap:
            held = held._replace(end=max(held.end, span.end))
            continue
        if held is not None:
            yield held
        held = span._replace(row=0, rows=1)
    if held is not None:
        yield held


def goodput_of(segments: Iterable[StoredSegment], start: float, bin_seconds: float, bins: int) -> list[float]:
    """Return the bytes per second of each bin; a segment's bytes are spread evenly over its PUT."""
    sent = [0.0] * bins
    for segment in segments:
        if segment.put_seconds is None:
            continue
        seconds = max(segment.put_seconds, 1e-3)
        began = segment.stored_at - seconds
        first = max(int((began - start) / bin_seconds), 0)
        last = min(int((segment.stored_at - start) / bin_seconds), bins - 1)
        for place in range(first, last + 1):
            opens = start + place * bin_seconds
            overlap = min(segment.stored_at, opens + bin_seconds) - max(began, opens)
            sent[place] += segment.length * max(overlap, 0.0) / seconds
    return [sent_bytes / bin_seconds for sent_bytes in sent]


def night_of(
    windows: Sequence[Window], changes: Sequence[StateChange], segments: Sequence[StoredSegment]
) -> Night:
    """Return all spans and the goodput on one axis, from the first run to the end of the last."""
    start = min((window.start for window in windows), default=0.0)
    end = max((window.end for window in windows), default=start)
    length = max(end - start, 1.0)
    own, parts = list(entry_spans(changes, windows)), list(segment_spans(segments))
    spans = [*own, *parts]
    is_coarse = len(spans) > MOST_SPANS
    if is_coarse:
        spans = coarser(spans, MOST_SPANS, length)
    bin_seconds = max(length / GOODPUT_POINTS, 1.0)
    bins = int(length / bin_seconds) + 1
    timed = (segment for segment in segments if segment.took_seconds is not None)
    return Night(
        start=start,
        end=start + length,
        windows=windows,
        spans=spans,
        is_coarse=is_coarse,
        bin_seconds=bin_seconds,
        goodput=goodput_of(segments, start, bin_seconds, bins),
        slowest=sorted(timed, key=lambda segment: -(segment.took_seconds or 0.0))[:SLOWEST_PARTS],
    )
