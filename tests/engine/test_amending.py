"""Jobs in a failed review: mended, submitted once more, and judged anew."""

from __future__ import annotations

import pytest

from orchestrator.domain.entries import BatchKey
from orchestrator.domain.errors import ExitCode
from orchestrator.domain.states import Change, EntryState
from orchestrator.engine.cancelling import Canceller
from orchestrator.engine.events import EventBus, ServiceWarning
from orchestrator.engine.following import Follower, Milestone, PollPace
from orchestrator.engine.service_connection import connect
from orchestrator.journal.journal import open_journal
from orchestrator.simulator import SimulatorOptions
from orchestrator.simulator.footage import write_footage
from tests.rig import BATCH, Rig, no_sleep

SUBMIT = {"is_submit_wanted": True}
#: Reviews take no time, and refuse a job without ID cards whenever it is submitted.
STRICT = pytest.mark.parametrize("simulator_options", [SimulatorOptions(speed=1e9, needs_id_documents=True)])
QUICK = pytest.mark.parametrize("simulator_options", [SimulatorOptions(speed=1e9)])


async def watch(rig: Rig) -> ExitCode:
    """Follow the batch until all are trained or need somebody."""
    async with (
        open_journal(str(rig.state), clock=rig.clock) as journal,
        connect(rig.service_settings(), rig.clocks(), reader_threads=1) as connection,
    ):
        key = BatchKey(connection.endpoint, connection.project_id, BATCH)
        follower = Follower(journal, connection.client, EventBus(rig.events.append), key)
        return await follower.follow(
            Milestone.TRAINED, pace=PollPace(), timeout_seconds=None, monotonic=rig.clock, sleep=no_sleep
        )


async def refused_review(rig: Rig) -> None:
    """A batch of one entry whose review has failed."""
    entry = rig.make_entry("anna", size=300_000)
    rig.write_batch([{**entry, "name": "review-fail anna"}])
    await rig.run(settings=SUBMIT)
    await watch(rig)


@STRICT
async def test_a_second_failed_review_is_seen_though_nobody_saw_the_review(rig: Rig) -> None:
    """Between two polls a job can be submitted, reviewed and refused again."""
    await refused_review(rig)

    await rig.retry({"anna"})
    submitted = (await rig.entries())["anna"]
    exit_code = await watch(rig)

    assert (submitted.state, submitted.review_reason) == (EntryState.SUBMITTED, None)
    assert exit_code == ExitCode.SOME_FAILED
    refused = (await rig.entries())["anna"]
    assert (refused.state, bool(refused.review_reason)) == (EntryState.REVIEW_FAILED, True)


@QUICK
@pytest.mark.parametrize("fault", ["reset-api", "lost-submit"])
async def test_a_submission_that_was_cut_off_is_asked_about(rig: Rig, fault: str) -> None:
    """A job in its failed review may look as if it had moved on: its history tells."""
    await refused_review(rig)
    rig.simulator.faults.script("submit", [fault])

    report = await rig.retry({"anna"})

    assert report.exit_code == ExitCode.OK
    assert [job.submissions for job in rig.simulator.jobs] == [2]


@STRICT
async def test_a_submission_that_was_refused_again_is_not_repeated(rig: Rig) -> None:
    """The answer was lost, and the review had failed before anybody could ask."""
    await refused_review(rig)
    rig.simulator.faults.script("submit", ["lost-submit"])

    await rig.retry({"anna"})

    assert [job.submissions for job in rig.simulator.jobs] == [2]


@QUICK
async def test_the_reviewers_words_stay_in_the_history(rig: Rig) -> None:
    """The entry itself forgets them once it is submitted again."""
    await refused_review(rig)
    await rig.retry({"anna"})
    await watch(rig)

    async with open_journal(str(rig.state), clock=rig.clock) as journal:
        record = (await rig.entries())["anna"]
        reasons = [transition.reason or "" for transition in await journal.transitions(record)]

    assert (record.state, record.review_reason, record.review_code) == (EntryState.TRAINED, None, None)
    assert any("The resolution" in reason and "(44005901)" in reason for reason in reasons)


async def test_a_change_the_service_refuses_can_be_made_in_the_other_way(rig: Rig) -> None:
    """What is chosen last counts."""
    entries = rig.make_entries(1)
    await rig.run()
    write_footage(rig.folder / entries[0]["training_video"], size=700_000, seed=3)

    refused = await rig.run(settings={"on_change": Change.UPDATE})
    made = await rig.run(settings={"on_change": Change.RECREATE})

    assert (refused.exit_code, made.exit_code) == (ExitCode.DECISION_NEEDED, ExitCode.OK)
    rig.assert_delivered(entries)


async def test_an_id_that_is_spelled_out_is_no_change(rig: Rig) -> None:
    """It was made from the name before; files that were put away are not missed."""
    entry = rig.make_entry("name-of-anna", size=200_000)
    del entry["id"]
    entry["name"] = "Name of Anna"
    rig.write_batch([entry])
    await rig.run()
    (rig.folder / entry["training_video"]).unlink()
    rig.write_batch([{"id": "name-of-anna", **entry}])

    report = await rig.run()

    assert (report.exit_code, report.entries.done) == (ExitCode.OK, 1)


async def test_an_entry_the_manifest_has_no_more_is_cancelled_when_it_is_named(rig: Rig) -> None:
    """And only then."""
    entries = rig.make_entries(2)
    await rig.run()
    rig.write_batch(entries[1:])
    await rig.run()

    async with (
        open_journal(str(rig.state), clock=rig.clock) as journal,
        connect(rig.service_settings(), rig.clocks(), reader_threads=1) as connection,
    ):
        canceller = Canceller(journal, connection.client, EventBus())
        batch = (await journal.batches())[0].key
        named = await canceller.cancel(batch, {"avatar-0"})
        rest = await canceller.cancel(batch, None)

    assert [[outcome.entry_id for outcome in outcomes] for outcomes in (named, rest)] == [
        ["avatar-0"],
        ["avatar-1"],
    ]


async def test_a_service_that_goes_for_a_while_is_asked_again(rig: Rig) -> None:
    """Following takes hours; only a service that never answered is an error."""
    rig.make_entries(1)
    await rig.run(settings=SUBMIT)
    told: list[str] = []
    async with (
        open_journal(str(rig.state), clock=rig.clock) as journal,
        connect(rig.service_settings(), rig.clocks(), reader_threads=1) as connection,
    ):
        key = BatchKey(connection.endpoint, connection.project_id, BATCH)
        events = EventBus(
            lambda event: told.append(event.message) if isinstance(event, ServiceWarning) else None
        )
        follower = Follower(journal, connection.client, events, key)
        moments = iter(range(100))

        async def sleep(_: float) -> None:
            await rig.simulator.stop()

        exit_code = await follower.follow(
            Milestone.TRAINED,
            pace=PollPace(),
            timeout_seconds=4,
            monotonic=lambda: float(next(moments)),
            sleep=sleep,
        )

    assert exit_code == ExitCode.TEMPORARY
    assert len(told) > 1
    assert told[0].startswith("asking again later: ")


@QUICK
@pytest.mark.parametrize("fault", ["reset-api", "lost-confirm", "false-refusal", "ok-with-error-body"])
async def test_a_confirm_of_an_amended_job_that_was_cut_off_is_done(rig: Rig, fault: str) -> None:
    """Its failed review says nothing about whether the new parts are joined."""
    await refused_review(rig)
    write_footage(rig.folder / "anna-training_video", size=320_000, seed=99)
    rig.simulator.faults.script("confirm", [fault])

    report = await rig.retry()

    record = (await rig.entries())["anna"]
    assert (report.exit_code, record.error) == (ExitCode.OK, None)
    (job,) = rig.simulator.jobs
    assert job.objects["training_video"].read_bytes() == (rig.folder / "anna-training_video").read_bytes()
    assert job.submissions == 2
