"""Entries: avatars with ids that are stable across runs, the jobs that belong to them, and their changes.

Fields are compared as the service reads them, files by their content (design section 2.1, "The same file"). The
engine reads the files and receipts.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from fnmatch import fnmatchcase
from functools import cached_property
from typing import Final, NamedTuple

from orchestrator.domain.assets import Asset, AssetKind
from orchestrator.domain.avatar import (
    TAG_PREFIX,
    AudioSourceType,
    Avatar,
    CommandMessage,
    ModelVersion,
    Service,
)

_FILES: Final = frozenset(kind.value for kind in AssetKind)
#: Fields that concern the transfer, not the job: a change of them does not change the plan of a job that was begun.
TRANSFER_FIELDS: Final = frozenset({"video_multipart_count", "action_video_multipart_count"})
_NOT_COMPARED: Final = _FILES | TRANSFER_FIELDS | {"id"}
#: The defaults of the create call for fields that are not sent (metastudio-protocol section 1.1).
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
#: The default for an avatar that is not flexus; flexus takes VIDEO_2D only, and its default is not documented.
_DEFAULT_SERVICES: Final = (Service.VIDEO_2D, Service.LIVE_2D)


class Place(NamedTuple):
    """A place in a manifest: YAML has columns by number, CSV by name."""

    line: int | None = None
    column: int | str | None = None


@dataclass(frozen=True)
class Entry:
    """One avatar of the manifest with its entry id; paths in the avatar are absolute.

    `places` maps fields to their places in the manifest, for messages about them. `ignored` are the rules whose
    warnings are suppressed for the entry. `job_id` is the job that the row names if the manifest is a results file.
    """

    entry_id: str
    avatar: Avatar
    line: int
    places: Mapping[str, Place] = field(default_factory=dict, compare=False, repr=False)
    ignored: frozenset[str] = field(default=frozenset(), compare=False)
    job_id: str | None = field(default=None, compare=False)

    def place_of(self, field_name: str) -> Place:
        """Return the place of the field, or else the line where the entry begins."""
        return self.places[field_name] if field_name in self.places else Place(self.line)

    @cached_property
    def spec(self) -> str:
        """The avatar as JSON without the fields that were not given, as the journal stores it."""
        return self.avatar.model_dump_json(exclude_none=True)


@dataclass(frozen=True, slots=True)
class BatchKey:
    """The key of a batch: endpoint, project id and batch name, in any Unicode composition of its letters.

    `known_digest` is the digest under which a journal has the batch; an older program may have made it differently.
    """

    endpoint: str
    project_id: str
    name: str
    known_digest: str | None = field(default=None, compare=False)

    @property
    def digest(self) -> str:
        """Twelve hex digits that represent the key in tags and file names."""
        return self.known_digest or self._digest(normal(self.name))

    @property
    def digests(self) -> frozenset[str]:
        """Every digest that a journal may have given the batch."""
        return frozenset({self.digest, *map(self._digest, forms(self.name))})

    def _digest(self, name: str) -> str:
        text = "\n".join((self.endpoint, self.project_id, name))
        return hashlib.sha256(text.encode()).hexdigest()[:12]


def normal(text: str) -> str:
    """Return *text* in the form for comparisons, with composed letters (NFC): some systems store names decomposed."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def forms(text: str) -> frozenset[str]:
    """Return every form in which programs may have written *text*: as it is, composed, and decomposed."""
    return frozenset({text} if text.isascii() else {text, normal(text), unicodedata.normalize("NFD", text)})


def slug(name: str) -> str:
    """Return the lower-case letters and digits of *name*, in any script, joined by hyphens; '' if there are none."""
    folded = unicodedata.normalize("NFKC", name).casefold()
    return re.sub(r"[\W_]+", "-", folded).strip("-")[:128]


@dataclass(frozen=True, slots=True)
class JobTag:
    """The parts of a tag from `create_tag`: they identify the entry of a job, but not the journal that created it."""

    batch: str
    entry: str
    nonce: str


def create_tag(batch: BatchKey, entry_id: str, nonce: str) -> str:
    """Return the tag by which a job is found if its create answer was lost; *nonce* is new for each attempt."""
    return f"{TAG_PREFIX}{batch.digest}:{_entry_digest(normal(entry_id))}:{nonce}"


def parse_tag(tag: str) -> JobTag | None:
    """Return the parts of a tag of this program; None for any other tag."""
    parts = tag.removeprefix(TAG_PREFIX).split(":")
    return JobTag(*parts) if tag.startswith(TAG_PREFIX) and len(parts) == _TAG_PARTS else None


def entry_digests(entry_id: str) -> frozenset[str]:
    """Return the digests that represent the entry in tags, including tags of older programs."""
    return frozenset(map(_entry_digest, forms(entry_id)))


def _entry_digest(entry_id: str) -> str:
    return hashlib.sha256(entry_id.encode()).hexdigest()[:12]


_TAG_PARTS = 3


def is_named_by(entry_id: str, pattern: str) -> bool:
    """True when *pattern*, an id or a glob (`*`, `?`, `[abc]`), matches the entry."""
    wanted, found = normal(pattern), normal(entry_id)
    return wanted == found or fnmatchcase(found, wanted)


#: How far the service's clock and this machine's may differ: the gateway refuses signatures that are further off
#: (metastudio-protocol section 12).
CLOCK_SKEW_SECONDS = 900.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Create:
    """A create that this journal made, or a takeover, which also gives a job a tag of this program.

    `made_at` is in epoch seconds and not later than the job itself. `names` are the avatar's names, then and now.
    `job_id` is the id of a job that another journal created, and that was to get the tag by an update.
    """

    batch: str
    entry_id: str
    tag: str
    made_at: float
    names: Collection[str]
    batch_name: str
    job_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenJob:
    """A job as list or show returns it; `created_at` is in epoch seconds, None when it is not given."""

    job_id: str
    name: str
    batch_name: str | None
    tags: Collection[str]
    created_at: float | None


def proves_ours(create: Create, job: SeenJob) -> bool:
    """True when the job is the one that *create* made: it has the exact tag, and nothing contradicts it."""
    return create.tag in job.tags and may_be_ours(create, job)


def may_be_ours(create: Create, job: SeenJob) -> bool:
    """True when name, batch and time of the job fit *create*; that alone is no proof."""
    is_older = job.created_at is not None and job.created_at < create.made_at - CLOCK_SKEW_SECONDS
    return (
        not is_older
        and normal(job.name) in map(normal, create.names)
        and normal(job.batch_name or "") == normal(create.batch_name)
    )


def instant(text: str | None) -> float | None:
    """Return the epoch seconds of a time from the service; None if it cannot be parsed or has no time zone."""
    try:
        moment = datetime.fromisoformat(text or "")
        return None if moment.tzinfo is None else moment.timestamp()
    except (ValueError, OverflowError):
        return None


def listed_since(made_at: float) -> str | None:
    """Return the earliest create time to list for a job made at *made_at*, in the service's format; None for any."""
    try:
        moment = datetime.fromtimestamp(made_at, UTC) - timedelta(seconds=CLOCK_SKEW_SECONDS)
    except (ValueError, OverflowError, OSError):
        return None
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}" if moment.year >= 1970 else None


class Sameness(StrEnum):
    """The result of comparing a file with the one that was planned before."""

    SAME = "same"
    DIFFERENT = "different"
    OPEN = "open"  #: only a comparison of the content can decide
    UNKNOWN = "unknown"  #: no MD5 of what was sent is known: a person must decide


def sameness_of_file(before: Asset | None, now: Asset, content: Sameness = Sameness.OPEN) -> Sameness:
    """Compare a file with the planned one; *content* is the result of comparing MD5s, OPEN until that was done.

    The inode does not count: after a copy, a restore or a remount the same bytes have another one.
    """
    if before is None or before.size != now.size:
        return Sameness.DIFFERENT
    return Sameness.SAME if is_untouched(before, now) else content


def is_untouched(before: Asset, now: Asset) -> bool:
    """True when kind, path, size and modification time are unchanged."""
    return (before.kind, before.path, *before.fingerprint[:2]) == (now.kind, now.path, *now.fingerprint[:2])


def sameness_of_content(sent: Iterable[str | None], found: Iterable[str]) -> Sameness:
    """Compare the MD5s of the stored segments, None where unknown, with those *found* in the file.

    If nothing is stored, the file is the same: it will be sent as it is now.
    """
    is_known = True
    for before, now in zip(sent, found, strict=True):
        if before is not None and before != now:
            return Sameness.DIFFERENT
        is_known &= before is not None
    return Sameness.SAME if is_known else Sameness.UNKNOWN


def changed_fields(before: Avatar, now: Avatar) -> list[str]:
    """Return the fields, except the files and the id, in which a job made from *before* differs from *now*."""
    return [
        name
        for name in type(now).model_fields
        if name not in _NOT_COMPARED and effective_value(before, name) != effective_value(now, name)
    ]


def effective_value(avatar: Avatar, name: str) -> object:
    """Return the field's value as the service reads it: its default if the manifest leaves it out."""
    value = getattr(avatar, name)
    if name == "supported_service" and not avatar.is_any_flexus:
        return frozenset(_DEFAULT_SERVICES if value is None else value)
    return _SERVICE_DEFAULTS.get(name) if value is None else value


def as_known(before: Avatar, now: Avatar) -> Avatar:
    """Return *now*, written as *before* where both mean the same, so that equal avatars have equal texts."""
    changed = {*changed_fields(before, now), *_FILES}
    same = {name: getattr(before, name) for name in type(now).model_fields if name not in changed}
    return now.model_copy(update=same)
