"""The evidence that a segment is stored, that the parts of a video are joined, and that an object is whole.

A confirm has no idempotency key, its answer can get lost, and the answers of the service after the join are not
documented (metastudio-protocol section 12): show may give a download URL or not, the part list may be refused,
empty or still full, and a second confirm may be refused or accepted. So the decision is based on what the service
reports, never on its silence. Metastudio-protocol section 5.2 defines the proof of a whole object.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from orchestrator.domain.assets import AssetKind


class Evidence(StrEnum):
    """The reason why a segment counts as stored."""

    ACKNOWLEDGED = "acknowledged"  #: the store answered the PUT with a mark of its own
    LISTED = "listed"  #: the service lists the part
    SEEN = "seen"  #: the object was found under its download URL
    USED_UP = "used_up"  #: the answer was lost, and a URL that works only once refuses to work again
    UNMARKED = "unmarked"  #: the answer was a success, but without a mark that only a store can give

    @property
    def is_proof(self) -> bool:
        """True when the store or the service itself reported that it has the segment."""
        return self not in {Evidence.USED_UP, Evidence.UNMARKED}


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """The facts about one stored segment.

    `etag` is the store's ETag without quotes, None when no answer contains it. `md5` is the hex digest of the bytes
    that were sent, None when it was not computed (`--verify off`): the store's ETag never stands in for it.
    `is_verified` is True when the two were compared and agree.
    """

    etag: str | None
    md5: str | None
    is_verified: bool
    request_id: str | None = None
    evidence: Evidence = Evidence.ACKNOWLEDGED


VERIFIED = "verified"
#: Doubts that have their own names.
DIGEST_OFF = "digest off"
BY_EVIDENCE = "confirmed by evidence"
_MD5 = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class ObjectFacts:
    """The store's facts about an object: length in bytes and ETag without quotes, None when not given."""

    length: int | None
    etag: str | None


def expected_etag(part_md5s: Sequence[str], *, is_multipart: bool) -> str:
    """Return the ETag of an object of parts with these MD5s: the MD5 of the MD5s and `-N`, or the one file's MD5."""
    if not is_multipart:
        return part_md5s[0]
    digests = b"".join(bytes.fromhex(md5) for md5 in part_md5s)
    return f"{hashlib.md5(digests, usedforsecurity=False).hexdigest()}-{len(part_md5s)}"


def not_shown(kind: AssetKind, *, is_compared: bool) -> str:
    """Return why the object of a video is not checked again; *is_compared* if each part was compared when sent."""
    if is_compared:
        return f"every part compared when sent; the service does not show the joined {kind}"
    return f"the service shows no {kind}"


def unverified(doubts: Sequence[str]) -> str:
    """Return `unverified (why)`, with each of *doubts* once.

    If digests were switched off, or a join was concluded from evidence, that reason replaces the reasons from
    `not_shown` for the videos.
    """
    named = [doubt for doubt in (DIGEST_OFF, BY_EVIDENCE) if doubt in doubts]
    hidden = {
        not_shown(kind, is_compared=is_compared)
        for kind in AssetKind
        if kind.is_multipart and named
        for is_compared in (True, False)
    }
    others = [doubt for doubt in dict.fromkeys(doubts) if doubt not in {*named, *hidden}]
    return f"unverified ({'; '.join([*named, *others])})"


def is_md5(text: str) -> bool:
    """True for 32 lower-case hex digits."""
    return _MD5.fullmatch(text) is not None


class Confirmation(StrEnum):
    """The progress of the confirm of one video; the journal stores it, so that it survives a kill."""

    SENT = "sent"  #: every part was proved, and a confirm may have been carried out
    JOINED = "joined"  #: the service reported or shows that the parts are joined
    BY_EVIDENCE = "by_evidence"  #: the parts must be joined: the answers allow no other reading

    @property
    def is_settled(self) -> bool:
        """True when no further confirm of the video is to be sent."""
        return self is not Confirmation.SENT


class Listing(StrEnum):
    """The content of the service's part list for a video."""

    REFUSED = "refused"  #: the service does not give the list
    EMPTY = "empty"
    LACKING = "lacking"  #: parts are listed, but not every one as it was sent
    WHOLE = "whole"  #: every part as it was sent


class Reply(StrEnum):
    """The service's reply to a confirm that was just sent."""

    NOT_ASKED = "not_asked"  #: no confirm was sent yet
    ACCEPTED = "accepted"
    LOST = "lost"  #: no answer, or one that leaves open whether it was carried out
    REFUSED = "refused"  #: not possible in the job's state
    PARTS_LACKING = "parts_lacking"  #: refused because parts are missing, so the upload is still open
    PARTS_REFUSED = "parts_refused"  #: refused because of the parts themselves, so the upload is still open
    UNRELATED = "unrelated"  #: refused for a reason outside the job: permission, quota, the gateway


class Ruling(StrEnum):
    """The decision on a video."""

    CONFIRM = "confirm"  #: its parts are proved and not known to be joined
    SEND_PARTS = "send_parts"  #: the service lacks parts
    JOINED = "joined"
    JOINED_BY_EVIDENCE = "joined_by_evidence"
    NOT_JOINED = "not_joined"  #: the refusal stands: the service will not join these parts
    OPEN = "open"  #: the refusal stands, and gives no information about the parts


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinEvidence:
    """The evidence about a video whose job exists.

    *may_be_joined*: an earlier confirm, sent while every part was proved, may have been carried out.
    *is_shown*: the job has left WAIT_FILE_UPLOAD, or show gives the object's URL.
    *was_listed*: right before the confirm the list had every part.
    *has_unproved*: a part counts as stored without an answer that only the store can give.
    *is_list_telling*: an empty list means that there are no parts, which is true only for the training video
    (metastudio-protocol section 1.6).
    """

    may_be_joined: bool
    is_shown: bool
    listing: Listing
    was_listed: bool
    is_list_telling: bool
    has_unproved: bool
    reply: Reply


def rule_on(evidence: JoinEvidence) -> Ruling:
    """Return the decision on the video."""
    if evidence.reply is Reply.ACCEPTED or evidence.is_shown:
        return Ruling.JOINED
    if evidence.reply is Reply.UNRELATED:
        return Ruling.OPEN
    if evidence.listing is Listing.LACKING:
        return Ruling.SEND_PARTS
    return _rule_on_reply(evidence)


def _rule_on_reply(evidence: JoinEvidence) -> Ruling:
    """Return the decision on a video that the part list does not settle."""
    match evidence.reply:
        case Reply.NOT_ASKED if _is_empty(evidence) and not evidence.may_be_joined:
            # Nothing can have joined the parts, so they are lost.
            return Ruling.SEND_PARTS
        case Reply.NOT_ASKED | Reply.LOST:
            return Ruling.CONFIRM
        case Reply.PARTS_LACKING if evidence.has_unproved:
            return Ruling.SEND_PARTS
        case Reply.PARTS_LACKING | Reply.PARTS_REFUSED:
            return Ruling.SEND_PARTS if _is_empty(evidence) else Ruling.NOT_JOINED
        case _:
            return Ruling.JOINED_BY_EVIDENCE if _is_join_proved_by_refusal(evidence) else Ruling.NOT_JOINED


def _is_empty(evidence: JoinEvidence) -> bool:
    return evidence.is_list_telling and evidence.listing is Listing.EMPTY


def _is_join_proved_by_refusal(evidence: JoinEvidence) -> bool:
    """True when a refused confirm means that the parts are already joined.

    An earlier confirm found every part in its place, so this one is refused only if the earlier one was carried out.
    A first confirm can be refused and still be carried out: then the parts have left the list.
    """
    has_left_list = evidence.was_listed and evidence.listing in {Listing.REFUSED, Listing.EMPTY}
    return evidence.may_be_joined or has_left_list


#: Codes of a store that refuses to join the parts (metastudio-protocol section 5.3).
_PART_CODES: Final = frozenset({"EntityTooSmall", "EntityTooLarge", "InvalidPartOrder"})
_LACKING_CODES: Final = frozenset({"InvalidPart"})
#: HTTP statuses of refusals that concern the subject of the request, not the caller or the rate.
_SUBJECT_STATUSES: Final = frozenset({200, 400, 409, 412, 422})


def reply_of_refusal(status: int | None, code: str | None) -> Reply:
    """Return the reply of a refused confirm from its HTTP *status* and the service's error *code*."""
    if code in _LACKING_CODES:
        return Reply.PARTS_LACKING
    if code in _PART_CODES:
        return Reply.PARTS_REFUSED
    # A refusal by the service itself has its code; only an HTTP 200 with a refusal is the service's without a code.
    is_service = status == 200 or (code is not None and not code.startswith("APIG"))
    if status not in _SUBJECT_STATUSES or not is_service:
        return Reply.UNRELATED
    return Reply.REFUSED
