"""The one line for panes and notebooks, and what all forms of progress say of retries, outages and long steps."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from orchestrator.domain.assets import AssetKind
from orchestrator.domain.states import EntryState
from orchestrator.engine.events import (
    EntryFailed,
    EntryStarted,
    EntryTransitioned,
    Event,
    EventBus,
    FilmsChecked,
    OutageBegan,
    RetryScheduled,
    RunFinished,
    RunStarted,
    SegmentStored,
    Totals,
)
from orchestrator.observe.bar import BarProgress
from orchestrator.observe.line import LineProgress
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
RETRY = RetryScheduled(
    batch="studio",
    entry="anna",
    operation="put",
    asset=AssetKind.TRAINING_VIDEO,
    part_number=4,
    attempt=1,
    delay=8.0,
    kind="interrupted",
    code=None,
    request_id=None,
    message="connection \x1b[31mreset",
)
STORED = SegmentStored(
    batch="studio",
    entry="anna",
    asset=AssetKind.TRAINING_VIDEO,
    part_number=4,
    bytes=10,
    attempt=2,
    is_resumed=False,
    is_verified=True,
    seconds=1.0,
    put_seconds=1.0,
)
FAILED = EntryFailed(
    batch="studio", entry="bo", kind="rejected", code=None, message="no", request_id=None, hint=None
)
FINISHED = RunFinished(batch="studio", run_id="r", exit_code=8, elapsed_seconds=1.0, entries={"total": 3})
OUTAGE = OutageBegan(
    side="service",
    kind="unreachable",
    reason="refused",
    code=None,
    request_id=None,
    lasted_seconds=0.0,
    next_try_seconds=4.0,
    patience_seconds=900.0,
)


class Time:
    """A clock that a test moves."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def tracker(time: Time) -> RunTracker:
    return RunTracker(time)


def confirming() -> EntryTransitioned:
    return EntryTransitioned(
        batch="studio",
        entry="anna",
        from_state=EntryState.UPLOADED,
        to_state=EntryState.CONFIRMING,
        reason="why",
    )


def painted(tracker: RunTracker) -> str:
    console = Console(file=io.StringIO(), force_terminal=True, width=160, color_system=None)
    with console.capture() as captured:
        console.print(BarProgress(tracker, console).render())
    return captured.get()


def test_one_line_says_all_and_is_written_over(tracker: RunTracker, monkeypatch: pytest.MonkeyPatch) -> None:
    """A shorter one leaves nothing of the longer one behind."""
    monkeypatch.setenv("COLUMNS", "200")
    stream = io.StringIO()
    with LineProgress(tracker, stream, interval_seconds=1000) as line:
        bus = EventBus(tracker, line)
        for event in (STARTED, ANNA, RETRY, RETRY, FAILED, OUTAGE):
            bus.publish(event)
        text = line.line()
        bus.publish(FINISHED)

    assert text.startswith("1 of 3 done, 1 at work · 1 failed · 1.0 MB of 3.0 MB · ")
    assert "2 retries (2 interrupted)" in text
    assert text.endswith(
        "waiting: service unreachable (refused) for 0:00; next try in 4 s; giving up at 15:00"
    )
    assert stream.getvalue() == f"\r{text}\n"


def test_the_line_is_as_long_as_the_pane_and_covers_what_was_there(
    tracker: RunTracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that breaks cannot be written over."""
    monkeypatch.setenv("COLUMNS", "30")
    stream = io.StringIO()
    line = LineProgress(tracker, stream)
    tracker(STARTED)
    line.write()
    tracker(FilmsChecked(done=3, total=9))
    line.write()

    first, second = stream.getvalue().split("\r")[1:]
    assert len(first) == 29
    assert second == "checking 3 of 9 films".ljust(29)


def test_a_line_that_never_began_leaves_nothing(tracker: RunTracker) -> None:
    """A manifest with errors ends before."""
    stream = io.StringIO()
    with LineProgress(tracker, stream):
        pass

    assert stream.getvalue() == ""


def test_the_picture_shows_what_an_entry_tries_again_until_it_succeeds(
    tracker: RunTracker, time: Time
) -> None:
    """With the seconds until then, and as text whatever the service says."""
    for event in (STARTED, ANNA, RETRY):
        tracker(event)
    time.now += 3

    assert "try 2 in 5 s: connection \\x1b[31mreset" in painted(tracker)
    assert "1 retry (1 interrupted)" in painted(tracker)

    tracker(STORED)
    assert "try 2" not in painted(tracker)


def test_a_step_that_takes_long_has_its_own_clock(tracker: RunTracker, time: Time) -> None:
    """Joining a film takes the service minutes."""
    for event in (STARTED, ANNA):
        tracker(event)
    time.now += 600
    tracker(confirming())
    time.now += 42

    (row,) = (row for row in painted(tracker).splitlines() if "anna" in row)
    assert row.split() == ["anna", "confirming", "0:42"]
    stream = io.StringIO()
    PlainProgress(tracker, stream, lambda: NOON).report()
    assert "1 confirming, the longest for 0:42" in stream.getvalue()


def test_films_that_are_checked_are_counted_before_the_run(tracker: RunTracker) -> None:
    """On a terminal all the time, elsewhere now and then."""
    times = iter((NOON, NOON, NOON + 10, NOON + 31, NOON + 31))
    stream = io.StringIO()
    plain = PlainProgress(tracker, stream, lambda: next(times))
    checked: list[Event] = [
        FilmsChecked(done=done, total=None if done < 300 else 500) for done in (9, 99, 312)
    ]
    for event in checked:
        tracker(event)
        plain(event)

    assert [line.split("Z ")[1] for line in stream.getvalue().splitlines()] == [
        "checking 9 films",
        "checking 312 of 500 films",
    ]
    assert painted(tracker) == "checking 312 of 500 films\n"
    tracker(STARTED)
    assert "studio" in painted(tracker)
