"""What the store answered for a segment."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """The store's answer for one segment.

    `etag` is without quotes, None when no answer tells it. `md5` is the hex digest of the bytes that were sent,
    None when it was not computed (`--verify off`). `is_verified` tells that the two were compared and agree.
    """

    etag: str | None
    md5: str | None
    is_verified: bool
    request_id: str | None = None
