"""What is asked of the service: bodies, queries and commands (metastudio-protocol section 1)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from orchestrator.domain.assets import AssetKind
from orchestrator.domain.avatar import Avatar, CommandMessage

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


class Command(StrEnum):
    """What `command` can be told (metastudio-protocol section 1.6)."""

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
        """True when the command changes nothing, so that it may be repeated at will."""
        return self in {Command.GET_MULTIPART_UPLOADED, Command.GET_ACTION_VIDEO_MULTIPART_UPLOADED}


@dataclass(frozen=True, slots=True, kw_only=True)
class JobQuery:
    """Which jobs to list; the times are RFC 3339, for example 2026-11-22T08:00:00Z."""

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
        """The query parameters, those that were not given left out."""
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
    """The create call's body; *tag* is added to the avatar's own, *part_counts* hold the videos to upload."""
    return {
        **_fields(avatar, _CREATE_FIELDS),
        **_batch_fields(avatar, batch_name, tag),
        **_counts(part_counts),
    }


def update_body(
    avatar: Avatar, *, batch_name: str, tag: str, part_counts: Mapping[AssetKind, int]
) -> dict[str, object]:
    """The update call's body, made for UPDATE_VIDEO unless the avatar says otherwise (section 7, step 10)."""
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
