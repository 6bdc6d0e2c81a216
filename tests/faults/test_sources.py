"""Files that change while they are sent: the entry fails, says why, and nothing of it is confirmed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.domain.errors import ExitCode, ManifestError
from orchestrator.engine.events import Point
from tests.faults.conftest import Trial


def delete(path: Path) -> None:
    """Take the file away."""
    path.unlink()


def truncate(path: Path) -> None:
    """Cut it in half."""
    os.truncate(path, path.stat().st_size // 2)


def change(path: Path) -> None:
    """Write other bytes of the same number."""
    path.write_bytes(b"x" * path.stat().st_size)


def replace_with_older(path: Path) -> None:
    """Put another file of the same length, years old, in its place."""
    other = path.with_suffix(".other")
    shutil.copyfile(path, other)
    os.utime(other, (1_000_000_000, 1_000_000_000))
    other.replace(path)


def replace_with_pipe(path: Path) -> None:
    """Put a FIFO in its place, which would block whoever reads it."""
    path.unlink()
    os.mkfifo(path)


DAMAGES = (delete, truncate, change, replace_with_older, replace_with_pipe)
Damage = Callable[[Path], None]


@pytest.mark.parametrize(
    ("point", "damage"),
    [*((Point.PUT.before, damage) for damage in DAMAGES), (Point.WRITE_UPLOADED.after, replace_with_older)],
    ids=lambda value: getattr(value, "__name__", value),
)
async def test_a_source_that_changes_during_the_run_fails_its_entry(
    trial: Trial, point: str, damage: Damage
) -> None:
    """Between the parts, or after the last one: no mixture is ever confirmed, and the other entry is."""
    trial.rig.make_entries(2, size=600_000)
    path = trial.rig.folder / "avatar-1-training_video"
    one_at_a_time(trial)
    trial.at(point, lambda: damage(path), occurrence=4 if point == Point.PUT.before else 2)

    report = await trial.run()

    assert report.exit_code == ExitCode.SOME_FAILED
    kind, _, message = await trial.error_of("avatar-1")
    assert kind == "source_changed"
    assert "avatar-1-training_video" in message
    confirmed = {job.name: sum(job.confirmations.values()) for job in trial.rig.simulator.jobs}
    assert confirmed == {"Name of avatar-0": 1, "Name of avatar-1": 0}


async def test_after_a_failure_no_other_segment_of_the_entry_is_begun(trial: Trial) -> None:
    """Not even one that already waits for a slot: its bytes would be sent in vain."""
    trial.rig.make_entries(1, size=1_800_000)
    path = trial.rig.folder / "avatar-0-training_video"
    one_at_a_time(trial)
    trial.at(Point.PUT.before, path.unlink)

    report = await trial.run()

    assert report.exit_code == ExitCode.SOME_FAILED
    assert trial.points(Point.PUT.before) == 1


def one_at_a_time(trial: Trial) -> None:
    """Send one segment after the other, so that a point is a moment."""
    trial.rig.settings = replace(trial.rig.settings, jobs=1, parallel=1)


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
async def test_a_source_that_changed_between_runs_is_never_mixed_with_what_is_stored(
    trial: Trial, damage: Damage
) -> None:
    """An unconfirmed job is made again, of the same bytes the rest is sent, and what is no film is not planned."""
    entries = trial.rig.make_entries(1, size=600_000)
    path = trial.rig.folder / "avatar-0-training_video"
    one_at_a_time(trial)
    trial.at(Point.PUT.before, lambda: path.rename(path.with_suffix(".away")), occurrence=2)
    await trial.run()
    first = trial.only_job()
    path.with_suffix(".away").rename(path)
    damage(path)
    requests = trial.rig.simulator.stats.requests.total()

    if damage in {truncate, replace_with_older}:
        assert (await trial.run()).exit_code == ExitCode.OK
        trial.assert_delivered(entries)
        assert (trial.only_job().job_id == first.job_id) is (damage is replace_with_older)
        return
    with pytest.raises(ManifestError):
        await trial.run()
    assert trial.rig.simulator.stats.requests.total() == requests
    assert not trial.only_job().confirmations


async def test_a_source_that_comes_back_is_sent_to_its_end_by_the_next_run(trial: Trial) -> None:
    """A share that was away for a while costs a run, not the entry."""
    entries = trial.rig.make_entries(1, size=600_000)
    path = trial.rig.folder / "avatar-0-training_video"
    one_at_a_time(trial)
    trial.at(Point.PUT.before, lambda: path.rename(path.with_suffix(".away")), occurrence=2)
    first = await trial.run()
    path.with_suffix(".away").rename(path)

    report = await trial.run()

    assert (first.exit_code, report.exit_code) == (ExitCode.SOME_FAILED, ExitCode.OK)
    trial.assert_delivered(entries)
    assert all(len(sizes) == 1 for sizes in trial.rig.simulator.stats.stored.values())
