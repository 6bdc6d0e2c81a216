"""Kill -9 of runs that upload to a real object store."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from typing import Any

import anyio

from orchestrator.domain.errors import ExitCode
from orchestrator.engine.events import Point, StepReached
from tests.crash.harness import Life, Peer
from tests.crash.rounds import Kill
from tests.object_store.conftest import PART_BYTES, VIDEO_BYTES, MakeRig
from tests.object_store.shown import assert_stored
from tests.rig import Rig

SEGMENTS = 12
KILLS = (Kill(Point.WRITE_RECEIPT.after, 3), Kill(Point.CONFIRM.after, 1))


def live(driver: Peer, rig: Rig, kill: Kill) -> Life:
    """Run the batch in a process that dies where it is told to."""
    options = rig.simulator.options
    trail = rig.folder / f"trail-{kill.point}"
    driver.ask(
        manifest=str(rig.manifest),
        state=str(rig.state),
        trail=str(trail),
        service={
            "endpoint": rig.simulator.endpoint,
            "project_id": options.project_id,
            "ak": options.ak,
            "sk": options.sk,
        },
        part_bytes=PART_BYTES,
        is_submit_wanted=False,
        on_existing="ask",
        passed_seconds=0.0,
        seed=kill.point,
        kill={"point": kill.point, "occurrence": kill.occurrence},
    )
    end: dict[str, Any] = driver.answer()
    return Life(kill, end["is_killed"], [json.loads(line) for line in trail.read_text().splitlines()])


async def test_runs_killed_while_uploading_and_confirming_lose_nothing(
    make_rig: MakeRig, tmp_path: Path
) -> None:
    """Every object is its file, each entry has one job, and only what was in flight is sent again."""
    rig = await make_rig()
    entries = rig.make_entries(3, size=VIDEO_BYTES, kinds=("cover", "grant_file"))

    with closing(Peer("tests.crash.driver", tmp_path / "driver.log")) as driver:
        lives = [await anyio.to_thread.run_sync(live, driver, rig, kill) for kill in KILLS]
    report = await rig.run()

    assert [life.is_killed for life in lives] == [True, True]
    assert report.exit_code == ExitCode.OK
    await assert_stored(rig, entries)
    steps = [step for life in lives for step in life.points]
    steps += [event.point for event in rig.events_of(StepReached)]
    assert steps.count(Point.PUT.before) - SEGMENTS <= sum(len(life.cut_off) for life in lives)
