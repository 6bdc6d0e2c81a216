"""Notices that several processes give to say: each is said once, whoever is first."""

from __future__ import annotations

import pytest

from orchestrator.journal.journal import Journal
from orchestrator.journal.outbox import Notice, NoticeBook, NoticeKind
from tests.journal.samples import BATCH, add_entries

BEGUN = Notice("outage:service", NoticeKind.OUTAGE_BEGUN, "waiting")
OVER = Notice("outage_over:service", NoticeKind.OUTAGE_OVER, "continuing")
HOUR = 3600.0


@pytest.fixture
async def book(journal: Journal) -> NoticeBook:
    """Of a batch, to one target; two processes have the like."""
    await add_entries(journal)
    return journal.notices(BATCH, "target")


async def said(book: NoticeBook) -> list[str]:
    """Send all that is owed."""
    taken = await book.take(await book.owed())
    await book.settle(taken, is_sent=True)
    return [notice.text for notice in taken]


async def test_what_two_see_begin_and_end_is_said_once_each(book: NoticeBook) -> None:
    """However late the second one sees it; and again the next time."""
    for _ in range(2):
        told = []
        for _ in range(2):
            await book.owe_begin(BEGUN, OVER.subject, HOUR)
            told += await said(book)
        for _ in range(2):
            await book.owe_end(OVER, BEGUN.subject)
            told += await said(book)
        assert told == ["waiting", "continuing"]


async def test_an_end_of_which_nobody_saw_the_begin_is_not_said(book: NoticeBook) -> None:
    """As by a worker that was started in between."""
    await book.owe_end(OVER, BEGUN.subject)

    assert await said(book) == []


async def test_a_begin_whose_end_nobody_lived_to_see_is_said_again_after_a_while(book: NoticeBook) -> None:
    """Else the next outage, weeks later, would be said by none."""
    await book.owe_begin(BEGUN, OVER.subject, HOUR)
    await said(book)
    await book.owe_begin(BEGUN, OVER.subject, -HOUR)

    assert await said(book) == ["waiting"]


async def test_the_end_that_is_late_is_not_that_of_the_run_which_began_since(book: NoticeBook) -> None:
    """A promise is kept by the first process that sees the end; earlier ones are with it."""
    for run in ("run-1", "run-2", "run-3"):
        await book.promise(f"finished:{run}", NoticeKind.FINISHED)
    end = Notice("finished:run-2", NoticeKind.FINISHED, "two is over")
    for _ in range(2):
        await book.keep_latest_promise(end)
    assert await said(book) == ["two is over"]
    await book.keep_latest_promise(end._replace(subject="finished:run-4", text="all is over"))

    assert await said(book) == ["all is over"]


async def test_what_two_read_as_owed_is_taken_by_one(book: NoticeBook) -> None:
    """The other one has nothing to send."""
    await book.owe([BEGUN])
    owed = [await book.owed() for _ in range(2)]

    assert [await book.take(each) for each in owed] == [[Notice(*BEGUN[:3])], []]
