"""Following thousands of jobs: what a poll costs does not depend on how long it goes on."""

from __future__ import annotations

import tracemalloc
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from orchestrator.domain.errors import RequestRejectedError
from orchestrator.engine.events import EventBus
from orchestrator.engine.following import MOST_SHOWN, Follower
from orchestrator.journal.journal import Journal, open_journal
from orchestrator.metastudio.client import MetaStudioClient
from orchestrator.metastudio.wire import JobPage, JobQuery, JobSummary
from tests.journal.samples import KEY, Clock, add_entries, database_of, writing

JOBS = 5000
PAGE = 100


class Listing(MetaStudioClient):
    """The client's own paging over a list that a test makes up; counts the calls."""

    def __init__(self, jobs: list[dict[str, str]]) -> None:
        self.jobs = jobs
        self.lists = 0
        self.shows = 0

    async def list_jobs(self, query: JobQuery, *, app_user_id: str | None = None) -> JobPage:
        """One page of them."""
        self.lists += 1
        page = self.jobs[query.offset : query.offset + PAGE]
        return JobPage.model_validate({"count": len(self.jobs), "jobs": page})

    async def show_job(self, job_id: str, *, app_user_id: str | None = None) -> Any:
        """None of them."""
        self.shows += 1
        raise RequestRejectedError("no", status=403)


def job(number: int, state: str = "MANUAL_VERIFYING") -> dict[str, str]:
    return {"job_id": f"job-{number}", "name": f"n{number}", "state": state, "batch_name": KEY.name}


async def in_review(journal: Journal, count: int) -> None:
    """Entries whose jobs are with the reviewers."""
    await add_entries(journal, count)
    columns = "confirmed_at = 1, submitted_at = 1, service_state = 'MANUAL_VERIFYING'"
    await database_of(journal).write(
        writing(f"UPDATE entries SET state = 'in_review', job_id = 'job-' || position, {columns}")
    )


async def test_a_poll_of_thousands_is_a_list_call_a_hundred_and_keeps_no_memory(tmp_path: Path) -> None:
    """Fifty calls for five thousand jobs, and after ten polls no more memory than after two."""
    async with open_journal(str(tmp_path / "journal.db"), clock=Clock()) as journal:
        await in_review(journal, JOBS)
        client = Listing([job(number) for number in range(JOBS)])
        follower = Follower(journal, client, EventBus(), KEY)
        for _ in range(2):
            assert not await follower.poll()
        tracemalloc.start()
        await follower.poll()
        before, _ = tracemalloc.get_traced_memory()
        for _ in range(3):
            await follower.poll()
        after, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()

    assert client.lists == 6 * JOBS // PAGE
    assert client.shows == 0
    assert after - before < 100_000


class UnfilteredListing(Listing):
    """Lists twenty thousand jobs of others as well, made one by one."""

    async def iterate_jobs(self, query: JobQuery) -> AsyncIterator[JobSummary]:
        """List all jobs of the account."""
        for number in range(20_003):
            (listed,) = JobPage.model_validate({"count": 1, "jobs": [job(number)]}).jobs
            yield listed


async def test_jobs_of_others_in_an_unfiltered_list_are_not_kept(tmp_path: Path) -> None:
    """An account may have a hundred thousand."""
    async with open_journal(str(tmp_path / "journal.db"), clock=Clock()) as journal:
        await in_review(journal, 3)
        client = UnfilteredListing([job(number) for number in range(3)])
        follower = Follower(journal, client, EventBus(), KEY)
        await follower.poll()
        tracemalloc.start()
        await follower.poll()
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()

    assert peak < 500_000


async def test_jobs_that_the_list_lacks_are_shown_some_at_a_time_and_each_in_its_turn(tmp_path: Path) -> None:
    """A list that hides all of them must not cost a call for each, every quarter of a minute."""
    count = 2 * MOST_SHOWN + 20
    async with open_journal(str(tmp_path / "journal.db"), clock=Clock()) as journal:
        await in_review(journal, count)
        client = Listing([])
        follower = Follower(journal, client, EventBus(), KEY)
        shows = []
        for _ in range(4):
            before = client.shows
            await follower.poll()
            shows.append(client.shows - before)

    assert shows == [MOST_SHOWN, MOST_SHOWN, 20, MOST_SHOWN]
