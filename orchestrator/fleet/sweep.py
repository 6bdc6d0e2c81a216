"""The sweep: entries that were begun and have no row in the queue are queued again."""

from __future__ import annotations

from collections.abc import Collection

from orchestrator.engine.selection import unfinished
from orchestrator.fleet.queue import OwnedQueries, Wanted
from orchestrator.journal.journal import Journal
from orchestrator.journal.records import BatchRecord


async def put_back(journal: Journal, queries: OwnedQueries, batches: Collection[BatchRecord]) -> int:
    """Queue what workers of *batches* left in the middle and no row asks for; returns how many entries these were.

    What no worker ever had is left to `enqueue`: it may wait for a person's decision.
    """
    count = 0
    for batch in batches:
        states = unfinished(is_submit_wanted=batch.is_submit_wanted).states
        left = [
            Wanted(batch.batch, record.entry_id)
            async for record in journal.begun_entries(batch.batch, states)
        ]
        count += await queries.put(left)
    return count
