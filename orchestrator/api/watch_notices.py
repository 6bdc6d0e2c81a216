"""Notifies people of what `watch` sees: reviews that failed, and that there is nothing left to follow; each once.

All is read from the journal, so what a watch had no time to say before it was killed is said by the next one.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

import anyio

from orchestrator.api.delivering import FLUSH_SECONDS, Delivery, targets_of
from orchestrator.api.notifying import notice_of_entry
from orchestrator.domain.errors import JournalError
from orchestrator.domain.exit_codes import ExitCode
from orchestrator.domain.notices import Notice, NoticeKind
from orchestrator.domain.states import EntryState
from orchestrator.engine.following import Milestone, Progress
from orchestrator.journal.journal import Journal
from orchestrator.journal.records import BatchRecord

if TYPE_CHECKING:
    from orchestrator.api.telling import Surroundings


class WatchNotifier:
    """Owes and sends what there is to say of *batch* to the addresses *urls*; *only* as in `watch`."""

    def __init__(
        self,
        urls: Sequence[str],
        journal: Journal,
        around: Surroundings,
        batch: BatchRecord,
        *,
        only: Collection[str] | None,
    ) -> None:
        self._delivery = Delivery(targets_of(urls) if urls else (), journal, around)
        self._delivery.begin(batch.batch, batch.name)
        self._journal = journal
        self._only = None if only is None else frozenset(only)

    async def report_reviews(self) -> None:
        """Send every failed review of which its target has not heard; a failure of the journal is one warning."""
        if not self._delivery.targets:
            return
        try:
            failed = self._journal.entries(self._delivery.batch, states=(EntryState.REVIEW_FAILED,))
            await self._delivery.owe(
                [
                    notice_of_entry(record)
                    async for record in failed
                    if self._only is None or record.entry_id in self._only
                ]
            )
            await self._delivery.send_owed()
        except JournalError as error:
            self._delivery.complain("some address", error.message)

    async def report_end(self, until: Milestone, exit_code: ExitCode, progress: Progress) -> None:
        """Send what is still owed, and the end where nothing is under way any more; for half a minute at most."""
        if not self._delivery.targets:
            return
        with anyio.move_on_after(FLUSH_SECONDS):
            if progress.exit_code() is exit_code:
                try:
                    await self._delivery.owe([await self._end(until, exit_code, progress)])
                except JournalError as error:
                    self._delivery.complain("some address", error.message)
            await self.report_reviews()

    async def _end(self, until: Milestone, exit_code: ExitCode, progress: Progress) -> Notice:
        """The end of following to *until*; a later submission makes it another one, watching again does not."""
        newest = 0.0
        async for record in self._journal.entries(self._delivery.batch):
            if self._only is None or record.entry_id in self._only:
                newest = max(newest, record.submitted_at or 0.0)
        others = f", {progress.stuck} need attention" if progress.stuck else ""
        entries = "" if self._only is None else f" {sorted(self._only)}"
        return Notice(
            f"watched:{until}{entries}",
            NoticeKind.WATCH_FINISHED,
            f"{progress.reached} of {progress.reached + progress.stuck} entries {until}{others}; "
            f"exit code {int(exit_code)}",
            f"{progress.reached} {progress.stuck} {newest}",
        )
