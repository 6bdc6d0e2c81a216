"""Submission of jobs to review: never twice, checked by show, and behind a gate.

An entry that the service is known to refuse is held back on every path: a submitted job that passed its first review
can no longer be deleted, so this is the one step that is guarded. A film is judged from its file while that is the
one that was sent, otherwise from what was cached.

Tested by tests/engine/test_after_upload.py and tests/engine/test_gate.py.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

import anyio.to_thread

from orchestrator.domain.assets import AssetKind, Fingerprint
from orchestrator.domain.errors import DecisionNeededError, InterruptedTransferError, RequestRejectedError
from orchestrator.domain.evidence import Confirmation, Reply, reply_of_refusal
from orchestrator.domain.states import WAIT_FILE_UPLOAD, EntryState, JobGroup, group_of
from orchestrator.engine.events import Point
from orchestrator.journal.records import EntryRecord
from orchestrator.manifest.files import film_requirements
from orchestrator.metastudio.wire import Command
from orchestrator.preflight.cache import Cache
from orchestrator.preflight.films.film import judge_film, known_film, read_film
from orchestrator.preflight.look.measures import has_look

if TYPE_CHECKING:
    from orchestrator.engine.context import Run
    from orchestrator.engine.entry import ClaimedEntry
    from orchestrator.engine.steps.inquiry import Inquiry

#: The value that a manifest can require with `submit_requires`.
LOOK = "look"


class Submitter:
    """Submits confirmed jobs."""

    def __init__(self, run: Run, inquiry: Inquiry) -> None:
        self._run = run
        self._inquiry = inquiry
        #: The requirement of the batch's manifest before an entry is submitted, read from the journal with the first
        #: entry; empty for none, None before it is read.
        self._required: str | None = None

    async def submit(self, entry: ClaimedEntry) -> None:
        """Submit the job unless it has already moved on.

        A confirmed job is still in WAIT_FILE_UPLOAD; one in any other state was submitted, by us or in the console
        (metastudio-protocol section 2). Raises RequestRejectedError when the service refuses, DecisionNeededError
        when the refusal contradicts what was concluded about the videos, or when the gate holds the entry back.
        """
        is_settled = entry.record.submit_sent_at is not None and await self._has_moved_on(entry)
        if not is_settled and not self._run.settings.is_submit_forced:
            if self._required is None:
                batch = await self._run.journal.batch(self._run.batch.digest)
                self._required = (batch.submit_requires if batch else None) or ""
            await hold_back(entry.record, requires=self._required or None)
        if entry.record.state is not EntryState.SUBMITTING:
            await entry.transition(
                EntryState.SUBMITTING, "submit requested", submit_sent_at=self._run.clocks.clock()
            )
        if not is_settled:
            if any(asset.kind is AssetKind.GRANT_FILE for asset in entry.record.assets):
                try:
                    await self._command(entry, Command.CONFIRM_AUTHORIZATION_LETTER)
                except (RequestRejectedError, InterruptedTransferError) as error:
                    # Some tenants lack this command.
                    entry.warn(f"the authorization letter was not confirmed: {error.message}")
            await self._act(entry)
        # Any state that the service reports from now on is new, a second failed review too.
        await entry.transition(
            EntryState.SUBMITTED,
            "the job is with review",
            submitted_at=self._run.clocks.clock(),
            service_state=None,
            review_reason=None,
            review_code=None,
        )

    async def _act(self, entry: ClaimedEntry) -> None:
        async for attempt in entry.attempts(Command.SUBMITVERIFYING, on=InterruptedTransferError):
            refusal: RequestRejectedError | None = None
            with attempt:
                try:
                    await self._command(entry, Command.SUBMITVERIFYING)
                except RequestRejectedError as error:
                    refusal = error
            # A refusal can also mean that an earlier submit was carried out.
            if (refusal or attempt.error) and await self._has_moved_on(entry):
                return
            if refusal is not None:
                raise _contradiction(entry, refusal) or refusal

    async def _command(self, entry: ClaimedEntry, command: Command) -> None:
        with entry.step(Point(command.value.lower())):
            await self._run.client.command(entry.job_id, command, app_user_id=entry.avatar.app_user_id)

    async def _has_moved_on(self, entry: ClaimedEntry) -> bool:
        job = await self._inquiry.show(entry)
        if job is None or job.state == WAIT_FILE_UPLOAD:
            return False
        if entry.record.review_reason is None or group_of(job.state) is not JobGroup.REVIEW_FAILED:
            return True
        # An amended job stays in its failed review until it is submitted; only its history shows whether it was.
        steps = [log.log_type for log in job.operation_logs]
        updates = [place for place, step in enumerate(steps) if step == "USER_UPDATE_VIDEO"]
        return "USER_VERIFYING_SUBMITTED" in steps[updates[-1] + 1 if updates else 0 :]


def _contradiction(entry: ClaimedEntry, error: RequestRejectedError) -> DecisionNeededError | None:
    """Return the error when only a person can decide: a job that must be joined can still not be submitted."""
    confirmations = {entry.record.training_confirm, entry.record.action_confirm}
    is_about_job = reply_of_refusal(error.status, error.code) is not Reply.UNRELATED
    if Confirmation.BY_EVIDENCE not in confirmations or not is_about_job:
        return None
    return error.restated(
        DecisionNeededError,
        f"job {entry.job_id} can be neither confirmed again nor submitted: {error.message}",
        hint=f"look at the job in the console and submit it there, or: {entry.way_to_new_job}",
    )


async def hold_back(record: EntryRecord, *, requires: str | None) -> None:
    """Raise DecisionNeededError when the entry of *record* must not be submitted.

    With *requires* `look`, a look at each film is required as well.
    """
    reasons = await anyio.to_thread.run_sync(lambda: list(_reasons(record, requires)))
    if not reasons:
        return
    look = "look at the films with `orchestrator validate MANIFEST --look quick`, " if requires else ""
    raise DecisionNeededError(
        f"held back from review: {'; '.join(reasons)}",
        code="HeldBack",
        hint=f"{look}replace the film and run again, or submit it anyway with --submit-anyway",
    )


def _reasons(record: EntryRecord, requires: str | None) -> Iterator[str]:
    cache = Cache()
    try:
        for asset in record.assets:
            if not asset.kind.is_multipart:
                continue
            film = None
            with suppress(OSError):
                if asset.fingerprint.fits(Fingerprint.of(os.stat(asset.path))):  # noqa: PTH116 - as files were planned
                    film = read_film(asset.path, cache)
            # When the film that was sent is missing or changed, cached facts about it count, if there are any.
            film = film or known_film(cache, asset.fingerprint)
            for finding in judge_film(film, film_requirements(record.avatar, asset.kind)) if film else ():
                if finding.is_error:
                    yield f"{asset.kind} {finding.message} [{finding.rule}]"
            if requires == LOOK and not has_look(cache, asset.fingerprint):
                yield f"{asset.kind} was not looked at, which submit_requires asks for"
    finally:
        cache.close()
