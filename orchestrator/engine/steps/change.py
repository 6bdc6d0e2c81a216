"""Bringing a job in line with what the manifest says now."""

from __future__ import annotations

from typing import NoReturn

from orchestrator.domain.errors import DecisionNeededError, RequestRejectedError
from orchestrator.domain.states import Change
from orchestrator.engine.entry import HeldEntry
from orchestrator.engine.steps.create import JobMaker


class Changer:
    """Carries out the change that an entry's plan asks for; the plan itself is in the journal already."""

    def __init__(self, maker: JobMaker) -> None:
        """Update, delete and create through *maker*."""
        self._maker = maker

    async def change(self, entry: HeldEntry) -> None:
        """Update the job, or replace it; afterwards the entry uploads what the job now lacks.

        Raises DecisionNeededError, with the old plan back in its place, when the service does not let the job
        be changed in the way that was chosen.
        """
        wanted = entry.record.change_wanted
        if wanted is Change.RECREATE or not await self._maker.reopen(entry):
            await self._replace(entry, wanted)

    async def _replace(self, entry: HeldEntry, wanted: Change | None) -> None:
        if wanted is Change.UPDATE and entry.record.confirmed_at is not None:
            await _refuse(
                entry,
                DecisionNeededError(
                    "the service does not let this job be updated in its present state",
                    hint="run with --on-change recreate to delete the job and make a new one, "
                    "or put the manifest and the files back as they were",
                ),
            )
        try:
            await self._maker.replace(entry, "the job was deleted to be made again from the changed manifest")
        except RequestRejectedError as error:
            refusal = error.restated(
                DecisionNeededError,
                f"the job can neither be updated nor deleted: {error.message}",
                hint="put the manifest and the files back as they were, and give the new footage an entry of its own",
            )
            await _refuse(entry, refusal)


async def _refuse(entry: HeldEntry, refusal: DecisionNeededError) -> NoReturn:
    """Put the plan back that the job was made from: what is stored is what that plan says."""
    if entry.record.change_wanted is not Change.AMEND:
        await entry.put_plan_back()
    raise refusal from None
