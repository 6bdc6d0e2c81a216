"""The life of one entry: whatever happened before, its facts tell the next step."""

from __future__ import annotations

from collections import Counter
from contextlib import AsyncExitStack

import anyio

from orchestrator.domain.errors import EntryError, RetryableError, UrlExpiredError
from orchestrator.domain.service_states import STATE_OF_GROUP, group_of
from orchestrator.domain.states import EntryState, Facts, Step, next_step
from orchestrator.engine.context import Collaborators
from orchestrator.engine.entry import HeldEntry
from orchestrator.engine.steps.adopt import Adopter
from orchestrator.engine.steps.change import Changer
from orchestrator.engine.steps.confirm import Confirmer
from orchestrator.engine.steps.create import JobMaker
from orchestrator.engine.steps.inquiry import Inquiry
from orchestrator.engine.steps.submit import Submitter
from orchestrator.engine.steps.upload import Uploader


class Lifecycle:
    """Brings entries to their end, step by step."""

    def __init__(self, collaborators: Collaborators) -> None:
        """Build the steps once for all entries of the run."""
        self._with = collaborators
        #: Held by the one entry that sends to URLs which had to be renewed.
        self._renewed_turn = anyio.Lock()
        inquiry = Inquiry(collaborators)
        self._maker = JobMaker(collaborators, inquiry)
        self._steps = {
            Step.CHANGE: Changer(self._maker).change,
            Step.CREATE: Adopter(collaborators, self._maker).create,
            Step.SETTLE_CREATE: self._maker.settle,
            Step.UPLOAD: Uploader(collaborators, inquiry).upload,
            Step.CONFIRM: Confirmer(collaborators, inquiry).confirm,
            Step.SUBMIT: Submitter(collaborators, inquiry).submit,
        }

    async def advance(self, entry: HeldEntry) -> None:
        """Take steps until none is left; the entry's segments are loaded.

        Raises EntryError when the entry cannot go on, RunError when the run cannot, StoppedError when it drains.
        """
        await self._revive(entry)
        async with AsyncExitStack() as turn:
            await self._advance(entry, turn)

    async def _advance(self, entry: HeldEntry, turn: AsyncExitStack) -> None:
        failures: Counter[Step] = Counter()
        refreshes = 0
        while (step := self._next_step(entry)) is not Step.NOTHING:
            self._with.drain.check()
            try:
                await self._steps[step](entry)
            except UrlExpiredError as error:
                refreshes += 1
                if refreshes == 1:
                    # URLs that died because too much is sent at once would die again: from here on, one by one.
                    await turn.enter_async_context(self._renewed_turn)
                    self._with.drain.check()
                await self._renew_urls(entry, error, refreshes)
            except RetryableError as error:
                failures[step] += await entry.wait_before_retry(error, step, failures[step] + 1)

    def _next_step(self, entry: HeldEntry) -> Step:
        with_submit = self._with.settings.is_submit_wanted or entry.record.is_submit_wanted
        return next_step(entry.facts, with_submit=with_submit)

    async def _revive(self, entry: HeldEntry) -> None:
        """Take a failed entry up again where its facts say it stands."""
        if entry.record.state is EntryState.FAILED:
            state = resumed_state(entry.facts, entry.record.service_state)
            await entry.transition(state, "retried")

    async def _renew_urls(self, entry: HeldEntry, error: UrlExpiredError, refreshes: int) -> None:
        if refreshes > self._with.settings.url_refreshes:
            raise EntryError(
                f"upload URLs expired {refreshes} times before the files were through: {error.message}",
                code="UrlExpired",
                request_id=error.request_id,
                hint="the link is too slow for these files and URLs: use more parallel segments (-p), "
                "fewer entries at once (-j)",
            ) from None
        await self._maker.renew_urls(entry, error)
        self._with.rate.forget()


def resumed_state(facts: Facts, service_state: str | None = None) -> EntryState:
    """The state in which an entry with *facts* goes on after a failure; *service_state* is its job's."""
    if facts.is_submitted:
        # A submitted job is only changed after a failed review.
        seen = STATE_OF_GROUP.get(group_of(service_state)) if service_state else None
        return EntryState.REVIEW_FAILED if facts.change is not None else seen or EntryState.IN_REVIEW
    if facts.is_confirmed:
        return EntryState.CONFIRMED
    if facts.job_id is not None:
        return EntryState.UPLOADING if facts.segments_left else EntryState.UPLOADED
    return EntryState.CREATING if facts.create_tag is not None else EntryState.PENDING
