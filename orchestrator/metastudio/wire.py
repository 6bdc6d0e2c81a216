"""The wire format of the service (metastudio-protocol section 1): request bodies, queries and answers.

Unknown fields and values in answers are tolerated.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, TypeAlias

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from orchestrator.domain.assets import AssetKind
from orchestrator.domain.avatar import Avatar, CommandMessage
from orchestrator.domain.presigned import PresignedUrl, in_part_order
from orchestrator.domain.untrusted_text import bare_etag, one_line

MAX_PAGE_JOBS = 100

_UPDATE_FIELDS = frozenset(
    {
        "name",
        "contact",
        "command_message",
        "is_background_replacement",
        "is_fast_flexus",
        "voice_properties",
        "supported_service",
        "audio_source_type",
    }
)
_CREATE_FIELDS = _UPDATE_FIELDS | {
    "model_version",
    "is_ondemand_resource",
    "is_flexus",
    "is_live_copy",
    "is_only_human_model",
}
_COUNT_FIELDS = {
    AssetKind.TRAINING_VIDEO: "video_multipart_count",
    AssetKind.ACTION_VIDEO: "action_video_multipart_count",
}
SUCCESS = "EXCUTE_SUCCESS"
#: At least ten times the documented limits (metastudio-protocol section 1): a larger answer is another server's.
MAX_PAGE = 1000
MAX_PARTS = 10_000
MAX_URLS = 10_000
MAX_LOGS = 1000
MAX_STATE_CHARACTERS = 64


class Command(StrEnum):
    """The commands for `MetaStudioClient.command` (metastudio-protocol section 1.6)."""

    GET_MULTIPART_UPLOADED = "GET_MULTIPART_UPLOADED"
    CONFIRM_MULTIPART_UPLOADED = "CONFIRM_MULTIPART_UPLOADED"
    GET_ACTION_VIDEO_MULTIPART_UPLOADED = "GET_ACTION_VIDEO_MULTIPART_UPLOADED"
    CONFIRM_ACTION_VIDEO_MULTIPART_UPLOADED = "CONFIRM_ACTION_VIDEO_MULTIPART_UPLOADED"
    SUBMITVERIFYING = "SUBMITVERIFYING"
    CONFIRM_AUTHORIZATION_LETTER = "CONFIRM_AUTHORIZATION_LETTER"
    DELETE_JOB_VIDEO = "DELETE_JOB_VIDEO"
    CONFIRM_REPAIR = "CONFIRM_REPAIR"
    CONFIRM_ACCEPT = "CONFIRM_ACCEPT"
    CONFIRM_REJECT = "CONFIRM_REJECT"
    CONFIRM_ANSWER = "CONFIRM_ANSWER"
    CONFIRM_PENDING = "CONFIRM_PENDING"
    CONFIRM_ACTIVE = "CONFIRM_ACTIVE"

    @property
    def is_read(self) -> bool:
        """True when the command changes nothing, so that it may be repeated."""
        return self in {Command.GET_MULTIPART_UPLOADED, Command.GET_ACTION_VIDEO_MULTIPART_UPLOADED}


@dataclass(frozen=True, slots=True, kw_only=True)
class JobQuery:
    """The filters of a list call; times are RFC 3339, for example 2026-11-22T08:00:00Z."""

    state: tuple[str, ...] = ()
    batch_name: str | None = None
    tag: str | None = None
    job_id: str | None = None
    name: str | None = None
    create_since: str | None = None
    create_until: str | None = None
    update_since: str | None = None
    update_until: str | None = None
    sort_key: str = "create_time"
    sort_dir: str = "asc"
    offset: int = 0
    limit: int = MAX_PAGE_JOBS

    def pairs(self) -> tuple[tuple[str, str], ...]:
        """Return the query parameters, without those that are not set."""
        filters = {
            "batch_name": self.batch_name,
            "tag": self.tag,
            "job_id": self.job_id,
            "name": self.name,
            "create_since": self.create_since,
            "create_until": self.create_until,
            "update_since": self.update_since,
            "update_until": self.update_until,
            "state": ",".join(self.state) or None,
            "sort_key": self.sort_key,
            "sort_dir": self.sort_dir,
            "offset": str(self.offset),
            "limit": str(self.limit),
        }
        return tuple((name, value) for name, value in filters.items() if value is not None)


def create_body(
    avatar: Avatar, *, batch_name: str, tag: str, part_counts: Mapping[AssetKind, int]
) -> dict[str, object]:
    """Return the body of the create call; *tag* is added to the avatar's tags, *part_counts* is for the videos."""
    return {
        **_fields(avatar, _CREATE_FIELDS),
        **_batch_fields(avatar, batch_name, tag),
        **_counts(part_counts),
    }


def update_body(
    avatar: Avatar, *, batch_name: str, tag: str, part_counts: Mapping[AssetKind, int]
) -> dict[str, object]:
    """Return the body of the update call: UPDATE_VIDEO unless the avatar sets a message (section 7, step 10)."""
    return {
        "command_message": CommandMessage.UPDATE_VIDEO.value,
        **_fields(avatar, _UPDATE_FIELDS),
        **_batch_fields(avatar, batch_name, tag),
        **_counts(part_counts),
    }


def _fields(avatar: Avatar, names: frozenset[str]) -> dict[str, object]:
    return avatar.model_dump(mode="json", include=set(names), exclude_none=True)


def _batch_fields(avatar: Avatar, batch_name: str, tag: str) -> dict[str, object]:
    return {"batch_name": batch_name, "tags": [*(avatar.tags or ()), tag]}


def _counts(part_counts: Mapping[AssetKind, int]) -> dict[str, object]:
    return {_COUNT_FIELDS[kind]: count for kind, count in part_counts.items() if kind in _COUNT_FIELDS}


def _null_as_empty(value: object) -> object:
    return () if value is None or value == "null" else value


#: The official examples use the string "null" for a missing value.
Text = Annotated[str | None, BeforeValidator(lambda value: None if value == "null" else value)]
Texts = Annotated[tuple[str, ...], BeforeValidator(_null_as_empty)]
#: Ten digits are documented; a longer part number is ignored.
_NUMBER_DIGITS = 10
UploadUrls: TypeAlias = dict[AssetKind, list[PresignedUrl]]


class WireModel(BaseModel):
    """The base of the parts of an answer that this program reads; a validation error never shows their content."""

    model_config = ConfigDict(
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
        coerce_numbers_to_str=True,
        arbitrary_types_allowed=True,
        protected_namespaces=(),
    )


class OperationLog(WireModel):
    """One step of a job's history; `log_description` holds the reviewer's reason."""

    log_type: Text = None
    log_description: Text = None
    error_code: Text = None
    #: Items that are neither strings nor integers are dropped: a remark must not make the whole answer unusable.
    redo_reasons: Annotated[
        tuple[str, ...],
        BeforeValidator(
            lambda value: (
                tuple(item for item in value if isinstance(item, str | int))
                if isinstance(value, list | tuple)
                else ()
            )
        ),
    ] = ()


class JobSummary(WireModel):
    """A job as the list call returns it."""

    job_id: str
    name: str
    #: Cut to one short line so that it can be stored; the service's states are short words.
    state: Annotated[
        str,
        BeforeValidator(
            lambda value: one_line(value)[:MAX_STATE_CHARACTERS] if isinstance(value, str) else value
        ),
    ]
    asset_id: Text = None
    create_time: Text = None
    batch_name: Text = None
    tags: Texts = ()
    app_user_id: Text = None


#: Files that the show answer names differently from the create answer (metastudio-protocol section 1.3).
_DOWNLOAD_NAMES = {AssetKind.AUDIO: ("audio_file", "audio")}


class DownloadUrls:
    """The download URLs of a job's files, by the name of the field without `_download_url`.

    *answer* is the answer to a show call. Each URL is parsed when it is requested; most never are.
    """

    def __init__(self, answer: Mapping[str, object] | None = None) -> None:
        self._answer = answer or {}

    def of(self, kind: AssetKind) -> PresignedUrl | None:
        """Return the download URL of a file; None when the service shows none."""
        names = _DOWNLOAD_NAMES.get(kind, (kind.value,))
        return next(filter(None, map(self.get, names)), None)

    def get(self, name: str) -> PresignedUrl | None:
        """Return the URL in a file's field; None when it is missing or invalid, as nothing depends on one."""
        value = self._answer.get(f"{name}_download_url")
        if not isinstance(value, str) or not value.startswith("http"):
            return None
        try:
            return PresignedUrl(value)
        except ValueError:
            return None


class JobDetail(JobSummary):
    """A job as the show call returns it."""

    #: Only the last steps of a long history are kept.
    operation_logs: Annotated[
        tuple[OperationLog, ...],
        BeforeValidator(lambda value: value[-MAX_LOGS:] if isinstance(value, list | tuple) else value),
        BeforeValidator(_null_as_empty),
    ] = ()
    download_urls: DownloadUrls = Field(default_factory=DownloadUrls, repr=False)

    @model_validator(mode="before")
    @classmethod
    def _collect_download_urls(cls, answer: Any) -> Any:
        return {**answer, "download_urls": DownloadUrls(answer)} if isinstance(answer, Mapping) else answer


class JobPage(WireModel):
    """One page of the list; `count` is the number of all matching jobs."""

    count: int | None = None
    jobs: Annotated[tuple[JobSummary, ...], Field(max_length=MAX_PAGE), BeforeValidator(_null_as_empty)] = ()


class _Identified(WireModel):
    job_id: Annotated[str, Field(pattern=r"^[\x21-\x7e]{1,128}$")]


@dataclass(frozen=True, slots=True)
class JobUrls:
    """The answer to create and update: the job, and the upload URLs of each asset."""

    job_id: str
    urls: UploadUrls


@dataclass(frozen=True, slots=True)
class Part:
    """A part that the service holds; `etag` is without quotes, and empty when the service returns none."""

    part_number: int
    etag: str


@dataclass(frozen=True, slots=True)
class CommandResult:
    """The answer to a command that was carried out."""

    parts: tuple[Part, ...] = ()
    attachment_upload_urls: tuple[PresignedUrl, ...] = ()


_UPLOAD_FIELDS = {kind: f"{kind.value}_upload_url" for kind in AssetKind}


def job_urls(answer: Mapping[str, object], *, job_id: str | None = None) -> JobUrls:
    """Read a create or update answer; *job_id* is used when an update does not repeat it.

    URLs are in the order of their part numbers. Raises ValueError, without the URL in its text, when a URL cannot be
    parsed or the job id is missing.
    """
    found = _Identified.model_validate({"job_id": answer.get("job_id") or job_id})
    by_kind = {kind: _presigned(answer.get(field)) for kind, field in _UPLOAD_FIELDS.items()}
    return JobUrls(found.job_id, {kind: in_part_order(urls) for kind, urls in by_kind.items() if urls})


def command_result(answer: Mapping[str, object]) -> CommandResult:
    """Read a successful command's answer; a part without a number is left out, so it counts as missing."""
    listed = answer.get("multipart_data")
    if isinstance(listed, list) and len(listed) > MAX_PARTS:
        raise ValueError(f"the service lists over {MAX_PARTS} parts")
    parts: list[Part] = []
    for item in listed if isinstance(listed, list) else ():
        number = str(item.get("part_number")) if isinstance(item, Mapping) else ""
        if number.isascii() and number.isdecimal() and len(number) <= _NUMBER_DIGITS:
            etag = item.get("etag")
            parts.append(Part(int(number), (bare_etag(etag) or "") if isinstance(etag, str) else ""))
    attachments = _presigned(answer.get("attachment_upload_url"))
    return CommandResult(tuple(parts), tuple(attachments))


def _presigned(value: object) -> list[PresignedUrl]:
    """Parse a field that holds one URL, a list of URLs, or nothing."""
    if value in (None, "", "null"):
        return []
    if isinstance(value, str):
        return [PresignedUrl(value)]
    urls = value if isinstance(value, list) else [value]
    if len(urls) > MAX_URLS:
        raise ValueError(f"the service returned over {MAX_URLS} upload URLs for one file")
    if not all(isinstance(url, str) for url in urls):
        raise ValueError("the service returned an upload URL that is not a string")
    return [PresignedUrl(str(url)) for url in urls]
