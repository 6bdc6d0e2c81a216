"""Bringing a job in line with what the manifest says now."""

from __future__ import annotations

from orchestrator.domain.errors import DecisionNeededError, RequestRejectedError
from orchestrator.domain.states import Change
from orchestrator.engine.creating import JobMaker
from orchestrator.engine.entry import HeldEntry


class Changer:
    """Carries out the change that an entry's plan asks for; the plan itself is in the journal already."""

    def __init__(self, maker: JobMaker) -> None:
        """Update, delete and create through *maker*."""
        self._maker = maker

    async def change(self, entry: HeldEntry) -> None:
        """Update the job, or replace it; afterwards the entry uploads what the job now lacks.

        Raises DecisionNeededError when the service does not let the job be changed in the way that was chosen.
        """
        wanted = entry.record.change_wanted
        if wanted is Change.RECREATE or not await self._maker.reopen(entry):
            await self._replace(entry, wanted)

    async def _replace(self, entry: HeldEntry, wanted: Change | None) -> None:
        if wanted is Change.UPDATE:
            raise DecisionNeededError(
                "the service does not let this job be updated in its present state",
                hint="run with --on-change recreate to delete the job and make it anew",
            )
        try:
            await self._maker.replace(entry, "the job was deleted to be made anew from the changed manifest")
        except RequestRejectedError as error:
            raise DecisionNeededError(
                f"the job can neither be updated nor deleted: {error.message}",
                code=error.code,
                request_id=error.request_id,
                hint="it has gone too far; leave it, and give the new footage an entry of its own",
            ) from None
