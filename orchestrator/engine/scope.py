"""Which entries of a manifest a run or a plan is about."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestrator.domain.entries import is_named_by


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """Which entries of a manifest are meant.

    Those that one of *patterns* fits (globs; none for all), that are not *held* back, and whose files were not
    written after *newest_mtime*, in epoch seconds.
    """

    patterns: tuple[str, ...] = ()
    held: frozenset[str] = frozenset()
    newest_mtime: float | None = None

    def names(self, entry_id: str) -> bool:
        """True when the patterns mean the entry."""
        return not self.patterns or any(is_named_by(entry_id, pattern) for pattern in self.patterns)


EVERYTHING = Scope()


def scope_of(patterns: Sequence[str], min_age: float | None, now: float) -> Scope:
    """The entries that *patterns* mean and that were not written less than *min_age* seconds before *now*."""
    return Scope(patterns=tuple(patterns), newest_mtime=None if min_age is None else now - min_age)


def is_newer(path: str, *, than: float) -> bool:
    """True when the file at *path* was written after *than*, in epoch seconds; a missing one was not."""
    try:
        return Path(path).stat().st_mtime > than
    except OSError:
        return False
