"""A journal that cannot be written: the run stops with a clear sentence, and the next one goes on."""

from __future__ import annotations

import pytest

from orchestrator.domain.errors import ExitCode, JournalError, OrchestratorError, exit_code_of
from orchestrator.engine.events import Point
from tests.faults.conftest import Trial
from tests.journal.samples import database_of

DISK_FULL = "PRAGMA max_page_count=1"  # SQLite takes it as: no page more than there are
READ_ONLY = "PRAGMA query_only=ON"
#: Enough, of three entries, that none uses up its attempts on 40 conflicts, which are no outage.
SINGLE_FILES = ("cover", "id_card_image1", "id_card_image2", "grant_file")


def damage(trial: Trial, statement: str) -> None:
    """Let SQLite itself refuse the writer from now on."""
    assert trial.journal is not None
    database = database_of(trial.journal)
    with database.in_use:
        database.writer.execute(statement)


async def what_stops(trial: Trial) -> OrchestratorError:
    """Run into the damage; where not even the run's end can be written down, the error comes by itself."""
    try:
        cause = (await trial.run()).cause
    except JournalError as error:
        return error
    assert cause is not None
    return cause


@pytest.mark.parametrize(
    ("statement", "message", "exit_code"),
    [
        (DISK_FULL, "the disk is full", ExitCode.TEMPORARY),
        (READ_ONLY, "permission denied or read-only", ExitCode.CONFIGURATION),
    ],
    ids=["disk full", "permission lost"],
)
@pytest.mark.parametrize("point", [Point.CREATE.after, Point.PUT.after])
async def test_a_journal_that_can_no_longer_be_written_stops_the_run_and_loses_nothing(
    trial: Trial, point: str, statement: str, message: str, exit_code: ExitCode
) -> None:
    """No request goes out whose intent is not on the disk; with the disk mended, a run makes all good."""
    entries = trial.rig.make_entries(3, size=700_000, kinds=SINGLE_FILES)
    faults = trial.rig.simulator.faults

    def strike() -> None:
        damage(trial, statement)
        # Every failed try is written down: that fills what is left of the last pages, as receipts need not.
        faults.script("put", ["conflict-409"] * 40)

    trial.at(point, strike)

    stopped = await what_stops(trial)
    while faults.draw("put"):
        pass  # the store keeps up again: tries are not endless
    report = await trial.run()

    assert message in stopped.message
    assert exit_code_of(stopped) == exit_code
    assert report.exit_code == ExitCode.OK
    trial.assert_delivered(entries)
