"""The service's job states in the groups of its console."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.states import WAIT_FILE_UPLOAD, JobGroup, group_of

#: metastudio-protocol section 2, the states that are not training.
GROUPS = {
    "WAIT_FILE_UPLOAD": JobGroup.TO_SUBMIT,
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
#: States that sound final or like a review, and are neither for the user.
TRAINING = [
    "MANUAL_VERIFY_SUCCESS",
    "TRAINING",
    "TRAIN_FAILED",
    "TRAIN_SUCCESS",
    "MANUAL_STOP_TRAIN",
    "INFERENCE_DATA_PREPROCESS_FAILED",
    "COMPILE_FAILED",
    "WAIT_MAIN_FILE_UPLOAD",
    "WAIT_ADMIN_CONFIRM",
    "TEST_VIDEO_CHECK_FAILED",
    "MANUL_STOP_ACTION_MARK",
    "BEAUTYFACE_ROCESSING",
]


@pytest.mark.parametrize(("state", "group"), GROUPS.items())
def test_a_known_state_is_in_its_group(state: str, group: JobGroup) -> None:
    """As the console shows it."""
    assert group_of(state) is group


@pytest.mark.parametrize("state", TRAINING)
def test_what_only_the_operators_handle_is_training(state: str) -> None:
    """A failure inside training is not the user's."""
    assert group_of(state) is JobGroup.TRAINING


@given(st.text().filter(lambda state: state not in GROUPS))
def test_a_state_nobody_has_heard_of_is_training_that_goes_on(state: str) -> None:
    """The service may learn new states; nothing is taken for its end."""
    assert group_of(state) is JobGroup.TRAINING


def test_only_the_state_before_submit_is_to_submit() -> None:
    """Submitted means: the job left it."""
    assert [state for state in GROUPS if group_of(state) is JobGroup.TO_SUBMIT] == [WAIT_FILE_UPLOAD]
