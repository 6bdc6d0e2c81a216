"""What people and programs are to be notified of, and have been: each once, also by a run that is killed on the way.

A notice is owed from the time its cause is known, and taken just before it is sent. One that was taken by a process
which is dead is not sent again: it may have arrived, and there is no way to ask.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import StrEnum
from typing import NamedTuple

from orchestrator.journal.backend import Backend, Row, Transaction

_KEY = "batch = :batch AND target = :target AND subject = :subject"
#: A subject is owed again only for another reason.
_OWE = (
    "INSERT INTO notices (batch, target, subject, reason, kind, text, state, at)"
    " VALUES (:batch, :target, :subject, :reason, :kind, :text, 'owed', :at)"
    " ON CONFLICT (batch, target, subject) DO UPDATE SET reason = excluded.reason, kind = excluded.kind,"
    " text = excluded.text, state = 'owed', at = excluded.at WHERE notices.reason <> excluded.reason"
)
#: What a run that begins promises to its target; its end makes a notice of it.
_PROMISE = (
    "INSERT INTO notices (batch, target, subject, reason, kind, text, state, at)"
    " VALUES (:batch, :target, :subject, '', :kind, '', 'promised', :at) ON CONFLICT DO NOTHING"
)
_KEEP_PROMISE = (
    f"UPDATE notices SET text = :text, state = 'owed', at = :at WHERE {_KEY} AND state = 'promised'"
)
_DROP_PROMISES = (
    "DELETE FROM notices WHERE batch = :batch AND target = :target AND kind = :kind AND state = 'promised'"
)
_PROMISED = (
    "SELECT subject FROM notices WHERE batch = :batch AND target = :target AND kind = :kind"
    " AND state = 'promised'"
)
#: ... of the latest run until this one, by any process: the first that keeps it keeps it for all.
_KEEP_LATEST_PROMISE = (
    "UPDATE notices SET text = :text, state = 'owed', at = :at WHERE batch = :batch AND target = :target"
    " AND kind = :kind AND state = 'promised' AND subject = (SELECT max(subject) FROM notices AS until"
    " WHERE batch = :batch AND target = :target AND kind = :kind AND state = 'promised'"
    " AND subject <= :subject)"
)
#: A begin that several processes see is owed once until its end is owed, or for a while if no process sees the end.
_OWE_BEGIN = (
    "INSERT INTO notices (batch, target, subject, reason, kind, text, state, at)"
    " VALUES (:batch, :target, :subject, :reason, :kind, :text, 'owed', :at)"
    " ON CONFLICT (batch, target, subject) DO UPDATE SET reason = excluded.reason, text = excluded.text,"
    " state = 'owed', at = excluded.at WHERE notices.at < :stale OR notices.reason = (SELECT ended.reason"
    " FROM notices AS ended WHERE batch = :batch AND target = :target AND subject = :end)"
)
#: What they see end is owed once for each begin.
_OWE_END = (
    "INSERT INTO notices (batch, target, subject, reason, kind, text, state, at)"
    " SELECT begun.batch, begun.target, :end, begun.reason, :kind, :text, 'owed', :at FROM notices AS begun"
    " WHERE batch = :batch AND target = :target AND subject = :subject"
    " ON CONFLICT (batch, target, subject) DO UPDATE SET reason = excluded.reason, text = excluded.text,"
    " state = 'owed', at = excluded.at WHERE notices.reason <> excluded.reason"
)
_OWED = (
    "SELECT subject, kind, text FROM notices WHERE batch = :batch AND target = :target AND state = 'owed'"
    " ORDER BY at, subject"
)
_MOVE = f"UPDATE notices SET state = :to_state, at = :at WHERE {_KEY} AND state = :from_state"
_DROP_STALE = (
    "DELETE FROM notices WHERE batch = :batch AND target = :target AND kind = :kind AND state = 'owed'"
)


class NoticeKind(StrEnum):
    """What a notice is about; those of one kind that are owed at a time are one message."""

    FINISHED = "finished"
    FAILED = "failed"
    REVIEW_FAILED = "review_failed"
    DECISION_NEEDED = "decision_needed"
    OUTAGE_BEGUN = "outage_begun"
    OUTAGE_OVER = "outage_over"
    WATCH_FINISHED = "watch_finished"


class Notice(NamedTuple):
    """Something to be said: *subject* is what it is about, *reason* what makes it another one, *text* a line."""

    subject: str
    kind: NoticeKind
    text: str
    reason: str = ""


class NoticeBook:
    """The notices of one batch to one target, which is named by a digest: a target's URL is a secret."""

    def __init__(self, backend: Backend, clock: Callable[[], float], batch: str, target: str) -> None:
        self._backend = backend
        self._clock = clock
        self._key: Row = {"batch": batch, "target": target}

    async def owe(self, notices: Iterable[Notice]) -> None:
        """Owe each notice, unless its subject was owed for the same reason before."""
        rows = [{**self._key, **notice._asdict(), "at": self._clock()} for notice in notices]

        def write(transaction: Transaction) -> None:
            for row in rows:
                transaction.execute(_OWE, row)

        if rows:
            await self._backend.write(write)

    async def owe_begin(self, notice: Notice, end: str, forgotten_after: float) -> None:
        """Owe *notice*, unless another process did and *end* was not owed since; for *forgotten_after* seconds."""
        now = self._clock()
        row: Row = {**self._key, **notice._asdict(), "end": end, "at": now, "stale": now - forgotten_after}
        row["reason"] = repr(now)
        await self._backend.write(lambda transaction: transaction.execute(_OWE_BEGIN, row))

    async def owe_end(self, notice: Notice, begin: str) -> None:
        """Owe *notice* as the end of what was owed as *begin*, unless it was owed since."""
        row: Row = {**self._key, **notice._asdict(), "at": self._clock()}
        row |= {"end": notice.subject, "subject": begin}
        await self._backend.write(lambda transaction: transaction.execute(_OWE_END, row))

    async def owed(self) -> list[Notice]:
        """What is owed and not taken, the oldest first."""
        rows = await self._backend.read(_OWED, self._key)
        return [Notice(subject, NoticeKind(kind), text) for subject, kind, text in rows]

    async def take(self, notices: Iterable[Notice]) -> list[Notice]:
        """Those of *notices* that are this process's to send now."""
        return await self._move(notices, "owed", "taken")

    async def settle(self, notices: Iterable[Notice], *, is_sent: bool) -> None:
        """Say of what was taken whether it was sent; if not it is owed again."""
        await self._move(notices, "taken", "sent" if is_sent else "owed")

    async def drop_stale(self, kind: NoticeKind) -> None:
        """Forget what is owed of *kind*, which is of no use any more."""
        row = {**self._key, "kind": kind}
        await self._backend.write(lambda transaction: transaction.execute(_DROP_STALE, row))

    async def promise(self, subject: str, kind: NoticeKind) -> bool:
        """Write down that the end of *subject*, a run, is owed; True where an earlier run died with its promise."""
        row = {**self._key, "kind": kind}
        earlier = await self._backend.read(_PROMISED, row)
        row |= {"subject": subject, "at": self._clock()}
        await self._backend.write(lambda transaction: transaction.execute(_PROMISE, row))
        return any(found != subject for (found,) in earlier)

    async def keep_promise(self, notice: Notice) -> None:
        """Owe *notice* for the run that is its subject, and for earlier ones that died with theirs."""
        row: Row = {**self._key, **notice._asdict(), "at": self._clock()}

        def write(transaction: Transaction) -> None:
            transaction.execute(_KEEP_PROMISE, row)
            transaction.execute(_DROP_PROMISES, {**self._key, "kind": notice.kind})

        await self._backend.write(write)

    async def keep_latest_promise(self, notice: Notice) -> None:
        """Owe *notice* where the end of the run that is its subject, or of one before, is promised still.

        Several processes may see the end, and one that is late must not take it for that of a run which began since.
        """
        row: Row = {**self._key, **notice._asdict(), "at": self._clock()}

        def write(transaction: Transaction) -> None:
            transaction.execute(_KEEP_LATEST_PROMISE, row)
            transaction.execute(f"{_DROP_PROMISES} AND subject <= :subject", row)

        await self._backend.write(write)

    async def break_promise(self, subject: str) -> None:
        """Take the promise of the run *subject* back, which had nothing to do; those of earlier runs stay."""
        row = {**self._key, "subject": subject}
        statement = f"DELETE FROM notices WHERE {_KEY} AND state = 'promised'"
        await self._backend.write(lambda transaction: transaction.execute(statement, row))

    async def _move(self, notices: Iterable[Notice], from_state: str, to_state: str) -> list[Notice]:
        rows = [
            (notice, {**self._key, "subject": notice.subject, "from_state": from_state, "to_state": to_state})
            for notice in notices
        ]
        now = self._clock()

        def write(transaction: Transaction) -> list[Notice]:
            return [notice for notice, row in rows if transaction.execute(_MOVE, {**row, "at": now})]

        return await self._backend.write(write)
