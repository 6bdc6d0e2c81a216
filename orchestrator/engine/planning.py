"""What a run would do with each entry of a manifest, and taking that into the journal."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import islice

import anyio.to_thread

from orchestrator.domain.assets import Asset
from orchestrator.domain.entries import Entry
from orchestrator.domain.errors import ManifestError
from orchestrator.domain.part_counts import total_segments
from orchestrator.domain.states import AFTER_SUBMIT, Change, EntryState, is_done
from orchestrator.engine.collaborators import RunSettings
from orchestrator.engine.events import Totals
from orchestrator.journal.journal import Journal
from orchestrator.journal.reading import NOT_IN_MANIFEST
from orchestrator.journal.records import EntryRecord
from orchestrator.manifest import Manifest, Problem, Severity, inspect_files

#: Entries that are looked up, inspected and written together.
CHUNK_ENTRIES = 500


class Action(StrEnum):
    """What a run does with an entry."""

    CREATE = "create"
    RESUME = "resume"
    SKIP = "skip"
    CHANGE = "change"  #: bring the job in line with the manifest
    DECIDE = "decide"  #: nothing, until a person says what


@dataclass(frozen=True, slots=True)
class Decision:
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


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryPlan:
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
        return sum(asset.size for asset in self.assets)

    @property
    def bytes_left(self) -> int:
        """What a run sends; a changed job may take less than this."""
        if self.action in {Action.SKIP, Action.DECIDE}:
            return 0
        return self.bytes if self.action is Action.CHANGE else self.bytes - self.stored_bytes

    @property
    def is_to_be_taken(self) -> bool:
        """True when the journal does not say yet what the manifest says."""
        if self.record is None:
            return True
        is_as_known = self.record.spec == self.spec and self.record.assets == self.assets
        return self.action is Action.CHANGE or (self.action is not Action.DECIDE and not is_as_known)


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """The batch as the journal has it now."""

    totals: Totals
    undecided: dict[str, str]  #: reason by entry id
    removed: tuple[str, ...]


class Planner:
    """Compares a manifest with the journal, entry by entry, in flat memory."""

    def __init__(
        self,
        manifest: Manifest,
        journal: Journal | None,
        batch: str,
        settings: RunSettings,
        *,
        with_media: bool,
        retry: Retry | None = None,
    ) -> None:
        """Plan *manifest* against *journal*, None when there is none yet; *retry* takes up what failed only."""
        self._retry = retry
        self.problems: list[Problem] = []
        self._manifest = manifest
        self._journal = journal
        self._batch = batch
        self._settings = settings
        self._with_media = with_media

    async def plans(self) -> AsyncIterator[EntryPlan]:
        """The plan of every valid entry; afterwards `problems` are those of the whole file."""
        found: list[Problem] = []
        entries = enumerate(self._manifest.entries())
        while chunk := await anyio.to_thread.run_sync(_next_chunk, entries):
            ids = [entry.entry_id for _, entry in chunk]
            records = await self._journal.entries_named(self._batch, ids) if self._journal else {}
            stored = await self._stored_bytes(records.values())
            for plan, problems in await anyio.to_thread.run_sync(self._plan_chunk, chunk, records, stored):
                found += problems
                if plan is not None:
                    yield plan
        self.problems = [*self._manifest.problems, *found]

    async def _stored_bytes(self, records: Iterable[EntryRecord]) -> dict[str, int]:
        """What need not be sent of the entries that are begun; of finished ones nothing is sent anyway."""
        begun = [record.entry_id for record in records if record.job_id and not self._is_finished(record)]
        return await self._journal.stored_bytes(self._batch, begun) if self._journal and begun else {}

    async def register(self) -> Registration:
        """Take what the manifest says into the journal, all or nothing.

        Raises ManifestError when the manifest has errors; `problems` then tells them.
        """
        if self._journal is None:
            raise ValueError("there is no journal to register in")
        totals = _Totals()
        undecided: dict[str, str] = {}
        present: set[str] = set()
        is_writing_needed = False
        async for plan in self.plans():
            totals.add(plan)
            present.add(plan.entry_id)
            is_writing_needed |= plan.is_to_be_taken or _has_moved(plan)
            if plan.action is Action.DECIDE:
                undecided[plan.entry_id] = plan.reason
        self._raise_if_invalid()
        removed = await self._journal.entry_ids(self._batch) - present
        if is_writing_needed or removed:
            await self._write(self._journal, sorted(removed))
        return Registration(totals=totals.as_totals(), undecided=undecided, removed=tuple(sorted(removed)))

    def _raise_if_invalid(self) -> None:
        errors = sum(problem.severity is Severity.ERROR for problem in self.problems)
        if errors:
            raise ManifestError(
                f"{self._manifest.path} has {errors} error{'s' if errors > 1 else ''}; nothing was sent",
                hint="mend them and run again; `orchestrator validate` lists them",
            )

    async def _write(self, journal: Journal, removed: list[str]) -> None:
        """Go through the manifest once more rather than keep it all: memory does not grow with it."""
        await journal.move_entries(self._batch, ((entry_id, NOT_IN_MANIFEST) for entry_id in removed))
        again = Planner(
            self._manifest, journal, self._batch, self._settings, with_media=False, retry=self._retry
        )
        chunk: list[EntryPlan] = []
        async for plan in again.plans():
            chunk.append(plan)
            if len(chunk) == CHUNK_ENTRIES:
                await self._write_chunk(journal, chunk)
                chunk = []
        await self._write_chunk(journal, chunk)

    async def _write_chunk(self, journal: Journal, chunk: list[EntryPlan]) -> None:
        new = [plan for plan in chunk if plan.record is None]
        await journal.add_entries(
            self._batch, ((plan.position, plan.entry_id, plan.spec, plan.assets) for plan in new)
        )
        for plan in chunk:
            if plan.record is not None and plan.is_to_be_taken:
                await journal.replan_entry(
                    plan.record,
                    plan.spec,
                    plan.assets,
                    plan.change,
                    is_submit_wanted=plan.change is Change.AMEND,
                )
        moved = [(plan.entry_id, plan.position) for plan in chunk if _has_moved(plan)]
        await journal.move_entries(self._batch, moved)

    def _plan_chunk(
        self, chunk: list[tuple[int, Entry]], records: dict[str, EntryRecord], stored: dict[str, int]
    ) -> list[tuple[EntryPlan | None, list[Problem]]]:
        return [
            self._plan(position, entry, records.get(entry.entry_id), stored.get(entry.entry_id, 0))
            for position, entry in chunk
        ]

    def _plan(
        self, position: int, entry: Entry, record: EntryRecord | None, stored_bytes: int
    ) -> tuple[EntryPlan | None, list[Problem]]:
        entry = _as_known(entry, record)
        assets, problems = self._assets(entry, record)
        if any(problem.severity is Severity.ERROR for problem in problems):
            return None, problems
        decision = self._decide(entry, assets, record)
        plan = EntryPlan(
            entry_id=entry.entry_id,
            position=position,
            action=decision.action,
            reason=decision.reason,
            change=decision.change,
            spec=entry.spec,
            assets=assets,
            segments=total_segments(entry.avatar, assets, self._settings.part_bytes),
            stored_bytes=stored_bytes,
            record=record,
        )
        return plan, problems

    def _decide(self, entry: Entry, assets: tuple[Asset, ...], record: EntryRecord | None) -> Decision:
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
        if record.state is EntryState.REVIEW_FAILED and self._retry is not None:
            return _decide_amend(record, differences, is_named=self._retry.names(record.entry_id))
        if differences:
            return self._decide_change(differences)
        if self._is_finished(record):
            return Decision(Action.SKIP, _why_done(record))
        return Decision(Action.RESUME, _why_again(record))

    def _is_finished(self, record: EntryRecord) -> bool:
        return is_done(record.state, with_submit=self._settings.is_submit_wanted or record.is_submit_wanted)

    def _change_again(self, record: EntryRecord) -> Change | None:
        """The change that was begun, or the way that is chosen now; what a review asks for is an update."""
        if record.change_wanted is Change.AMEND:
            return Change.AMEND
        return self._settings.on_change or record.change_wanted

    def _decide_change(self, differences: list[str]) -> Decision:
        reason = f"changed since its job was created: {', '.join(differences)}"
        if self._settings.on_change is None:
            return Decision(Action.DECIDE, reason)
        return Decision(Action.CHANGE, reason, self._settings.on_change)

    def _assets(self, entry: Entry, record: EntryRecord | None) -> tuple[tuple[Asset, ...], list[Problem]]:
        """The entry's files; those the journal knows unchanged are not inspected again."""
        if record is not None and record.spec == entry.spec:
            # Footage of a finished entry may have been put away.
            is_finished = is_done(record.state, with_submit=self._settings.is_submit_wanted)
            if all(_is_as_planned(asset, if_gone=is_finished) for asset in record.assets):
                return record.assets, []
        return inspect_files(entry, with_media=self._with_media, manifest_file=str(self._manifest.path))


class _Totals:
    def __init__(self) -> None:
        self._entries = self._segments = self._bytes = 0

    def add(self, plan: EntryPlan) -> None:
        self._entries += 1
        self._segments += plan.segments
        self._bytes += plan.bytes

    def as_totals(self) -> Totals:
        return Totals(entries=self._entries, segments=self._segments, bytes=self._bytes)


def _decide_amend(record: EntryRecord, differences: list[str], *, is_named: bool) -> Decision:
    why = f"review failed ({record.review_reason or 'no reason was given'})"
    if differences or is_named:
        return Decision(
            Action.CHANGE, f"{why}; replaced: {', '.join(differences) or 'nothing'}", Change.AMEND
        )
    return Decision(Action.SKIP, f"{why} and nothing was replaced; name it with --entry to send it as it is")


def _why_done(record: EntryRecord) -> str:
    if record.state is EntryState.REVIEW_FAILED:
        return "review failed; `orchestrator retry` sends what was mended"
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


def _as_known(entry: Entry, record: EntryRecord | None) -> Entry:
    """The entry as the journal writes its id: to spell out the id that its name made is no change."""
    if record is None or record.spec == entry.spec:
        return entry
    return replace(entry, avatar=entry.avatar.model_copy(update={"id": record.avatar.id}))


def _is_as_planned(asset: Asset, *, if_gone: bool) -> bool:
    """True while the file has the fingerprint it was planned with; *if_gone* when there is no file."""
    try:
        status = os.stat(asset.path)  # noqa: PTH116 - hundreds of thousands of paths, and Path costs more than stat
    except OSError:
        return if_gone
    planned = asset.fingerprint
    return (status.st_size, status.st_mtime_ns, status.st_ino) == (
        planned.size,
        planned.mtime_ns,
        planned.inode,
    )


def _has_moved(plan: EntryPlan) -> bool:
    return plan.record is not None and plan.record.position != plan.position


def _next_chunk(entries: Iterator[tuple[int, Entry]]) -> list[tuple[int, Entry]]:
    return list(islice(entries, CHUNK_ENTRIES))
