"""Sending the segments of an entry that have no receipt yet.

Tested by tests/faults/test_store_faults.py and tests/faults/test_evidence.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import anyio

from orchestrator.domain.assets import AssetKind
from orchestrator.domain.errors import (
    ETagMismatchError,
    InterruptedTransferError,
    OrchestratorError,
    RefusedUploadError,
    RequestRejectedError,
    RetryableError,
    StoppedError,
    UnmarkedAnswerError,
    UrlExpiredError,
)
from orchestrator.domain.evidence import Evidence, Receipt
from orchestrator.domain.states import EntryState
from orchestrator.engine.entry import check_hold
from orchestrator.engine.events import Point, SegmentProgressed
from orchestrator.engine.steps.inquiry import UNKNOWN, Inquiry, SegmentFinding
from orchestrator.journal.records import SegmentRecord

if TYPE_CHECKING:
    from orchestrator.engine.context import Run
    from orchestrator.engine.entry import ClaimedEntry
    from orchestrator.engine.events import EventBus

#: While one worker sends, another writes to the journal.
_WORKERS_PER_PUT: Final = 2
#: The number of refusals of a file in doubt after which its URL counts as used: a single refusal may be a temporary
#: fault.
_TELLING_REFUSALS: Final = 3
#: The store's code for an upload that was joined or cancelled (metastudio-protocol section 5.3). A 404 without it may
#: come from an intermediary, and is no reason to replace a job.
_UPLOAD_IS_OVER: Final = "NoSuchUpload"
#: The number of successes in a row after which a file counts as stored when no answer has a mark of the store. More
#: are needed once an intermediary was seen to answer in its place.
_UNMARKED_SENDS: Final = 2
_UNMARKED_SENDS_IN_DOUBT: Final = 4

#: The hint mentions no quota or balance, because the store knows nothing about the account's.
_REFUSED_HINT: Final = (
    "the store refuses an upload URL that the service has just issued: look for a proxy that changes requests, "
    "then run again; if it stays, send the vendor the request id"
)


class Uploader:
    """Uploads entries; the run limits the number of concurrent PUTs."""

    def __init__(self, run: Run, inquiry: Inquiry) -> None:
        self._run = run
        self._inquiry = inquiry

    async def upload(self, entry: ClaimedEntry) -> None:
        """Send every segment that has no receipt; journaled receipts are kept.

        Single files go before films, and small ones first: a kill then leaves only kilobytes in doubt, and a job
        that cannot take one of them has not cost a film yet. Single files that a stop left in doubt come last: a
        refusal by their URLs only means something while the store accepts others.
        """
        if not entry.is_reconciled:
            # The service may hold segments for which the journal has no receipt.
            open_segments = entry.segments_left()
            for kind in (AssetKind.TRAINING_VIDEO, AssetKind.ACTION_VIDEO):
                mine = [segment for segment in open_segments if segment.kind is kind]
                if not mine:
                    continue
                parts = await self._inquiry.part_list(entry, kind)
                for segment in mine if parts.held else ():
                    is_started = segment.started_at is not None
                    finding = await self._inquiry.find_listed(entry, segment, parts, is_started=is_started)
                    await self._take_over(entry, segment, finding)
            for segment in open_segments:
                if segment.started_at is not None and not segment.kind.is_multipart:
                    await self._take_over(entry, segment, await self._inquiry.find(entry, segment))
            entry.is_reconciled = True
        sending = _Sending(entry, self._run, self._inquiry)
        left = sorted(entry.segments_left(), key=lambda segment: segment.segment.length)
        singles = [segment for segment in left if not segment.kind.is_multipart]
        await sending.send([segment for segment in singles if segment.started_at is None])
        await sending.send([segment for segment in entry.segments_left() if segment.kind.is_multipart])
        await sending.send([segment for segment in singles if segment.started_at is not None])
        await entry.transition(EntryState.UPLOADED, "every segment is stored")

    async def _take_over(self, entry: ClaimedEntry, segment: SegmentRecord, finding: SegmentFinding) -> None:
        if finding.receipt is not None:
            await entry.stored(segment, finding.receipt, attempt=0)


class _Sending:
    """Sends segments of one entry; after the first failure it starts no more."""

    def __init__(self, entry: ClaimedEntry, run: Run, inquiry: Inquiry) -> None:
        self._entry = entry
        self._run = run
        self._inquiry = inquiry
        # Parsed once for all parts: a film has up to a thousand, and the journal stores assets as text.
        self._assets = {asset.kind: asset for asset in entry.record.assets}
        self._failures: list[OrchestratorError] = []
        self._has_proved_unmarked = False

    async def send(self, left: Sequence[SegmentRecord]) -> None:
        """Share the segments *left* among workers; raise the first failure."""
        if not left:
            return
        remaining = iter(left)
        workers = min(_WORKERS_PER_PUT * self._run.settings.max_parallel, len(left))
        async with anyio.create_task_group() as group:
            # This task is one of the workers, because most files are one segment.
            for _ in range(workers - 1):
                group.start_soon(self._work, remaining, group.cancel_scope)
            await self._work(remaining, group.cancel_scope)
        if self._failures:
            raise self._failures[0]

    async def _work(self, remaining: Iterator[SegmentRecord], scope: anyio.CancelScope) -> None:
        for segment in remaining:
            if self._failures:
                return
            began = self._run.clocks.monotonic()
            doubt = _Doubt.of(segment)
            try:
                async for attempt in self._entry.attempts("put", segment):
                    with attempt:
                        self._run.drain.check()
                        receipt = await self._attempt(segment, doubt)
                    if attempt.error is not None:
                        doubt.learn(attempt.error)
                # The store has the segment: a cancelled worker must not lose the receipt.
                with anyio.CancelScope(shield=True):
                    seconds = self._run.clocks.monotonic() - began
                    await self._entry.stored(
                        segment,
                        receipt,
                        attempt=attempt.number,
                        seconds=seconds,
                        put_seconds=doubt.put_seconds,
                    )
            except OrchestratorError as error:
                self._failures.append(error)
                # Expired URLs make the other segments' bytes worthless; otherwise running PUTs may finish.
                if isinstance(error, UrlExpiredError):
                    scope.cancel()

    async def _attempt(self, segment: SegmentRecord, doubt: _Doubt) -> Receipt:
        """Send once; when the outcome is unclear, ask the service before deciding it."""
        try:
            return await self._put(segment, doubt)
        except RefusedUploadError as error:
            finding = await self._inquiry.find(self._entry, segment)
            return finding.receipt or self._refused(segment, error, doubt, finding)
        except UnmarkedAnswerError as error:
            return await self._unmarked(segment, error, doubt)
        except InterruptedTransferError as error:
            found = await self._inquiry.find(self._entry, segment) if error.is_body_sent else UNKNOWN
            if found.receipt is None:
                raise
            self._run.outages.put_arrived(_host(segment))
            return found.receipt

    async def _unmarked(self, segment: SegmentRecord, error: UnmarkedAnswerError, doubt: _Doubt) -> Receipt:
        """Judge a success that may not come from the store; raise *error* when another attempt is needed.

        If an intermediary strips the marks from all answers, those of parts lack them too. The service's list then
        proves all parts at once, before the confirm.
        """
        if segment.kind.is_multipart and error.receipt is not None:
            known = [each.receipt.evidence for each in self._entry.segments if each.receipt is not None]
            is_stripped = self._has_proved_unmarked or Evidence.UNMARKED in known
            # One marked answer shows that nothing strips the marks.
            if is_stripped and Evidence.ACKNOWLEDGED not in known:
                return error.receipt
        finding = await self._inquiry.find(self._entry, segment)
        if finding.receipt is not None:
            self._has_proved_unmarked = True
            return finding.receipt
        doubt.learn_of_success(is_intercepted=error.receipt is None)
        if error.receipt is None or finding.is_absent or not doubt.is_taken_often_enough:
            raise error
        return error.receipt

    def _refused(
        self, segment: SegmentRecord, error: RefusedUploadError, doubt: _Doubt, finding: SegmentFinding
    ) -> Receipt:
        """Judge a refusal when the service does not report that it holds the segment.

        A used or expired URL calls for fresh URLs. No call lists single files, so one that was sent whole counts as
        stored, unverified (metastudio-protocol section 7), unless what the service shows disproves it. A file that an
        earlier run may have sent counts as well, after repeated refusals. A URL refused at its first use is an error.
        """
        doubt.refusals += 1
        is_possible = not (doubt.is_spoilt or finding.is_absent)
        if is_possible and not segment.kind.is_multipart and doubt.may_be_held:
            if doubt.is_sent_whole or doubt.refusals >= _TELLING_REFUSALS:
                return _used_up()
            raise error.restated(RetryableError) from None
        if is_possible and doubt.unmarked_answers:
            return _used_up()
        if doubt.may_be_held or error.code == _UPLOAD_IS_OVER:
            raise error.restated(UrlExpiredError) from None
        raise error.restated(RequestRejectedError, hint=error.hint or _REFUSED_HINT) from None

    async def _put(self, segment: SegmentRecord, doubt: _Doubt) -> Receipt:
        """Wait for a slot and send the segment; raise UrlExpiredError when its URL would expire during the PUT."""
        progress = _Progress(self._entry, segment, self._run.events)
        pace = self._run.work.bandwidth.share(self._entry.entry_id)
        if not doubt.is_start_noted:
            # Before the slot is taken: during a commit many connections would run dry.
            with self._entry.step(Point.WRITE_STARTED, segment):
                await self._run.journal.segment_started(
                    self._entry.record, segment.kind, segment.segment.part_number
                )
            doubt.is_start_noted = True
        subject = (self._entry.entry_id, segment.kind, segment.segment.part_number)
        async with self._run.outages.put(
            _host(segment), subject, lambda: self._run.slots.slot(self._entry.entry_id)
        ):
            # The wait for a slot may have been long, so conditions are checked again.
            self._run.drain.check()
            if self._failures:
                raise StoppedError("another segment of the entry failed")
            url = segment.url
            if url is None:
                raise UrlExpiredError(f"the upload URL of {segment.kind} is no longer known")
            if url.expires_at is not None:
                # Raises ConfigurationError when the URL has expired only by this machine's clock.
                service_time = self._run.connection.service_time
                service_time.check_alive([url.expires_at])
                needed = self._run.rate.seconds_for(segment.segment.length)
                if service_time.now() + needed >= url.expires_at:
                    raise UrlExpiredError(f"the upload URL of {segment.kind} has expired or soon will")
            began = self._run.clocks.monotonic()
            try:
                with self._entry.step(Point.PUT, segment):
                    await check_hold()
                    receipt = await self._run.sender.put(
                        self._assets[segment.kind], segment.segment, url, progress.add, pace
                    )
            except BaseException:
                progress.take_back()
                raise
            finally:
                doubt.put_seconds = self._run.clocks.monotonic() - began
        self._run.rate.add(segment.segment.length, doubt.put_seconds)
        return receipt


def _host(segment: SegmentRecord) -> str:
    return segment.url.host if segment.url else ""


@dataclass(slots=True)
class _Doubt:
    """This run's knowledge of a segment without a receipt: what the store may hold, and the answers so far."""

    is_start_noted: bool
    may_be_held: bool  #: every byte may have arrived, in this run or an earlier one
    is_sent_whole: bool = False  #: every byte was handed over in this run
    is_spoilt: bool = False  #: the store returned the ETag of other bytes
    unmarked_answers: int = 0  #: successes in this run that may not come from the store
    unmarked_in_a_row: int = 0  #: those since one that certainly did not come from it
    is_intercepted: bool = False  #: one of them certainly did not come from it
    refusals: int = 0  #: in this run
    put_seconds: float = 0.0  #: the duration of its last PUT

    @classmethod
    def of(cls, segment: SegmentRecord) -> _Doubt:
        """Return the doubt that an earlier run left about *segment*."""
        is_begun = segment.started_at is not None
        return cls(is_start_noted=is_begun, may_be_held=is_begun)

    @property
    def is_taken_often_enough(self) -> bool:
        """True when another success without a mark would prove no more."""
        needed = _UNMARKED_SENDS_IN_DOUBT if self.is_intercepted else _UNMARKED_SENDS
        return self.unmarked_in_a_row >= needed

    def learn_of_success(self, *, is_intercepted: bool) -> None:
        """Record a success without a mark of the store."""
        self.unmarked_answers += 1
        self.unmarked_in_a_row = 0 if is_intercepted else self.unmarked_in_a_row + 1
        self.is_intercepted |= is_intercepted

    def learn(self, error: RetryableError) -> None:
        """Record a failed attempt."""
        self.is_spoilt |= isinstance(error, ETagMismatchError)
        self.is_sent_whole |= isinstance(error, InterruptedTransferError) and error.is_body_sent
        self.may_be_held |= self.is_spoilt or self.is_sent_whole


def _used_up() -> Receipt:
    return Receipt(etag=None, md5=None, is_verified=False, evidence=Evidence.USED_UP)


class _Progress:
    """Publishes the bytes of one attempt, and subtracts them when it fails."""

    def __init__(self, entry: ClaimedEntry, segment: SegmentRecord, events: EventBus) -> None:
        self._entry = entry
        self._segment = segment
        self._events = events
        self._bytes = 0

    def add(self, count: int) -> None:
        self._bytes += count
        self._events.publish(
            SegmentProgressed(
                batch=self._entry.batch_name,
                entry=self._entry.entry_id,
                job_id=self._entry.record.job_id,
                asset=self._segment.kind,
                part_number=self._segment.segment.part_number,
                bytes=count,
            )
        )

    def take_back(self) -> None:
        if self._bytes:
            self.add(-self._bytes)
