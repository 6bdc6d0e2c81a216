"""A file is known by its content from one run to the next; paths, times and inodes come and go."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.domain.errors import ExitCode
from orchestrator.domain.states import Change
from orchestrator.engine.events import ComparisonStarted, Point, StepReached
from orchestrator.engine.report import RunOutcome
from orchestrator.simulator import JobView
from orchestrator.simulator.footage import write_footage
from tests.rig import Rig

FILM = "avatar-0-training_video"
Treatment = Callable[[Rig], None]


def copy_in_place(rig: Rig) -> None:
    """`cp -p f g && mv g f`: as a restore or a remount leaves it."""
    for path in list(rig.folder.glob("avatar-*")):
        other = path.with_name("copy")
        shutil.copy2(path, other)
        other.replace(path)


def touch(rig: Rig) -> None:
    """Change the time, and no byte."""
    for path in rig.folder.glob("avatar-*"):
        os.utime(path, (1_000_000_000, 1_000_000_000))


def move(rig: Rig) -> None:
    """Carry footage and manifest somewhere else, where times are new."""
    place = rig.folder.with_name("elsewhere")
    shutil.copytree(
        rig.folder, place, copy_function=shutil.copyfile, ignore=shutil.ignore_patterns("journal*")
    )
    for path in rig.folder.glob("journal*"):
        shutil.copy(path, place)
    shutil.rmtree(rig.folder)
    rig.folder = place


TREATMENTS = (copy_in_place, touch, move)
PARAMETERS = pytest.mark.parametrize("treatment", TREATMENTS, ids=lambda treatment: treatment.__name__)


def comparisons(rig: Rig) -> int:
    """How many files were read to compare them."""
    return sum(event.files for event in rig.events_of(ComparisonStarted))


def only_job(rig: Rig) -> JobView:
    """The one job that exists."""
    (job,) = rig.simulator.jobs
    return job


@PARAMETERS
async def test_the_same_bytes_of_a_finished_entry_are_no_change(rig: Rig, treatment: Treatment) -> None:
    """Nothing is sent, nobody is asked, and the next run need not compare again."""
    rig.make_entries(2, kinds=("cover",))
    await rig.run()
    requests = rig.simulator.stats.requests.total()

    treatment(rig)
    report = await rig.run()
    compared = comparisons(rig)
    again = await rig.run()

    assert (report.exit_code, again.exit_code) == (ExitCode.OK, ExitCode.OK)
    assert report.entries.done == again.entries.done == 2
    assert rig.simulator.stats.requests.total() == requests
    assert compared == comparisons(rig) == (0 if treatment is copy_in_place else 4)


@PARAMETERS
async def test_the_same_bytes_of_a_half_sent_entry_are_sent_to_their_end(
    rig: Rig, treatment: Treatment
) -> None:
    """What is stored is compared, and only the rest is sent, to the same job."""
    entries = rig.make_entries(1, size=1_200_000, kinds=("cover",))
    job = await send_half(rig)

    treatment(rig)
    report = await rig.run()

    assert report.exit_code == ExitCode.OK
    assert report.resumed_bytes > 0
    assert only_job(rig).job_id == job.job_id
    assert all(len(sizes) == 1 for sizes in rig.simulator.stats.stored.values())
    rig.assert_delivered(entries)


async def send_half(rig: Rig) -> JobView:
    """Run until the film's file goes away after some of its parts; then it comes back."""
    rig.settings = replace(rig.settings, parallel=1)
    path = rig.folder / FILM
    puts = [0]

    def hear(event: object) -> None:
        if isinstance(event, StepReached) and event.point == Point.PUT.after:
            puts[0] += 1
            if puts[0] == 3:
                path.rename(path.with_suffix(".away"))

    rig.on_event = hear
    assert (await rig.run()).exit_code == ExitCode.SOME_FAILED
    rig.on_event = None
    path.with_suffix(".away").rename(path)
    return only_job(rig)


async def other_film(rig: Rig, *, at_path: str) -> RunOutcome:
    """Run once the entry's film has other bytes but the size and the time it had."""
    path, now = rig.folder / FILM, rig.folder / at_path
    status = path.stat()
    write_footage(now, size=status.st_size, seed=4711)
    os.utime(now, ns=(status.st_atime_ns, status.st_mtime_ns))
    entry = {"id": "avatar-0", "name": "Name of avatar-0", "training_video": at_path}
    rig.write_batch([entry])
    return await rig.run()


async def test_other_bytes_of_equal_size_and_time_at_another_path_need_a_decision(rig: Rig) -> None:
    """A film that was put in the place of another is not done."""
    rig.make_entries(1)
    await rig.run()

    report = await other_film(rig, at_path="moved.mp4")

    assert report.exit_code == ExitCode.DECISION_NEEDED
    assert report.undecided == {"avatar-0": "changed since its job was created: training_video"}


async def test_a_file_of_which_no_md5_is_known_needs_a_decision_once_it_was_touched(rig: Rig) -> None:
    """`--verify off` leaves nothing to compare with; nothing is read for that."""
    rig.service = {"is_verifying": False}
    rig.make_entries(1)
    await rig.run()

    touch(rig)
    report = await rig.run()

    assert report.exit_code == ExitCode.DECISION_NEEDED
    assert "cannot be compared" in report.undecided["avatar-0"]


async def test_a_copy_is_no_change_even_where_no_md5_is_known(rig: Rig) -> None:
    """Path, size and time are those of the file that was sent."""
    rig.service = {"is_verifying": False}
    rig.make_entries(1)
    await rig.run()

    copy_in_place(rig)

    assert (await rig.run()).exit_code == ExitCode.OK


@pytest.mark.parametrize(
    "changes", [{"video_multipart_count": 2}, {"is_background_replacement": True, "model_version": "V3.2"}]
)
async def test_a_changed_part_count_and_a_written_default_leave_entries_as_they_are(
    rig: Rig, changes: dict[str, object]
) -> None:
    """Finished ones stay done; a begun one goes on with the parts its job has."""
    done = rig.make_entries(1, size=1_200_000)
    job = await send_half(rig)
    rig.write_batch(done, defaults=changes)

    report = await rig.run()
    again = await rig.run()

    assert (report.exit_code, again.exit_code) == (ExitCode.OK, ExitCode.OK)
    assert only_job(rig).job_id == job.job_id
    assert report.stored_segments == report.totals.segments == again.totals.segments
    rig.assert_delivered(done)


async def test_a_changed_part_count_counts_for_a_job_that_is_made_again(rig: Rig) -> None:
    """Nothing of the old plan is left then."""
    entries = rig.make_entries(1, size=1_200_000)
    await rig.run()
    write_footage(rig.folder / FILM, size=1_300_000, seed=9)
    rig.write_batch(entries, defaults={"video_multipart_count": 2})

    report = await rig.run(settings={"on_change": Change.RECREATE})

    assert (report.exit_code, report.totals.segments) == (ExitCode.OK, 2)


@pytest.mark.parametrize("command", ["run", "retry"])
async def test_an_unconfirmed_job_whose_source_changed_is_made_again_without_being_asked(
    rig: Rig, command: str
) -> None:
    """Film and job are still ours alone."""
    entries = rig.make_entries(1, size=1_200_000)
    job = await send_half(rig)
    write_footage(rig.folder / FILM, size=1_100_000, seed=8)

    report = await (rig.run() if command == "run" else rig.retry())

    assert report.exit_code == ExitCode.OK
    assert only_job(rig).job_id != job.job_id
    rig.assert_delivered(entries)


async def test_a_file_that_changes_while_it_is_compared_is_not_taken_for_the_same(
    rig: Rig, tmp_path: Path
) -> None:
    """What was proved of bytes that are no longer there is worth nothing."""
    rig.make_entries(1)
    await rig.run()
    touch(rig)
    path = rig.folder / FILM

    def hear(event: object) -> None:
        if isinstance(event, ComparisonStarted):
            write_footage(path, size=path.stat().st_size, seed=3)

    rig.on_event = hear
    report = await rig.run()

    assert report.exit_code == ExitCode.DECISION_NEEDED
