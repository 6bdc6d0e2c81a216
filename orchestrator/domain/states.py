"""The states of an entry, its transitions and next step, and the groups of job states in the service's console."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from orchestrator.domain.errors import IllegalTransitionError


class EntryState(StrEnum):
    """The state of an entry."""

    PENDING = "pending"  #: nothing of the entry is on the service
    CREATING = "creating"  #: a create was, or was about to be, sent
    UPLOADING = "uploading"  #: the job exists; segments are being sent
    UPLOADED = "uploaded"  #: every segment has its receipt
    CONFIRMING = "confirming"  #: a confirm was, or was about to be, sent
    CONFIRMED = "confirmed"  #: the service has joined the parts
    SUBMITTING = "submitting"  #: a submit was, or was about to be, sent
    SUBMITTED = "submitted"  #: the job left WAIT_FILE_UPLOAD
    IN_REVIEW = "in_review"
    REVIEW_FAILED = "review_failed"  #: a reviewer asks for other footage
    TRAINING = "training"
    TRAINED = "trained"
    FAILED = "failed"
    CANCELLED = "cancelled"


_S = EntryState
_LATER = {_S.IN_REVIEW, _S.REVIEW_FAILED, _S.TRAINING, _S.TRAINED}
_AWAY = {_S.FAILED, _S.CANCELLED}

#: The allowed transitions. Back to pending: the job no longer exists on the service. Back to uploading: the service
#: issued fresh URLs.
TRANSITIONS: dict[EntryState, frozenset[EntryState]] = {
    state: frozenset(targets)
    for state, targets in {
        _S.PENDING: {_S.CREATING, *_AWAY},
        _S.CREATING: {_S.PENDING, _S.UPLOADING, *_AWAY},
        _S.UPLOADING: {_S.PENDING, _S.UPLOADED, *_AWAY},
        _S.UPLOADED: {_S.PENDING, _S.UPLOADING, _S.CONFIRMING, *_AWAY},
        _S.CONFIRMING: {_S.PENDING, _S.UPLOADING, _S.CONFIRMED, *_AWAY},
        _S.CONFIRMED: {_S.PENDING, _S.UPLOADING, _S.SUBMITTING, *_LATER, *_AWAY},
        _S.SUBMITTING: {_S.PENDING, _S.UPLOADING, _S.CONFIRMED, _S.SUBMITTED, *_LATER, *_AWAY},
        _S.SUBMITTED: {*_LATER, *_AWAY},
        _S.IN_REVIEW: {*_LATER - {_S.IN_REVIEW}, *_AWAY},
        _S.REVIEW_FAILED: {_S.PENDING, _S.UPLOADING, *_LATER - {_S.REVIEW_FAILED}, *_AWAY},
        _S.TRAINING: {*_LATER - {_S.TRAINING}, *_AWAY},
        _S.TRAINED: {*_LATER - {_S.TRAINED}, *_AWAY},
        _S.FAILED: {
            _S.PENDING,
            _S.CREATING,
            _S.UPLOADING,
            _S.UPLOADED,
            _S.CONFIRMING,
            _S.CONFIRMED,
            _S.SUBMITTING,
            *_LATER,
            _S.CANCELLED,
        },
        _S.CANCELLED: {_S.PENDING},
    }.items()
}

#: States in which the job has been handed to review.
AFTER_SUBMIT = frozenset({_S.SUBMITTED, *_LATER})


def check_transition(current: EntryState, target: EntryState) -> None:
    """Raise IllegalTransitionError unless TRANSITIONS allows the change from *current* to *target*."""
    if target not in TRANSITIONS[current]:
        raise IllegalTransitionError(f"an entry cannot go from {current} to {target}")


def check_takeover(current: EntryState, target: EntryState) -> None:
    """Raise IllegalTransitionError unless an entry in *current* may take over a job that already holds its files."""
    if current not in {_S.PENDING, _S.CREATING} or target not in {_S.CONFIRMED, _S.SUBMITTED}:
        raise IllegalTransitionError(f"an entry in {current} cannot take over a job that is {target}")


def is_done(state: EntryState, *, with_submit: bool) -> bool:
    """True when `run` has nothing left to do for an entry in *state*."""
    return state in AFTER_SUBMIT or (state is _S.CONFIRMED and not with_submit)


class Change(StrEnum):
    """The way to bring a job in line with a manifest that changed after the job was created."""

    UPDATE = "update"  #: the service gives the job fresh URLs
    RECREATE = "recreate"  #: the job is deleted and made again
    AMEND = "amend"  #: after a failed review: update, upload, confirm and submit again


class Step(StrEnum):
    """The next step of the lifecycle of an entry."""

    CHANGE = "change"
    CREATE = "create"
    SETTLE_CREATE = "settle_create"
    UPLOAD = "upload"
    CONFIRM = "confirm"
    SUBMIT = "submit"
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """The facts of an entry that its next step depends on, whatever happened before."""

    create_tag: str | None = None
    job_id: str | None = None
    segments_left: int = 0
    is_confirmed: bool = False
    is_submitted: bool = False
    change: Change | None = None


def next_step(facts: Facts, *, with_submit: bool) -> Step:
    """Return the next step of an entry; it depends only on the arguments, so it is the same after any stop."""
    if facts.change is not None and facts.job_id is not None:
        return Step.CHANGE
    if facts.is_submitted:
        return Step.NOTHING
    if facts.is_confirmed:
        return Step.SUBMIT if with_submit else Step.NOTHING
    if facts.job_id is not None:
        return Step.UPLOAD if facts.segments_left else Step.CONFIRM
    return Step.SETTLE_CREATE if facts.create_tag is not None else Step.CREATE


class JobGroup(StrEnum):
    """The meaning of a job state for the user."""

    TO_SUBMIT = "to submit"
    UNDER_REVIEW = "under review"
    REVIEW_FAILED = "review failed"
    TRAINING = "training"
    AWAITING_USER = "awaiting user review"
    REJECTED = "rejected by user"
    SUSPENDED = "suspended"
    DONE = "done"


WAIT_FILE_UPLOAD = "WAIT_FILE_UPLOAD"

_GROUPS = {
    WAIT_FILE_UPLOAD: JobGroup.TO_SUBMIT,
    "AUTO_VERIFYING": JobGroup.UNDER_REVIEW,
    "MANUAL_VERIFYING": JobGroup.UNDER_REVIEW,
    "AUTO_VERIFY_FAILED": JobGroup.REVIEW_FAILED,
    "MANUAL_VERIFY_FAILED": JobGroup.REVIEW_FAILED,
    "WAIT_USER_CONFIRM": JobGroup.AWAITING_USER,
    "JOB_REJECT": JobGroup.REJECTED,
    "JOB_PENDING": JobGroup.SUSPENDED,
    "JOB_SUCCESS": JobGroup.DONE,
    "JOB_FINISH": JobGroup.DONE,
}

#: The state of an entry whose submitted job the console shows in the group.
STATE_OF_GROUP = {
    JobGroup.UNDER_REVIEW: EntryState.IN_REVIEW,
    JobGroup.REVIEW_FAILED: EntryState.REVIEW_FAILED,
    JobGroup.TRAINING: EntryState.TRAINING,
    JobGroup.AWAITING_USER: EntryState.TRAINING,
    JobGroup.REJECTED: EntryState.TRAINING,
    JobGroup.SUSPENDED: EntryState.TRAINING,
    JobGroup.DONE: EntryState.TRAINED,
}


def group_of(service_state: str) -> JobGroup:
    """Return the group of *service_state*; every state that is not listed, known or not, counts as training."""
    return _GROUPS.get(service_state, JobGroup.TRAINING)
