"""What a run does with an entry, and why: decided from the manifest and the journal alone."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from orchestrator.domain.assets import Asset
from orchestrator.domain.entries import Entry
from orchestrator.domain.states import AFTER_SUBMIT, Change, EntryState, is_done
from orchestrator.engine.collaborators import RunSettings
from orchestrator.journal.records import EntryRecord


class Action(StrEnum):
    """What a run does with an entry."""

    CREATE = "create"
    RESUME = "resume"
    SKIP = "skip"
    CHANGE = "change"  #: bring the job in line with the manifest
    DECIDE = "decide"  #: nothing, until a person says what


class Decision(NamedTuple):
    """What to do with an entry and why; *change* tells how its job is to be changed."""

    action: Action
    reason: str
    change: Change | None = None


@dataclass(frozen=True, slots=True)
class Retry:
    """`retry`: take up what failed; *entry_ids* names entries to amend though nothing was replaced."""

    entry_ids: Collection[str] | None

    def names(self, entry_id: str) -> bool:
        """True when a person named this very entry."""
        return self.entry_ids is not None and entry_id in self.entry_ids


class EntryPlan(NamedTuple):
    """What a run does with one entry and why; `stored_bytes` need not be sent."""

    entry_id: str
    position: int
    action: Action
    reason: str
    change: Change | None
    spec: str
    assets: tuple[Asset, ...]
    segments: int
    stored_bytes: int
    record: EntryRecord | None

    @property
    def bytes(self) -> int:
        """The length of all assets together."""
        return sum([asset.fingerprint.size for asset in self.assets])

    @property
    def bytes_left(self) -> int:
        """What a run sends; a changed job may take less than this."""
        if self.action is Action.SKIP or self.action is Action.DECIDE:
            return 0
        return self.bytes if self.action is Action.CHANGE else self.bytes - self.stored_bytes

    @property
    def is_to_be_taken(self) -> bool:
        """True when the journal does not say yet what the manifest says."""
        if self.record is None:
            return True
        is_as_known = self.record.spec == self.spec and self.record.assets == self.assets
        return self.action is Action.CHANGE or (self.action is not Action.DECIDE and not is_as_known)


@dataclass(frozen=True, slots=True)
class Decider:
    """What is decided on; *retry* is there when only what failed is taken up."""

    settings: RunSettings
    retry: Retry | None

    def decide(self, entry: Entry, assets: tuple[Asset, ...], record: EntryRecord | None) -> Decision:
        """What to do with the entry, why, and how its job is to be changed."""
        if record is None:
            return Decision(Action.CREATE, "new")
        if record.state is EntryState.CANCELLED:
            return Decision(Action.SKIP, "cancelled")
        if record.job_id is None and record.create_tag is None:
            return Decision(Action.CREATE, _why_again(record))
        differences = _differences(entry, assets, record)
        return self._decide_with_job(record, differences)

    def _decide_with_job(self, record: EntryRecord, differences: list[str]) -> Decision:
        if record.change_wanted is not None and not differences:
            return Decision(Action.CHANGE, "stopped while its job was changed", self._change_again(record))
        if record.state is EntryState.REVIEW_FAILED and self.retry is not None:
            return _decide_amend(record, differences, is_named=self.retry.names(record.entry_id))
        if differences:
            return self._decide_change(differences)
        if self.is_finished(record):
            return Decision(Action.SKIP, _why_done(record))
        return Decision(Action.RESUME, _why_again(record))

    def is_finished(self, record: EntryRecord) -> bool:
        """True when nothing is left to do for the entry, whether this run was asked to submit or one before."""
        return is_done(record.state, with_submit=self.settings.is_submit_wanted or record.is_submit_wanted)

    def _change_again(self, record: EntryRecord) -> Change | None:
        """The change that was begun, or the way that is chosen now; what a review asks for is an update."""
        if record.change_wanted is Change.AMEND:
            return Change.AMEND
        return self.settings.on_change or record.change_wanted

    def _decide_change(self, differences: list[str]) -> Decision:
        reason = f"changed since its job was created: {', '.join(differences)}"
        if self.settings.on_change is None:
            return Decision(Action.DECIDE, reason)
        return Decision(Action.CHANGE, reason, self.settings.on_change)


def _decide_amend(record: EntryRecord, differences: list[str], *, is_named: bool) -> Decision:
    why = f"review failed ({record.review_reason or 'no reason was given'})"
    if differences or is_named:
        return Decision(
            Action.CHANGE, f"{why}; replaced: {', '.join(differences) or 'nothing'}", Change.AMEND
        )
    return Decision(Action.SKIP, f"{why} and nothing was replaced; name it with --entry to send it as it is")


def _why_done(record: EntryRecord) -> str:
    if record.state is EntryState.REVIEW_FAILED:
        return "review failed; replace what the reviewer names, then retry"
    return f"already {record.state}" if record.state not in AFTER_SUBMIT else f"submitted ({record.state})"


def _why_again(record: EntryRecord) -> str:
    if record.state is EntryState.FAILED and record.error is not None:
        return f"failed before: {record.error.message}"
    return "not begun" if record.state is EntryState.PENDING else f"stopped while {record.state}"


def _differences(entry: Entry, assets: tuple[Asset, ...], record: EntryRecord) -> list[str]:
    """What the manifest says otherwise than the journal; a file that only moved is the same file."""
    if record.spec == entry.spec and record.assets == assets:
        return []
    before, now = record.avatar, entry.avatar
    known = {asset.kind: asset for asset in record.assets}
    files = {asset.kind.value: _is_same_file(asset, known.get(asset.kind)) for asset in assets}
    fields = [
        name
        for name in type(now).model_fields
        if getattr(before, name) != getattr(now, name) and not files.get(name, False)
    ]
    contents = [f"content of {name}" for name, is_same in files.items() if not is_same and name not in fields]
    return [*fields, *contents]


def _is_same_file(now: Asset, before: Asset | None) -> bool:
    if before is None:
        return False
    if now.path == before.path:
        return now.fingerprint == before.fingerprint
    return (now.size, now.fingerprint.mtime_ns) == (before.size, before.fingerprint.mtime_ns)
