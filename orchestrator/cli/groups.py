"""The groups in which people see the entries of a batch: the console's, and what never got there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from orchestrator.domain.service_states import JobGroup, group_of
from orchestrator.domain.states import EntryState

NOT_UPLOADED = "not uploaded"

_OF_STATE: Mapping[EntryState, str] = {
    EntryState.CONFIRMED: JobGroup.TO_SUBMIT.value,
    EntryState.SUBMITTING: JobGroup.TO_SUBMIT.value,
    EntryState.SUBMITTED: JobGroup.UNDER_REVIEW.value,
    EntryState.IN_REVIEW: JobGroup.UNDER_REVIEW.value,
    EntryState.REVIEW_FAILED: JobGroup.REVIEW_FAILED.value,
    EntryState.TRAINED: JobGroup.DONE.value,
    EntryState.FAILED: EntryState.FAILED.value,
    EntryState.CANCELLED: EntryState.CANCELLED.value,
}
#: In the order of a job's life.
GROUPS = (NOT_UPLOADED, *(group.value for group in JobGroup), "failed", "cancelled")

JobCounts = Mapping[tuple[EntryState, str | None], int]


def entry_group(state: EntryState, service_state: str | None) -> str:
    """The group of an entry; of one that trains, what the service says tells whether it waits for a person."""
    if state is EntryState.TRAINING:
        return group_of(service_state or "").value
    return _OF_STATE.get(state, NOT_UPLOADED)


def count_groups(counts: JobCounts) -> dict[str, int]:
    """How many entries are in each group, groups without any left out."""
    found: Counter[str] = Counter()
    for (state, service_state), count in counts.items():
        found[entry_group(state, service_state)] += count
    return {group: found[group] for group in GROUPS if found[group]}


def states_in(group: str, counts: JobCounts) -> str:
    """What the service calls the jobs of *group*, known or not: `TRAINING 3, ACTION_MARKING 1`."""
    found: Counter[str] = Counter()
    for (state, service_state), count in counts.items():
        if service_state is not None and entry_group(state, service_state) == group:
            found[service_state] += count
    return ", ".join(f"{state} {count}" for state, count in found.most_common())
