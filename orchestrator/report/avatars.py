"""How long avatars took from their film to their end: what a producer promises the next customer."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import Any

from orchestrator.domain.states import EntryState
from orchestrator.journal.history import StateChange


def times_to_avatar(changes: Sequence[StateChange], trained: frozenset[str]) -> dict[str, Any] | None:
    """Seconds from an entry's first job to its avatar, of the entries *trained*; None where there is none.

    *changes* are the oldest first. From the first job on, since films that a review refused are part of the wait; to
    the first avatar, since `watch` may see the service take a state back.
    """
    first: dict[str, float] = {}
    took: dict[str, float] = {}
    for change in changes:
        if change.to_state == EntryState.CREATING:
            first.setdefault(change.entry_id, change.at)
        elif change.to_state == EntryState.TRAINED and change.entry_id in trained & first.keys():
            took.setdefault(change.entry_id, change.at - first[change.entry_id])
    if not took:
        return None
    slowest = max(took, key=lambda entry_id: took[entry_id])
    return {
        "avatars": len(took),
        "median_seconds": median(took.values()),
        "slowest_seconds": took[slowest],
        "slowest_entry": slowest,
    }
