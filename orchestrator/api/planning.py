"""What a run would do with each entry of a manifest, and what it would take."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import NamedTuple

from anyio import to_thread

from orchestrator.api.checking import Asked
from orchestrator.api.engine_settings import home_folder, run_settings
from orchestrator.domain.entries import BatchKey, normal
from orchestrator.domain.errors import ConfigurationError, DecisionNeededError, ManifestError
from orchestrator.engine.decision import EntryPlan
from orchestrator.engine.file_comparison import ContentComparison
from orchestrator.engine.planning import Planner
from orchestrator.engine.selection import earlier_manifest, scope_of
from orchestrator.journal.journal import Journal, exists, open_journal
from orchestrator.manifest import Manifest, Problem
from orchestrator.metastudio.credentials import find_credentials
from orchestrator.settings.sources import EffectiveSettings

SCHEMA = 1
#: metastudio-protocol section 0, fact 4.
URL_LIFETIME_SECONDS = 86_400.0


class PlannedEntry(NamedTuple):
    """What a run does with one entry: the engine's plan without the files, so that large batches fit."""

    entry: str
    action: str
    reason: str
    files: int
    segments: int
    bytes: int
    bytes_to_send: int
    estimated_seconds: float | None
    is_url_expiry_risk: bool


def planned_entry(plan: EntryPlan, rate: int | None) -> PlannedEntry:
    """Take from *plan* what is shown; *rate* is in bytes per second."""
    bytes_left = plan.bytes_left
    seconds = None if rate is None else bytes_left / rate
    return PlannedEntry(
        entry=plan.entry_id,
        action=plan.action.value,
        reason=plan.reason,
        files=len(plan.assets),
        segments=plan.segments,
        bytes=plan.bytes,
        bytes_to_send=bytes_left,
        estimated_seconds=seconds,
        is_url_expiry_risk=seconds is not None and seconds > URL_LIFETIME_SECONDS,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchPlan:
    """All entries of a manifest with what a run does with them; `rate` is in bytes per second."""

    batch: str
    rate: int | None
    entries: list[PlannedEntry]
    removed: list[str]  #: entries the manifest has no more; they are left alone
    problems: list[Problem]  #: of the manifest and its files
    has_errors: bool  #: a run would refuse the manifest
    invalid: list[str]  #: entries with errors, which are skipped
    too_young: list[str]  #: entries whose files may still be written
    decision: DecisionNeededError | None  #: what a run would ask before it does anything

    def total(self, name: str) -> int:
        """The sum of one of the numbers of the entries."""
        return sum(getattr(entry, name) for entry in self.entries)

    @property
    def actions(self) -> Counter[str]:
        """How many entries each action is for."""
        return Counter(entry.action for entry in self.entries)

    @property
    def seconds(self) -> float | None:
        """How long the bytes take at the rate; service calls come on top."""
        return None if self.rate is None else self.total("bytes_to_send") / self.rate

    def head(self) -> dict[str, object]:
        """The document of `plan --json` but for its entries."""
        return {
            "schema": SCHEMA,
            "batch": self.batch,
            "actions": dict(self.actions),
            "totals": {
                "entries": len(self.entries),
                **{name: self.total(name) for name in ("segments", "bytes", "bytes_to_send")},
            },
            "rate_bytes_per_second": self.rate,
            "estimated_seconds": self.seconds,
            "removed": self.removed,
        }

    async def documents(self) -> AsyncIterator[dict[str, object]]:
        """The entries as `plan --json` lists them."""
        for entry in self.entries:
            yield entry._asdict()


async def plan_batch(
    asked: Asked,
    manifest: Manifest,
    effective: EffectiveSettings,
    environ: Mapping[str, str],
    *,
    rate: int | None,
    on_comparison: Callable[[int], None],
) -> BatchPlan:
    """Compare the manifest with the journal, and change nothing; blocks the loop while files are looked at.

    *on_comparison* hears how many files are read to compare their content. Raises ConfigurationError where the
    journal has several batches of that name, and JournalError.
    """
    async with _known_journal(effective.values.state) as journal:
        digest = await digest_of(journal, manifest.batch_name, effective, environ)
        planner = Planner(
            manifest,
            journal,
            digest,
            run_settings(effective.values, is_submit_wanted=manifest.is_submit_wanted),
            with_media=effective.values.media_check,
            scope=scope_of(tuple(asked.patterns), effective.values.min_age, time.time()),
            contents=None if journal is None else ContentComparison(journal, on_comparison),
        )
        entries, new = [], 0
        async for plan in planner.plans():
            new += plan.record is None
            entries.append(planned_entry(plan, rate))
        known = await journal.entry_ids(digest) if journal is not None else set()
        removed = sorted(known - {entry.entry for entry in entries} - planner.left_alone)
        batch = None if journal is None or asked.batch_name is not None else await journal.batch(digest)
    decision: DecisionNeededError | None = None
    if batch is not None:
        # What a run would ask because the batch was made from another file.
        earlier = earlier_manifest(batch.manifest_path, manifest.path, batch.name)
        try:
            if earlier is not None:
                earlier.check(kept=len(entries) - new, new=new, removed=len(removed))
        except DecisionNeededError as error:
            decision = error
    return BatchPlan(
        batch=manifest.batch_name,
        rate=rate,
        entries=entries,
        removed=removed,
        problems=planner.problems,
        has_errors=any(problem.is_error for problem in planner.problems) and not planner.is_sending_rest,
        invalid=sorted(planner.invalid),
        too_young=sorted(planner.too_young),
        decision=decision,
    )


def refusal(plan: BatchPlan, manifest: Manifest) -> ManifestError:
    """The error for a plan whose manifest a run would refuse."""
    errors = sum(problem.is_error for problem in plan.problems)
    return ManifestError(
        f"{manifest.path} has {errors} error{'' if errors == 1 else 's'}; a run would refuse it"
    )


@asynccontextmanager
async def _known_journal(state: str) -> AsyncIterator[Journal | None]:
    """The journal, None where there is none: looking must not make one."""
    if not await to_thread.run_sync(exists, state):
        yield None
        return
    async with open_journal(state, clock=time.time) as journal:
        yield journal


async def digest_of(
    journal: Journal | None, name: str, effective: EffectiveSettings, environ: Mapping[str, str]
) -> str:
    """Which batch of the journal is meant, as far as endpoint and project are known without asking anybody."""
    endpoint, project_id = effective.endpoint, effective.values.project_id or None
    if not project_id:
        with suppress(ConfigurationError):
            project_id = find_credentials(environ, home_folder()).project_id
    if endpoint is not None and project_id is not None:
        key = BatchKey(endpoint.rstrip("/"), project_id, name)
        return (key if journal is None else await journal.known_key(key)).digest
    alike = [
        batch.batch
        for batch in (await journal.batches() if journal is not None else [])
        if normal(batch.name) == normal(name)
        and endpoint in {None, batch.endpoint}
        and project_id in {None, batch.project_id}
    ]
    if len(alike) > 1:
        raise ConfigurationError(
            f"the journal has {len(alike)} batches named {name}",
            hint="choose one with --endpoint or --region, and --project-id",
        )
    return alike[0] if alike else ""
