"""What a run would do with each entry of a manifest, and taking that into the journal."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from shlex import quote

import anyio.to_thread

from orchestrator.domain.assets import Asset
from orchestrator.domain.entries import Entry
from orchestrator.domain.errors import ManifestError
from orchestrator.domain.part_counts import total_segments
from orchestrator.domain.states import Change, is_done
from orchestrator.engine.collaborators import RunSettings
from orchestrator.engine.deciding import Action, Decider, EntryPlan, Retry
from orchestrator.engine.events import Totals
from orchestrator.journal.journal import Journal
from orchestrator.journal.reading import NOT_IN_MANIFEST
from orchestrator.journal.records import EntryRecord
from orchestrator.manifest import LocalFiles, Manifest, Problem, Severity, inspect_files

#: Entries that are looked up, inspected and written together.
CHUNK_ENTRIES = 500


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
        self._decider = Decider(settings, retry)
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
        begun = [
            record.entry_id for record in records if record.job_id and not self._decider.is_finished(record)
        ]
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
                hint="fix them and run again; "
                f"`orchestrator validate {quote(str(self._manifest.path))}` shows the list",
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
        local = LocalFiles()
        return [
            self._plan(position, entry, records.get(entry.entry_id), stored.get(entry.entry_id, 0), local)
            for position, entry in chunk
        ]

    def _plan(
        self,
        position: int,
        entry: Entry,
        record: EntryRecord | None,
        stored_bytes: int,
        local: LocalFiles,
    ) -> tuple[EntryPlan | None, list[Problem]]:
        entry = _as_known(entry, record)
        assets, problems = self._assets(entry, record, local)
        if any(problem.severity is Severity.ERROR for problem in problems):
            return None, problems
        decision = self._decider.decide(entry, assets, record)
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

    def _assets(
        self, entry: Entry, record: EntryRecord | None, local: LocalFiles
    ) -> tuple[tuple[Asset, ...], list[Problem]]:
        """The entry's files; those the journal knows unchanged are not inspected again."""
        if record is not None and record.spec == entry.spec:
            # Footage of a finished entry may have been put away.
            is_finished = is_done(record.state, with_submit=self._settings.is_submit_wanted)
            assets = record.assets
            if _are_as_planned(assets, local, if_gone=is_finished):
                return assets, []
        return inspect_files(
            entry, local, with_media=self._with_media, manifest_file=str(self._manifest.path)
        )


class _Totals:
    def __init__(self) -> None:
        self._entries = self._segments = self._bytes = 0

    def add(self, plan: EntryPlan) -> None:
        self._entries += 1
        self._segments += plan.segments
        self._bytes += plan.bytes

    def as_totals(self) -> Totals:
        return Totals(entries=self._entries, segments=self._segments, bytes=self._bytes)


def _as_known(entry: Entry, record: EntryRecord | None) -> Entry:
    """The entry as the journal writes its id: to spell out the id that its name made is no change."""
    if record is None or record.spec == entry.spec:
        return entry
    return replace(entry, avatar=entry.avatar.model_copy(update={"id": record.avatar.id}))


def _are_as_planned(assets: tuple[Asset, ...], local: LocalFiles, *, if_gone: bool) -> bool:
    """True while each file has the fingerprint it was planned with; *if_gone* where there is no file."""
    for asset in assets:
        fingerprint = local.fingerprint(asset.path)
        if fingerprint != asset.fingerprint and not (if_gone and fingerprint is None):
            return False
    return True


def _has_moved(plan: EntryPlan) -> bool:
    return plan.record is not None and plan.record.position != plan.position


def _next_chunk(entries: Iterator[tuple[int, Entry]]) -> list[tuple[int, Entry]]:
    return list(islice(entries, CHUNK_ENTRIES))
