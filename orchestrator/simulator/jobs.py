"""A training job: its states, which change with the time passed in, and its form in list and show responses.

See metastudio-protocol sections 1.2, 1.3, 1.5 and 2.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

from orchestrator.simulator.persistence import Document
from orchestrator.simulator.requests import ListQuery

_BASIC_FIELDS = (
    "contact",
    "batch_name",
    "tags",
    "model_version",
    "is_flexus",
    "is_live_copy",
    "is_fast_flexus",
    "is_only_human_model",
    "is_background_replacement",
    "is_ondemand_resource",
)
_SHOWN_FIELDS = ("voice_properties", "audio_source_type", "supported_service")


def basic_info(job: Job, downloads: Document, *, with_tags: bool) -> Document:
    """Return a job as in list responses, with its download URLs; the last field is one that no client can know."""
    info: Document = {
        "job_id": job.job_id,
        "name": job.fields["name"],
        "state": job.state,
        "project_id": job.project_id,
        "create_time": timestamp(job.created_at),
        "last_update_time": timestamp(job.updated_at),
        "matting_type": "AI",
        "model_resolution": job.model_resolution,
        "app_user_id": job.app_user_id,
        "asset_id": job.job_id[::-1] if job.state == JOB_SUCCESS else None,
        **{name: job.fields[name] for name in _BASIC_FIELDS},
        **downloads,
        "is_simulated": True,
    }
    if not with_tags:
        del info["tags"]
    return {name: value for name, value in info.items() if value is not None}


def full_info(job: Job, downloads: Document, *, with_tags: bool) -> Document:
    """Return a job as in show responses, with its download URLs."""
    shown = {name: job.fields[name] for name in _SHOWN_FIELDS if job.fields[name] is not None}
    return {
        **basic_info(job, downloads, with_tags=with_tags),
        **shown,
        "operation_logs": job.operation_logs,
        "comment_logs": [],
        "samples": job.fields.get("samples_basic_info") or [],
        "verify_video_download_url": "null",
        "is_mask_file_uploaded": False,
    }


def select(jobs: Iterable[Job], query: ListQuery, *, has_filters: bool) -> list[Job]:
    """Return all jobs that match a list query, in its order; the caller does the paging.

    Without *has_filters* the service ignores `tag` and `batch_name`.
    """
    if not has_filters:
        query = query.model_copy(update={"tag": None, "batch_name": None})
    wanted = [job for job in jobs if all(test(job) for test in _tests(query))]
    key: Callable[[Job], float] = (
        (lambda job: job.updated_at) if query.sort_key == "update_time" else (lambda job: job.created_at)
    )
    return sorted(wanted, key=key, reverse=query.sort_dir == "desc")


def _tests(query: ListQuery) -> list[Callable[[Job], bool]]:
    states = None if query.state is None else {state.strip() for state in query.state.split(",")}
    conditions: list[tuple[Any, Callable[[Job], bool]]] = [
        (states, lambda job: job.state in (states or ())),
        (query.create_since, lambda job: timestamp(job.created_at) >= (query.create_since or "")),
        (query.create_until, lambda job: timestamp(job.created_at) <= (query.create_until or "")),
        (query.update_since, lambda job: timestamp(job.updated_at) >= (query.update_since or "")),
        (query.update_until, lambda job: timestamp(job.updated_at) <= (query.update_until or "")),
        (query.query_project_id, lambda job: job.project_id == query.query_project_id),
        (query.batch_name, lambda job: job.fields["batch_name"] == query.batch_name),
        (query.tag, lambda job: query.tag in (job.fields["tags"] or ())),
        (query.job_id, lambda job: job.job_id == query.job_id),
        (query.name, lambda job: job.fields["name"] == query.name),
        (query.model_resolution, lambda job: job.model_resolution == query.model_resolution),
        (query.is_flexus, lambda job: job.fields["is_flexus"] == query.is_flexus),
        (query.is_live_copy, lambda job: job.fields["is_live_copy"] == query.is_live_copy),
        (query.train_location, lambda _: False),
        (
            query.is_ondemand_resource,
            lambda job: job.fields["is_ondemand_resource"] == query.is_ondemand_resource,
        ),
    ]
    return [test for asked, test in conditions if asked is not None]


WAIT_FILE_UPLOAD = "WAIT_FILE_UPLOAD"
AUTO_VERIFYING = "AUTO_VERIFYING"
AUTO_VERIFY_FAILED = "AUTO_VERIFY_FAILED"
MANUAL_VERIFYING = "MANUAL_VERIFYING"
MANUAL_VERIFY_FAILED = "MANUAL_VERIFY_FAILED"
JOB_SUCCESS = "JOB_SUCCESS"

REVIEW_FAILED = frozenset({AUTO_VERIFY_FAILED, MANUAL_VERIFY_FAILED})
DELETABLE = REVIEW_FAILED | {
    WAIT_FILE_UPLOAD,
    MANUAL_VERIFYING,
    "TRAINING_DATA_PREPROCESS_FAILED",
    "TRAIN_FAILED",
    "INFERENCE_DATA_PREPROCESS_FAILED",
    JOB_SUCCESS,
    "WAIT_USER_CONFIRM",
    "JOB_REJECT",
    "JOB_FINISH",
}
RESOLUTION_REFUSED = "44005901"

_TIMELINE: dict[str, tuple[float, str, str]] = {
    AUTO_VERIFYING: (6.0, MANUAL_VERIFYING, "SYSTEM_VERIFY_SUCCESS"),
    MANUAL_VERIFYING: (3600.0, "MANUAL_VERIFY_SUCCESS", "ADMIN_VERIFY_SUCCESS"),
    "MANUAL_VERIFY_SUCCESS": (60.0, "WAIT_TRAINING_DATA_PREPROCESS", ""),
    "WAIT_TRAINING_DATA_PREPROCESS": (
        600.0,
        "TRAINING_DATA_PREPROCESSING",
        "SYSTEM_TRAINING_DATA_PREPROCESS",
    ),
    "TRAINING_DATA_PREPROCESSING": (1800.0, "TRAINING_DATA_PREPROCESS_SUCCESS", ""),
    "TRAINING_DATA_PREPROCESS_SUCCESS": (60.0, "TRAINING", "SYSTEM_TRAIN"),
    "TRAINING": (28800.0, "TRAIN_SUCCESS", "SYSTEM_TRAIN_SUCCESS"),
    "TRAIN_SUCCESS": (60.0, "INFERENCE_DATA_PREPROCESSING", ""),
    "INFERENCE_DATA_PREPROCESSING": (3600.0, JOB_SUCCESS, "SYSTEM_INFERENCE_DATA_PREPROCESS_SUCCESS"),
}
"""State: seconds at speed 1, the next state, the log_type written on leaving."""

_FAILURES = {
    AUTO_VERIFYING: (AUTO_VERIFY_FAILED, "SYSTEM_VERIFY_FAILED", "SYSTEM"),
    MANUAL_VERIFYING: (MANUAL_VERIFY_FAILED, "ADMIN_VERIFY_FAILED", "ADMIN"),
}


def timestamp(seconds: float) -> str:
    """Return the service's timestamp of 20 characters, such as 2020-07-30T10:43:17Z."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass
class ReviewFailure:
    """A review that will fail: its state, code and reason."""

    state: str
    code: str
    reason: str


@dataclass
class Job:
    """A training job in the service; *fields* are the fields of its create and update requests."""

    job_id: str
    project_id: str
    app_user_id: str | None
    fields: dict[str, Any]
    created_at: float
    state: str = WAIT_FILE_UPLOAD
    state_since: float = 0.0
    updated_at: float = 0.0
    upload_ids: dict[str, str] = field(default_factory=dict)
    """The open multipart upload per asset kind; removed by the confirm."""
    joined_parts: dict[str, dict[str, str]] = field(default_factory=dict)
    """The ETags, by part number, of the upload joined last, by asset kind."""
    is_first_review_passed: bool = False
    failure: ReviewFailure | None = None
    scripted_failures: int = 0
    operation_logs: list[dict[str, Any]] = field(default_factory=list)
    confirmations: dict[str, int] = field(default_factory=dict)
    submissions: int = 0
    updates: int = 0
    letters_confirmed: int = 0
    model_resolution: str | None = None
    deleted_at: float | None = None

    def __post_init__(self) -> None:
        """Set the times of a new job to its creation."""
        self.state_since = self.state_since or self.created_at
        self.updated_at = self.updated_at or self.created_at

    @property
    def is_deleted(self) -> bool:
        """True when the service has deleted the job; the simulator keeps it for inspection."""
        return self.deleted_at is not None

    @property
    def is_amendable(self) -> bool:
        """True when files may be confirmed and the job submitted."""
        return self.state == WAIT_FILE_UPLOAD or self.state in REVIEW_FAILED

    @property
    def is_deletable(self) -> bool:
        """True when delete is allowed; after the first review has passed, only after a failed review."""
        return self.state in DELETABLE and (not self.is_first_review_passed or self.state in REVIEW_FAILED)

    @property
    def is_reviewed(self) -> bool:
        """True when a review of the job has ended, passed or failed."""
        return self.state not in {WAIT_FILE_UPLOAD, AUTO_VERIFYING, MANUAL_VERIFYING}

    def parts_expected(self, kind: str) -> int:
        """Return the announced number of parts of the asset."""
        return int(self.fields[f"{'' if kind == 'training_video' else 'action_'}video_multipart_count"])

    def count_confirmation(self, kind: str) -> None:
        """Count a join of the parts of an asset."""
        self.confirmations[kind] = self.confirmations.get(kind, 0) + 1

    def log(
        self, log_type: str, user: str, at: float, description: str = "", code: str | None = None
    ) -> None:
        """Append an operation log; the newest is last."""
        entry = {
            "operate_time": timestamp(at),
            "log_type": log_type,
            "log_description": description,
            "operate_user": user,
        }
        self.operation_logs.append(entry | ({"error_code": code} if code else {}))
        self.updated_at = max(self.updated_at, at)

    def move(self, state: str, at: float) -> None:
        """Enter *state* at the time *at*."""
        self.state = state
        self.state_since = at
        # States advance when the job is next queried: *at* may be before its last change.
        self.updated_at = max(self.updated_at, at)

    def submit(self, at: float, failure: ReviewFailure | None) -> None:
        """Start the review; *failure* is its result, None if it will pass."""
        self.submissions += 1
        self.is_first_review_passed = False
        self.failure = failure
        self.log("USER_VERIFYING_SUBMITTED", "USER", at)
        self.move(AUTO_VERIFYING, at)

    def advance(self, now: float, speed: float) -> bool:
        """Advance through every state whose duration has passed; return whether anything changed."""
        has_changed = False
        while self.state in _TIMELINE and now >= self.state_since + _TIMELINE[self.state][0] / speed:
            # From the end of the state, not from now: a job that is queried late gets the same times as any other.
            self._leave(self.state_since + _TIMELINE[self.state][0] / speed)
            has_changed = True
        return has_changed

    def _leave(self, at: float) -> None:
        if self.failure is not None and self.failure.state == self.state:
            state, log_type, user = _FAILURES[self.state]
            self.log(log_type, user, at, self.failure.reason, self.failure.code)
            # Each submission is judged separately.
            self.failure = None
            return self.move(state, at)
        _, following, log_type = _TIMELINE[self.state]
        if self.state == AUTO_VERIFYING:
            self.is_first_review_passed = True
        if log_type:
            self.log(log_type, "ADMIN" if log_type.startswith("ADMIN") else "SYSTEM", at)
        return self.move(following, at)

    def to_document(self) -> dict[str, Any]:
        """Return the document for the records."""
        return asdict(self)

    @classmethod
    def from_document(cls, document: dict[str, Any]) -> Job:
        """Return the job for a document made by to_document."""
        failure = document["failure"]
        return cls(**{**document, "failure": None if failure is None else ReviewFailure(**failure)})
