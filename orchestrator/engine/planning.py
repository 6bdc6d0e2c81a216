"""The plans for the entries of a manifest, and their registration in the journal."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from itertools import islice
from shlex import quote
from typing import TYPE_CHECKING, NamedTuple

import anyio.to_thread
from anyio import from_thread

from orchestrator.domain.assets import Asset, total_segments
from orchestrator.domain.entries import Entry, Sameness, as_known, is_untouched
from orchestrator.domain.errors import ManifestError
from orchestrator.domain.states import Change, EntryState, is_done
from orchestrator.engine.decision import Action, Compare, Decider, EntryPlan, Retry
from orchestrator.engine.events import Totals
from orchestrator.engine.selection import (
    EVERYTHING,
    Registration,
    Scope,
    is_newer,
    misplaced_rows,
    row_job,
)
from orchestrator.journal.journal import Journal
from orchestrator.journal.reading import NOT_IN_MANIFEST
from orchestrator.journal.records import EntryRecord
from orchestrator.manifest import LocalFiles, Manifest, Problem, Severity, inspect_files

if TYPE_CHECKING:
    from orchestrator.engine.context import RunSettings
    from orchestrator.engine.file_comparison import ContentComparison
    from orchestrator.engine.selection import EarlierManifest

#: Entries that are looked up, inspected and written together.
CHUNK_ENTRIES = 500
#: The interval of progress reports; small manifests are checked before the first one is due.
_INTERVAL_SECONDS = 1.0

#: `on_checked(done, total)` is called on the event loop; *total* is None while it is not known.
OnChecked = Callable[[int, int | None], object]


class _Draft(NamedTuple):
    """One entry with its current files, before anything is decided."""

    position: int
    entry: Entry
    record: EntryRecord | None
    assets: tuple[Asset, ...]
    problems: list[Problem]

    @property
    def is_valid(self) -> bool:
        # Fast path: almost no entry has problems, and there may be tens of thousands of entries.
        return not self.problems or not any(problem.severity is Severity.ERROR for problem in self.problems)


class Planner:
    """Compares a manifest with the journal, None when there is none yet, a chunk of entries at a time.

    Of entries without problems it keeps little more than the ids. *films* counts the checked films. *retry* limits
    the work to failed entries. *earlier* is the file that the batch was made from, when it was another. *contents*
    compares files; only a plan without a journal can omit it. *is_repeated* marks a second pass, for which warnings
    are not given again.
    """

    def __init__(
        self,
        manifest: Manifest,
        journal: Journal | None,
        batch: str,
        settings: RunSettings,
        *,
        with_media: bool,
        retry: Retry | None = None,
        earlier: EarlierManifest | None = None,
        contents: ContentComparison | None = None,
        scope: Scope = EVERYTHING,
        films: FilmCount | None = None,
        is_repeated: bool = False,
    ) -> None:
        self._films = films
        self._retry = retry
        self._earlier = earlier
        self._contents = contents
        self._content_of: Compare = (lambda *_: Sameness.OPEN) if contents is None else contents.content_of
        self._scope = scope
        self.invalid: set[str] = set()
        self.too_young: set[str] = set()
        self.unnamed: set[str] = set()
        self._decider = Decider(settings, retry)
        self.problems: list[Problem] = []
        self._manifest = manifest
        self._journal = journal
        self._batch = batch
        self._settings = settings
        self._with_media = with_media
        self._copies = manifest.copies()
        self._is_repeated = is_repeated

    async def plans(self) -> AsyncIterator[EntryPlan]:
        """Yield the plan of every valid entry; afterwards `problems` holds those of the whole file."""
        found: list[Problem] = []
        self._copies = self._manifest.copies()
        entries = enumerate(self._manifest.entries())
        while chunk := await anyio.to_thread.run_sync(lambda: list(islice(entries, CHUNK_ENTRIES))):
            is_last = len(chunk) < CHUNK_ENTRIES
            chunk = self._in_scope(chunk)
            if self._films is not None:
                self._films.expect((entry for _, entry in chunk), is_last=is_last)
            ids = [entry.entry_id for _, entry in chunk]
            records = await self._journal.entries_named(self._batch, ids) if self._journal else {}
            # Finished entries send nothing anyway.
            begun = [
                one.entry_id for one in records.values() if one.job_id and not self._decider.is_finished(one)
            ]
            stored = await self._journal.stored_bytes(self._batch, begun) if self._journal and begun else {}
            found += await self._misplaced(chunk, records)
            drafts = await anyio.to_thread.run_sync(self._draft_chunk, chunk, records)
            drafts = self._without_young(drafts)
            if self._contents is not None:
                # Untouched assets are the journal's own objects.
                await self._contents.compare(
                    (draft.record, draft.assets)
                    for draft in drafts
                    if draft.record is not None
                    and draft.assets is not draft.record.assets
                    and draft.is_valid
                    and _has_job(draft.record)
                )
            found += [problem for draft in drafts for problem in draft.problems]
            for plan in await anyio.to_thread.run_sync(self._plan_chunk, drafts, stored):
                yield plan
        if self._journal is not None:
            rejected = self._manifest.rejected_rows
            found += await misplaced_rows(rejected, self._journal, str(self._manifest.path))
        named = [one for one in self._manifest.problems if one.entry is None or self._scope.names(one.entry)]
        self.problems = [*named, *found]
        if self._settings.is_skipping_invalid:
            self.invalid = {one.entry for one in self.problems if one.is_error and one.entry is not None}

    def _in_scope(self, chunk: list[tuple[int, Entry]]) -> list[tuple[int, Entry]]:
        """Return the entries of *chunk* that are in scope and not held back."""
        self.unnamed.update(entry.entry_id for _, entry in chunk if not self._scope.names(entry.entry_id))
        return [
            (position, entry)
            for position, entry in chunk
            if entry.entry_id not in self.unnamed and entry.entry_id not in self._scope.held
        ]

    def _without_young(self, drafts: list[_Draft]) -> list[_Draft]:
        """Drop unfinished entries with a file that may still be changing; its problems may be temporary."""
        newest = self._scope.newest_mtime
        if newest is None:
            return drafts
        young = {
            draft.entry.entry_id
            for draft in drafts
            if (draft.record is None or not self._decider.is_finished(draft.record))
            and any(map(partial(is_newer, than=newest), draft.entry.avatar.files().values()))
        }
        self.too_young |= young
        return [draft for draft in drafts if draft.entry.entry_id not in young]

    async def _misplaced(
        self, chunk: Iterable[tuple[int, Entry]], records: Mapping[str, EntryRecord]
    ) -> list[Problem]:
        """Return problems for rows that name another entry's job; rows that match the journal cost nothing."""
        if self._journal is None:
            return []
        doubtful = [
            row
            for _, entry in chunk
            if (row := row_job(entry)) is not None
            and ((record := records.get(entry.entry_id)) is None or record.job_id != row.job_id)
        ]
        return await misplaced_rows(doubtful, self._journal, str(self._manifest.path))

    async def register(self) -> Registration:
        """Write the manifest's entries to the journal, except those that are left alone.

        Raises ManifestError when the manifest has errors that cannot be skipped, and DecisionNeededError when it
        looks like that of another batch; then nothing is written. `problems` holds all problems in any case.
        """
        if self._journal is None:
            raise ValueError("there is no journal to register in")
        entries = segments = total_bytes = 0
        undecided: dict[str, str] = {}
        replaced: set[str] = set()
        present: set[str] = set()
        undecided_done = new_entries = 0
        is_writing_needed = False
        async for plan in self.plans():
            entries += 1
            segments += plan.segments
            total_bytes += plan.bytes
            present.add(plan.entry_id)
            is_writing_needed |= plan.is_to_be_taken or _has_moved(plan)
            if plan.action is Action.DECIDE:
                undecided[plan.entry_id] = plan.reason
                undecided_done += (
                    plan.record is not None
                    and plan.record.state is not EntryState.REVIEW_FAILED
                    and is_done(plan.record.state, with_submit=self._settings.is_submit_wanted)
                )
            elif plan.action is Action.LEAVE:
                replaced.add(plan.entry_id)
            new_entries += plan.record is None
        self._raise_if_invalid()
        removed = await self._journal.entry_ids(self._batch) - present - self.left_alone
        if self._earlier is not None:
            self._earlier.check(kept=len(present) - new_entries, new=new_entries, removed=len(removed))
        if is_writing_needed or removed:
            await self._write(self._journal, sorted(removed), frozenset(self.left_alone))
        return Registration(
            totals=Totals(entries=entries, segments=segments, bytes=total_bytes),
            undecided=undecided,
            undecided_done=undecided_done,
            removed=tuple(sorted(removed)),
            replaced=frozenset(replaced),
            earlier_manifest=None if self._earlier is None else self._earlier.path,
            invalid=frozenset(self.invalid),
            too_young=frozenset(self.too_young),
            has_skipped_errors=any(problem.is_error for problem in self.problems),
            named=frozenset(present) if self._scope.patterns else None,
            warnings=tuple(str(problem) for problem in self.problems if not problem.is_error),
        )

    @property
    def is_sending_rest(self) -> bool:
        """True when invalid entries can be skipped; an error without an entry, which may concern any, prevents it."""
        return self._settings.is_skipping_invalid and all(
            problem.entry is not None for problem in self.problems if problem.is_error
        )

    @property
    def left_alone(self) -> set[str]:
        """The ids of the manifest's entries that are not planned."""
        return self.invalid | self.too_young | self.unnamed

    def _raise_if_invalid(self) -> None:
        errors = sum(problem.severity is Severity.ERROR for problem in self.problems)
        if errors and not self.is_sending_rest:
            raise ManifestError(
                f"{self._manifest.path} has {errors} error{'s' if errors > 1 else ''}; nothing was sent",
                hint="fix them and run again; "
                f"`orchestrator validate {quote(str(self._manifest.path))}` shows the list",
            )

    async def _write(self, journal: Journal, removed: list[str], held: frozenset[str]) -> None:
        """Write the plans in a second pass over the manifest, so that memory never holds all of them."""
        await journal.move_entries(self._batch, ((entry_id, NOT_IN_MANIFEST) for entry_id in removed))
        again = Planner(
            self._manifest,
            journal,
            self._batch,
            self._settings,
            with_media=False,
            retry=self._retry,
            # Files that were hashed are not hashed again.
            contents=self._contents,
            scope=replace(self._scope, newest_mtime=None, held=held),
            is_repeated=True,
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
            if plan.record is None or not plan.is_to_be_taken:
                continue
            if plan.is_revived:
                await journal.revive_entry(plan.record, plan.spec, plan.assets)
            else:
                await journal.replan_entry(
                    plan.record,
                    plan.spec,
                    plan.assets,
                    plan.change,
                    is_submit_wanted=plan.change is Change.AMEND,
                )
        moved = [(plan.entry_id, plan.position) for plan in chunk if _has_moved(plan)]
        await journal.move_entries(self._batch, moved)

    def _draft_chunk(self, chunk: list[tuple[int, Entry]], records: dict[str, EntryRecord]) -> list[_Draft]:
        local, drafts = LocalFiles(), []
        for position, written in chunk:
            entry, record = written, records.get(written.entry_id)
            if record is not None and record.entry_id != entry.entry_id:
                # The ids differ only in Unicode composition; the journal's spelling is used.
                entry = replace(entry, entry_id=record.entry_id)
            assets, problems = self._assets(_as_known(entry, record), record, local)
            if self._films is not None:
                self._films.checked(entry)
            drafts.append(_Draft(position, entry, record, assets, problems))
        return drafts

    def _plan_chunk(self, drafts: list[_Draft], stored: dict[str, int]) -> list[EntryPlan]:
        plans = []
        for draft in drafts:
            if not draft.is_valid:
                continue
            record, assets = draft.record, draft.assets
            entry = _as_known(draft.entry, record)
            decision = self._decider.decide(entry, assets, record, self._content_of)
            if decision.action in {Action.CHANGE, Action.CREATE}:
                # A job that is created or changed uses the manifest's exact values.
                entry = _with_known_id(draft.entry, record)
            plan = EntryPlan(
                entry_id=entry.entry_id,
                position=draft.position,
                action=decision.action,
                reason=decision.reason,
                change=decision.change,
                spec=entry.spec,
                assets=assets,
                segments=total_segments(entry.avatar, assets, self._settings.part_bytes),
                stored_bytes=stored.get(draft.entry.entry_id, 0),
                record=record,
            )
            plans.append(plan)
        return plans

    def _assets(
        self, entry: Entry, record: EntryRecord | None, local: LocalFiles
    ) -> tuple[tuple[Asset, ...], list[Problem]]:
        """Return the entry's files and their problems; files that the journal has unchanged are not inspected."""
        if record is not None and record.spec == entry.spec:
            # The footage of a finished entry may have been moved away.
            is_finished = is_done(record.state, with_submit=self._settings.is_submit_wanted)
            found = [local.fingerprint(asset.path) for asset in record.assets]
            if all(asset.fingerprint.fits(now) for asset, now in zip(record.assets, found, strict=True)):
                return record.assets, []
            now = tuple(
                asset if fingerprint is None else replace(asset, fingerprint=fingerprint)
                for asset, fingerprint in zip(record.assets, found, strict=True)
            )
            is_missing = None in found and not is_finished
            if not is_missing and all(map(is_untouched, record.assets, now)):
                return now, []
        return inspect_files(
            entry,
            local,
            self._copies,
            with_media=self._with_media,
            manifest_file=str(self._manifest.path),
            is_repeated=self._is_repeated,
        )


def _as_known(entry: Entry, record: EntryRecord | None) -> Entry:
    """Return the entry with the journal's spelling of equal values, if a job was made from them."""
    if record is None or record.spec == entry.spec:
        return entry
    if not _has_job(record):
        return _with_known_id(entry, record)
    return replace(entry, avatar=as_known(record.avatar, entry.avatar))


def _with_known_id(entry: Entry, record: EntryRecord | None) -> Entry:
    """Return the entry with the journal's id: to write out an id that was derived from the name is no change."""
    if record is None or record.spec == entry.spec:
        return entry
    return replace(entry, avatar=entry.avatar.model_copy(update={"id": record.avatar.id}))


def _has_job(record: EntryRecord) -> bool:
    """True when the service may have a job for the entry."""
    return record.job_id is not None or record.create_tag is not None


def _has_moved(plan: EntryPlan) -> bool:
    return plan.record is not None and plan.record.position != plan.position


class FilmCount:
    """Counts films while worker threads check them, and calls *on_checked* about once a second."""

    def __init__(self, on_checked: OnChecked, monotonic: Callable[[], float]) -> None:
        self._on_checked = on_checked
        self._monotonic = monotonic
        self._last = monotonic()
        self._done = 0
        self._expected = 0
        self._is_complete = False
        self._lock = threading.Lock()

    def expect(self, entries: Iterable[Entry], *, is_last: bool) -> None:
        """Add the films of *entries* to the total; with *is_last* the total is complete."""
        self._expected += sum(map(_films, entries))
        self._is_complete = is_last

    def checked(self, entry: Entry) -> None:
        """Count the films of *entry* as checked; called in a worker thread of the event loop."""
        with self._lock:
            self._done += _films(entry)
            now = self._monotonic()
            if now - self._last < _INTERVAL_SECONDS:
                return
            self._last = now
            done, total = self._done, self._expected if self._is_complete else None
        from_thread.run_sync(self._on_checked, done, total)


def _films(entry: Entry) -> int:
    """Return the number of films: the training video, and the action video if there is one."""
    return 1 if entry.avatar.action_video is None else 2
