"""The hours of a batch: which run worked when, what each entry did, what was sent."""

from __future__ import annotations

import pytest

from orchestrator.journal.history import RunRecord, StateChange, StoredSegment, process_name
from orchestrator.report.night import (
    Span,
    SpanKind,
    coarser,
    entry_spans,
    goodput_of,
    night_of,
    segment_spans,
    windows_of,
)


def run(name: str, start: float, end: float | None, pid: int = 7) -> RunRecord:
    return RunRecord(name, start, end, None if end is None else 0, None, "1", "studio", pid)


def stored(
    at: float, put: float | None, took: float | None, *, attempts: int = 1, part: int = 1
) -> StoredSegment:
    return StoredSegment("anna", "training_video", part, 1000, at, attempts, put, took)


def test_a_killed_run_ends_at_its_last_sign_and_one_that_works_now() -> None:
    """Between them nobody worked."""
    runs = [run("b", 100.0, None, pid=9), run("a", 0.0, None)]

    windows = windows_of(runs, [5.0, 40.0, 120.0], 130.0, process_name(9, "studio"))

    assert [(one.run.run_id, one.start, one.end, one.state) for one in windows] == [
        ("a", 0.0, 40.0, "killed"),
        ("b", 100.0, 130.0, "running"),
    ]


def test_a_run_whose_lock_nobody_holds_was_killed() -> None:
    """Its process may be another program by now."""
    (window,) = windows_of([run("a", 0.0, None)], [], 50.0, None)

    assert (window.end, window.state) == (0.0, "killed")


def test_what_an_entry_did_is_cut_where_no_run_worked() -> None:
    """It was uploading all day, but only while runs did."""
    changes = [
        StateChange("anna", 10.0, "creating"),
        StateChange("anna", 12.0, "uploading"),
        StateChange("anna", 110.0, "confirming"),
        StateChange("anna", 115.0, "confirmed"),
    ]
    windows = windows_of([run("a", 0.0, 20.0), run("b", 100.0, 120.0)], [], 200.0, None)

    assert list(entry_spans(changes, windows)) == [
        Span("anna", SpanKind.WAIT, 10.0, 12.0),
        Span("anna", SpanKind.WAIT, 12.0, 20.0),
        Span("anna", SpanKind.WAIT, 100.0, 110.0),
        Span("anna", SpanKind.CONFIRM, 110.0, 115.0),
    ]


def test_a_segment_waits_or_is_tried_again_before_it_is_sent() -> None:
    """One from before times were kept is not drawn."""
    segments = [
        stored(20.0, 4.0, 10.0),
        stored(30.0, 2.0, 9.0, attempts=3, part=2),
        stored(9.0, None, None, part=3),
    ]

    assert list(segment_spans(segments)) == [
        Span("anna", SpanKind.WAIT, 10.0, 16.0, 0, 2),
        Span("anna", SpanKind.SEND, 16.0, 20.0, 0, 2),
        Span("anna", SpanKind.RETRY, 21.0, 28.0, 1, 2),
        Span("anna", SpanKind.SEND, 28.0, 30.0, 1, 2),
    ]


def test_the_curve_has_every_byte_once() -> None:
    """Spread over the time it took, also over the borders of bins."""
    segments = [stored(5.0, 5.0, 5.0), stored(12.5, 10.0, 10.0, part=2), stored(7.0, 0.0, 1.0, part=3)]

    rates = goodput_of(segments, 0.0, 2.0, 8)

    assert sum(rates) * 2.0 == pytest.approx(3000.0)
    assert rates[0] == pytest.approx(200.0)


def test_a_long_night_is_drawn_coarser_and_not_longer() -> None:
    """As many bars as a canvas draws, those of one kind joined where they touch."""
    spans = [
        Span(f"e{entry}", SpanKind(kind), float(at), at + 0.9, 1, 4)
        for entry in range(20)
        for kind in (0, 1)
        for at in range(100)
    ]

    drawn = coarser(spans, 100, 100.0)

    assert len(drawn) <= 100
    assert {span.entry_id for span in drawn} == {f"e{entry}" for entry in range(20)}
    assert min(span.start for span in drawn) == 0.0
    assert max(span.end for span in drawn) == pytest.approx(99.9)


def test_a_batch_that_never_ran_has_an_empty_night() -> None:
    """Registered by a run that was refused, for example."""
    night = night_of([], [], [])

    assert (night.spans, night.slowest) == ([], [])
    assert night.end > night.start
