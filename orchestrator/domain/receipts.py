"""What is known of a segment that was sent, on whose word, and what proves a whole object.

The latter is metastudio-protocol section 5.2.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from orchestrator.domain.assets import AssetKind


class Evidence(StrEnum):
    """On whose word a segment counts as stored."""

    ACKNOWLEDGED = "acknowledged"  #: the store answered the PUT with a mark of its own
    LISTED = "listed"  #: the service lists the part
    SEEN = "seen"  #: the object was found under its download URL
    USED_UP = "used_up"  #: its answer was lost, and a URL that works once refuses to work again
    UNMARKED = "unmarked"  #: the answer was a success, but had no mark that only a store can give

    @property
    def is_proof(self) -> bool:
        """True when the store or the service itself said that it has the segment."""
        return self not in {Evidence.USED_UP, Evidence.UNMARKED}


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What is known of one stored segment.

    `etag` is the store's, without quotes, None when no answer has it. `md5` is the hex digest of the bytes that
    were sent, None when it was not computed (`--verify off`): the store's ETag never stands in for it.
    `is_verified` says that the two were compared and agree.
    """

    etag: str | None
    md5: str | None
    is_verified: bool
    request_id: str | None = None
    evidence: Evidence = Evidence.ACKNOWLEDGED


VERIFIED = "verified"
#: Doubts with names of their own.
DIGEST_OFF = "digest off"
BY_EVIDENCE = "confirmed by evidence"
_MD5 = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class ObjectFacts:
    """What the store says of an object: length in bytes and ETag without quotes, None when it does not say."""

    length: int | None
    etag: str | None


def expected_etag(part_md5s: Sequence[str], *, is_multipart: bool) -> str:
    """The ETag of an object made of parts with these MD5s: their MD5's MD5 and `-N`, or the one file's MD5."""
    if not is_multipart:
        return part_md5s[0]
    digests = b"".join(bytes.fromhex(md5) for md5 in part_md5s)
    return f"{hashlib.md5(digests, usedforsecurity=False).hexdigest()}-{len(part_md5s)}"


def not_shown(kind: AssetKind, *, is_compared: bool) -> str:
    """Why the object of a video is not looked at once more; *is_compared* where each part was when it was sent."""
    if is_compared:
        return f"every part compared when sent; the service does not show the joined {kind}"
    return f"the service shows no {kind}"


def unverified(doubts: Sequence[str]) -> str:
    """Return `unverified (why)`, each of *doubts* once.

    Where digests were switched off, or a join was concluded, that one reason says it all for the videos.
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
