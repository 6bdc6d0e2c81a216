"""The lifecycle of one entry: its facts alone decide the next step, and its end is an Outcome."""

from __future__ import annotations

import logging
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

import anyio
import anyio.to_thread

from orchestrator.domain.errors import (
    EntryError,
    OrchestratorError,
    RetryableError,
    RunError,
    SourceChangedError,
    StaleEpochError,
    StoppedError,
    UrlExpiredError,
)
from orchestrator.domain.retry import Attempts
from orchestrator.domain.states import STATE_OF_GROUP, EntryState, Facts, Step, group_of, is_done, next_step
from orchestrator.engine.entry import ClaimedEntry
from orchestrator.engine.events import EntryFinished, EntryStarted, Point
from orchestrator.engine.steps.adopt import Adopter
from orchestrator.engine.steps.confirm import Confirmer
from orchestrator.engine.steps.create import Changer, JobMaker
from orchestrator.engine.steps.inquiry import Inquiry
from orchestrator.engine.steps.submit import Submitter
from orchestrator.engine.steps.upload import Uploader
from orchestrator.journal.records import EntryRecord
from orchestrator.transfer.reader import check_unchanged

if TYPE_CHECKING:
    from orchestrator.engine.context import Run

#: The standard library's logger, because most runs log nothing and need not load another.
log = logging.getLogger(__name__)

#: The limit for checking an entry's files: a network share without its server never answers and blocks the thread.
FILE_CHECK_SECONDS: Final = 30.0
_FILE_CHECKS_AT_ONCE: Final = 8


class End(StrEnum):
    """The way in which a worker's time with an entry ended."""

    DONE = "done"  #: everything the run was to do is done
    FAILED = "failed"  #: it cannot continue; the journal has the error
    STOPPED = "stopped"  #: the run stops; a later run continues it
    LOST = "lost"  #: this worker does not hold it: another worker took it over, or the claim failed
    HANDED_BACK = "handed back"  #: this host cannot use its files; another may


@dataclass(frozen=True, slots=True)
class Outcome:
    """The end of an entry and the error behind it; a stopped entry has an error only if that must end the run."""

    end: End
    error: OrchestratorError | None = None


class Lifecycle:
    """Brings entries to their end, step by step."""

    def __init__(self, run: Run) -> None:
        self._run = run
        #: Held by an entry whose URLs had to be renewed, so that only one such entry uploads at once.
        self._renewed_turn = anyio.Lock()
        self._file_checks = anyio.CapacityLimiter(_FILE_CHECKS_AT_ONCE)
        inquiry = Inquiry(run)
        self._maker = JobMaker(run, inquiry)
        self._steps = {
            Step.CHANGE: Changer(self._maker).change,
            Step.CREATE: Adopter(run, self._maker).create,
            Step.SETTLE_CREATE: self._maker.settle,
            Step.UPLOAD: Uploader(run, inquiry).upload,
            Step.CONFIRM: Confirmer(run, inquiry).confirm,
            Step.SUBMIT: Submitter(run, inquiry).submit,
        }

    async def bring_to_its_end(self, record: EntryRecord) -> Outcome:
        """Claim the entry, take its steps until none remains, and return the outcome.

        This is the boundary that contains an entry's failure: the failure is journaled here, and nothing but a
        cancellation leaves this method.
        """
        entry: ClaimedEntry | None = None
        try:
            claimed = ClaimedEntry(record, self._run)
            await self._require_files(record)
            with claimed.step(Point.WRITE_CLAIM):
                claimed.record = await self._run.journal.claim(record)
            # From here on this worker must journal a failure.
            entry = claimed
            await self._advance(entry)
        except StoppedError:
            return Outcome(End.STOPPED)
        except StaleEpochError as error:
            return _lost(record, error)
        except RunError as error:
            return Outcome(End.STOPPED, error)
        except OrchestratorError as error:
            return await self._failed(record, entry, error)
        except Exception:
            log.exception(
                "entry.crashed",
                extra={
                    "fields": {
                        "batch": self._run.batch.name,
                        "entry": record.entry_id,
                        "job_id": record.job_id,
                    }
                },
            )
            return await self._failed(
                record,
                entry,
                OrchestratorError(
                    f"an unexpected error stopped entry {record.entry_id}",
                    code="Internal",
                    hint="the log has the details (-v, --log-file); please report it",
                ),
            )
        finally:
            # Also when another worker has the entry by now, or the run stops: this worker is finished with it.
            if entry is not None:
                self._finished(entry)
        return Outcome(End.DONE)

    async def _require_files(self, record: EntryRecord) -> None:
        """Raise SourceChangedError when this host, one of a fleet, cannot use the entry's files.

        The check comes before any work. A run without a fleet finds out as it works; a confirmed entry no longer
        needs its files.
        """
        if self._run.host is None or (record.confirmed_at is not None and record.change_wanted is None):
            return
        with anyio.move_on_after(FILE_CHECK_SECONDS) as looking, suppress(RetryableError):
            # A temporary lack of descriptors is no reason: the steps wait for them.
            await anyio.to_thread.run_sync(
                check_unchanged, record.assets, limiter=self._file_checks, abandon_on_cancel=True
            )
        if looking.cancelled_caught:
            raise SourceChangedError(f"its files did not answer within {FILE_CHECK_SECONDS:.0f} s")

    async def _advance(self, entry: ClaimedEntry) -> None:
        """Take steps until none remains.

        Raises EntryError when the entry cannot continue, RunError when the run cannot, StoppedError when it drains.
        """
        await entry.load_segments()
        self._run.events.publish(
            EntryStarted(
                batch=entry.batch_name,
                entry=entry.entry_id,
                job_id=entry.record.job_id,
                state=entry.record.state,
                bytes_total=entry.record.bytes,
                bytes_left=entry.record.bytes - entry.stored_bytes(),
            )
        )
        if entry.record.state is EntryState.FAILED:
            await entry.transition(resumed_state(entry.facts, entry.record.service_state), "retried")
        # One count per step: a confirm that finds parts missing goes back to the upload and may then fail again.
        attempts: dict[Step, Attempts] = {}
        refreshes = 0
        async with AsyncExitStack() as turn:
            while True:
                # Read from the record each time: a submit may be requested while the entry is worked on.
                step = next_step(entry.facts, with_submit=entry.is_submit_wanted)
                if step is Step.NOTHING:
                    break
                self._run.drain.check()
                try:
                    await self._steps[step](entry)
                except UrlExpiredError as error:
                    refreshes += 1
                    if refreshes == 1:
                        # URLs that expired because too much was sent at once would expire again: upload one by one.
                        await turn.enter_async_context(self._renewed_turn)
                        self._run.drain.check()
                    if refreshes > self._run.settings.url_refreshes:
                        raise EntryError(
                            f"upload URLs expired {refreshes} times before the files were uploaded: {error.message}",
                            code="UrlExpired",
                            request_id=error.request_id,
                            hint="the link is too slow for these files and URLs: use more parallel segments (-p), "
                            "fewer entries at once (-j)",
                        ) from None
                    await self._maker.renew_urls(entry, error)
                    self._run.rate.forget()
                except RetryableError as error:
                    await attempts.setdefault(step, entry.attempts(step)).wait_after(error)

    async def _failed(
        self, record: EntryRecord, entry: ClaimedEntry | None, error: OrchestratorError
    ) -> Outcome:
        is_for_others = self._run.host is not None and isinstance(error, SourceChangedError)
        if entry is None and not is_for_others:
            return Outcome(End.LOST, error)
        try:
            if is_for_others:
                await (entry or ClaimedEntry(record, self._run)).hand_back(error)
            elif entry is not None:
                await entry.failed(error)
        except StaleEpochError as stale:
            return _lost(record, stale)
        except RunError as failure:
            return Outcome(End.STOPPED, failure)
        return Outcome(End.HANDED_BACK if is_for_others else End.FAILED, error)

    def _finished(self, entry: ClaimedEntry) -> None:
        state = entry.record.state
        self._run.events.publish(
            EntryFinished(
                batch=entry.batch_name,
                entry=entry.entry_id,
                job_id=entry.record.job_id,
                state=state,
                is_done=is_done(state, with_submit=entry.is_submit_wanted),
            )
        )


def _lost(record: EntryRecord, error: StaleEpochError) -> Outcome:
    log.warning("entry.taken_over", extra={"fields": {"entry": record.entry_id, "reason": error.message}})
    return Outcome(End.LOST, error)


def resumed_state(facts: Facts, service_state: str | None = None) -> EntryState:
    """Return the state in which an entry with *facts* continues after a failure; *service_state* is its job's."""
    if facts.is_submitted:
        # A submitted job is only changed after a failed review.
        seen = STATE_OF_GROUP.get(group_of(service_state)) if service_state else None
        return EntryState.REVIEW_FAILED if facts.change is not None else seen or EntryState.IN_REVIEW
    if facts.is_confirmed:
        return EntryState.CONFIRMED
    if facts.job_id is not None:
        return EntryState.UPLOADING if facts.segments_left else EntryState.UPLOADED
    return EntryState.CREATING if facts.create_tag is not None else EntryState.PENDING
