"""The outbox of notices to people and programs; each is sent at most once, even if a run is killed half-way.

A notice is owed as soon as its cause is known, and taken just before it is sent. A notice that a process took before
it died is not sent again: it may have arrived, and there is no way to find out.
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
#: The promise that a run makes to its target when it begins; the end of the run turns it into a notice.
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
#: Keeps the promise of the latest run up to this one. Any process may do so, and the first one does it for all.
_KEEP_LATEST_PROMISE = (
    "UPDATE notices SET text = :text, state = 'owed', at = :at WHERE batch = :batch AND target = :target"
    " AND kind = :kind AND state = 'promised' AND subject = (SELECT max(subject) FROM notices AS until"
    " WHERE batch = :batch AND target = :target AND kind = :kind AND state = 'promised'"
    " AND subject <= :subject)"
)
#: A beginning that several processes see is owed once until its end is owed, or for a limited time if no process sees
#: the end.
_OWE_BEGIN = (
    "INSERT INTO notices (batch, target, subject, reason, kind, text, state, at)"
    " VALUES (:batch, :target, :subject, :reason, :kind, :text, 'owed', :at)"
    " ON CONFLICT (batch, target, subject) DO UPDATE SET reason = excluded.reason, text = excluded.text,"
    " state = 'owed', at = excluded.at WHERE notices.at < :stale OR notices.reason = (SELECT ended.reason"
    " FROM notices AS ended WHERE batch = :batch AND target = :target AND subject = :end)"
)
#: The end that they see is owed once for each beginning.
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
    """The kinds of notices; notices of one kind that are owed at the same time form one message."""

    FINISHED = "finished"
    FAILED = "failed"
    REVIEW_FAILED = "review_failed"
    DECISION_NEEDED = "decision_needed"
    OUTAGE_BEGUN = "outage_begun"
    OUTAGE_OVER = "outage_over"
    WATCH_FINISHED = "watch_finished"


class Notice(NamedTuple):
    """A notice: *text* is one line about *subject*; another *reason* makes it a new notice about that subject."""

    subject: str
    kind: NoticeKind
    text: str
    reason: str = ""


class NoticeBook:
    """The notices about one batch to one target, which is identified by a digest: a target's URL is a secret."""

    def __init__(self, backend: Backend, clock: Callable[[], float], batch: str, target: str) -> None:
        self.backend = backend
        self._clock = clock
        self._key: Row = {"batch": batch, "target": target}

    async def owe(self, notices: Iterable[Notice]) -> None:
        """Owe each notice, unless its subject was already owed for the same reason."""
        rows = [{**self._key, **notice._asdict(), "at": self._clock()} for notice in notices]

        def write(transaction: Transaction) -> None:
            for row in rows:
                transaction.execute(_OWE, row)

        if rows:
            await self.backend.write(write)

    async def owe_begin(self, notice: Notice, end: str, forgotten_after: float) -> None:
        """Owe *notice*, unless a process already did and *end* was not owed since.

        A notice that was owed more than *forgotten_after* seconds ago does not count.
        """
        now = self._clock()
        row: Row = {**self._key, **notice._asdict(), "end": end, "at": now, "stale": now - forgotten_after}
        row["reason"] = repr(now)
        await self.backend.write(lambda transaction: transaction.execute(_OWE_BEGIN, row))

    async def owe_end(self, notice: Notice, begin: str) -> None:
        """Owe *notice* as the end of the notice owed as *begin*, unless a process already did since then."""
        row: Row = {**self._key, **notice._asdict(), "at": self._clock()}
        row |= {"end": notice.subject, "subject": begin}
        await self.backend.write(lambda transaction: transaction.execute(_OWE_END, row))

    async def owed(self) -> list[Notice]:
        """Return the notices that are owed and not taken, oldest first."""
        rows = await self.backend.read(_OWED, self._key)
        return [Notice(subject, NoticeKind(kind), text) for subject, kind, text in rows]

    async def take(self, notices: Iterable[Notice]) -> list[Notice]:
        """Take *notices*; returns those that this process must send, without those that another one took."""
        return await self._move(notices, "owed", "taken")

    async def settle(self, notices: Iterable[Notice], *, is_sent: bool) -> None:
        """Record whether the taken *notices* were sent; if not, they are owed again."""
        await self._move(notices, "taken", "sent" if is_sent else "owed")

    async def drop_stale(self, kind: NoticeKind) -> None:
        """Delete the owed notices of *kind*, which are no longer of use."""
        row = {**self._key, "kind": kind}
        await self.backend.write(lambda transaction: transaction.execute(_DROP_STALE, row))

    async def promise(self, subject: str, kind: NoticeKind) -> bool:
        """Promise a notice of the end of *subject*, a run; returns True if an earlier run died with its promise."""
        row = {**self._key, "kind": kind}
        earlier = await self.backend.read(_PROMISED, row)
        row |= {"subject": subject, "at": self._clock()}
        await self.backend.write(lambda transaction: transaction.execute(_PROMISE, row))
        return any(found != subject for (found,) in earlier)

    async def keep_promise(self, notice: Notice) -> None:
        """Owe *notice* for the run that is its subject, and also for earlier runs that died with their promise."""
        row: Row = {**self._key, **notice._asdict(), "at": self._clock()}

        def write(transaction: Transaction) -> None:
            transaction.execute(_KEEP_PROMISE, row)
            transaction.execute(_DROP_PROMISES, {**self._key, "kind": notice.kind})

        await self.backend.write(write)

    async def keep_latest_promise(self, notice: Notice) -> None:
        """Owe *notice* if the end of the run that is its subject, or of an earlier run, is still promised.

        Several processes may see the end. One that is late must not mistake it for the end of a run that began since.
        """
        row: Row = {**self._key, **notice._asdict(), "at": self._clock()}

        def write(transaction: Transaction) -> None:
            transaction.execute(_KEEP_LATEST_PROMISE, row)
            transaction.execute(f"{_DROP_PROMISES} AND subject <= :subject", row)

        await self.backend.write(write)

    async def break_promise(self, subject: str) -> None:
        """Withdraw the promise of the run *subject*, which had nothing to do; those of earlier runs stay."""
        row = {**self._key, "subject": subject}
        statement = f"DELETE FROM notices WHERE {_KEY} AND state = 'promised'"
        await self.backend.write(lambda transaction: transaction.execute(statement, row))

    async def _move(self, notices: Iterable[Notice], from_state: str, to_state: str) -> list[Notice]:
        rows = [
            (notice, {**self._key, "subject": notice.subject, "from_state": from_state, "to_state": to_state})
            for notice in notices
        ]
        now = self._clock()

        def write(transaction: Transaction) -> list[Notice]:
            return [notice for notice, row in rows if transaction.execute(_MOVE, {**row, "at": now})]

        return await self.backend.write(write)
