"""The service's job states in the groups its console shows (metastudio-protocol section 2)."""

from __future__ import annotations

from enum import StrEnum

from orchestrator.domain.states import EntryState


class JobGroup(StrEnum):
    """What a job state means to the user."""

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

#: Where an entry is whose submitted job the console shows in the group.
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
    """The group of *service_state*; everything else, known or not, is training that goes on."""
    return _GROUPS.get(service_state, JobGroup.TRAINING)
