"""What is declared stored, joined or verified rests on evidence, in every world that the documents leave open."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from itertools import product
from typing import NoReturn

import pytest

from orchestrator.domain.errors import ExitCode, JournalError
from orchestrator.domain.states import EntryState
from orchestrator.engine.events import Event, Point, SegmentStored, StepReached, WarningRaised
from orchestrator.engine.service_connection import connect
from orchestrator.metastudio.wire import Command
from orchestrator.simulator import SimulatorOptions, parse_world
from orchestrator.simulator.footage import write_footage
from orchestrator.simulator.requests import StoreError
from tests.faults.conftest import Trial
from tests.journal.samples import database_of
from tests.rig import BATCH

BY_EVIDENCE = "unverified (confirmed by evidence)"
NO_URLS = "download-urls=never"
SUBMIT = {"is_submit_wanted": True}
CONFIRM = "confirm_multipart_uploaded"
CONFIRM_ACTION = "confirm_action_video_multipart_uploaded"


def stop() -> NoReturn:
    """End the entry's work at once, as a kill does; what is in the journal stays."""
    raise RuntimeError("stopped here")


@pytest.fixture(autouse=True)
def patient(trial: Trial) -> None:
    """Nothing stalls here: a machine that is busy must not look like a lost answer."""
    trial.rig.service = {**trial.rig.service, "idle_timeout": 30.0, "api_timeout": 30.0}


def in_worlds(*worlds: str) -> pytest.MarkDecorator:
    """Run the test in each of *worlds*."""
    options = [SimulatorOptions(world=parse_world(world)) for world in worlds]
    return pytest.mark.parametrize("simulator_options", options, ids=worlds)


AFTER_JOIN = [
    f"{NO_URLS},part-list-after-join={after},second-confirm={second}"
    for after, second in product(("refused", "empty", "full"), ("refused", "accepted"))
]
SILENT = [
    f"{world},action-part-list={listed}"
    for world, listed in product(AFTER_JOIN, ("works", "refused", "empty"))
]


def warnings(trial: Trial) -> list[str]:
    """What a person was told."""
    return [event.message for event in trial.rig.events_of(WarningRaised)]


async def delivered(trial: Trial) -> dict[str, str | None]:
    """What the journal says of each entry's delivery."""
    return {entry_id: record.delivered for entry_id, record in (await trial.rig.entries()).items()}


@in_worlds(*SILENT)
async def test_a_lost_confirm_is_settled_where_nothing_shows_the_object(trial: Trial) -> None:
    """Lost, not carried out, refused though carried out: of either video, in one batch; nobody is asked."""
    entries = trial.rig.make_entries(5, size=300_000, kinds=("action_video",))
    faults = trial.rig.simulator.faults
    faults.script("confirm", ["lost-confirm", "reset-api", None, "false-refusal", None])
    faults.script("confirm-action", [None, "lost-confirm", "reset-api", "false-refusal", None])

    report = await trial.run()

    assert report.exit_code == ExitCode.OK
    trial.rig.assert_delivered(entries)
    assert len(trial.rig.simulator.all_jobs) == len(entries)
    assert all(len(sizes) == 1 for sizes in trial.rig.simulator.stats.stored.values())
    told = set((await delivered(trial)).values())
    is_told = trial.rig.simulator.options.world.second_confirm == "accepted"
    assert (BY_EVIDENCE in told) is not is_told
    assert "verified" not in told


@in_worlds(*AFTER_JOIN, "download-urls=after-review", "")
@pytest.mark.parametrize("command", ["run", "retry", "submit", "run --submit"])
@pytest.mark.parametrize("point", [f"{CONFIRM}.after", f"{CONFIRM}.before", f"{CONFIRM_ACTION}.after"])
async def test_a_stop_around_the_confirm_is_settled_by_every_command(
    trial: Trial, point: str, command: str
) -> None:
    """The next command finds out what was done; a submit that is accepted is the last word on it."""
    entries = trial.rig.make_entries(1, size=300_000, kinds=("action_video",))
    trial.at(point, stop)
    await trial.run()

    match command:
        case "run":
            report = await trial.run()
        case "retry":
            report = await trial.rig.retry()
        case "run --submit":
            report = await trial.rig.run(SUBMIT)
        case _:
            # What is not confirmed is not sent to review: a run leads there.
            await trial.run()
            report = await trial.rig.submit()

    is_submitted = "submit" in command
    assert report.exit_code == ExitCode.OK
    trial.rig.assert_delivered(entries)
    (record,) = (await trial.rig.entries()).values()
    assert record.state is (EntryState.SUBMITTED if is_submitted else EntryState.CONFIRMED)
    assert trial.only_job().submissions == int(is_submitted)
    assert len(trial.rig.simulator.all_jobs) == 1


@in_worlds(NO_URLS, f"{NO_URLS},part-list-after-join=full")
@pytest.mark.parametrize("code", ["EntityTooSmall", "MalformedXML"])
async def test_a_confirm_that_was_refused_for_good_is_never_called_joined_later(
    trial: Trial, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    """The store does not join: the refusal is no echo of a join, in this run or the next."""
    trial.rig.make_entries(1, size=300_000, kinds=("action_video",))

    async def refuse(*_: object) -> None:
        raise StoreError(400, code, "The parts cannot be joined")

    monkeypatch.setattr(trial.rig.simulator.store, "complete", refuse)

    exit_codes = [(await trial.run()).exit_code for _ in range(3)]

    assert exit_codes == [ExitCode.SOME_FAILED] * 3
    (record,) = (await trial.rig.entries()).values()
    assert (record.confirmed_at, record.delivered) == (None, None)
    assert not trial.only_job().confirmations


@in_worlds(NO_URLS)
async def test_a_video_that_cannot_be_joined_does_not_keep_the_other(trial: Trial) -> None:
    """The action video's confirm fails for good; the training video is confirmed in any case."""
    trial.rig.make_entries(1, size=300_000, kinds=("action_video",))
    faults = trial.rig.simulator.faults
    faults.script("confirm-action", ["reset-api"] * 8)

    first = await trial.run()
    joined = dict(trial.only_job().confirmations)
    second = await trial.run()

    assert (first.exit_code, second.exit_code) == (ExitCode.TEMPORARY, ExitCode.OK)
    assert joined == {"training_video": 1}
    assert trial.only_job().confirmations == {"training_video": 1, "action_video": 1}


@in_worlds(NO_URLS)
async def test_a_delivery_that_cannot_be_verified_is_no_dead_end(trial: Trial) -> None:
    """`--verify-object` fails the entry each time; without it the next run goes on from the join."""
    entries = trial.rig.make_entries(1, size=300_000, kinds=("action_video", "cover"))
    trial.rig.simulator.faults.script("confirm", ["lost-confirm"])
    wanted = {"is_object_verified": True}

    failed = [(await trial.rig.run(wanted)).exit_code for _ in range(2)]
    code = (await trial.error_of("avatar-0"))[1]
    confirms = trial.points(f"{CONFIRM}.before")
    report = await trial.run()

    assert (failed, code) == ([ExitCode.SOME_FAILED] * 2, "Unverified")
    assert report.exit_code == ExitCode.OK
    trial.rig.assert_delivered(entries)
    assert trial.points(f"{CONFIRM}.before") == confirms
    assert await delivered(trial) == {"avatar-0": BY_EVIDENCE}


@in_worlds(NO_URLS)
async def test_only_evidence_that_contradicts_itself_is_put_to_a_person(trial: Trial) -> None:
    """Somebody deleted the videos after the confirm was lost: it is refused as if joined, and so is the submit."""
    entries = trial.rig.make_entries(1, size=300_000)
    trial.at(f"{CONFIRM}.after", stop)
    await trial.run()
    job_id = trial.only_job().job_id
    async with connect(trial.rig.service_settings(), trial.rig.clocks(), reader_threads=1) as connection:
        await connection.client.command(job_id, Command.DELETE_JOB_VIDEO)

    report = await trial.rig.run(SUBMIT)

    assert report.exit_code == ExitCode.DECISION_NEEDED
    kind, _, message = await trial.error_of("avatar-0")
    assert kind == "decision_needed"
    assert job_id in message

    error = (await trial.rig.entries())["avatar-0"].error
    assert error is not None
    assert f"`orchestrator cancel {BATCH} --entry avatar-0 --yes`" in (error.hint or "")
    assert f"`orchestrator retry {BATCH} --entry avatar-0`" in (error.hint or "")
    await trial.rig.cancel({"avatar-0"})
    again = await trial.rig.retry({"avatar-0"})

    assert again.exit_code == ExitCode.OK
    trial.rig.assert_delivered(entries)


@in_worlds("", NO_URLS, "put-again=overwrite", f"{NO_URLS},put-again=overwrite")
async def test_a_success_from_something_in_between_is_not_stored(trial: Trial) -> None:
    """A portal answers 200 with a page, with JSON, with nothing: each file is sent again until the store has it."""
    entries = trial.rig.make_entries(
        1, size=600_000, kinds=("cover", "id_card_image1", "id_card_image2", "grant_file")
    )
    trial.rig.simulator.faults.script("put", ["intercepted"] * 4)

    report = await trial.run()

    assert report.exit_code == ExitCode.OK
    trial.assert_delivered(entries)
    assert warnings(trial) == []


async def test_a_file_that_something_in_between_takes_every_time_is_not_confirmed(trial: Trial) -> None:
    """Pages and documents instead of the store's answer: the run ends with 5, and nothing is confirmed."""
    trial.rig.make_entries(1, size=300_000, kinds=("id_card_image1",))
    faults = trial.rig.simulator.faults
    faults.script("put", ["intercepted"] * 500)

    first = await trial.run()
    confirmed = dict(trial.only_job().confirmations)
    while faults.draw("put"):
        pass  # the way to the store is free again
    second = await trial.run()

    assert (first.exit_code, second.exit_code) == (ExitCode.TEMPORARY, ExitCode.OK)
    assert confirmed == {}


@in_worlds("", NO_URLS)
@pytest.mark.parametrize("lasts", [False, True], ids=["once", "always"])
async def test_a_bare_success_is_not_the_stores_where_the_store_marks_its_answers(
    trial: Trial, *, lasts: bool
) -> None:
    """An empty 200 for the ID card, twice: the film's answers give away that the store never said it."""
    entries = trial.rig.make_entries(1, size=200_000, kinds=("id_card_image1",))
    faults = trial.rig.simulator.faults
    for occurrence in range(1, 100):
        # Of the answers of something in between, those without a body.
        trial.at(
            Point.PUT.before,
            lambda: faults.counts.update(intercepted=1 - faults.counts["intercepted"]),
            occurrence=occurrence,
        )
    faults.script("put", ["intercepted", "intercepted", None, *(["intercepted"] * 60 if lasts else [])])

    report = await trial.run()

    assert report.exit_code == (ExitCode.TEMPORARY if lasts else ExitCode.OK)
    if lasts:
        assert not trial.only_job().confirmations
    else:
        trial.assert_delivered(entries)


STRIPPED = "etag=absent,request-id=absent"


@in_worlds(
    *(
        f"{STRIPPED},put-again={again},download-urls={urls},action-part-list={listed}"
        for again, urls, listed in product(
            ("refused", "overwrite"), ("joined", "never"), ("works", "refused", "empty")
        )
    )
)
async def test_a_store_whose_marks_are_taken_away_is_told_from_a_portal(trial: Trial) -> None:
    """No answer has a mark: lists prove parts, and what nothing proves is named in a warning, not verified."""
    entries = trial.rig.make_entries(2, size=600_000, kinds=("action_video", "cover", "id_card_image1"))

    report = await trial.run()

    assert report.exit_code == ExitCode.OK
    trial.assert_delivered(entries)
    assert len(trial.rig.simulator.all_jobs) == 2
    told = warnings(trial)
    is_seen = trial.rig.simulator.options.world.download_urls == "joined"
    for entry in entries:
        for kind in ("cover", "id_card_image1"):
            assert any(f"{kind} ({entry[kind]})" in warning for warning in told) is not is_seen
    assert not any("training_video" in warning for warning in told)
    assert set((await delivered(trial)).values()) == {"verified"} or not is_seen


@in_worlds(NO_URLS, f"{NO_URLS},put-again=overwrite")
async def test_a_store_that_refuses_everything_does_not_make_a_file_count_as_stored(trial: Trial) -> None:
    """A cover that was begun before is refused three times: while the films are refused too, that says nothing."""
    entries = trial.rig.make_entries(1, size=600_000, kinds=("cover",))
    trial.rig.simulator.faults.script("put", ["early-403"] * 4)

    reports = [await trial.run() for _ in range(4)]

    assert reports[-1].exit_code == ExitCode.OK
    trial.assert_delivered(entries)
    assert warnings(trial) == []


@in_worlds(f"{STRIPPED},download-urls=never,put-again=overwrite")
async def test_a_portal_that_is_gone_does_not_keep_a_file_from_being_taken(trial: Trial) -> None:
    """No answer ever has a mark: after one that is a portal's for sure, a file is sent more often, not for ever."""
    entries = trial.rig.make_entries(1, size=600_000, kinds=("cover",))
    # The first form is JSON, which only something in between can have sent.
    trial.rig.simulator.faults.script("put", ["intercepted"])

    report = await trial.run()

    assert report.exit_code == ExitCode.OK
    trial.assert_delivered(entries)
    assert any("cover" in warning for warning in warnings(trial))


@in_worlds(*(f"{STRIPPED},put-again=overwrite,action-part-list={listed}" for listed in ("refused", "empty")))
async def test_a_part_that_only_the_confirm_finds_missing_is_sent_again(trial: Trial) -> None:
    """No mark, no list: a bare success that was a portal's is found out when the service cannot join the parts."""
    entries = trial.rig.make_entries(1, size=250_000, kinds=("action_video",))
    faults = trial.rig.simulator.faults
    trial.rig.settings = replace(trial.rig.settings, parallel=1)

    def intercept(event: Event) -> None:
        """Let a portal answer, without a body, to the action video until its confirm has been tried."""
        is_put = isinstance(event, StepReached) and event.point == Point.PUT.before
        is_tried = trial.points(Point.CONFIRM_ACTION.before) > 0
        if is_put and event.asset == "action_video" and not is_tried:
            faults.counts["intercepted"] = 1
            faults.script("put", ["intercepted"])

    trial.rig.on_event = intercept

    report = await trial.run()

    assert report.exit_code == ExitCode.OK
    trial.assert_delivered(entries)
    assert trial.points(Point.CONFIRM_ACTION.before) == 2


SINGLE_FILES = ("cover", "id_card_image1", "id_card_image2", "grant_file")


@in_worlds(
    *(
        f"update-keeps={keeps},download-urls={urls}"
        for keeps, urls in product(("everything", "parts", "nothing"), ("joined", "after-review", "never"))
    )
)
async def test_an_amended_job_has_every_single_file_whatever_its_update_took_away(trial: Trial) -> None:
    """What show does not prove to be there after the update is sent again."""
    entry = trial.rig.make_entry("anna", size=300_000, kinds=SINGLE_FILES)
    trial.rig.write_batch([{**entry, "name": "review-fail anna"}])
    await trial.rig.run(SUBMIT)
    trial.time.put_forward(60)
    await trial.follow()
    write_footage(trial.rig.folder / entry["training_video"], size=310_000, seed=7)
    before = len(trial.rig.events_of(SegmentStored))

    report = await trial.rig.retry()

    assert report.exit_code == ExitCode.OK
    trial.rig.assert_delivered([{**entry, "name": "review-fail anna"}])
    world = trial.rig.simulator.options.world
    is_kept = world.update_keeps == "everything" and world.download_urls != "never"
    sent = {event.asset for event in trial.rig.events_of(SegmentStored)[before:]}
    assert sent == {"training_video", *(() if is_kept else SINGLE_FILES)}
    told = (await delivered(trial))["anna"] or ""
    assert told == "verified" if world.download_urls != "never" else told.startswith("unverified")


@in_worlds(
    *(
        f"update-allowed=always,update-keeps={keeps},download-urls={urls}"
        for keeps, urls in product(("everything", "parts", "nothing"), ("joined", "never"))
    )
)
@pytest.mark.parametrize("is_stopped", [False, True], ids=["", "stopped"])
async def test_renewed_urls_do_not_leave_a_receipt_for_a_file_that_is_gone(
    trial: Trial, *, is_stopped: bool
) -> None:
    """The URLs expire in the middle of the film; also where the machine stops right after the update."""
    entries = trial.rig.make_entries(1, size=900_000, kinds=SINGLE_FILES)
    trial.rig.settings = replace(trial.rig.settings, parallel=1)
    trial.at(Point.PUT.after, lambda: trial.time.put_forward(2 * 86400), occurrence=6)
    if is_stopped:
        trial.at(Point.UPDATE.after, stop)
        await trial.run()

    report = await trial.run()

    assert report.exit_code == ExitCode.OK
    trial.assert_delivered(entries)
    assert len(trial.rig.simulator.all_jobs) == 1


@in_worlds("", NO_URLS)
async def test_without_digests_nothing_is_called_verified(trial: Trial) -> None:
    """`--verify off`: the store's own ETags do not stand in for digests of ours."""
    entries = trial.rig.make_entries(1, size=600_000, kinds=("action_video", "cover"))
    trial.rig.service = {**trial.rig.service, "is_verifying": False}

    report = await trial.run()

    assert report.exit_code == ExitCode.OK
    trial.assert_delivered(entries)
    assert await delivered(trial) == {"avatar-0": "unverified (digest off)"}


async def test_an_object_of_another_length_is_noticed_without_digests(trial: Trial) -> None:
    """Length is compared all the same."""
    trial.rig.make_entries(1, size=600_000)
    trial.rig.service = {**trial.rig.service, "is_verifying": False}

    def truncate() -> None:
        (stored,) = trial.rig.simulator.store.objects.values()
        trial.rig.simulator.store.objects[stored.key] = replace(stored, size=stored.size - 1)

    trial.at(f"{CONFIRM}.after", truncate)

    await trial.run()

    assert (await trial.error_of("avatar-0"))[1] == "Integrity"


@in_worlds(
    *(
        f"put-again={again},download-urls={urls},etag={etag}"
        for again, urls, etag in product(
            ("refused", "overwrite"), ("joined", "never"), ("md5", "opaque", "absent")
        )
    )
)
@pytest.mark.parametrize("occurrence", [1, 3, 5])
async def test_a_stop_before_the_receipt_of_a_single_file_costs_that_file_at_most(
    trial: Trial, occurrence: int
) -> None:
    """Stored and not acknowledged, at the first file, in the middle, and at the first part: no job is thrown away."""
    entries = trial.rig.make_entries(1, size=900_000, kinds=SINGLE_FILES)
    trial.rig.settings = replace(trial.rig.settings, parallel=1)
    trial.at(Point.WRITE_RECEIPT.before, stop, occurrence=occurrence)
    await trial.run()

    report = await trial.run()

    assert report.exit_code == ExitCode.OK
    trial.assert_delivered(entries)
    assert len(trial.rig.simulator.all_jobs) == 1
    again = [sizes for sizes in trial.rig.simulator.stats.stored.values() if len(sizes) > 1]
    assert len(again) <= 1
    told = (await delivered(trial))["avatar-0"] or ""
    world = trial.rig.simulator.options.world
    is_seen = world.download_urls == "joined" and world.etag != "opaque"
    assert told == "verified" if is_seen else told.startswith("unverified")


@in_worlds("put-again=refused", f"put-again=refused,{NO_URLS}")
async def test_a_full_disk_before_the_receipt_of_a_single_file_costs_that_file_at_most(trial: Trial) -> None:
    """The journal cannot take the receipt: the next run ends with the same job and sends no part twice."""
    entries = trial.rig.make_entries(1, size=900_000, kinds=SINGLE_FILES)

    def fill_disk() -> None:
        assert trial.journal is not None
        database = database_of(trial.journal)
        with database.in_use:
            database.writer.execute("PRAGMA query_only=ON")

    trial.at(Point.WRITE_RECEIPT.before, fill_disk, occurrence=2)
    with suppress(JournalError):
        await trial.run()

    report = await trial.run()

    assert report.exit_code == ExitCode.OK
    trial.assert_delivered(entries)
    assert len(trial.rig.simulator.all_jobs) == 1


async def test_single_files_go_before_films(trial: Trial) -> None:
    """The smallest first; no part is on its way before the last of them has its receipt."""
    trial.rig.make_entries(1, size=900_000, kinds=("action_video", *SINGLE_FILES))

    await trial.run()

    sent = [event.asset for event in trial.rig.events_of(SegmentStored)]
    assert set(sent[:4]) == set(SINGLE_FILES)
    assert set(sent[4:]) == {"training_video", "action_video"}
