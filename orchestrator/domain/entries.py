"""An entry: one avatar of a batch under an id that is stable over runs."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

from orchestrator.domain.avatar import Avatar


class Place(NamedTuple):
    """Where something is in a manifest: YAML has columns by number, CSV by name."""

    line: int | None = None
    column: int | str | None = None


@dataclass(frozen=True)
class Entry:
    """One avatar of the manifest with our id for it; paths in the avatar are absolute.

    `places` says where the manifest gives a field, for messages about it; `ignored` are the rules whose warnings
    are not wanted for it.
    """

    entry_id: str
    avatar: Avatar
    line: int
    places: Mapping[str, Place] = field(default_factory=dict, compare=False, repr=False)
    ignored: frozenset[str] = field(default=frozenset(), compare=False)

    def place_of(self, field_name: str) -> Place:
        """Where the field is given, or else where the entry begins."""
        return self.places.get(field_name) or Place(self.line)

    @cached_property
    def spec(self) -> str:
        """The avatar as JSON, fields that were not given left out: what the journal keeps."""
        return self.avatar.model_dump_json(exclude_none=True)


@dataclass(frozen=True, slots=True)
class BatchKey:
    """What tells one batch from another: endpoint, project id and batch name."""

    endpoint: str
    project_id: str
    name: str

    @property
    def digest(self) -> str:
        """Twelve hex digits that stand for the key in tags and file names."""
        text = "\n".join((self.endpoint, self.project_id, self.name))
        return hashlib.sha256(text.encode()).hexdigest()[:12]


def slug(name: str) -> str:
    """Lower-case letters, digits and hyphens of *name*, any script; '' when nothing is left."""
    folded = unicodedata.normalize("NFKC", name).casefold()
    return re.sub(r"[\W_]+", "-", folded).strip("-")[:128]


def create_tag(batch: BatchKey, entry_id: str, nonce: str) -> str:
    """The tag that finds a job again whose create answer was lost; *nonce* is new for each attempt."""
    entry_digest = hashlib.sha256(entry_id.encode()).hexdigest()[:12]
    return f"orch:{batch.digest}:{entry_digest}:{nonce}"
