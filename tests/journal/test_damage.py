"""A journal whose rows are not those this program writes."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from orchestrator.domain.errors import ExitCode, JournalError, exit_code_of
from orchestrator.journal.journal import Journal, open_journal
from tests.journal.samples import BATCH, Clock, add_entries, add_entry, database_of, upload, writing

SECRET = "Signature=topsecret"
CREATE = f"INSERT INTO creates (batch, tag, entry_id, made_at) VALUES ('{BATCH}', 'orch:t', 'anna', 1.0)"
DAMAGES = (
    "UPDATE entries SET state = 'nonsense'",
    "UPDATE entries SET state = x'00ff'",
    "UPDATE entries SET change_wanted = 'nonsense'",
    "UPDATE entries SET spec = '{'",
    "UPDATE entries SET spec = '[[[' || replace(hex(zeroblob(50000)), '0', '[')",
    "UPDATE entries SET spec = '{\"name\": 7}'",
    "UPDATE entries SET files = 'garbage'",
    "UPDATE entries SET files = '7'",
    'UPDATE entries SET files = \'[["training_video", "/a", "big", 1, 1]]\'',
    'UPDATE entries SET files = \'[["nonsense", "/a", 1, 1, 1]]\'',
    "UPDATE entries SET epoch = 'many'",
    "UPDATE entries SET updated_at = 'yesterday'",
    "UPDATE entries SET job_id = x'ff'",
    "UPDATE entries SET job_id = CAST(x'ff' AS TEXT)",
    "UPDATE batches SET last_run_at = 'yesterday'",
    "UPDATE segments SET asset = 'nonsense' WHERE asset = 'cover'",
    "UPDATE segments SET length = 'long'",
    f"UPDATE segments SET url = 'no URL, {SECRET}'",
    f"UPDATE segments SET url = CAST('{SECRET}' || x'ff' AS TEXT)",
    "UPDATE creates SET made_at = 'yesterday'",
    "UPDATE creates SET entry_id = x'ff'",
    "UPDATE transitions SET at = 'yesterday'",
    "DROP TABLE transitions",
)


async def read_all(journal: Journal) -> None:
    """Read what there is, as commands do."""
    await journal.batches()
    await journal.counts(BATCH)
    await journal.job_counts(BATCH)
    async for record in journal.entries(BATCH):
        _ = record.avatar, record.bytes
        await journal.segments(record)
        await journal.attempts(record)
        await journal.transitions(record)
    await journal.last_create_at(BATCH)
    async for _ in journal.outcomes(BATCH):
        pass
    async for _ in journal.creates():
        pass


@pytest.mark.parametrize("damage", DAMAGES)
async def test_a_row_that_cannot_be_ours_is_a_sentence(path: Path, damage: str) -> None:
    """Exit 4; nothing of what was found is told, for it may be an upload URL."""
    async with open_journal(str(path), clock=Clock()) as journal:
        await upload(journal, await add_entry(journal), parts=2)
        await database_of(journal).write(writing(CREATE))
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(damage)

    with pytest.raises(JournalError) as caught:
        async with open_journal(str(path), clock=Clock()) as journal:
            await read_all(journal)

    assert exit_code_of(caught.value) is ExitCode.CONFIGURATION
    assert SECRET not in caught.value.message


async def test_a_journal_that_is_sound_is_read(path: Path) -> None:
    """Rows of every state of knowledge."""
    async with open_journal(str(path), clock=Clock()) as journal:
        first, _ = await add_entries(journal, 2)
        await upload(journal, first, parts=2)
        await read_all(journal)
