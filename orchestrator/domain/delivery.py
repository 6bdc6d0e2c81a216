"""Proof of delivery: what an object must look like when every segment arrived (metastudio-protocol section 5.2)."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.domain.assets import AssetKind

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


def unverified(doubts: Sequence[str]) -> str:
    """Return `unverified (why)`, each of *doubts* once.

    Where digests were switched off, or a join was concluded, that one reason says it all for the videos.
    """
    named = [doubt for doubt in (DIGEST_OFF, BY_EVIDENCE) if doubt in doubts]
    hidden = {f"the service shows no {kind}" for kind in AssetKind if kind.is_multipart} if named else set()
    others = [doubt for doubt in dict.fromkeys(doubts) if doubt not in {*named, *hidden}]
    return f"unverified ({'; '.join([*named, *others])})"


def is_md5(text: str) -> bool:
    """True for 32 lower-case hex digits."""
    return _MD5.fullmatch(text) is not None
