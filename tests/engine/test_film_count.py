"""Counting films while they are checked."""

from __future__ import annotations

import anyio.to_thread
import pytest

from orchestrator.domain.entries import Entry
from orchestrator.engine.events import FilmsChecked
from orchestrator.engine.planning import FilmCount
from orchestrator.manifest import open_manifest
from tests.rig import Rig


def entries(rig: Rig) -> list[Entry]:
    rig.make_entries(3, kinds=["action_video", "cover"])
    return list(open_manifest(rig.manifest).entries())


async def test_films_are_counted_and_told_of_about_once_a_second(rig: Rig) -> None:
    """From a worker thread, on the event loop; how many there are is known once all were read."""
    told: list[tuple[int, int | None]] = []
    now = [0.0]
    count = FilmCount(lambda done, total: told.append((done, total)), lambda: now[0])
    first, second, third = entries(rig)

    count.expect([first, second], is_last=False)
    await anyio.to_thread.run_sync(count.checked, first)
    now[0] = 1.0
    await anyio.to_thread.run_sync(count.checked, second)
    count.expect([third], is_last=True)
    now[0] = 2.0
    await anyio.to_thread.run_sync(count.checked, third)

    assert told == [(4, None), (6, 6)]


async def test_a_check_that_takes_seconds_is_an_event_of_the_run(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A quick one is none."""
    rig.make_entries(2)
    await rig.run()
    assert rig.events_of(FilmsChecked) == []

    monkeypatch.setattr("orchestrator.engine.planning._INTERVAL_SECONDS", 0.0)
    (rig.folder / "avatar-1-training_video").touch()
    await rig.run()

    assert [(event.done, event.total) for event in rig.events_of(FilmsChecked)] == [(1, 2), (2, 2)]
