"""What counts as a change of an entry: fields as the service would read them, files by their content.

Pure rules (design section 2.1, "The same file"); who reads files and receipts is the engine.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Final

from orchestrator.domain.assets import Asset, AssetKind
from orchestrator.domain.avatar import (
    AudioSourceType,
    Avatar,
    CommandMessage,
    ModelVersion,
    Service,
)

_FILES: Final = frozenset(kind.value for kind in AssetKind)
#: How the files are sent, not what the job is: the plan of a job that was begun stays.
TRANSFER_FIELDS: Final = frozenset({"video_multipart_count", "action_video_multipart_count"})
_NOT_COMPARED: Final = _FILES | TRANSFER_FIELDS | {"id"}
#: What the create call takes a field for that is not sent (metastudio-protocol section 1.1).
_SERVICE_DEFAULTS: Final = {
    "command_message": CommandMessage.UPLOAD_VIDEO,
    "is_background_replacement": True,
    "tags": (),
    "model_version": ModelVersion.V3_2,
    "is_ondemand_resource": False,
    "is_flexus": False,
    "is_fast_flexus": False,
    "is_live_copy": False,
    "is_only_human_model": False,
    "audio_source_type": AudioSourceType.VIDEO,
}
#: That of an avatar that is not flexus; flexus takes VIDEO_2D only, and its default is not documented.
_DEFAULT_SERVICES: Final = (Service.VIDEO_2D, Service.LIVE_2D)


class Sameness(StrEnum):
    """Whether a file is the one that was planned before."""

    SAME = "same"
    DIFFERENT = "different"
    OPEN = "open"  #: only its content can decide
    UNKNOWN = "unknown"  #: no MD5 of what was sent is known: a person must say


def sameness_of_file(before: Asset | None, now: Asset, content: Sameness = Sameness.OPEN) -> Sameness:
    """Judge a file; *content* is what comparing MD5s gave, OPEN as long as that was not done.

    The inode does not count: a copy, a restore or a remount gives another one to the same bytes.
    """
    if before is None or before.size != now.size:
        return Sameness.DIFFERENT
    return Sameness.SAME if is_untouched(before, now) else content


def is_untouched(before: Asset, now: Asset) -> bool:
    """True when path, size and modification time are as they were."""
    return (before.kind, before.path, *before.fingerprint[:2]) == (now.kind, now.path, *now.fingerprint[:2])


def sameness_of_content(sent: Iterable[str | None], found: Iterable[str]) -> Sameness:
    """Compare the MD5s of the segments that are stored, None where none is known, with those *found* in the file.

    Where nothing is stored the file as it is now is what will be sent.
    """
    is_known = True
    for before, now in zip(sent, found, strict=True):
        if before is not None and before != now:
            return Sameness.DIFFERENT
        is_known &= before is not None
    return Sameness.SAME if is_known else Sameness.UNKNOWN


def changed_fields(before: Avatar, now: Avatar) -> list[str]:
    """The fields, without files and our own id, that a job made from *before* has otherwise than *now* wants."""
    return [
        name
        for name in type(now).model_fields
        if name not in _NOT_COMPARED and effective_value(before, name) != effective_value(now, name)
    ]


def effective_value(avatar: Avatar, name: str) -> object:
    """The field's value as the service reads it: its default where the manifest leaves it out."""
    value = getattr(avatar, name)
    if name == "supported_service" and not avatar.is_any_flexus:
        return frozenset(_DEFAULT_SERVICES if value is None else value)
    return _SERVICE_DEFAULTS.get(name) if value is None else value


def as_known(before: Avatar, now: Avatar) -> Avatar:
    """*now*, written as *before* where both mean the same, so that equal wishes are equal texts."""
    changed = {*changed_fields(before, now), *_FILES}
    same = {name: getattr(before, name) for name in type(now).model_fields if name not in changed}
    return now.model_copy(update=same)
