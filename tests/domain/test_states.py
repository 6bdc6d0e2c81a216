"""The states of an entry: every pair, and the step that each combination of facts calls for."""

from __future__ import annotations

from itertools import product

import pytest

from orchestrator.domain.errors import IllegalTransitionError
from orchestrator.domain.states import (
    AFTER_SUBMIT,
    TRANSITIONS,
    Change,
    EntryState,
    Facts,
    Step,
    check_transition,
    is_done,
    next_step,
)
from orchestrator.engine.lifecycle import resumed_state

#: Design section 2, written down a second time so that a slip in the table does not go unseen.
EDGES = {
    "pending": "creating",
    "creating": "pending uploading",
    "uploading": "pending uploaded",
    "uploaded": "pending uploading confirming",
    "confirming": "pending uploading confirmed",
    "confirmed": "pending uploading submitting in_review review_failed training trained",
    "submitting": "pending uploading confirmed submitted in_review review_failed training trained",
    "submitted": "in_review review_failed training trained",
    "in_review": "review_failed training trained",
    "review_failed": "pending uploading in_review training trained",
    "training": "in_review review_failed trained",
    "trained": "in_review review_failed training",
    "failed": "pending creating uploading uploaded confirming confirmed submitting "
    "in_review review_failed training trained",
    "cancelled": "pending",
}
ALLOWED = {
    (EntryState(source), EntryState(target))
    for source, targets in EDGES.items()
    for target in targets.split()
}
ALLOWED |= {(state, EntryState.FAILED) for state in EntryState} - {
    (EntryState.FAILED, EntryState.FAILED),
    (EntryState.CANCELLED, EntryState.FAILED),
}
ALLOWED |= {(state, EntryState.CANCELLED) for state in EntryState} - {
    (EntryState.CANCELLED, EntryState.CANCELLED)
}


@pytest.mark.parametrize(("source", "target"), list(product(EntryState, repeat=2)))
def test_a_transition_is_allowed_exactly_when_the_design_has_it(
    source: EntryState, target: EntryState
) -> None:
    """All pairs; a refusal names both states."""
    if (source, target) in ALLOWED:
        check_transition(source, target)
    else:
        with pytest.raises(IllegalTransitionError, match=f"from {source} to {target}"):
            check_transition(source, target)


def test_every_state_can_be_reached_from_pending() -> None:
    """No state is there in vain."""
    assert reachable(EntryState.PENDING) == set(EntryState)


@pytest.mark.parametrize("state", EntryState)
def test_no_state_is_a_trap(state: EntryState) -> None:
    """Whatever happens, an entry can be taken up again and can end well."""
    assert {EntryState.PENDING, EntryState.CONFIRMED, EntryState.TRAINED} <= reachable(state)


def reachable(state: EntryState) -> set[EntryState]:
    """All states that a walk from *state* can visit, itself included."""
    found, front = set(), {state}
    while front:
        found |= front
        front = {target for source in front for target in TRANSITIONS[source]} - found
    return found


@pytest.mark.parametrize("state", EntryState)
def test_an_entry_is_done_when_its_job_is_where_the_run_wanted_it(state: EntryState) -> None:
    """Confirmed is enough unless the run submits."""
    after_submit = {"submitted", "in_review", "review_failed", "training", "trained"}

    assert is_done(state, with_submit=True) == (state in after_submit)
    assert is_done(state, with_submit=False) == (state in after_submit | {"confirmed"})
    assert (state in AFTER_SUBMIT) == (state in after_submit)


#: What each kill leaves behind, from the last step backwards; columns are written in this order only.
JOB = {"create_tag": "orch:t", "job_id": "job-1"}
LEFT_BEHIND = [
    pytest.param(Facts(), Step.CREATE, id="before anything"),
    pytest.param(Facts(create_tag="orch:t"), Step.SETTLE_CREATE, id="between create and its receipt"),
    pytest.param(Facts(**JOB, segments_left=3), Step.UPLOAD, id="before or among the puts"),
    pytest.param(Facts(**JOB), Step.CONFIRM, id="before confirm, or before its receipt"),
    pytest.param(Facts(**JOB, is_confirmed=True), Step.SUBMIT, id="before submit, or before its receipt"),
    pytest.param(Facts(**JOB, is_confirmed=True, is_submitted=True), Step.NOTHING, id="after submit"),
]


@pytest.mark.parametrize(("facts", "step"), LEFT_BEHIND)
def test_the_facts_a_kill_leaves_behind_tell_the_next_step(facts: Facts, step: Step) -> None:
    """Facts, not modes: there is no separate way to resume."""
    assert next_step(facts, with_submit=True) is step


def test_without_submit_a_confirmed_job_is_left_alone() -> None:
    """Submitting is opt-in: a job that passed its review can no longer be deleted."""
    assert next_step(Facts(**JOB, is_confirmed=True), with_submit=False) is Step.NOTHING


ALL_FACTS = [
    Facts(
        create_tag=create_tag,
        job_id=job_id,
        segments_left=segments_left,
        is_confirmed=is_confirmed,
        is_submitted=is_submitted,
        change=change,
    )
    for create_tag, job_id, segments_left, is_confirmed, is_submitted, change in product(
        (None, "orch:t"), (None, "job-1"), (0, 1), (False, True), (False, True), (None, *Change)
    )
    # The journal writes a fact only after the one before it, and changes only what is there.
    if (job_id is not None or not (is_confirmed or segments_left)) and (is_confirmed or not is_submitted)
]


@pytest.mark.parametrize("with_submit", [False, True])
def test_every_combination_of_facts_has_the_step_of_its_farthest_fact(with_submit: bool) -> None:
    """A change that is wanted comes first; then whatever the last fact leaves to do."""
    for facts in ALL_FACTS:
        expected = Step.CREATE if facts.create_tag is None else Step.SETTLE_CREATE
        if facts.job_id is not None:
            expected = Step.UPLOAD if facts.segments_left else Step.CONFIRM
        if facts.is_confirmed:
            expected = Step.SUBMIT if with_submit and not facts.is_submitted else Step.NOTHING
        if facts.change is not None and facts.job_id is not None:
            expected = Step.CHANGE

        assert next_step(facts, with_submit=with_submit) is expected, facts


#: Where a step may take an entry first.
FIRST_MOVES = {
    Step.CREATE: {EntryState.CREATING},
    Step.SETTLE_CREATE: {EntryState.UPLOADING, EntryState.PENDING},
    Step.UPLOAD: {EntryState.UPLOADED, EntryState.PENDING},
    Step.CONFIRM: {EntryState.CONFIRMING},
    Step.SUBMIT: {EntryState.SUBMITTING},
    Step.CHANGE: {EntryState.UPLOADING, EntryState.PENDING},
}


@pytest.mark.parametrize("with_submit", [False, True])
def test_a_failed_entry_resumes_where_its_next_step_can_begin(with_submit: bool) -> None:
    """The state an entry is revived in has every transition that the step its facts call for may take."""
    for facts in ALL_FACTS:
        resumed, step = resumed_state(facts), next_step(facts, with_submit=with_submit)

        assert resumed in TRANSITIONS[EntryState.FAILED], facts
        if step is Step.NOTHING:
            assert is_done(resumed, with_submit=with_submit), facts
        else:
            assert TRANSITIONS[resumed] >= FIRST_MOVES[step] - {resumed}, facts
