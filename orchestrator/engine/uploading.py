"""Sending an entry's segments: what is left of them, each until it has its receipt."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

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
    UrlExpiredError,
)
from orchestrator.domain.presigned import PresignedUrl
from orchestrator.domain.receipts import Receipt
from orchestrator.domain.states import EntryState
from orchestrator.engine.collaborators import Collaborators
from orchestrator.engine.entry import HeldEntry
from orchestrator.engine.events import EventBus, SegmentProgressed
from orchestrator.engine.inquiry import Inquiry
from orchestrator.journal.records import SegmentRecord

#: One sends while what the other has sent is written down, or what it will send.
_WORKERS_PER_PUT: Final = 2

#: Of the account's quota and balance a store knows nothing.
_REFUSED_HINT: Final = (
    "the store refuses an upload URL that the service has just issued: look for a proxy that changes requests, "
    "then run again; if it stays, send the vendor the request id"
)


class Uploader:
    """Uploads entries; the number of PUTs at once is the run's."""

    def __init__(self, collaborators: Collaborators, inquiry: Inquiry) -> None:
        """Send with the run's sender; ask through *inquiry* where an answer was lost."""
        self._with = collaborators
        self._inquiry = inquiry

    async def upload(self, entry: HeldEntry) -> None:
        """Send every segment that has no receipt; segments already journalled stay journalled."""
        if not entry.is_reconciled:
            await self._reconcile(entry)
        await _Sending(entry, self._with, self._inquiry).send(entry.segments_left())
        await entry.transition(EntryState.UPLOADED, "every segment is stored")

    async def _reconcile(self, entry: HeldEntry) -> None:
        """Take over what the service holds although the journal has no receipt for it."""
        for kind in (AssetKind.TRAINING_VIDEO, AssetKind.ACTION_VIDEO):
            left = [segment for segment in entry.segments_left() if segment.kind is kind]
            held = await self._inquiry.held_parts(entry, kind) if left else None
            for segment in left if held else ():
                etag = (held or {}).get(segment.segment.part_number)
                receipt = await self._inquiry.compared(entry, segment, etag)
                if receipt is not None:
                    await entry.stored(segment, receipt, attempt=0, seconds=0.0)
        entry.is_reconciled = True


class _Sending:
    """Sends segments of one entry; after the first failure it begins no other."""

    def __init__(self, entry: HeldEntry, collaborators: Collaborators, inquiry: Inquiry) -> None:
        self._entry = entry
        self._with = collaborators
        self._inquiry = inquiry
        self._failures: list[OrchestratorError] = []

    async def send(self, left: Sequence[SegmentRecord]) -> None:
        """Share *left* among workers; raises what failed first."""
        remaining = iter(left)
        workers = _WORKERS_PER_PUT * self._with.settings.most_parallel
        async with anyio.create_task_group() as group:
            for _ in range(min(workers, len(left))):
                group.start_soon(self._work, remaining, group.cancel_scope)
        if self._failures:
            raise self._failures[0]

    async def _work(self, remaining: Iterator[SegmentRecord], scope: anyio.CancelScope) -> None:
        for segment in remaining:
            if self._failures:
                return
            try:
                await self._send(segment)
            except OrchestratorError as error:
                self._failures.append(error)
                # Dead URLs make the other segments' bytes worthless; else what is on its way may arrive.
                if isinstance(error, UrlExpiredError):
                    scope.cancel()

    async def _send(self, segment: SegmentRecord) -> None:
        began = self._with.monotonic()
        doubt = _Doubt.of(segment)
        attempt = 1
        while True:
            self._with.drain.check()
            try:
                receipt = await self._attempt(segment, doubt)
                break
            except RetryableError as error:
                doubt.learn(error)
                attempt += await self._entry.wait_before_retry(error, "put", attempt, segment)
        # The store has the segment: a cancelled worker must not lose the receipt.
        with anyio.CancelScope(shield=True):
            seconds = self._with.monotonic() - began
            await self._entry.stored(segment, receipt, attempt=attempt, seconds=seconds)

    async def _attempt(self, segment: SegmentRecord, doubt: _Doubt) -> Receipt:
        """Send once; where the outcome is unclear the service is asked before anything is declared."""
        try:
            return await self._put(segment, doubt)
        except RefusedUploadError as error:
            receipt = await self._inquiry.receipt_for(self._entry, segment)
            return receipt or await self._refused(segment, error, doubt)
        except InterruptedTransferError as error:
            receipt = await self._inquiry.receipt_for(self._entry, segment) if error.is_body_sent else None
            if receipt is None:
                raise
            self._with.outages.put_arrived(_host(segment))
            return receipt

    async def _refused(self, segment: SegmentRecord, error: RefusedUploadError, doubt: _Doubt) -> Receipt:
        """Judge a refusal where the service does not tell that it holds the segment.

        A used-up or dead URL calls for fresh ones. No call lists single files: one that was sent whole is
        taken for stored, unverified (metastudio-protocol section 7), unless what the service shows disproves
        it. A URL refused at its first use is an error.
        """
        is_likely_held = doubt.is_sent_whole and not (doubt.is_spoilt or segment.kind.is_multipart)
        if is_likely_held and not await self._inquiry.disproves(self._entry, segment):
            self._entry.warn(
                f"{segment.kind} is stored but unverified: its answer was lost and its URL is used up"
            )
            return Receipt(etag=None, md5=None, is_verified=False)
        if doubt.may_be_held or error.status == 404:
            raise UrlExpiredError(error.message, code=error.code, request_id=error.request_id) from None
        raise RequestRejectedError(
            error.message,
            code=error.code,
            request_id=error.request_id,
            hint=error.hint or _REFUSED_HINT,
            status=error.status,
        ) from None

    def _living_url(self, segment: SegmentRecord) -> PresignedUrl:
        """The segment's URL; raises UrlExpiredError when the PUT could not finish before it dies."""
        url = segment.url
        if url is None:
            raise UrlExpiredError(f"the upload URL of {segment.kind} is no longer known")
        if url.expires_at is not None:
            needed = self._with.rate.seconds_for(segment.segment.length)
            if self._with.clock() + needed >= url.expires_at:
                raise UrlExpiredError(f"the upload URL of {segment.kind} has expired or soon will")
        return url

    async def _put(self, segment: SegmentRecord, doubt: _Doubt) -> Receipt:
        progress = _Progress(self._entry, segment, self._with.events)
        pace = self._with.bandwidth.share(self._entry.entry_id)
        await self._note_start(segment, doubt)
        subject = (self._entry.entry_id, segment.kind, segment.segment.part_number)
        async with self._with.outages.put(
            _host(segment), subject, lambda: self._with.slots.slot(self._entry.entry_id)
        ):
            # It may have waited long for its turn: what held before need not hold now.
            self._check()
            url = self._living_url(segment)
            began = self._with.monotonic()
            try:
                with self._entry.step("put", segment):
                    receipt = await self._with.sender.put(
                        self._entry.asset(segment.kind), segment.segment, url, progress.add, pace
                    )
            except BaseException:
                progress.take_back()
                raise
        self._with.rate.add(segment.segment.length, self._with.monotonic() - began)
        return receipt

    def _check(self) -> None:
        """Raise StoppedError when nothing of the entry is to be begun any more."""
        self._with.drain.check()
        if self._failures:
            raise StoppedError("another segment of the entry failed")

    async def _note_start(self, segment: SegmentRecord, doubt: _Doubt) -> None:
        """Keep, once, that from now on the store may have the segment.

        Before its turn comes: a commit takes longer than many a connection needs to run dry.
        """
        if doubt.is_start_noted:
            return
        with self._entry.step("journal.started", segment):
            await self._with.journal.segment_started(
                self._entry.record, segment.kind, segment.segment.part_number
            )
        doubt.is_start_noted = True


def _host(segment: SegmentRecord) -> str:
    return segment.url.host if segment.url else ""


@dataclass(slots=True)
class _Doubt:
    """What the store may hold of a segment that has no receipt."""

    is_start_noted: bool
    may_be_held: bool  #: every byte of it may have arrived
    is_sent_whole: bool = False  #: every byte of it was handed over in this run
    is_spoilt: bool = False  #: the store told the ETag of other bytes

    @classmethod
    def of(cls, segment: SegmentRecord) -> _Doubt:
        """What an earlier run leaves open."""
        is_begun = segment.started_at is not None
        return cls(is_start_noted=is_begun, may_be_held=is_begun)

    def learn(self, error: RetryableError) -> None:
        """Take into account how an attempt failed."""
        self.is_spoilt |= isinstance(error, ETagMismatchError)
        self.is_sent_whole |= isinstance(error, InterruptedTransferError) and error.is_body_sent
        self.may_be_held |= self.is_spoilt or self.is_sent_whole


class _Progress:
    """Publishes the bytes of one attempt, and takes them back when it fails."""

    def __init__(self, entry: HeldEntry, segment: SegmentRecord, events: EventBus) -> None:
        self._entry = entry
        self._segment = segment
        self._events = events
        self._bytes = 0

    def add(self, count: int) -> None:
        self._bytes += count
        self._events.publish(
            SegmentProgressed(
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
