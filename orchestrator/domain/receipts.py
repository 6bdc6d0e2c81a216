"""What is known of a segment that was sent, and on whose word."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from orchestrator.domain.foreign import repaired


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


def bare_etag(text: str | None) -> str | None:
    """Return an ETag without quotes, weakness mark and capitals; None when there is none.

    Gateways that compress or rewrite answers mark ETags as weak (`W/"..."`, RFC 9110 section 8.8.3).
    """
    etag = repaired(text or "").strip()
    if etag[:2].lower() == "w/":
        etag = etag[2:]
    return etag.strip().strip('"').lower() or None
