"""Nothing that the service is known to refuse is submitted on any path, unless it is asked for by name."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from orchestrator.domain.assets import Fingerprint
from orchestrator.domain.errors import ExitCode
from orchestrator.domain.states import AFTER_SUBMIT, EntryState
from orchestrator.engine.report import RunOutcome
from orchestrator.preflight.cache import Cache
from orchestrator.preflight.films.film import read_film
from orchestrator.preflight.look.measures import has_look
from orchestrator.preflight.look.pool import look_at_films
from orchestrator.simulator.footage import sample_footage
from tests.rig import Rig

SUBMIT = {"is_submit_wanted": True}
GOOD, BAD = "avatar-0", "avatar-1"


async def _run(rig: Rig) -> RunOutcome:
    return await rig.run(SUBMIT)


async def _run_twice(rig: Rig) -> RunOutcome:
    await rig.run(SUBMIT)
    return await rig.run(SUBMIT)


async def _run_then_submit(rig: Rig) -> RunOutcome:
    await rig.run()
    return await rig.submit()


async def _submit_twice(rig: Rig) -> RunOutcome:
    await rig.run()
    await rig.submit()
    return await rig.submit()


async def _retry(rig: Rig) -> RunOutcome:
    await rig.run(SUBMIT)
    rig.settings = rig.settings.__class__(**{**vars_of(rig), **SUBMIT})
    return await rig.retry()


async def _retry_by_name(rig: Rig) -> RunOutcome:
    await rig.run()
    rig.settings = rig.settings.__class__(**{**vars_of(rig), **SUBMIT})
    await rig.run()
    return await rig.retry([BAD])


def vars_of(rig: Rig) -> dict[str, object]:
    """The settings of the rig by name."""
    return {name: getattr(rig.settings, name) for name in rig.settings.__slots__}


PATHS: dict[str, Callable[[Rig], Awaitable[RunOutcome]]] = {
    "run": _run,
    "run-twice": _run_twice,
    "run-then-submit": _run_then_submit,
    "submit-twice": _submit_twice,
    "retry": _retry,
    "retry-by-name": _retry_by_name,
}


def spoil(path: Path, way: str) -> None:
    """Make the film one that the service refuses; of a length that media checks alone notice."""
    content = bytearray(sample_footage())
    if way == "cut":
        path.write_bytes(content[:-2000])
    elif way == "small":
        place = content.index(b"avc1", 64) + 4 + 24
        content[place : place + 4] = (1280).to_bytes(2, "big") + (720).to_bytes(2, "big")
        path.write_bytes(content)
    else:
        path.write_bytes(content[: content.index(b"mdat") + 4])


def submitted(rig: Rig) -> set[str]:
    """Whose jobs the service has in review."""
    return {
        job.name.removeprefix("Name of ") for job in rig.simulator.jobs if job.state != "WAIT_FILE_UPLOAD"
    }


@pytest.mark.parametrize("way", ["cut", "small", "header only"])
@pytest.mark.parametrize("path", PATHS)
async def test_a_film_that_is_refused_never_gets_to_review(rig: Rig, path: str, way: str) -> None:
    """Whatever the run did not check before: the others are submitted, and it is named with exit code 9."""
    entries = rig.make_entries(2)
    spoil(rig.folder / entries[1]["training_video"], way)

    report = await PATHS[path](rig)

    assert submitted(rig) == {GOOD}
    known = await rig.entries()
    assert known[GOOD].state in AFTER_SUBMIT
    assert known[BAD].error is not None
    assert known[BAD].error.kind == "decision_needed"
    assert "held back from review" in known[BAD].error.message
    assert report.exit_code == ExitCode.DECISION_NEEDED


@pytest.mark.parametrize("path", PATHS)
async def test_a_good_film_passes_on_every_path(rig: Rig, path: str) -> None:
    """The gate asks nothing of it."""
    rig.make_entries(2)

    report = await PATHS[path](rig)

    assert submitted(rig) == {GOOD, BAD}
    assert report.exit_code == ExitCode.OK


async def test_it_is_submitted_all_the_same_where_that_is_asked_for(rig: Rig) -> None:
    """`--submit-anyway`, also after it was held back."""
    entries = rig.make_entries(2)
    spoil(rig.folder / entries[1]["training_video"], "cut")
    await rig.run(SUBMIT)

    report = await rig.run({**SUBMIT, "is_submit_forced": True})

    assert submitted(rig) == {GOOD, BAD}
    assert report.exit_code == ExitCode.OK


async def test_what_was_found_of_a_film_counts_when_the_film_is_away(rig: Rig) -> None:
    """Footage is often put away after the upload; what `validate` saw is kept."""
    entries = rig.make_entries(1)
    film = rig.folder / entries[0]["training_video"]
    spoil(film, "small")
    os.utime(film, (1, 1))
    await rig.run()
    read_film(str(film), Cache())
    film.unlink()

    report = await rig.submit()

    assert submitted(rig) == set()
    assert report.exit_code == ExitCode.DECISION_NEEDED


async def test_a_look_is_a_condition_where_the_manifest_makes_it_one(rig: Rig) -> None:
    """`submit_requires: look`: without it nothing is submitted, by `submit` too; after it all is."""
    entries = rig.make_entries(1)
    film = rig.folder / entries[0]["training_video"]
    os.utime(film, (1, 1))
    rig.write_batch(entries, submit_requires="look")
    await rig.run()
    held = await rig.submit()
    assert (submitted(rig), held.exit_code) == (set(), ExitCode.DECISION_NEEDED)
    assert "--look quick" in str((await rig.entries())[GOOD].error)

    look_at_films([str(film)], jobs=1, is_deep=False, cache=Cache(), on_progress=lambda *_: None)
    assert has_look(Cache(), Fingerprint.of(film.stat()))

    assert (await rig.submit()).exit_code == ExitCode.OK
    assert submitted(rig) == {GOOD}


async def test_a_condition_that_is_taken_away_is_none(rig: Rig) -> None:
    """The manifest of the last run counts."""
    entries = rig.make_entries(1)
    rig.write_batch(entries, submit_requires="look")
    await rig.run(SUBMIT)
    assert (await rig.entries())[GOOD].state is EntryState.FAILED

    rig.write_batch(entries)

    assert (await rig.run(SUBMIT)).exit_code == ExitCode.OK
