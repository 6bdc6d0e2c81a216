"""What a look at a journal that changes nothing has found."""

from __future__ import annotations

from typing import NamedTuple

from orchestrator.domain.presigned import PresignedUrl


class JournalHealth(NamedTuple):
    """Whether the journal at `place` can be used.

    `version` is its schema's, 0 for an empty file; `damage` what its database complains of first, None where all is
    well; `upload_url` one that is not used up, which shows where the store is.
    """

    place: str
    version: int
    damage: str | None
    upload_url: PresignedUrl | None
