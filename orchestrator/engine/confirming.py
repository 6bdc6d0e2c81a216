"""Telling the service that all parts are there: ask, act, ask again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NoReturn

import anyio.to_thread

from orchestrator.domain.assets import Asset, AssetKind
from orchestrator.domain.errors import (
    DecisionNeededError,
    InterruptedTransferError,
    RequestRejectedError,
    RetryableError,
)
from orchestrator.domain.segments import MAX_AUTO_PARTS
from orchestrator.domain.states import EntryState
from orchestrator.engine.collaborators import Collaborators
from orchestrator.engine.delivery import DeliveryCheck
from orchestrator.engine.entry import HeldEntry
from orchestrator.engine.inquiry import Inquiry
from orchestrator.journal.records import SegmentRecord
from orchestrator.metastudio.requests import Command
from orchestrator.transfer.source import Source

#: The action video first, as the vendor's library documents it (metastudio-protocol section 0, fact 2).
_CONFIRM_COMMANDS = {
    AssetKind.ACTION_VIDEO: Command.CONFIRM_ACTION_VIDEO_MULTIPART_UPLOADED,
    AssetKind.TRAINING_VIDEO: Command.CONFIRM_MULTIPART_UPLOADED,
}


class Confirmer:
    """Confirms a job once the service holds every part as the files are now."""

    def __init__(self, collaborators: Collaborators, inquiry: Inquiry) -> None:
        """Act through the run's client, ask through *inquiry*."""
        self._with = collaborators
        self._inquiry = inquiry
        self._delivery = DeliveryCheck(
            inquiry, collaborators.probe, is_required=collaborators.settings.is_object_verified
        )

    async def confirm(self, entry: HeldEntry) -> None:
        """Confirm both videos.

        Raises RetryableError, and the entry is uploading again, when the service lacks parts;
        SourceChangedError when a file is not the one that was sent, RequestRejectedError when the
        service refuses, DecisionNeededError when its answers leave open what it holds, EntryError when an
        object that can be looked at is not what was sent.
        """
        await anyio.to_thread.run_sync(_check_unchanged, entry.record.assets)
        is_repeat = entry.record.confirm_sent_at is not None
        kinds = [
            kind for kind in _CONFIRM_COMMANDS if any(asset.kind is kind for asset in entry.record.assets)
        ]
        apart = [kind for kind in kinds if not (is_repeat and await self._inquiry.is_joined(entry, kind))]
        missing = await self._missing(entry, apart)
        if missing:
            await self._send_again(entry, missing)
        await self._intend(entry)
        for kind in apart:
            await self._join(entry, kind, is_repeat=is_repeat)
        delivered = await self._delivery.verdict(entry)
        await entry.confirmed("the service has joined the parts", delivered)

    async def _intend(self, entry: HeldEntry) -> None:
        if entry.record.state is EntryState.UPLOADING:
            await entry.transition(EntryState.UPLOADED, "every segment is stored")
        if entry.record.state is not EntryState.CONFIRMING:
            await entry.transition(
                EntryState.CONFIRMING, "the service holds every part", confirm_sent_at=self._with.clock()
            )

    async def _missing(self, entry: HeldEntry, kinds: Sequence[AssetKind]) -> list[SegmentRecord]:
        """The segments of *kinds* that the service does not hold with the ETag of the receipt."""
        missing: list[SegmentRecord] = []
        for kind in kinds:
            mine = [segment for segment in entry.segments if segment.kind is kind]
            held = await self._inquiry.held_parts(entry, kind) if mine else None
            if held is not None:
                missing += [segment for segment in mine if not _is_held(segment, held)]
        return missing

    async def _send_again(self, entry: HeldEntry, missing: list[SegmentRecord]) -> NoReturn:
        """Go back to uploading; a service that never keeps what it acknowledges uses up the attempts."""
        lack = f"the service lacks {len(missing)} parts that it had acknowledged"
        entry.warn(f"{lack}; they are sent again")
        await entry.drop_receipts(missing)
        if entry.record.state is not EntryState.UPLOADING:
            await entry.transition(EntryState.UPLOADING, "the service lacks parts", confirm_sent_at=None)
        raise RetryableError(lack)

    async def _join(self, entry: HeldEntry, kind: AssetKind, *, is_repeat: bool) -> None:
        """Act, and ask where the answer is lost or a refusal can mean that it was done before."""
        command = _CONFIRM_COMMANDS[kind]
        attempt, may_be_done = 1, False
        while True:
            if may_be_done and await self._inquiry.is_joined(entry, kind):
                return
            try:
                with entry.step(command.value.lower()):
                    await self._with.client.command(
                        entry.job_id, command, app_user_id=entry.avatar.app_user_id
                    )
            except RequestRejectedError as error:
                await self._settle_refusal(entry, kind, error, is_repeat=is_repeat or may_be_done)
                return
            except InterruptedTransferError as error:
                may_be_done = True
                attempt += await entry.wait_before_retry(error, command.value, attempt)
            else:
                return

    async def _settle_refusal(
        self, entry: HeldEntry, kind: AssetKind, error: RequestRejectedError, *, is_repeat: bool
    ) -> None:
        """Return when the video is joined all the same; raise what the refusal means otherwise."""
        is_joined = await self._inquiry.is_joined(entry, kind)
        if is_joined:
            return
        if is_joined is None and is_repeat:
            raise DecisionNeededError(
                f"{error.message}, and does not tell whether it was done before",
                code=error.code,
                request_id=error.request_id,
                hint=f"look at job {entry.job_id} in the console: submit it there, or cancel the entry "
                "and run again",
            ) from None
        raise error


def _is_held(segment: SegmentRecord, held: Mapping[int, str]) -> bool:
    number = segment.segment.part_number
    if number not in held:
        # The answer may be capped (metastudio-protocol section 0, fact 9): then the receipt stands.
        return len(held) >= MAX_AUTO_PARTS and number > max(held)
    expected = segment.receipt.etag if segment.receipt else None
    return expected is None or held[number] == expected.lower()


def _check_unchanged(assets: Iterable[Asset]) -> None:
    """Raise SourceChangedError unless every file is still the one that was planned; blocks."""
    for asset in assets:
        source = Source(asset)
        try:
            source.open()
        finally:
            source.close()
