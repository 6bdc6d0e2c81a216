"""The file that a batch was made from, where it is not the one that is read now."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from shlex import quote

from orchestrator.domain.errors import DecisionNeededError


@dataclass(frozen=True, slots=True, kw_only=True)
class EarlierManifest:
    """The file that batch *name* was made from; *path* is not the one that is read now, *now*."""

    path: str
    now: Path
    name: str

    def check(self, *, kept: int, new: int, removed: int) -> None:
        """Raise DecisionNeededError when this is rather another batch, by how many entries come and go.

        A file that was moved, or of which rows were taken out, has entries of the batch only. Other entries
        instead of these mean another batch, some others as well while the first file still exists.
        """
        is_another = removed and new and (not kept or Path(self.path).exists())
        if not is_another:
            return
        gone = f"{removed} entr{'y' if removed == 1 else 'ies'} of it"
        raise DecisionNeededError(
            f"batch {self.name} was made from {self.path}; {self.now} lacks {gone} and has {new} others",
            hint=f"for a batch of its own: `orchestrator run {quote(str(self.now))} --batch-name NAME`; "
            f"to go on with this batch: `orchestrator run {quote(str(self.now))} --batch-name {quote(self.name)}`",
        )


def earlier_manifest(known_path: str | None, now: Path, name: str) -> EarlierManifest | None:
    """What the batch was made from, None where that is the file *now*, however its path is written."""
    if known_path is None or known_path == str(now.absolute()):
        return None
    if os.path.realpath(known_path) == os.path.realpath(now):
        return None
    return EarlierManifest(path=known_path, now=now, name=name)
