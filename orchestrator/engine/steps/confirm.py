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
from orchestrator.engine.steps.inquiry import DeliveryCheck, Finding, Inquiry, PartList
from orchestrator.journal.records import SegmentRecord
from orchestrator.metastudio.wire import Command

if TYPE_CHECKING:
    from orchestrator.engine.context import Run
    from orchestrator.engine.entry import HeldEntry

#: The action video first, as the vendor's library documents it (metastudio-protocol section 0, fact 2).
_CONFIRM_COMMANDS: Final = {
    AssetKind.ACTION_VIDEO: Command.CONFIRM_ACTION_VIDEO_MULTIPART_UPLOADED,
    AssetKind.TRAINING_VIDEO: Command.CONFIRM_MULTIPART_UPLOADED,
}
_FACTS: Final = {
    AssetKind.ACTION_VIDEO: "action_confirm",
    AssetKind.TRAINING_VIDEO: "training_confirm",
}


#: Errors after which a confirm was provably not carried out (metastudio-protocol section 3).
_NOT_CARRIED_OUT: Final = (ThrottledError, ServiceUnreachableError, CredentialsError)


@dataclass(slots=True)
class _Video:
    """One video on its way to being joined."""

    kind: AssetKind
    segments: list[SegmentRecord]
    confirmation: Confirmation | None
    was_listed: bool = False  #: the list had every part before this run's first confirm

    @classmethod
    def of(cls, entry: HeldEntry) -> list[_Video]:
        """The entry's videos, in the order in which they are confirmed."""
        known = {
            AssetKind.ACTION_VIDEO: entry.record.action_confirm,
            AssetKind.TRAINING_VIDEO: entry.record.training_confirm,
        }
        by_kind = {kind: [segment for segment in entry.segments if segment.kind is kind] for kind in known}
        return [cls(kind, segments, known[kind]) for kind, segments in by_kind.items() if segments]

    @property
    def is_settled(self) -> bool:
        """True when no confirm of it is to be sent any more."""
        return self.confirmation is not None and self.confirmation.is_settled

    @property
    def may_be_joined(self) -> bool:
        """True when a confirm of it may have been carried out."""
        return self.confirmation is Confirmation.SENT


class Confirmer:
    """Confirms a job once the service holds every part as the files are now."""

    def __init__(self, run: Run, inquiry: Inquiry) -> None:
        self._run = run
        self._inquiry = inquiry
        self._delivery = DeliveryCheck(run, inquiry)

    async def confirm(self, entry: HeldEntry) -> None:
        """Confirm both videos; what keeps one from being joined does not keep the other.

        Raises RetryableError, and the entry is uploading again, when the service lacks parts or files;
        SourceChangedError when a file is not the one that was sent, RequestRejectedError when the service
        refuses, EntryError when an object that can be looked at is not what was sent, DecisionNeededError when
        that contradicts what the service said.
        """
        await self._run.sender.check_unchanged(entry.record.assets)
        videos = _Video.of(entry)
        apart = await self._still_apart(entry, videos)
        unlisted = frozenset(video.kind for video in apart if not video.was_listed)
        doubtful = await self._unproved(entry, videos, unlisted)
        # Before the first confirm: that every part was proved, and that it may now be carried out.
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
            # Once the films are joined, the service may show what it has.
            doubtful = await self._unproved(entry, videos, unlisted)
        confirmations = {video.kind: video.confirmation for video in videos if video.confirmation}
        try:
            delivered = await self._delivery.verdict(entry, confirmations)
        except OrchestratorError:
            # The next run need not find out again that the videos are joined.
            await entry.note(Point.WRITE_JOINED, **_facts(videos))
            raise
        if delivered != VERIFIED:
            for warning in dict.fromkeys(_warning(entry, segment) for segment in doubtful):
                entry.warn(warning)
        await entry.confirmed("the service has joined the parts", delivered, **_facts(videos))

    async def _still_apart(self, entry: HeldEntry, videos: Sequence[_Video]) -> list[_Video]:
        """Return the videos to confirm, whose parts the service holds as far as it says."""
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
        self, entry: HeldEntry, videos: Sequence[_Video], unlisted: Collection[AssetKind]
    ) -> list[SegmentRecord]:
        """Return the segments that nothing proves to be stored, after asking once more.

        Of videos only those in *unlisted* count: the parts of the others were listed.

        Raises RetryableError, and the entry is uploading again, for those that are not stored, or of which only
        something in between can have said so, as the store itself marks its answers.
        """
        missing: list[SegmentRecord] = []
        doubtful: list[SegmentRecord] = []
        for segment in list(entry.segments):
            if _is_proved(segment) or (segment.kind.is_multipart and segment.kind not in unlisted):
                continue
            finding = Finding() if segment.kind.is_multipart else await self._inquiry.find(entry, segment)
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

    async def _join_all(self, entry: HeldEntry, apart: Sequence[_Video]) -> None:
        """Confirm one video after the other; at the end raises what the first of them failed with."""
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

    async def _join(self, entry: HeldEntry, video: _Video) -> None:
        """Act, and ask where the answer is lost or a refusal can mean that it was done before.

        Afterwards the video's confirmation says what is known, also where this raises.
        """
        before = video.confirmation
        async for attempt in entry.attempts(_CONFIRM_COMMANDS[video.kind].value):
            reply, error = await self._command(entry, video, before)
            if isinstance(error, InterruptedTransferError):
                before = video.confirmation = Confirmation.SENT
                # Before the question, not after it: joining takes the service a while.
                await attempt.wait_after(error)
            ruling, parts = await self._rule(entry, video, reply)
            if ruling is not Ruling.CONFIRM:
                break
        video.confirmation = _CONFIRMATIONS.get(ruling, before)
        if ruling is Ruling.SEND_PARTS:
            await self._send_parts(entry, [video], parts.missing(video.segments) or _unproved(video))
        if not video.is_settled:
            raise error

    async def _command(
        self, entry: HeldEntry, video: _Video, before: Confirmation | None
    ) -> tuple[Reply, OrchestratorError]:
        """Send the confirm; raises what shows that it was not carried out, and then what was known stays known."""
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
        return Reply.ACCEPTED, OrchestratorError("accepted")

    async def _rule(self, entry: HeldEntry, video: _Video, reply: Reply) -> tuple[Ruling, PartList]:
        """Ask what is needed to judge *reply*, and judge it."""
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
        self, entry: HeldEntry, videos: Sequence[_Video], missing: list[SegmentRecord]
    ) -> NoReturn:
        lack = f"the service lacks {len(missing)} parts that it had acknowledged"
        await self._send_again(entry, missing, lack, **_facts(videos), confirm_sent_at=None)

    async def _send_again(
        self, entry: HeldEntry, missing: list[SegmentRecord], lack: str, **facts: object
    ) -> NoReturn:
        """Go back to uploading; a service that never keeps what it acknowledges uses up the attempts."""
        entry.warn(f"{lack}; they are sent again")
        await entry.drop_receipts(missing)
        if entry.record.state is not EntryState.UPLOADING:
            await entry.transition(EntryState.UPLOADING, "the service lacks files", **facts)
        raise RetryableError(lack)


#: What is known of a video after a ruling; after any other what was known before.
_CONFIRMATIONS: Final[Mapping[Ruling, Confirmation | None]] = {
    Ruling.JOINED: Confirmation.JOINED,
    Ruling.JOINED_BY_EVIDENCE: Confirmation.BY_EVIDENCE,
    Ruling.NOT_JOINED: None,
    Ruling.SEND_PARTS: None,
}


def _facts(videos: Iterable[_Video]) -> dict[str, object]:
    """The entry's columns that keep how far *videos* are."""
    return {_FACTS[video.kind]: video.confirmation for video in videos}


def _unproved(video: _Video) -> list[SegmentRecord]:
    return [segment for segment in video.segments if not _is_proved(segment)]


def _is_proved(segment: SegmentRecord) -> bool:
    return segment.receipt is not None and segment.receipt.evidence.is_proof


def _is_intercepted(entry: HeldEntry, segment: SegmentRecord) -> bool:
    """True when the segment's answer had no mark although the host that answered marks its others."""
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


def _file_name(entry: HeldEntry, kind: AssetKind) -> str:
    return f"{kind} ({PurePath(entry.asset(kind).path).name})"


def _warning(entry: HeldEntry, segment: SegmentRecord) -> str:
    why = "its answer was lost and its URL is used up"
    if segment.receipt is not None and segment.receipt.evidence is Evidence.UNMARKED:
        why = "the answer carried no mark of the store, and nothing shows the file"
    return f"{_file_name(entry, segment.kind)} is confirmed without proof that it is stored: {why}"
