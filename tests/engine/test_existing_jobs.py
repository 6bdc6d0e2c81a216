"""A batch that has jobs of which the journal knows nothing: a person decides, and no avatar is made twice."""

from __future__ import annotations

import shutil
import unicodedata
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.domain.errors import DecisionNeededError, ExitCode
from orchestrator.domain.states import EntryState
from orchestrator.engine.context import OnExisting
from orchestrator.engine.report import RunOutcome
from orchestrator.journal.journal import open_journal
from orchestrator.journal.records import EntryRecord
from orchestrator.manifest import open_manifest
from orchestrator.simulator import SimulatorOptions, World
from tests.rig import BATCH, Rig
from tests.strangers import Untouched

ADOPT = {"on_existing": OnExisting.ADOPT}
CREATE = {"on_existing": OnExisting.CREATE}


def in_worlds(*worlds: Mapping[str, str]) -> Any:
    """The test once in each of these worlds."""
    made = [World(**world) for world in worlds]  # type: ignore[arg-type]  # the dimensions' own words
    return pytest.mark.parametrize(
        "simulator_options",
        [SimulatorOptions(world=world) for world in made],
        ids=[str(world) or "as documented" for world in made],
    )


TAGS = [
    {},
    {"list_filters": "ignored"},
    {"list_tags": "hidden"},
    {"list_filters": "ignored", "list_tags": "hidden", "show_tags": "hidden"},
]
NO_URLS = {"download_urls": "never"}


def lose_journal(rig: Rig) -> None:
    """Take the journal away, as a new machine, another user or a broken disk would."""
    for path in rig.state.parent.glob(f"{rig.state.name}*"):
        path.unlink()


async def records_of(rig: Rig, name: str) -> dict[str, EntryRecord]:
    """What the journal knows of the batch of this name."""
    async with open_journal(str(rig.state), clock=rig.clock) as journal:
        (batch,) = [batch for batch in await journal.batches() if batch.name == name]
        return {record.entry_id: record async for record in journal.entries(batch.batch)}


def assert_asks(report: RunOutcome, records: Mapping[str, EntryRecord], job_ids: Mapping[str, str]) -> None:
    """Every entry needs a decision that names its job and the ways out."""
    assert report.exit_code == ExitCode.DECISION_NEEDED
    for record in records.values():
        assert record.error is not None
        assert record.error.kind == DecisionNeededError.kind
        assert job_ids[record.entry_id] in record.error.message
        assert "--on-existing adopt" in (record.error.hint or "")
        assert "--on-existing create" in (record.error.hint or "")


@in_worlds(*TAGS)
async def test_a_journal_that_was_lost_means_a_decision_and_no_second_job(rig: Rig) -> None:
    """The service is asked once, whatever it shows and heeds."""
    rig.make_entries(3, size=200_000)
    await rig.run()
    known = {entry_id: record.job_id or "" for entry_id, record in (await rig.entries()).items()}
    strangers = Untouched.of(rig.simulator)
    lose_journal(rig)
    asked = rig.simulator.stats.requests["list"]

    report = await rig.run()

    strangers.check()
    assert len(rig.simulator.all_jobs) == 3
    assert_asks(report, await rig.entries(), known)
    assert rig.simulator.stats.requests["list"] == asked + 1


@in_worlds(
    *TAGS,
    NO_URLS,
    {**NO_URLS, "list_tags": "hidden", "show_tags": "hidden"},
    {"part_list_after_join": "empty"},
    {"part_list_after_join": "full"},
)
async def test_adopt_takes_over_jobs_that_hold_their_films_as_they_are(rig: Rig) -> None:
    """Compared where they show their files, and called unverified where they do not."""
    entries = rig.make_entries(3, size=200_000, kinds=("cover",))
    await rig.run()
    known = {entry_id: record.job_id for entry_id, record in (await rig.entries()).items()}
    strangers = Untouched.of(rig.simulator)
    lose_journal(rig)

    report, again = await rig.run(ADOPT), await rig.run()

    strangers.check()
    assert (report.exit_code, again.exit_code) == (ExitCode.OK, ExitCode.OK)
    rig.assert_delivered(entries)
    records = await rig.entries()
    assert {entry_id: record.job_id for entry_id, record in records.items()} == known
    is_seen = rig.simulator.options.world.download_urls == "joined"
    expected = "verified" if is_seen else "unverified (adopted)"
    assert {record.delivered for record in records.values()} == {expected}


@in_worlds(*TAGS)
async def test_create_makes_new_jobs_and_leaves_the_others(rig: Rig) -> None:
    """For who wants each avatar a second time."""
    rig.make_entries(2, size=200_000)
    await rig.run()
    strangers = Untouched.of(rig.simulator)
    lose_journal(rig)

    report, again = await rig.run(CREATE), await rig.run()

    strangers.check()
    assert (report.exit_code, again.exit_code) == (ExitCode.OK, ExitCode.OK)
    assert len(rig.simulator.jobs) == 4


async def cut_off(rig: Rig, *, confirms: int = 8) -> None:
    """Run until the films are stored, but not confirmed, and no further."""
    rig.simulator.faults.script("confirm", ["error-500-api"] * confirms)
    assert (await rig.run({"jobs": 1})).exit_code == ExitCode.TEMPORARY


@in_worlds(
    {"update_allowed": "always", "update_keeps": "everything"},
    {"update_allowed": "always", "update_keeps": "nothing"},
    {"update_allowed": "always", "list_tags": "hidden", "show_tags": "hidden"},
    {"update_allowed": "never"},
    {"update_allowed": "never", "list_tags": "hidden"},
)
async def test_adopt_goes_on_with_jobs_that_were_cut_off(rig: Rig) -> None:
    """By fresh URLs where update gives them, with the parts that are right; else in a new job."""
    entries = rig.make_entries(2, size=600_000, kinds=("cover",))
    rig.simulator.faults.script("confirm", [None])
    await cut_off(rig)
    cut = {job.job_id for job in rig.simulator.jobs}
    sent = sum(len(sizes) for sizes in rig.simulator.stats.stored.values())
    lose_journal(rig)

    report = await rig.run(ADOPT)

    world = rig.simulator.options.world
    assert report.exit_code == ExitCode.OK
    rig.assert_delivered(entries)
    assert (cut == {job.job_id for job in rig.simulator.jobs}) is (world.update_allowed == "always")
    if world.update_keeps == "everything" and world.update_allowed == "always":
        singles = 1
        assert sum(len(sizes) for sizes in rig.simulator.stats.stored.values()) == sent + singles


@in_worlds({"update_allowed": "never", "download_urls": "never", "part_list_after_join": "empty"})
async def test_adopt_deletes_no_job_of_which_nothing_proves_that_it_is_empty(rig: Rig) -> None:
    """An empty list may follow on the join as well: a person looks."""
    rig.make_entries(2, size=200_000)
    await rig.run()
    strangers = Untouched.of(rig.simulator)
    lose_journal(rig)

    report = await rig.run(ADOPT)

    strangers.check()
    assert report.exit_code == ExitCode.DECISION_NEEDED
    for record in (await rig.entries()).values():
        assert record.error is not None
        assert "nothing proves" in record.error.message
        assert record.job_id is None


async def test_adopt_refuses_a_job_that_holds_another_film(rig: Rig) -> None:
    """The name is the same, the file is not."""
    rig.make_entries(1, size=200_000)
    await rig.run()
    lose_journal(rig)
    rig.make_entries(1, size=210_000)

    report = await rig.run(ADOPT)

    (record,) = (await rig.entries()).values()
    assert report.exit_code == ExitCode.DECISION_NEEDED
    assert record.error is not None
    assert "holds another training_video" in record.error.message
    assert len(rig.simulator.jobs) == 1


@in_worlds({}, {"list_filters": "ignored", "list_tags": "hidden"})
async def test_a_journal_from_a_backup_finds_the_jobs_that_were_made_after_it(
    rig: Rig, tmp_path: Path
) -> None:
    """What it knew goes on; what it forgot is asked about, not made again."""
    first = [rig.make_entry(f"first-{number}", size=200_000) for number in range(2)]
    later = [rig.make_entry(f"later-{number}", size=200_000) for number in range(2)]
    rig.write_batch(first)
    await rig.run()
    shutil.copy(rig.state, tmp_path / "backup.db")
    rig.write_batch([*first, *later])
    await rig.run()
    known = {entry_id: record.job_id or "" for entry_id, record in (await rig.entries()).items()}
    strangers = Untouched.of(rig.simulator)
    lose_journal(rig)
    shutil.copy(tmp_path / "backup.db", rig.state)

    asks = await rig.run()
    records = await rig.entries()
    adopts = await rig.run(ADOPT)

    strangers.check()
    assert records["first-0"].state is EntryState.CONFIRMED
    assert_asks(asks, {name: records[name] for name in ("later-0", "later-1")}, known)
    assert adopts.exit_code == ExitCode.OK
    assert {name: record.job_id for name, record in (await rig.entries()).items()} == known


async def test_a_batch_that_goes_on_asks_nothing_again(rig: Rig) -> None:
    """A list call for a new batch, none for entries that have their jobs."""
    rig.make_entries(3, size=200_000)
    await cut_off(rig, confirms=40)
    first = rig.simulator.stats.requests["list"]

    rig.simulator.faults.script("confirm", [])
    report = await rig.run()

    assert report.exit_code in {ExitCode.OK, ExitCode.TEMPORARY}
    assert first == rig.simulator.stats.requests["list"] == 1


def copy_manifest(rig: Rig, name: str) -> Path:
    """The manifest saved under another name, without a word about the batch."""
    text = rig.manifest.read_text(encoding="utf-8").replace(f"batch_name: {BATCH}\n", "")
    copy = rig.folder / name
    copy.write_text(text, encoding="utf-8")
    return copy


@pytest.mark.parametrize("is_cut_off", [False, True], ids=["confirmed", "cut off"])
async def test_the_same_table_under_another_name_is_recognised(rig: Rig, is_cut_off: bool) -> None:
    """`adopt` moves the jobs to the new batch with all that is known of them; the old one gives them up."""
    entries = rig.make_entries(2, size=400_000)
    if is_cut_off:
        await cut_off(rig)
    else:
        await rig.run()
    before = await rig.entries()
    known = {entry_id: record.job_id or "" for entry_id, record in before.items() if record.job_id}
    copy = open_manifest(copy_manifest(rig, "rehearsal (1).yaml"))

    asks = await rig.run(manifest=copy)
    undecided = await records_of(rig, "rehearsal (1)")
    adopts = await rig.run(ADOPT, manifest=copy)

    assert_asks(asks, {name: undecided[name] for name in known}, known)
    assert adopts.exit_code == ExitCode.OK
    rig.assert_delivered(entries)
    taken = await records_of(rig, "rehearsal (1)")
    assert {name: taken[name].job_id for name in known} == known
    assert {record.delivered for record in taken.values()} == {"verified"}
    given_up = await records_of(rig, BATCH)
    assert {given_up[name].state for name in known} == {EntryState.CANCELLED}
    assert {given_up[name].job_id for name in known} == {None}


async def test_a_copy_of_the_table_with_other_fields_does_not_take_a_job_over(rig: Rig) -> None:
    """The job would keep the fields it was made from, and nothing would say so."""
    (entry,) = rig.make_entries(1, size=200_000)
    await rig.run()
    rig.write_batch([{**entry, "tags": ["retake"]}], batch_name="another")

    report = await rig.run(ADOPT)

    records = await records_of(rig, "another")
    error = records["avatar-0"].error
    assert report.exit_code == ExitCode.DECISION_NEEDED
    assert error is not None
    assert "other values of tags" in error.message
    assert (await records_of(rig, BATCH))["avatar-0"].state is EntryState.CONFIRMED
    assert len(rig.simulator.all_jobs) == 1


async def test_an_entry_that_another_batch_took_over_does_not_come_back_as_a_second_job(rig: Rig) -> None:
    """Named by `retry`, it needs a decision as any copy does."""
    rig.make_entries(1, size=200_000)
    await rig.run()
    copy = open_manifest(copy_manifest(rig, "rehearsal (1).yaml"))
    await rig.run(ADOPT, manifest=copy)

    report = await rig.retry(["avatar-0"])

    assert report.exit_code == ExitCode.DECISION_NEEDED
    assert len(rig.simulator.all_jobs) == 1


async def test_another_table_with_the_same_ids_and_other_files_is_another_batch(rig: Rig) -> None:
    """A nightly table may call its entries 1, 2, 3 each time."""
    rig.make_entries(1, size=200_000)
    await rig.run()
    rig.make_entries(1, size=210_000)

    report = await rig.run(manifest=open_manifest(copy_manifest(rig, "tuesday.yaml")))

    assert report.exit_code == ExitCode.OK
    assert len(rig.simulator.jobs) == 2


def taken_apart(text: str) -> str:
    """*text* as some systems store it."""
    return unicodedata.normalize("NFD", text)


async def test_an_id_and_a_batch_name_are_the_same_however_their_letters_are_composed(rig: Rig) -> None:
    """From a Mac or from Excel: one batch, one entry, one job."""
    entry = {**rig.make_entry("zoe", size=200_000), "id": "zoë"}
    rig.write_batch([entry], batch_name="été")
    await rig.run()
    rig.write_batch([{**entry, "id": taken_apart("zoë")}], batch_name=taken_apart("été"))

    report = await rig.run()

    assert report.exit_code == ExitCode.OK
    assert len(rig.simulator.all_jobs) == 1
    assert list(await rig.entries()) == ["zoë"]


async def test_a_journal_that_an_older_program_wrote_with_letters_taken_apart_is_found(rig: Rig) -> None:
    """Its batch and its entries go on as they are, and so do the tags."""
    entry = {**rig.make_entry("zoe", size=200_000), "id": "zoë"}
    rig.write_batch([entry], batch_name="été")
    await rig.run()
    old = taken_apart("été")
    async with open_journal(str(rig.state), clock=rig.clock) as journal:
        await journal.backend.write(
            lambda transaction: [
                transaction.execute("PRAGMA defer_foreign_keys = ON", {}),
                transaction.execute("UPDATE batches SET name = :name, batch = 'abcdefabcdef'", {"name": old}),
                transaction.execute("UPDATE runs SET batch = 'abcdefabcdef'", {}),
                *(
                    transaction.execute(
                        f"UPDATE {table} SET batch = 'abcdefabcdef', entry_id = :id", {"id": name}
                    )
                    for table in ("entries", "segments", "transitions", "attempts", "creates")
                    for name in (taken_apart("zoë"),)
                ),
            ]
        )

    report = await rig.run()

    assert report.exit_code == ExitCode.OK
    assert report.batch_digest == "abcdefabcdef"
    assert len(rig.simulator.all_jobs) == 1
    assert list(await rig.entries()) == [taken_apart("zoë")]


async def test_two_machines_do_not_make_a_batch_twice(rig: Rig, tmp_path: Path) -> None:
    """While the first is at work already."""
    rig.make_entries(2, size=200_000)
    await cut_off(rig)
    server = replace(rig, folder=tmp_path / "server", seed=100)
    shutil.copytree(rig.folder, server.folder, ignore=shutil.ignore_patterns("journal*"))

    report = await server.run()

    assert report.exit_code != ExitCode.OK
    undecided = {name: record.error for name, record in (await server.entries()).items()}
    assert undecided["avatar-0"] is not None
    assert undecided["avatar-0"].kind == DecisionNeededError.kind
    assert len([job for job in rig.simulator.all_jobs if job.name == "Name of avatar-0"]) == 1
