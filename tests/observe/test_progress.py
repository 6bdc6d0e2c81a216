"""Progress as people see it: lines, and a picture."""

from __future__ import annotations

import io
import threading
from dataclasses import replace

import pytest
from rich.console import Console

from orchestrator.domain.assets import AssetKind
from orchestrator.domain.states import EntryState
from orchestrator.engine.events import (
    BatchDrained,
    EntryFailed,
    EntryStarted,
    EntryTransitioned,
    Event,
    EventBus,
    RunFinished,
    RunStarted,
    SegmentProgressed,
    ServiceWarning,
    Totals,
    WarningRaised,
)
from orchestrator.observe.bar import BarProgress
from orchestrator.observe.plain import PlainProgress
from orchestrator.observe.tracking import RunTracker

NOON = 1_795_435_200.0

STARTED = RunStarted(
    batch="studio",
    run_id="r",
    totals=Totals(entries=3, segments=9, bytes=3_000_000),
    done_entries=1,
    stored_segments=3,
    stored_bytes=1_000_000,
)
ANNA = EntryStarted(
    batch="studio", entry="anna", state=EntryState.UPLOADING, bytes_total=1_000_000, bytes_left=1_000_000
)
HALF = SegmentProgressed(
    batch="studio", entry="anna", asset=AssetKind.TRAINING_VIDEO, part_number=1, bytes=500_000
)
FAILED = EntryFailed(
    batch="studio",
    entry="bo",
    kind="rejected",
    code="MSS.1",
    message="no\nsuch [red]thing",
    request_id=None,
    hint=None,
)
FINISHED = RunFinished(batch="studio", run_id="r", exit_code=8, elapsed_seconds=1.0, entries={"total": 3})


def moved(target: EntryState) -> EntryTransitioned:
    return EntryTransitioned(
        batch="studio", entry="anna", from_state=EntryState.PENDING, to_state=target, reason="why"
    )


@pytest.fixture
def tracker() -> RunTracker:
    times = iter(range(0, 10_000, 10))
    return RunTracker(lambda: float(next(times)))


def plain_text(tracker: RunTracker, *events: Event) -> str:
    stream = io.StringIO()
    with PlainProgress(tracker, stream, lambda: NOON) as progress:
        bus = EventBus(tracker, progress)
        for event in events:
            bus.publish(event)
        progress.report()
    return stream.getvalue()


def test_plain_progress_is_one_line_per_change_and_one_per_interval(tracker: RunTracker) -> None:
    """Whole lines with their time; a message cannot break one."""
    text = plain_text(tracker, STARTED, ANNA, moved(EntryState.CONFIRMED), FAILED, HALF)

    assert "\r" not in text
    first, second, third = text.splitlines()
    assert first == "2026-11-23T12:00:00Z anna: confirmed (why)"
    assert second == "2026-11-23T12:00:00Z bo: failed: no such [red]thing"
    assert third.startswith(
        "2026-11-23T12:00:00Z 1 of 3 entries done, 1 at work, 1 failed; 1.5 MB of 3.0 MB, "
    )
    assert third.endswith(" left")


@pytest.mark.parametrize("intent", [EntryState.CREATING, EntryState.CONFIRMING, EntryState.SUBMITTING])
def test_plain_progress_leaves_out_what_is_only_begun(tracker: RunTracker, intent: EntryState) -> None:
    """One line less per step."""
    assert "anna" not in plain_text(tracker, STARTED, ANNA, moved(intent))


def test_plain_progress_reports_by_itself(tracker: RunTracker) -> None:
    """Also while nothing happens."""

    class Stream(io.StringIO):
        has_line = threading.Event()

        def write(self, text: str) -> int:
            self.has_line.set()
            return super().write(text)

    stream = Stream()
    with PlainProgress(tracker, stream, lambda: NOON, interval_seconds=0.001) as progress:
        EventBus(tracker, progress).publish(STARTED)
        assert stream.has_line.wait(5)

    assert "1 of 3 entries done" in stream.getvalue()


def test_the_picture_shows_the_run_and_the_entries_at_work(tracker: RunTracker) -> None:
    """Bytes stored before count as done."""
    console = Console(file=io.StringIO(), force_terminal=True, width=110, color_system=None)
    bar = BarProgress(tracker, console)
    for event in (STARTED, ANNA, HALF):
        tracker(event)

    with console.capture() as captured:
        console.print(bar.render())

    overall, counts, anna = captured.get().splitlines()
    assert overall.startswith("studio")
    assert " 50 %  1.5 MB of 3.0 MB  " in overall
    assert counts.startswith("1 of 3 done · 1 at work · ")
    assert anna.split()[:2] == ["anna", "uploading"]
    assert "500.0 kB of 1.0 MB" in anna


def test_a_long_list_of_entries_at_work_is_cut(tracker: RunTracker) -> None:
    """The picture must fit the terminal."""
    console = Console(file=io.StringIO(), force_terminal=True, width=110)
    bar = BarProgress(tracker, console)
    for number in range(30):
        tracker(
            EntryStarted(
                batch="studio", entry=f"e{number}", state=EntryState.UPLOADING, bytes_total=10, bytes_left=10
            )
        )

    with console.capture() as captured:
        console.print(bar.render())

    assert len(captured.get().splitlines()) == 15
    assert "and 18 more" in captured.get()


def test_failures_stay_above_the_picture_and_the_picture_goes(tracker: RunTracker) -> None:
    """Markup in a message is text."""
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=110, color_system=None)
    with BarProgress(tracker, console) as bar:
        bus = EventBus(tracker, bar)
        for event in (STARTED, ANNA, FAILED, BatchDrained(reason="enough"), FINISHED):
            bus.publish(event)

    assert "bo: failed: no such [red]thing" in stream.getvalue()
    assert "enough" in stream.getvalue()
    assert stream.getvalue().endswith("\x1b[2K")


def test_words_of_others_act_on_no_terminal(tracker: RunTracker) -> None:
    """Of service and manifest, in lines and in the picture; all that remains are rich's own sequences."""
    words = "\x1b]0;t\x07\x9b2J\u202e\u2066[red]\ud83d\r\n\u2028forged"
    events = (
        replace(STARTED, batch=words),
        replace(ANNA, entry=words),
        replace(moved(EntryState.CONFIRMED), entry=words, reason=words),
        replace(FAILED, entry=words, message=words),
        WarningRaised(batch="studio", entry=words, message=words),
        ServiceWarning(message=words),
        BatchDrained(reason=words),
        FINISHED,
    )
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=500, color_system=None)
    with BarProgress(tracker, console) as bar:
        bus = EventBus(tracker, bar)
        for event in events:
            bus.publish(event)
        console.print(bar.render())

    lines, picture = plain_text(tracker, *events), stream.getvalue()

    for text in (lines, picture):
        assert not set("\x07\x9b\u202e\u2066\ud83d\u2028") & set(text)
        assert not any(line.startswith("forged") for line in text.splitlines())
        assert "[red]" in text
    assert "\x1b" not in lines
    assert "\x1b]" not in picture
