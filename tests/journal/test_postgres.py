"""What a server brings with it: hosts that write at once, a connection that is lost, rights, and its own errors."""

from __future__ import annotations

import dataclasses
import itertools
import os
import re
import socket
import sys
import tempfile
import threading
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import anyio.to_thread
import psycopg
import pytest

from orchestrator.domain.assets import AssetKind
from orchestrator.domain.errors import (
    ConfigurationError,
    ExitCode,
    JournalError,
    LockHeldError,
    StaleEpochError,
    exit_code_of,
)
from orchestrator.domain.states import EntryState
from orchestrator.fleet.queue import install, open_queue
from orchestrator.journal import journal as door
from orchestrator.journal.backend import Operation, Transaction, has_password, shown
from orchestrator.journal.journal import Journal, examine, exists, folder_of, open_journal
from orchestrator.journal.migrations import MIGRATIONS, NEWEST
from orchestrator.journal.postgres import PATIENCE_SECONDS, PostgresBackend, in_psycopg
from orchestrator.journal.records import EntryRecord
from orchestrator.journal.statements import HAS_ENTRY, STORE_SEGMENT
from tests.journal.conftest import Look
from tests.journal.samples import BATCH, KEY, Clock, add_entries, add_entry, upload
from tests.journal.severed_link import SeveredLink
from tests.postgres import own_server, schema_of

VIDEO = AssetKind.TRAINING_VIDEO


@pytest.fixture
def location(postgres: str) -> Iterator[str]:
    """A schema of the server for each test."""
    with schema_of(postgres) as url:
        yield url


@pytest.fixture
def link(location: str) -> Iterator[SeveredLink]:
    """A link to the server of *location*."""
    with SeveredLink(location) as made:
        yield made


@pytest.fixture
async def linked(link: SeveredLink) -> AsyncIterator[Journal]:
    """A journal behind the link."""
    async with open_journal(link.url(), clock=Clock()) as opened:
        yield opened


def backend_of(journal: Journal) -> PostgresBackend:
    """The database behind a journal."""
    assert isinstance(journal.backend, PostgresBackend)
    return journal.backend


def also(location: str, option: str) -> str:
    """*location* for sessions with one more setting of the server."""
    return f"{location}%20-c%20{option.replace('=', '%3D')}"


class Waits:
    """Waits that take no time, and a clock that moves on by them."""

    def __init__(self, journal: Journal) -> None:
        self.seconds: list[float] = []
        self._waited = anyio.Event()
        patience = backend_of(journal).patience
        patience.sleep, patience.monotonic = self._wait, self._now

    async def _wait(self, seconds: float) -> None:
        self.seconds.append(seconds)
        self._waited.set()
        self._waited = anyio.Event()
        await anyio.lowlevel.checkpoint()

    async def reach(self, count: int) -> None:
        """Return after so many waits."""
        with anyio.fail_after(20):
            while len(self.seconds) < count:
                await self._waited.wait()

    def _now(self) -> float:
        return sum(self.seconds)


def end_sessions(location: str) -> None:
    """End every session of this process in the schema, as a restart of the server does."""
    with psycopg.connect(location, autocommit=True) as admin:
        admin.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
            " WHERE pid <> pg_backend_pid() AND application_name = %s",
            [f"orchestrator process {os.getpid()} on {socket.gethostname()}"],
        )


async def test_no_receipt_of_an_old_holder_is_committed_after_a_claim(
    location: str, journal: Journal
) -> None:
    """The claim waits for one that is under way, so that who claims reads it; one that comes later does nothing."""
    record = await upload(journal, await add_entry(journal))
    row: dict[str, Any] = {
        **dict.fromkeys(re.findall(r":(\w+)", STORE_SEGMENT)),
        "key_batch": record.batch,
        "key_entry_id": record.entry_id,
        "key_epoch": record.epoch,
        "key_asset": VIDEO.value,
        "key_part_number": 1,
        "at": 1.0,
        "new_etag": "of the old holder",
        "new_attempts": 1,
    }
    with psycopg.connect(location) as old_holder:
        assert old_holder.execute(in_psycopg(STORE_SEGMENT), row).rowcount == 1
        async with anyio.create_task_group() as group:
            claimed: list[object] = []

            async def claim() -> None:
                claimed.append(await journal.claim(record))

            group.start_soon(claim)
            await until_a_session_waits(location)
            assert claimed == []
            old_holder.commit()
        assert old_holder.execute(in_psycopg(STORE_SEGMENT), row).rowcount == 0

    _, first, *_ = await journal.segments(record)
    assert first.receipt is not None
    assert first.receipt.etag == "of the old holder"


async def until_a_session_waits(location: str) -> None:
    """Return when a session of the database waits for the lock of another."""
    query = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    with psycopg.connect(location, autocommit=True) as watcher, anyio.fail_after(10):
        while not watcher.execute(query).fetchall():
            await anyio.to_thread.run_sync(watcher.execute, "SELECT pg_sleep(0.01)")


async def test_an_entry_whose_job_is_taken_over_stays_as_it_was_checked(
    location: str, journal: Journal
) -> None:
    """Between the check of the entry that gives its job up and the write, no other host changes it."""
    record = await upload(journal, await add_entry(journal))
    row = {
        "key_batch": BATCH,
        "key_entry_id": record.entry_id,
        "key_epoch": 0,
        "key_state": record.state.value,
    }
    with psycopg.connect(location) as taker:
        assert taker.execute(in_psycopg(HAS_ENTRY), row).fetchall() == [(1,)]
        async with anyio.create_task_group() as group:
            group.start_soon(journal.claim, record)
            await until_a_session_waits(location)
            assert (await journal.entries_named(BATCH, [record.entry_id]))[record.entry_id].epoch == 0
            taker.rollback()


async def test_a_server_that_restarts_is_connected_to_again(location: str, journal: Journal) -> None:
    """Writers and readers go on with what they were about to do."""
    first, second = await add_entries(journal, 2)
    await journal.claim(first)
    end_sessions(location)

    await journal.claim(second)
    end_sessions(location)

    assert [record.epoch async for record in journal.entries(BATCH)] == [1, 1]


async def test_a_commit_whose_answer_is_lost_is_not_made_twice(
    link: SeveredLink, linked: Journal, look: Look
) -> None:
    """The server is asked whether it was committed: it was, and the writer learns just that."""
    record = await add_entry(linked)
    link.cut_after(b"COMMIT", is_answered=True)

    changed = await linked.transition(record, EntryState.CREATING, "requested", create_tag="orch:t")

    assert link.cuts == 1
    assert changed == await linked.entry(BATCH, record.entry_id)
    assert look("SELECT to_state FROM transitions") == [("creating",)]


async def test_a_server_that_took_over_without_the_last_transactions_gets_them_again(location: str) -> None:
    """It says of the last one that it was committed only as long as it has it."""
    async with open_journal(location, clock=Clock()) as journal:
        connection = backend_of(journal).server_writer
        for is_kept in (True, False):
            connection.begin()
            connection.commit()
            if not is_kept:
                connection.execute("UPDATE commits SET number = number - 1")
            assert connection.revive() is is_kept
        assert (await journal.claim(await add_entry(journal))).epoch == 1


async def test_marks_of_sessions_that_ended_long_ago_are_forgotten(location: str, journal: Journal) -> None:
    """By the next session that writes, which leaves those of the others."""
    record = await add_entry(journal)
    with psycopg.connect(location, autocommit=True) as server:
        for name, seconds in (("old", 90_000), ("new", 60)):
            row = [name, seconds]
            server.execute("INSERT INTO commits VALUES (%s, 7, extract(epoch FROM now()) - %s)", row)
        async with open_journal(location, clock=Clock()) as another:
            await another.claim(record)
        left = server.execute("SELECT writer, number FROM commits ORDER BY at").fetchall()

    assert left[0] == ("new", 7)
    assert len(left) == 3


async def test_a_transaction_that_is_cut_off_before_its_commit_is_made_again(
    link: SeveredLink, linked: Journal, look: Look
) -> None:
    """The server may not have noticed yet, and would keep its locks: it is told."""
    record = await add_entry(linked)
    link.cut_after(b"UPDATE entries", is_answered=True)

    await linked.transition(record, EntryState.CREATING, "requested", create_tag="orch:t")

    assert link.cuts == 1
    assert look("SELECT to_state FROM transitions") == [("creating",)]


async def test_a_guard_that_fails_in_a_group_that_is_written_again_fails_its_own_writer_only(
    link: SeveredLink, linked: Journal, look: Look
) -> None:
    """What was found before the cut is looked at anew."""
    *records, stale = await add_entries(linked, 4)
    await linked.claim(stale)
    link.cut_after(b"INSERT INTO transitions", is_answered=False)
    refused: list[str] = []

    async def write(record: Any) -> None:
        try:
            await linked.transition(record, EntryState.CREATING, "requested")
        except StaleEpochError:
            refused.append(record.entry_id)

    async with anyio.create_task_group() as group:
        for record in (*records, stale):
            group.start_soon(write, record)

    assert link.cuts == 1
    assert refused == [stale.entry_id]
    assert look("SELECT count(*) FROM transitions") == [(3,)]


@pytest.mark.parametrize(
    "refusal", ["", "数据库系统正在启动", "terminating connection due to administrator command"]
)
async def test_a_server_that_is_away_is_waited_for_by_writers_and_readers(
    link: SeveredLink, linked: Journal, refusal: str
) -> None:
    """With growing waits, whatever it says at its door; nothing is lost, and nobody is told of it."""
    first, second = await add_entries(linked, 2)
    waits = Waits(linked)
    found: list[object] = []

    async def read() -> None:
        found.append(await linked.entry(BATCH, second.entry_id))

    async with anyio.create_task_group() as group:
        with link.down(refusal):
            group.start_soon(linked.claim, first)
            group.start_soon(read)
            await waits.reach(8)

    assert found == [second]
    assert max(waits.seconds) > min(waits.seconds)
    claimed = await linked.entry(BATCH, first.entry_id)
    assert claimed is not None
    assert claimed.epoch == 1


async def test_a_server_that_stays_away_ends_the_run_for_a_while(link: SeveredLink, linked: Journal) -> None:
    """After ten minutes, with exit code 5; from then on nobody waits again."""
    record = await add_entry(linked)
    waits = Waits(linked)

    with link.down():
        with pytest.raises(JournalError, match="cannot be reached") as caught:
            await linked.claim(record)
        waited = sum(waits.seconds)
        with pytest.raises(JournalError):
            await linked.batches()

        assert exit_code_of(caught.value) is ExitCode.TEMPORARY
        assert "when the server is back" in (caught.value.hint or "")
        assert PATIENCE_SECONDS <= waited < PATIENCE_SECONDS + 10
        assert sum(waits.seconds) == waited

    assert (await linked.claim(record)).epoch == 1


async def test_those_who_wait_for_a_server_that_is_away_can_be_let_go(link: SeveredLink) -> None:
    """A worker that is to end has receipts to write down, and their writers cannot be cancelled."""
    is_waiting = anyio.Event()
    caught: list[JournalError] = []

    async def wait(_: float) -> None:
        is_waiting.set()
        await anyio.sleep_forever()

    async def claim(journal: Journal, record: EntryRecord) -> None:
        with anyio.CancelScope(shield=True):
            try:
                await journal.claim(record)
            except JournalError as error:
                caught.append(error)

    async def work() -> None:
        async with open_journal(link.url(), clock=Clock()) as journal:
            record = await add_entry(journal)
            backend_of(journal).patience.sleep = wait
            with link.down():
                async with anyio.create_task_group() as group:
                    group.start_soon(claim, journal, record)
                    await is_waiting.wait()
                    journal.stop_waiting()

    # Nor does the journal wait when it closes.
    with anyio.fail_after(20), pytest.raises(JournalError, match="cannot be reached"):
        await work()

    assert [exit_code_of(error) for error in caught] == [ExitCode.TEMPORARY]


async def test_a_writer_that_is_stopped_while_the_server_is_away_leaves_its_write_to_the_next(
    link: SeveredLink, linked: Journal, look: Look
) -> None:
    """Waiting for a server must not keep anybody from stopping."""
    first, second = await add_entries(linked, 2)
    waits = Waits(linked)
    with link.down():
        async with anyio.create_task_group() as group:
            group.start_soon(linked.claim, first)
            await waits.reach(1)
            group.cancel_scope.cancel()

    await linked.claim(second)

    assert look("SELECT epoch FROM entries ORDER BY position") == [(1,), (1,)]


async def test_a_journal_that_closes_after_an_error_does_not_wait_for_a_server_that_is_away(
    link: SeveredLink, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What led to the error is told now, not in ten minutes."""
    monkeypatch.setattr(door, "_LAST_WAIT_SECONDS", 0.1)

    async def fail() -> None:
        async with open_journal(link.url(), clock=Clock()) as journal:
            await add_entry(journal)
            stack.enter_context(link.down())
            backend_of(journal).write_later(lambda _: None)
            raise ZeroDivisionError

    with ExitStack() as stack, anyio.fail_after(20), pytest.raises(ZeroDivisionError):
        await fail()


_ENDS = """SELECT name, source, setting FROM pg_settings
    WHERE name LIKE 'tcp_%' OR name = 'idle_in_transaction_session_timeout' ORDER BY name"""


async def test_the_server_ends_sessions_of_hosts_that_are_gone_unless_the_url_says_when(
    location: str,
) -> None:
    """Of the journal and of the queue: such a session keeps rows and locks, and two hours is when a system asks."""
    patient = also(location, "idle_in_transaction_session_timeout=1h")
    await install(location)

    async with open_journal(location, clock=Clock()) as journal, open_queue(location) as queue:
        ours = await backend_of(journal).read(_ENDS)
        of_queue = [tuple(row.values()) for row in await queue.driver.fetch(_ENDS)]
    async with open_journal(patient, clock=Clock()) as journal:
        (kept, *_) = await backend_of(journal).read(_ENDS)

    assert {source for _, source, _ in ours} == {"session"}
    assert of_queue == ours
    assert ours[0][2] == "10000"
    assert kept[1:] == ("client", "3600000")
    names = [name for name, _, _ in ours]
    assert names[1:] == [
        "tcp_keepalives_count",
        "tcp_keepalives_idle",
        "tcp_keepalives_interval",
        "tcp_user_timeout",
    ]


async def test_a_process_that_freezes_in_a_transaction_keeps_nothing_from_the_others(
    location: str, journal: Journal
) -> None:
    """Its session is ended, and when it wakes its write finds what has happened meanwhile."""
    record = await add_entry(journal)
    impatient = also(location, "idle_in_transaction_session_timeout=50ms")
    async with open_journal(impatient, clock=Clock()) as frozen:
        stale: list[StaleEpochError] = []

        async def move() -> None:
            try:
                await frozen.transition(record, EntryState.CREATING, "requested")
            except StaleEpochError as error:
                stale.append(error)

        tries = itertools.count()

        def freeze(_: Transaction) -> None:
            if next(tries):
                return
            with psycopg.connect(location, autocommit=True) as other:
                # Longer than a session may stand still.
                other.execute("SELECT pg_sleep(0.3)")
                other.execute("UPDATE entries SET epoch = epoch + 1")

        async with anyio.create_task_group() as group:
            group.start_soon(move)
            backend_of(frozen).write_later(freeze)

    assert len(stale) == 1


async def test_two_groups_that_lock_the_same_rows_the_other_way_round_are_both_written(
    location: str, journal: Journal
) -> None:
    """One of them is let go by the server, and comes again."""
    first, second = await add_entries(journal, 2)
    statement = "UPDATE entries SET attempts = attempts + 1 WHERE entry_id = :entry_id"
    met = threading.Barrier(2, timeout=10)
    async with open_journal(also(location, "deadlock_timeout=50ms"), clock=Clock()) as other:

        def crosswise(*ids: str) -> Operation[None]:
            tries = itertools.count()

            def operation(transaction: Transaction) -> None:
                transaction.execute(statement, {"entry_id": ids[0]})
                if next(tries) == 0:
                    met.wait()
                transaction.execute(statement, {"entry_id": ids[1]})

            return operation

        async with anyio.create_task_group() as group:
            group.start_soon(backend_of(journal).write, crosswise(first.entry_id, second.entry_id))
            group.start_soon(backend_of(other).write, crosswise(second.entry_id, first.entry_id))

    assert [record.attempts async for record in journal.entries(BATCH)] == [2, 2]


async def test_hosts_that_open_a_new_journal_at_once_make_it_once(location: str) -> None:
    """Each finds it made, or makes it while the others wait."""

    async def open_and_add(number: int) -> None:
        async with open_journal(location, clock=Clock()) as journal:
            key = dataclasses.replace(KEY, name=f"batch {number}")
            await journal.start_run(key, manifest_path=None, is_submit_wanted=False, run_id="run-1")

    async with anyio.create_task_group() as group:
        for number in range(6):
            group.start_soon(open_and_add, number)

    with psycopg.connect(location) as server:
        assert server.execute("SELECT count(*) FROM schema_migrations").fetchall() == [(len(MIGRATIONS),)]
        assert server.execute("SELECT count(*) FROM batches").fetchall() == [(6,)]


async def test_a_user_who_may_not_make_tables_can_work_with_those_that_are_there(location: str) -> None:
    """The rights are asked for only when something is to be changed."""
    async with open_journal(location, clock=Clock()):
        pass
    schema = location.rpartition("%3D")[2]
    role = f"host_{schema}"
    with psycopg.connect(location, autocommit=True) as owner:
        for statement in (
            f"CREATE ROLE {role}",
            f"GRANT USAGE ON SCHEMA {schema} TO {role}",
            f"GRANT ALL ON ALL TABLES IN SCHEMA {schema} TO {role}",
        ):
            owner.execute(statement.encode())
        try:
            async with open_journal(also(location, f"role={role}"), clock=Clock()) as journal:
                assert (await journal.claim(await add_entry(journal))).epoch == 1
            owner.execute("DROP TABLE schema_migrations")
            with pytest.raises(JournalError, match="permission denied") as caught:
                await write_into(also(location, f"role={role}"))
        finally:
            owner.execute(f"DROP OWNED BY {role}; DROP ROLE {role}".encode())

    assert exit_code_of(caught.value) is ExitCode.CONFIGURATION


async def write_into(location: str) -> None:
    """Open the journal and write an entry."""
    async with open_journal(location, clock=Clock()) as journal:
        await add_entry(journal)


async def test_a_batch_is_held_by_one_process_which_is_named(location: str, journal: Journal) -> None:
    """Through the server, so that it counts for every host; another batch is free."""
    other = dataclasses.replace(KEY, name="other")
    async with open_journal(location, clock=Clock()) as second:
        async with journal.hold_batch(KEY):
            with pytest.raises(
                LockHeldError, match=f"process {os.getpid()} on {socket.gethostname()}"
            ) as caught:
                await second.hold_batch(KEY).__aenter__()
            async with second.hold_batch(other):
                assert await journal.batch_holder(other) is not None
            assert await second.batch_holder(KEY) is not None
        assert await second.batch_holder(KEY) is None
        async with second.hold_batch(KEY):
            pass

    assert exit_code_of(caught.value) is ExitCode.LOCKED


async def test_a_batch_is_free_when_the_session_of_its_holder_ends(location: str, journal: Journal) -> None:
    """As after kill -9, or when the host is cut off."""
    async with open_journal(location, clock=Clock()) as second, journal.hold_batch(KEY):
        end_sessions(location)
        async with second.hold_batch(KEY):
            assert await second.batch_holder(KEY) is not None


async def test_journals_in_two_schemas_have_locks_of_their_own(postgres: str, journal: Journal) -> None:
    """The server's locks are those of the whole database."""
    with schema_of(postgres) as elsewhere:
        async with (
            open_journal(elsewhere, clock=Clock()) as other,
            journal.hold_batch(KEY),
            other.hold_batch(KEY),
        ):
            assert await other.batch_holder(KEY) is not None


async def test_looking_for_a_journal_makes_none(location: str) -> None:
    """Its health is told without a change, too."""
    assert not exists(location)
    assert examine(location) is None
    async with open_journal(location, clock=Clock()) as journal:
        assert exists(location)
        await upload(journal, await add_entry(journal))

    health = examine(location)

    assert health is not None
    assert (health.version, health.damage) == (NEWEST, None)
    assert health.upload_url is not None
    assert folder_of(location) is None


async def test_the_process_that_claims_and_moves_an_entry_is_written_down(
    journal: Journal, look: Look
) -> None:
    """Of several hosts, the one to ask."""
    record = await journal.claim(await add_entry(journal))
    await journal.transition(record, EntryState.CREATING, "requested")

    me = f"process {os.getpid()} on {socket.gethostname()}"
    assert [change.holder for change in await journal.transitions(record)] == [me]
    assert look("SELECT holder, held_at IS NOT NULL FROM entries") == [(me, True)]


@pytest.mark.parametrize(
    ("location", "sentence", "code"),
    [
        ("postgresql://127.0.0.1:1/journal", "cannot be reached", ExitCode.TEMPORARY),
        ("postgresql://nobody:hunter2@[::1/journal", "is no PostgreSQL URL", ExitCode.CONFIGURATION),
        ("postgresql://127.0.0.1/journal?nonsense=hunter2", "is no PostgreSQL URL", ExitCode.CONFIGURATION),
        (
            "mysql://studio:hunter2@db/journal",
            "in a file or in PostgreSQL, not at mysql:",
            ExitCode.CONFIGURATION,
        ),
    ],
)
async def test_a_location_that_leads_nowhere_is_a_sentence_without_its_password(
    location: str, sentence: str, code: ExitCode
) -> None:
    """From the start a server is not waited for: its name may be wrong."""
    with pytest.raises((JournalError, ConfigurationError), match=sentence) as caught:
        await write_into(location)

    assert exit_code_of(caught.value) is code
    assert caught.value.hint
    assert "hunter2" not in caught.value.message + caught.value.hint


async def test_a_database_that_is_not_there_is_a_sentence(postgres: str) -> None:
    """The server's own words, and exit code 4: waiting does not help."""
    with pytest.raises(JournalError, match=r"refuses the connection: .*nowhere") as caught:
        await write_into(postgres.replace("/postgres?", "/nowhere?"))

    assert exit_code_of(caught.value) is ExitCode.CONFIGURATION


async def test_a_server_that_may_only_be_read_is_a_sentence(location: str) -> None:
    """As a standby is."""
    await write_into(location)

    with pytest.raises(JournalError, match="the server is read-only") as caught:
        await write_into(also(location, "default_transaction_read_only=on"))

    assert exit_code_of(caught.value) is ExitCode.CONFIGURATION


async def test_without_the_extra_one_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit code 4, and a command to paste."""
    monkeypatch.delitem(sys.modules, "orchestrator.journal.postgres", raising=False)
    monkeypatch.delattr("orchestrator.journal.postgres", raising=False)
    monkeypatch.setitem(sys.modules, "psycopg", None)

    with pytest.raises(ConfigurationError, match="needs the extra fleet") as caught:
        await write_into("postgresql://db/journal")

    assert exit_code_of(caught.value) is ExitCode.CONFIGURATION
    assert caught.value.hint == "`pip install 'metastudio-orchestrator[fleet]'`"


@pytest.mark.parametrize(
    ("location", "text"),
    [
        ("/footage/journal.db", "/footage/journal.db"),
        ("postgresql://db/fleet", "postgresql://db/fleet"),
        ("postgresql://studio@db:5433/fleet", "postgresql://studio@db:5433/fleet"),
        ("postgresql://studio:hunter2@db/fleet", "postgresql://studio@db/fleet"),
        ("postgresql://a,b:5433/fleet", "postgresql://a,b:5433/fleet"),
        ("postgresql:///?service=fleet", "postgresql:///?..."),
        ("postgresql://db/fleet?password=hunter2", "postgresql://db/fleet?..."),
        ("postgresql://studio:hunter2/x@db/fleet", "postgresql://..."),
        ("postgresql://studio:hunter2?x@db/fleet", "postgresql://..."),
        ("postgresql://studio:12?hunter2@db/fleet", "postgresql://..."),
        ("postgresql://studio:hunter2#x@db/fleet", "postgresql://..."),
        ("postgresql://studio:hunter2@x@db/fleet", "postgresql://..."),
        ("postgresql://studio: hunter2@db/fleet", "postgresql://..."),
    ],
)
def test_a_location_is_shown_without_what_may_be_a_password(location: str, text: str) -> None:
    """Also where one was written that should have been encoded."""
    assert shown(location) == text
    assert has_password(location) == ("hunter2" in location)


def test_what_only_postgresql_reads_is_not_taken_for_a_parameter() -> None:
    """A cast has colons too."""
    assert in_psycopg("SELECT x::bigint FROM t WHERE a = :a AND b = :b_2") == (
        b"SELECT x::bigint FROM t WHERE a = %(a)s AND b = %(b_2)s"
    )


@pytest.mark.long
async def test_a_transaction_that_a_crash_of_the_server_undid_is_made_again() -> None:
    """Also where another session has committed one that the server gave the same number."""
    folder = Path(tempfile.gettempdir()) / f"orchestrator-crash-{uuid.uuid4().hex[:12]}"
    with own_server(folder) as server, schema_of(server.url) as location:
        async with open_journal(location, clock=Clock()) as journal:
            record = await add_entry(journal)
            crashes = [server]

            def crash_once(transaction: Transaction) -> int:
                if crashes:
                    crashed = crashes.pop()
                    crashed.stop(is_crash=True)
                    crashed.start()
                    with psycopg.connect(location, autocommit=True) as other:
                        other.execute("CREATE TABLE others (number INTEGER)")
                        for number in range(10):
                            other.execute("INSERT INTO others VALUES (%s)", [number])
                return transaction.execute("UPDATE entries SET review_code = 'written' WHERE epoch = 0", {})

            changed = await backend_of(journal).write(crash_once)
            written = await backend_of(journal).read("SELECT review_code FROM entries")

    assert (changed, written) == (1, [("written",)])
    assert record.epoch == 0


async def test_a_pooler_that_gives_each_transaction_another_session_is_named(journal: Journal) -> None:
    """There the statements are not known that were prepared in the session before."""
    record = await add_entry(journal)
    for _ in range(2):
        record = await journal.claim(record)
    backend_of(journal).server_writer.execute("DO $$ BEGIN EXECUTE 'DEALLOCATE ALL'; END $$")

    with pytest.raises(JournalError, match="a pooler that gives each transaction another session") as caught:
        await journal.claim(record)

    assert caught.value.hint is not None
    assert "a pool in session mode" in caught.value.hint
    assert not caught.value.is_temporary
