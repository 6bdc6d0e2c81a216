"""A small picture of each avatar: its cover, else one from its film, never an ID card. Only the page stores it."""

from __future__ import annotations

import base64
from collections.abc import Callable, Collection, Sequence
from typing import Final

from orchestrator.domain.assets import AssetKind
from orchestrator.journal.records import EntryRecord
from orchestrator.preflight.look.measures import is_installed
from orchestrator.preflight.look.pool import pictures_of_files
from orchestrator.preflight.rules.rule import Extra

#: The maximum bytes of all pictures of a page together, as base64, and of one picture.
MOST_BYTES: Final = 6 * 1024**2
_MOST_OF_ONE = 8 * 1024
#: With fewer bytes no face is recognizable, so then only the first entries get pictures.
_LEAST_OF_ONE = 2 * 1024

OnProgress = Callable[[int, int], None]


def pictures_of(
    entries: Sequence[EntryRecord], first: Collection[str], *, jobs: int, on_progress: OnProgress
) -> dict[str, str]:
    """Return a JPEG as base64 by entry, up to MOST_BYTES and with *first* preferred; none without the extra."""
    if not is_installed(Extra.PREFLIGHT):
        return {}
    ordered = sorted(entries, key=lambda entry: entry.entry_id not in first)
    most_bytes = min(_MOST_OF_ONE, max(_LEAST_OF_ONE, MOST_BYTES * 3 // 4 // max(len(ordered), 1)))
    wanted: dict[str, str] = {}
    for entry in ordered[: MOST_BYTES * 3 // 4 // most_bytes]:
        files = entry.avatar.files()
        source = files.get(AssetKind.COVER) or files.get(AssetKind.TRAINING_VIDEO)
        if source is not None:
            wanted[entry.entry_id] = source
    found = pictures_of_files(wanted.values(), jobs=jobs, most_bytes=most_bytes, on_progress=on_progress)
    return {
        entry_id: base64.b64encode(found[path]).decode("ascii")
        for entry_id, path in wanted.items()
        if path in found
    }
