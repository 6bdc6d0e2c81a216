"""Who takes an entry from whom, and what is kept of it, on a real server with connections that are cut."""

from __future__ import annotations

from datetime import timedelta
from uuid import uuid4

import psycopg
from pgqueuer.domain.models import Job
from pgqueuer.ports.repository import EntrypointExecutionParameter

from orchestrator.fleet.queue import OwnedQueries, QueueItem, open_queue

ENTRY = QueueItem("studio", "anna")


async def take(queries: OwnedQueries, *, hold: timedelta) -> list[Job]:
    """What a worker takes when it looks for work; each is another worker."""
    queries.taker = queries.taker or uuid4()
    entrypoints = {ENTRY.batch: EntrypointExecutionParameter(concurrency_limit=0)}
    return await queries.dequeue(1, entrypoints, queries.taker, None, hold)  # type: ignore[arg-type]


def age(state: str, *, days: int) -> None:
    """Let the worker's last sign of life be so old."""
    with psycopg.connect(state, autocommit=True) as server:
        server.execute("UPDATE pgqueuer SET heartbeat = now() - make_interval(days => %s)", [days])


async def cut(state: str, queries: OwnedQueries) -> None:
    """Cut the worker's connection, as a server does that ends."""
    ((pid,),) = [row.values() for row in await queries.driver.fetch("SELECT pg_backend_pid()")]
    with psycopg.connect(state, autocommit=True) as server:
        assert server.execute("SELECT pg_terminate_backend(%s, 5000)", [pid]).fetchall() == [(True,)]


async def test_a_worker_takes_over_nothing_until_the_others_had_their_time_after_the_server_was_away(
    state: str,
) -> None:
    """They could not show that they live; also what it asked for before the cut is not asked again as it was."""
    hold, now = timedelta(hours=1), 0.0
    async with open_queue(state) as holder, open_queue(state) as heir:
        heir.driver.monotonic, heir.driver.there_since = lambda: now, -hold.total_seconds()
        await holder.put([ENTRY])
        (job,) = await take(holder, hold=hold)
        age(state, days=1)
        await cut(state, heir)
        taken = [await take(heir, hold=hold) for _ in range(2)]
        now = hold.total_seconds() - 1
        taken.append(await take(heir, hold=hold))
        is_kept = await holder.renew(job.id)
        age(state, days=1)
        now = hold.total_seconds()
        taken_over = await take(heir, hold=hold)

    assert taken == [[], [], []]
    assert is_kept
    assert [each.id for each in taken_over] == [job.id]


async def test_a_worker_takes_over_at_once_where_the_server_was_there_all_the_time(state: str) -> None:
    """A server that was started within the hold was not."""
    async with open_queue(state) as holder, open_queue(state) as heir:
        await holder.put([ENTRY])
        (job,) = await take(holder, hold=timedelta(days=365))
        age(state, days=1000)
        too_soon = await take(heir, hold=timedelta(days=365))
        at_once = await take(heir, hold=timedelta(milliseconds=1))

    assert too_soon == []
    assert [each.id for each in at_once] == [job.id]


async def test_what_waits_is_taken_right_after_the_server_was_away(state: str) -> None:
    """No other worker has it."""
    async with open_queue(state) as worker:
        await worker.put([ENTRY])
        await cut(state, worker)
        found = [await take(worker, hold=timedelta(hours=1)) for _ in range(2)]

    assert [len(each) for each in found] == [0, 1]


async def test_the_log_keeps_what_is_new_or_still_queued(state: str) -> None:
    """Of a row that ended two days ago nothing is left, so that the log does not grow for ever."""
    wanted = [QueueItem("studio", name) for name in ("ended long ago", "ended now", "waits since long ago")]
    async with open_queue(state) as queries:
        await queries.put(wanted)
        async with await psycopg.AsyncConnection.connect(state, autocommit=True) as server:
            await server.execute("DELETE FROM pgqueuer WHERE dedupe_key LIKE '%ended%'")
            await server.execute(
                "UPDATE pgqueuer_log SET created = now() - interval '2 days' WHERE job_id <> 2"
            )
            await queries.forget_old_log()
            left = await (await server.execute("SELECT job_id FROM pgqueuer_log ORDER BY job_id")).fetchall()

    assert left == [(2,), (3,)]


async def test_a_batch_has_rows_until_the_last_has_ended(state: str) -> None:
    """Those of other batches do not count."""
    async with open_queue(state) as queries:
        before = await queries.has_rows(["studio"])
        await queries.put([ENTRY, QueueItem("other", "bo")])
        found = [
            await queries.has_rows(batches) for batches in (["studio"], ["third"], ["third", "other"], [])
        ]

    assert not before
    assert found == [True, False, True, False]


async def test_batches_without_rows_are_not_asked_for(state: str) -> None:
    """Of those that PgQueuer was told of, the finished ones cost nothing; one that has rows again is met again."""
    async with open_queue(state) as queries:
        await queries.put([ENTRY, QueueItem("other", "bo")])
        known = [await queries.batches()]
        queries.open_batches = {"other"}
        taken = [await take(queries, hold=timedelta(minutes=1))]
        queries.open_batches = await queries.batches()
        taken.append(await take(queries, hold=timedelta(minutes=1)))
        known.append(await queries.batches())
        await queries.log_jobs([(job, "successful", None) for job in taken[1]])
        known.append(await queries.batches())

    assert [[job.entrypoint for job in jobs] for jobs in taken] == [[], ["studio"]]
    assert known == [{"studio", "other"}, {"studio", "other"}, {"other"}]
