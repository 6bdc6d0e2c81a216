"""How far a run is, from its events."""

from __future__ import annotations

import pytest

from orchestrator.domain.assets import AssetKind
from orchestrator.domain.states import EntryState
from orchestrator.engine.events import (
    EntryFailed,
    EntryFinished,
    EntryStarted,
    EntryTransitioned,
    RetryScheduled,
    RunStarted,
    SegmentProgressed,
    SegmentStored,
    Totals,
    UrlsExpired,
)
from orchestrator.observe.tracking import WINDOW_SECONDS, RunTracker

VIDEO = AssetKind.TRAINING_VIDEO


class FakeClock:
    """A time that moves when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def tracker(clock: FakeClock) -> RunTracker:
    """A run of two entries with 1000 bytes, 200 of them stored before."""
    tracker = RunTracker(clock)
    tracker(
        RunStarted(
            batch="b",
            run_id="r",
            totals=Totals(entries=2, segments=10, bytes=1000),
            done_entries=0,
            stored_segments=2,
            stored_bytes=200,
        )
    )
    tracker(
        EntryStarted(
            batch="studio", entry="anna", state=EntryState.UPLOADING, bytes_total=600, bytes_left=400
        )
    )
    return tracker


def progressed(count: int, part: int = 1, entry: str = "anna") -> SegmentProgressed:
    return SegmentProgressed(batch="studio", entry=entry, asset=VIDEO, part_number=part, bytes=count)


def stored(count: int, part: int = 1, *, is_resumed: bool = False) -> SegmentStored:
    return SegmentStored(
        batch="studio",
        entry="anna",
        asset=VIDEO,
        part_number=part,
        bytes=count,
        attempt=1,
        is_resumed=is_resumed,
        is_verified=True,
        seconds=1.0,
        put_seconds=1.0,
    )


def test_bytes_on_their_way_count_until_their_attempt_fails(tracker: RunTracker) -> None:
    """And are not counted twice once they are stored."""
    tracker(progressed(100))
    assert tracker.bytes_done == 300
    tracker(progressed(-100))
    assert tracker.bytes_done == 200
    tracker(progressed(100))
    tracker(stored(100))
    assert (tracker.bytes_done, tracker.bytes_sent) == (300, 100)
    assert tracker.active["anna"].bytes_done == 300


def test_resumed_bytes_are_done_but_no_throughput(tracker: RunTracker, clock: FakeClock) -> None:
    """Else a resumed run would look as fast as light."""
    tracker(stored(100, is_resumed=True))
    clock.now += 1

    assert tracker.bytes_done == 300
    assert tracker.bytes_per_second == 0
    assert tracker.seconds_left is None


def test_throughput_and_time_left_are_those_of_the_last_seconds(
    tracker: RunTracker, clock: FakeClock
) -> None:
    """A pause shows."""
    clock.now += 10
    tracker(progressed(100))
    tracker.sample()
    assert tracker.bytes_per_second == pytest.approx(10)
    assert tracker.seconds_left == pytest.approx(70)

    for _ in range(3):
        clock.now += WINDOW_SECONDS
        tracker.sample()
    assert tracker.bytes_per_second == 0


def test_what_a_failed_entry_does_not_send_is_not_waited_for(tracker: RunTracker, clock: FakeClock) -> None:
    """The time left is that of the others."""
    clock.now += 10
    tracker(progressed(100))
    tracker(stored(100))
    failure = {"kind": "rejected", "code": None, "message": "no", "request_id": None, "hint": None}
    tracker(EntryFailed(batch="studio", entry="anna", **failure))
    tracker(EntryFinished(batch="studio", entry="anna", state=EntryState.FAILED, is_done=False))

    assert (tracker.entries_failed, tracker.entries_done, tracker.active) == (1, 0, {})
    assert tracker.seconds_left == pytest.approx((1000 - 300 - 300) / 10)


def test_bytes_on_their_way_go_with_their_entry(tracker: RunTracker) -> None:
    """A worker that lets go leaves nothing behind."""
    tracker(progressed(100))
    tracker(EntryFinished(batch="studio", entry="anna", state=EntryState.UPLOADING, is_done=False))

    assert tracker.bytes_done == 200


def test_a_lost_job_takes_its_bytes_with_it(tracker: RunTracker) -> None:
    """By dead URLs, or by going from the service; neither counts twice."""
    tracker(UrlsExpired(batch="studio", entry="anna", remedy="recreate", lost_bytes=200))
    tracker(
        EntryTransitioned(
            batch="studio",
            entry="anna",
            from_state=EntryState.UPLOADING,
            to_state=EntryState.PENDING,
            reason="gone",
        )
    )

    assert tracker.bytes_done == 0


def test_only_segments_count_as_retried(tracker: RunTracker) -> None:
    """As in the final report."""
    failure = {
        "attempt": 1,
        "delay": 1.0,
        "kind": "throttled",
        "code": None,
        "request_id": None,
        "message": "",
    }
    tracker(
        RetryScheduled(batch="studio", entry="anna", operation="put", asset=VIDEO, part_number=1, **failure)
    )
    tracker(RetryScheduled(batch="studio", entry="anna", operation="confirm", **failure))

    assert tracker.retries == 1
