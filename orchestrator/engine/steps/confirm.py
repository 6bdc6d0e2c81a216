"""Confirming that the service holds all parts: ask, act, ask again.

Tested by tests/faults/test_evidence.py and tests/domain/test_confirming.py.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING, Final, NoReturn

from orchestrator.domain.assets import AssetKind
from orchestrator.domain.errors import (
    CredentialsError,
    EntryError,
    InterruptedTransferError,
    OrchestratorError,
    RequestRejectedError,
    RetryableError,
    ServiceUnreachableError,
    ThrottledError,
)
from orchestrator.domain.evidence import (
    VERIFIED,
    Confirmation,
    Evidence,
    JoinEvidence,
    Listing,
    Reply,
    Ruling,
    reply_of_refusal,
    rule_on,
)
from orchestrator.domain.states import EntryState
from orchestrator.engine.events import Point
from orchestrator.engine.steps.inquiry import UNKNOWN, DeliveryCheck, Inquiry, PartList
from orchestrator.journal.records import SegmentRecord
from orchestrator.metastudio.wire import Command

if TYPE_CHECKING:
    from orchestrator.engine.context import Run
    from orchestrator.engine.entry import ClaimedEntry

#: The action video first, as the vendor's library documents it (metastudio-protocol section 0, fact 2).
_CONFIRM_COMMANDS: Final = {
    AssetKind.ACTION_VIDEO: Command.CONFIRM_ACTION_VIDEO_MULTIPART_UPLOADED,
    AssetKind.TRAINING_VIDEO: Command.CONFIRM_MULTIPART_UPLOADED,
}
_FACTS: Final = {
    AssetKind.ACTION_VIDEO: "action_confirm",
    AssetKind.TRAINING_VIDEO: "training_confirm",
}


#: Errors that prove that a confirm was not carried out (metastudio-protocol section 3).
_NOT_CARRIED_OUT: Final = (ThrottledError, ServiceUnreachableError, CredentialsError)


@dataclass(slots=True)
class _Video:
    """One video whose parts are to be joined."""

    kind: AssetKind
    segments: list[SegmentRecord]
    confirmation: Confirmation | None
    was_listed: bool = False  #: the list had every part before this run's first confirm

    @classmethod
    def of(cls, entry: ClaimedEntry) -> list[_Video]:
        """The entry's videos, in the order in which they are confirmed."""
        known = {
            AssetKind.ACTION_VIDEO: entry.record.action_confirm,
            AssetKind.TRAINING_VIDEO: entry.record.training_confirm,
        }
        by_kind = {kind: [segment for segment in entry.segments if segment.kind is kind] for kind in known}
        return [cls(kind, segments, known[kind]) for kind, segments in by_kind.items() if segments]

    @property
    def is_settled(self) -> bool:
        """True when no further confirm of the video must be sent."""
        return self.confirmation is not None and self.confirmation.is_settled

    @property
    def may_be_joined(self) -> bool:
        """True when a confirm of the video may have been carried out."""
        return self.confirmation is Confirmation.SENT


class Confirmer:
    """Confirms a job once the service holds every part of the current files."""

    def __init__(self, run: Run, inquiry: Inquiry) -> None:
        self._run = run
        self._inquiry = inquiry
        self._delivery = DeliveryCheck(run, inquiry)

    async def confirm(self, entry: ClaimedEntry) -> None:
        """Confirm both videos; a failure of one does not keep the other from being joined.

        Raises RetryableError, with the entry back in uploading, when the service lacks parts or files;
        SourceChangedError when a file is not the one that was sent; RequestRejectedError when the service
        refuses; EntryError when a visible object is not what was sent; DecisionNeededError when that contradicts
        what the service's answers proved.
        """
        await self._run.sender.check_unchanged(entry.record.assets)
        videos = _Video.of(entry)
        apart = await self._still_apart(entry, videos)
        unlisted = frozenset(video.kind for video in apart if not video.was_listed)
        doubtful = await self._unproved(entry, videos, unlisted)
        # Journaled before the first confirm: every part was proved, and the confirm may be carried out from now on.
        facts: dict[str, object] = {}
        if apart:
            facts = {_FACTS[apart[0].kind]: Confirmation.SENT, "confirm_sent_at": self._run.clocks.clock()}
        if entry.record.state is EntryState.UPLOADING:
            await entry.transition(EntryState.UPLOADED, "every segment is stored")
        if entry.record.state is not EntryState.CONFIRMING:
            await entry.transition(EntryState.CONFIRMING, "the service holds every part", **facts)
        elif apart and not apart[0].may_be_joined:
            await entry.note(Point.WRITE_JOINED, **facts)
        await self._join_all(entry, apart)
        if doubtful and apart:
            # Once the films are joined, the service may show its files.
            doubtful = await self._unproved(entry, videos, unlisted)
        confirmations = {video.kind: video.confirmation for video in videos if video.confirmation}
        try:
            delivered = await self._delivery.verdict(entry, confirmations)
        except OrchestratorError:
            # Saves the next run from asking again whether the videos are joined.
            await entry.note(Point.WRITE_JOINED, **_facts(videos))
            raise
        if delivered != VERIFIED:
            for warning in dict.fromkeys(_warning(entry, segment) for segment in doubtful):
                entry.warn(warning)
        await entry.confirmed("the service has joined the parts", delivered, **_facts(videos))

    async def _still_apart(self, entry: ClaimedEntry, videos: Sequence[_Video]) -> list[_Video]:
        """Return the videos still to be confirmed; as far as the service reports, it holds all their parts."""
        missing: list[SegmentRecord] = []
        for video in videos:
            if video.is_settled:
                continue
            ruling, parts = await self._rule(entry, video, Reply.NOT_ASKED)
            if ruling is Ruling.JOINED:
                video.confirmation = Confirmation.JOINED
            elif ruling is Ruling.SEND_PARTS:
                video.confirmation = None
                missing += parts.missing(video.segments)
            else:
                video.was_listed = parts.listing(video.segments) is Listing.WHOLE
        if missing:
            await self._send_parts(entry, videos, missing)
        return [video for video in videos if not video.is_settled]

    async def _unproved(
        self, entry: ClaimedEntry, videos: Sequence[_Video], unlisted: Collection[AssetKind]
    ) -> list[SegmentRecord]:
        """Return the segments without proof that they are stored, after asking once more.

        Among videos only those in *unlisted* count: the parts of the others were listed.

        Raises RetryableError, with the entry back in uploading, for segments that are not stored, and for those whose
        unmarked answer must come from an intermediary because the store marks its answers.
        """
        missing: list[SegmentRecord] = []
        doubtful: list[SegmentRecord] = []
        for segment in list(entry.segments):
            if _is_proved(segment) or (segment.kind.is_multipart and segment.kind not in unlisted):
                continue
            finding = UNKNOWN if segment.kind.is_multipart else await self._inquiry.find(entry, segment)
            if finding.receipt is not None:
                await entry.prove(segment, finding.receipt)
            elif finding.is_absent or _is_intercepted(entry, segment):
                missing.append(segment)
            else:
                doubtful.append(segment)
        if missing:
            names = ", ".join(dict.fromkeys(_file_name(entry, segment.kind) for segment in missing))
            await self._send_again(entry, missing, f"the store does not have {names}", **_facts(videos))
        return doubtful

    async def _join_all(self, entry: ClaimedEntry, apart: Sequence[_Video]) -> None:
        """Confirm one video after the other; at the end raise the first failure."""
        failures: list[EntryError] = []
        for number, video in enumerate(apart):
            try:
                await self._join(entry, video)
            except EntryError as error:
                failures.append(error)
            following = apart[number + 1 : number + 2]
            if following or failures:
                await entry.note(
                    Point.WRITE_JOINED,
                    **_facts([video]),
                    **{_FACTS[other.kind]: Confirmation.SENT for other in following},
                )
        if failures:
            raise failures[0]

    async def _join(self, entry: ClaimedEntry, video: _Video) -> None:
        """Send the confirm; ask when its answer is lost or a refusal may mean that it was carried out before.

        Afterwards the video's confirmation holds what is known, even when this raises.
        """
        before = video.confirmation
        async for attempt in entry.attempts(_CONFIRM_COMMANDS[video.kind].value):
            reply, error = await self._command(entry, video, before)
            if isinstance(error, InterruptedTransferError):
                before = video.confirmation = Confirmation.SENT
                # Wait before asking, not after: joining takes the service a while.
                await attempt.wait_after(error)
            ruling, parts = await self._rule(entry, video, reply)
            if ruling is not Ruling.CONFIRM:
                break
        video.confirmation = _CONFIRMATIONS.get(ruling, before)
        if ruling is Ruling.SEND_PARTS:
            await self._send_parts(entry, [video], parts.missing(video.segments) or _unproved(video))
        if error is not None and not video.is_settled:
            raise error

    async def _command(
        self, entry: ClaimedEntry, video: _Video, before: Confirmation | None
    ) -> tuple[Reply, OrchestratorError | None]:
        """Send the confirm and return the reply, with its error unless the confirm was accepted.

        Raises errors that prove that it was not carried out.
        """
        command = _CONFIRM_COMMANDS[video.kind]
        try:
            with entry.step(Point(command.value.lower())):
                await self._run.client.command(entry.job_id, command, app_user_id=entry.avatar.app_user_id)
        except RequestRejectedError as error:
            return reply_of_refusal(error.status, error.code), error
        except InterruptedTransferError as error:
            return Reply.LOST, error
        except _NOT_CARRIED_OUT:
            if before is None:
                await entry.note(Point.WRITE_JOINED, **{_FACTS[video.kind]: None})
            raise
        return Reply.ACCEPTED, None

    async def _rule(self, entry: ClaimedEntry, video: _Video, reply: Reply) -> tuple[Ruling, PartList]:
        """Gather the evidence needed to judge *reply*, and judge it."""
        is_shown, parts = False, PartList(None)
        if reply is not Reply.ACCEPTED:
            is_question_open = video.may_be_joined or reply is not Reply.NOT_ASKED
            is_shown = is_question_open and await self._inquiry.is_shown_joined(entry, video.kind)
        if reply is not Reply.ACCEPTED and not is_shown:
            parts = await self._inquiry.part_list(entry, video.kind)
        evidence = JoinEvidence(
            may_be_joined=video.may_be_joined,
            is_shown=is_shown,
            listing=parts.listing(video.segments),
            was_listed=video.was_listed,
            is_list_telling=video.kind is AssetKind.TRAINING_VIDEO,
            has_unproved=not video.was_listed and bool(_unproved(video)),
            reply=reply,
        )
        return rule_on(evidence), parts

    async def _send_parts(
        self, entry: ClaimedEntry, videos: Sequence[_Video], missing: list[SegmentRecord]
    ) -> NoReturn:
        lack = f"the service lacks {len(missing)} parts that it had acknowledged"
        await self._send_again(entry, missing, lack, **_facts(videos), confirm_sent_at=None)

    async def _send_again(
        self, entry: ClaimedEntry, missing: list[SegmentRecord], lack: str, **facts: object
    ) -> NoReturn:
        """Go back to uploading and raise RetryableError: a service that keeps losing parts uses up the attempts."""
        entry.warn(f"{lack}; they are sent again")
        await entry.drop_receipts(missing)
        if entry.record.state is not EntryState.UPLOADING:
            await entry.transition(EntryState.UPLOADING, "the service lacks files", **facts)
        raise RetryableError(lack)


#: The confirmation of a video after a ruling; any other ruling leaves it unchanged.
_CONFIRMATIONS: Final[Mapping[Ruling, Confirmation | None]] = {
    Ruling.JOINED: Confirmation.JOINED,
    Ruling.JOINED_BY_EVIDENCE: Confirmation.BY_EVIDENCE,
    Ruling.NOT_JOINED: None,
    Ruling.SEND_PARTS: None,
}


def _facts(videos: Iterable[_Video]) -> dict[str, object]:
    """Return the entry's columns that record the confirmation of *videos*."""
    return {_FACTS[video.kind]: video.confirmation for video in videos}


def _unproved(video: _Video) -> list[SegmentRecord]:
    return [segment for segment in video.segments if not _is_proved(segment)]


def _is_proved(segment: SegmentRecord) -> bool:
    return segment.receipt is not None and segment.receipt.evidence.is_proof


def _is_intercepted(entry: ClaimedEntry, segment: SegmentRecord) -> bool:
    """True when the segment's answer had no mark although the same host marks its other answers."""
    if segment.receipt is None or segment.receipt.evidence is not Evidence.UNMARKED:
        return False
    return any(
        other.receipt is not None
        and other.receipt.evidence is Evidence.ACKNOWLEDGED
        and other.url is not None
        and segment.url is not None
        and other.url.host == segment.url.host
        for other in entry.segments
    )


def _file_name(entry: ClaimedEntry, kind: AssetKind) -> str:
    return f"{kind} ({PurePath(entry.asset(kind).path).name})"


def _warning(entry: ClaimedEntry, segment: SegmentRecord) -> str:
    why = "its answer was lost and its URL is used up"
    if segment.receipt is not None and segment.receipt.evidence is Evidence.UNMARKED:
        why = "the answer carried no mark of the store, and nothing shows the file"
    return f"{_file_name(entry, segment.kind)} is confirmed without proof that it is stored: {why}"
