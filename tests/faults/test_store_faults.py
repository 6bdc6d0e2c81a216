"""What a store can do to a PUT: each passing fault ends in a delivered batch, whatever the URLs allow."""

from __future__ import annotations

from dataclasses import replace
from typing import NoReturn

import pytest

from orchestrator.domain.errors import ExitCode
from orchestrator.engine.events import Point, SegmentStored, UrlsExpired
from orchestrator.simulator import SimulatorOptions, World
from tests.faults.conftest import Trial

ONE_TIME = SimulatorOptions()
OVERWRITE = SimulatorOptions(world=World(put_again="overwrite"))
BOTH = pytest.mark.parametrize("simulator_options", [ONE_TIME, OVERWRITE], ids=["one-time", "overwrite"])
#: Nothing was stored.
UNDONE = (
    "slow-down",
    "error-500",
    "too-many-requests",
    "conflict-409",
    "timeout-408",
    "incomplete-body",
    "reset",
    "stall",
    "never-answer",
)
#: The segment was stored, and the client was not told.
DONE = ("lost-answer", "truncated-answer", "close-keepalive")


@BOTH
async def test_a_put_that_was_not_done_is_done_again(trial: Trial) -> None:
    """Only the segments that met a fault are sent twice, each once for each of its faults."""
    entries = trial.rig.make_entries(3, size=600_000, kinds=("cover",))
    trial.rig.simulator.faults.script("put", [fault for name in UNDONE for fault in (name, None)])

    report = await trial.run()

    assert report.exit_code == ExitCode.OK
    trial.assert_delivered(entries)
    assert trial.rig.simulator.faults.counts == dict.fromkeys(UNDONE, 1)
    assert len(trial.retries()) == len(UNDONE)
    assert all(len(sizes) == 1 for sizes in trial.rig.simulator.stats.stored.values())


@BOTH
async def test_a_stored_part_whose_answer_is_lost_is_not_sent_again(trial: Trial) -> None:
    """GET_MULTIPART_UPLOADED tells that the service has it."""
    entries = trial.rig.make_entries(2, size=600_000)
    trial.rig.simulator.faults.script("put", DONE)

    report = await trial.run()

    assert report.exit_code == ExitCode.OK
    trial.assert_delivered(entries)
    assert trial.rig.simulator.faults.counts == dict.fromkeys(DONE, 1)
    assert all(len(sizes) == 1 for sizes in trial.rig.simulator.stats.stored.values())


@BOTH
async def test_an_etag_that_does_not_fit_is_not_believed(trial: Trial) -> None:
    """Where the URL allows it, the part is put once more; where it does not, the service's list is asked."""
    entries = trial.rig.make_entries(1, size=600_000)
    trial.rig.simulator.faults.script("put", ["wrong-etag"])

    report = await trial.run()

    assert report.exit_code == ExitCode.OK
    trial.assert_delivered(entries)
    times = 1 if trial.rig.simulator.options.world.put_again == "refused" else 2
    assert max(map(len, trial.rig.simulator.stats.stored.values())) == times
    assert not trial.rig.events_of(UrlsExpired)


@BOTH
async def test_a_stored_file_whose_answer_is_lost_is_looked_at(trial: Trial) -> None:
    """No call lists single files, but where show tells a download URL the object's ETag is compared."""
    entries = trial.rig.make_entries(1, size=200_000, kinds=("cover", "id_card_image1"))
    trial.rig.simulator.faults.script("put", ["lost-answer", "truncated-answer", "lost-answer"])

    report = await trial.run()

    assert report.exit_code == ExitCode.OK
    trial.assert_delivered(entries)
    assert all(event.is_verified for event in trial.rig.events_of(SegmentStored))
    assert all(len(sizes) == 1 for sizes in trial.rig.simulator.stats.stored.values())


@BOTH
async def test_a_part_that_was_corrupted_on_its_way_is_replaced(trial: Trial) -> None:
    """The store's ETag is not the file's MD5: put again, or into a new job where the URL is used up."""
    entries = trial.rig.make_entries(1, size=600_000)
    trial.rig.simulator.faults.script("put", ["corrupt"])

    report = await trial.run()

    assert report.exit_code == ExitCode.OK
    trial.assert_delivered(entries)
    assert len(trial.rig.simulator.all_jobs) == (
        2 if trial.rig.simulator.options.world.put_again == "refused" else 1
    )


@BOTH
async def test_a_single_file_that_was_corrupted_on_its_way_is_replaced(trial: Trial) -> None:
    """A cover with other bytes is never taken for stored."""
    entries = trial.rig.make_entries(1, size=200_000, kinds=("cover",))
    trial.at(Point.PUT.before, lambda: trial.rig.simulator.faults.script("put", ["corrupt", "corrupt"]))

    report = await trial.run()

    assert report.exit_code == ExitCode.OK
    trial.assert_delivered(entries)


@pytest.mark.parametrize("simulator_options", [ONE_TIME], ids=["one-time"])
async def test_a_corrupted_file_is_seen_by_a_run_that_does_not_know_of_it(trial: Trial) -> None:
    """Its URL is used up, and the object that can be looked at is not the file: fresh URLs."""
    entries = trial.rig.make_entries(1, size=200_000, kinds=("cover",))
    trial.rig.settings = replace(trial.rig.settings, parallel=1)
    trial.rig.simulator.faults.script("put", [None, "corrupt"])

    def stop() -> NoReturn:
        raise RuntimeError("stopped here")

    trial.at("request.retry_scheduled", stop)
    await trial.run()

    report = await trial.run()

    assert report.exit_code == ExitCode.OK
    trial.assert_delivered(entries)


async def test_a_refused_file_that_an_earlier_run_may_have_sent_is_not_taken_for_stored(trial: Trial) -> None:
    """The run before was stopped right before its PUT; nobody saw the file arrive, so it gets a fresh URL."""
    entries = trial.rig.make_entries(1, size=200_000, kinds=("cover",))
    trial.rig.settings = replace(trial.rig.settings, parallel=1)

    def stop() -> NoReturn:
        raise RuntimeError("stopped here")

    trial.at(Point.WRITE_STARTED.after, stop, occurrence=2)
    await trial.run()
    trial.rig.simulator.faults.script("put", ["early-403"])

    report = await trial.run()

    assert report.exit_code == ExitCode.OK
    trial.assert_delivered(entries)
    assert trial.rig.simulator.faults.counts["early-403"] == 1


async def test_a_refused_file_that_the_service_does_not_show_among_others_is_not_taken_for_stored(
    trial: Trial,
) -> None:
    """The whole file was sent, yet the service shows another file of the job and not this one."""
    entries = trial.rig.make_entries(1, size=200_000, kinds=("cover", "id_card_image1"))
    trial.rig.settings = replace(trial.rig.settings, parallel=1)
    trial.rig.simulator.faults.script("put", [None, None, "never-answer", "early-403"])

    report = await trial.run()

    assert report.exit_code == ExitCode.OK
    trial.assert_delivered(entries)
    assert trial.rig.simulator.faults.counts["early-403"] == 1


@pytest.mark.parametrize("action_parts", ["works", "empty", "refused"])
@pytest.mark.parametrize("is_one_time", [True, False], ids=["one-time", "overwrite"])
async def test_an_action_part_whose_answer_is_lost_is_healed_whatever_the_service_tells(
    trial: Trial, action_parts: str, is_one_time: bool
) -> None:
    """Listed: taken over. Not listed: put again, or into a new job where the URL is used up."""
    entries = trial.rig.make_entries(1, size=300_000, kinds=("action_video",))
    trial.rig.simulator.faults.script("put", ["lost-answer", "wrong-etag"] * 2)

    report = await trial.run()

    assert report.exit_code == ExitCode.OK
    trial.assert_delivered(entries)
    is_told = action_parts == "works" or not is_one_time
    assert len(trial.rig.simulator.all_jobs) == (1 if is_told else 2)


@pytest.fixture
def simulator_options(request: pytest.FixtureRequest) -> SimulatorOptions:
    """Options from a test's own parameters where it has them."""
    names = getattr(request.node, "callspec", None) and request.node.callspec.params
    if names and "action_parts" in names:
        put_again = "refused" if names["is_one_time"] else "overwrite"
        return SimulatorOptions(world=World(action_part_list=names["action_parts"], put_again=put_again))
    return ONE_TIME


async def test_a_redirect_to_another_host_is_not_followed(trial: Trial) -> None:
    """A presigned URL is a secret of the host that it names."""
    trial.rig.make_entries(1, size=200_000)
    trial.rig.simulator.faults.script("put", ["redirect"])

    report = await trial.run()

    assert report.exit_code == ExitCode.SOME_FAILED
    assert "not followed" in (await trial.error_of("avatar-0"))[2]
    assert not trial.only_job().confirmations
