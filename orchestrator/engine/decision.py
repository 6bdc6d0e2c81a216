"""The decision about what a run does with an entry, and why, from the manifest and the journal alone."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

from orchestrator.domain.assets import Asset
from orchestrator.domain.entries import (
    Entry,
    Sameness,
    changed_fields,
    is_untouched,
    normal,
    sameness_of_file,
)
from orchestrator.domain.errors import FILES_UNREADABLE, SourceChangedError
from orchestrator.domain.states import AFTER_SUBMIT, Change, EntryState, is_done
from orchestrator.journal.records import EntryRecord

if TYPE_CHECKING:
    from orchestrator.engine.context import RunSettings


class Action(StrEnum):
    """The actions of a run on an entry."""

    CREATE = "create"
    RESUME = "resume"
    SKIP = "skip"
    CHANGE = "change"  #: bring the job in line with the manifest
    DECIDE = "decide"  #: nothing, until a person decides
    LEAVE = "leave"  #: nothing: another command handles it


#: The actions after which the journal's record stays as it is.
_UNTOUCHED = frozenset({Action.DECIDE, Action.LEAVE})
#: Returns the result of comparing a file of an entry, named by its id, with what was sent.
Compare = Callable[[str, Asset], Sameness]


class Decision(NamedTuple):
    """The action for an entry and the reason for it; *change* is how its job is to be changed."""

    action: Action
    reason: str
    change: Change | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """The selection of `retry`: failed entries, or those named by *entry_ids*, whatever their state."""

    entry_ids: Collection[str] | None = None
    is_cancelled_wanted: bool = False  #: every cancelled entry is revived

    def names(self, entry_id: str) -> bool:
        """True when *entry_ids* contains the entry."""
        return self.entry_ids is not None and normal(entry_id) in map(normal, self.entry_ids)

    def revives(self, entry_id: str) -> bool:
        """True when the entry is revived if it is cancelled."""
        return self.names(entry_id) or (self.is_cancelled_wanted and self.entry_ids is None)


class Differences(NamedTuple):
    """The differences between the manifest with its files and what the job was made from."""

    fields: tuple[str, ...] = ()  #: fields, and files at another path with other content
    sources: tuple[str, ...] = ()  #: files with other content at the same path
    unclear: tuple[str, ...] = ()  #: files whose content cannot be compared

    @classmethod
    def between(
        cls, entry: Entry, assets: tuple[Asset, ...], record: EntryRecord, compare: Compare
    ) -> Differences:
        """Return the differences between the manifest and the journal; *compare* compares file contents."""
        if record.spec == entry.spec and record.assets == assets:
            return cls()
        known = {asset.kind: asset for asset in record.assets}
        fields = changed_fields(record.avatar, entry.avatar)
        fields += [kind.value for kind in known if kind not in {asset.kind for asset in assets}]
        sources, unclear = [], []
        for asset in assets:
            before = known.get(asset.kind)
            verdict = sameness_of_file(before, asset, compare(entry.entry_id, asset))
            if verdict is Sameness.SAME:
                continue
            if verdict is not Sameness.DIFFERENT:
                unclear.append(asset.kind.value)
            elif before is not None and before.path == asset.path:
                sources.append(asset.kind.value)
            else:
                fields.append(asset.kind.value)
        return cls(tuple(fields), tuple(sources), tuple(unclear))

    def __bool__(self) -> bool:
        """True when there is any difference."""
        return bool(self.fields or self.sources or self.unclear)

    def __str__(self) -> str:
        """Return the names of the differences, for messages."""
        return ", ".join(
            [
                *self.fields,
                *(f"content of {name}" for name in self.sources),
                *(
                    f"{name} (its content cannot be compared: no MD5 of what was sent)"
                    for name in self.unclear
                ),
            ]
        )


class EntryPlan(NamedTuple):
    """The plan for one entry: its action and the reason; `stored_bytes` need not be sent."""

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
        """The total length of all assets."""
        return sum([asset.fingerprint.size for asset in self.assets])

    @property
    def bytes_left(self) -> int:
        """The bytes that a run sends; a changed job may need fewer."""
        if self.action is Action.SKIP or self.action in _UNTOUCHED:
            return 0
        return self.bytes if self.action is Action.CHANGE else self.bytes - self.stored_bytes

    @property
    def is_to_be_taken(self) -> bool:
        """True when the manifest's version of the entry must be written to the journal."""
        record = self.record
        if record is None or self.action is Action.CHANGE or self.is_revived:
            return True
        if self.action in _UNTOUCHED or (record.spec == self.spec and record.assets == self.assets):
            return False
        # The files of a finished entry are not read again, so a new inode alone is not worth a write.
        is_same = record.spec == self.spec and all(map(is_untouched, record.assets, self.assets))
        return not (is_same and self.action is Action.SKIP)

    @property
    def is_revived(self) -> bool:
        """True when a cancelled entry is revived."""
        is_cancelled = self.record is not None and self.record.state is EntryState.CANCELLED
        return is_cancelled and self.action is Action.CREATE


@dataclass(frozen=True, slots=True)
class Decider:
    """Decides on entries by the settings of a run; *retry* is set for the `retry` command."""

    settings: RunSettings
    retry: Retry | None

    def decide(
        self, entry: Entry, assets: tuple[Asset, ...], record: EntryRecord | None, compare: Compare
    ) -> Decision:
        """Return the action for the entry, the reason and the change to its job; *compare* compares contents."""
        if record is None:
            return Decision(Action.CREATE, "new")
        if record.state is EntryState.CANCELLED:
            if self.retry is not None and self.retry.revives(record.entry_id):
                return Decision(Action.CREATE, "was cancelled")
            return Decision(Action.SKIP, "cancelled")
        if record.job_id is None and record.create_tag is None:
            return Decision(Action.CREATE, _why_again(record))
        return self._decide_with_job(record, Differences.between(entry, assets, record, compare))

    def _decide_with_job(self, record: EntryRecord, differences: Differences) -> Decision:
        if record.change_wanted is not None and not differences:
            # The kind of change chosen now, else the one that was begun; an amendment for a review stays one.
            change = self.settings.on_change or record.change_wanted
            if record.change_wanted is Change.AMEND:
                change = Change.AMEND
            return Decision(Action.CHANGE, "stopped while its job was changed", change)
        if record.state is EntryState.REVIEW_FAILED and (self.retry or self.settings.on_change is None):
            return self._decide_rejected(record, differences)
        if differences:
            return self._decide_change(record, differences)
        if self.is_finished(record):
            return Decision(
                Action.SKIP,
                f"submitted ({record.state})" if record.state in AFTER_SUBMIT else f"already {record.state}",
            )
        return Decision(Action.RESUME, _why_again(record))

    def is_finished(self, record: EntryRecord) -> bool:
        """True when nothing remains to be done for the entry, whether this run or an earlier one is to submit it."""
        return is_done(record.state, with_submit=self.settings.is_submit_wanted or record.is_submit_wanted)

    def _decide_rejected(self, record: EntryRecord, differences: Differences) -> Decision:
        """Amend a job whose review failed only in `retry`: when it is named, or when something was replaced."""
        why = f"review failed ({record.review_reason or 'no reason was given'})"
        is_named = self.retry is not None and self.retry.names(record.entry_id)
        is_meant = is_named or (self.retry is not None and self.retry.entry_ids is None and differences)
        if is_meant:
            return Decision(Action.CHANGE, f"{why}; replaced: {differences or 'nothing'}", Change.AMEND)
        if differences:
            return Decision(Action.LEAVE, f"{why}; replaced since, and not sent: {differences}")
        return Decision(Action.SKIP, f"{why}, and nothing was replaced since")

    def _decide_change(self, record: EntryRecord, differences: Differences) -> Decision:
        reason = f"changed since its job was created: {differences}"
        if self.settings.on_change is not None:
            return Decision(Action.CHANGE, reason, self.settings.on_change)
        if _is_source_alone(record, differences):
            # The stored data is of no use, and only our own upload is lost.
            change = Change.AMEND if record.is_submit_wanted else Change.RECREATE
            return Decision(Action.CHANGE, reason, change)
        return Decision(Action.DECIDE, reason)


def _is_source_alone(record: EntryRecord, differences: Differences) -> bool:
    """True when the only differences of an unconfirmed job are new contents of files at their old paths."""
    is_unconfirmed = record.confirm_sent_at is None and record.submit_sent_at is None
    is_proved = bool(differences.sources) and not differences.unclear
    error = record.error
    is_seen = error is not None and (error.kind == SourceChangedError.kind or error.code == FILES_UNREADABLE)
    return is_unconfirmed and not differences.fields and (is_proved or is_seen)


def _why_again(record: EntryRecord) -> str:
    if record.state is EntryState.FAILED and record.error is not None:
        return f"failed before: {record.error.message}"
    return "not started" if record.state is EntryState.PENDING else f"stopped while {record.state}"
