"""Plans of a batch: what a run would do with each entry of a manifest, and how long it would take."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import NamedTuple

from anyio import to_thread

from orchestrator.api.checking import ManifestRequest
from orchestrator.api.engine_settings import home_folder, run_settings
from orchestrator.api.run_report import SCHEMA
from orchestrator.domain.entries import BatchKey
from orchestrator.domain.errors import ConfigurationError, DecisionNeededError, ManifestError
from orchestrator.engine.decision import EntryPlan
from orchestrator.engine.file_comparison import ContentComparison
from orchestrator.engine.planning import Planner
from orchestrator.engine.selection import earlier_manifest, scope_of
from orchestrator.journal.journal import Journal, exists, open_journal
from orchestrator.manifest import Manifest, Problem
from orchestrator.metastudio.credentials import find_credentials
from orchestrator.settings.sources import EffectiveSettings

#: The lifetime of upload URLs (metastudio-protocol section 0, fact 4).
URL_LIFETIME_SECONDS = 86_400.0


class PlannedEntry(NamedTuple):
    """The plan of one entry: the engine's plan without the files, so that large batches fit in memory."""

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
    """Return the part of *plan* that is shown; *rate* is in bytes per second."""
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
    """The planned actions for all entries of a manifest; `rate` is in bytes per second."""

    batch: str
    rate: int | None
    entries: list[PlannedEntry]
    removed: list[str]  #: entries no longer in the manifest; they are left alone
    problems: list[Problem]  #: problems of the manifest and its files
    has_errors: bool  #: True when a run would refuse the manifest
    invalid: list[str]  #: entries with errors, which are skipped
    too_young: list[str]  #: entries whose files may still be written
    decision: DecisionNeededError | None  #: the decision that a run would ask for before it starts

    def total(self, name: str) -> int:
        """Return the sum of the field *name* over all entries."""
        return sum(getattr(entry, name) for entry in self.entries)

    @property
    def actions(self) -> Counter[str]:
        """The number of entries per action."""
        return Counter(entry.action for entry in self.entries)

    @property
    def seconds(self) -> float | None:
        """The seconds that sending takes at `rate`, None without one; service calls are not included."""
        return None if self.rate is None else self.total("bytes_to_send") / self.rate

    def as_dict(self) -> dict[str, object]:
        """Return the document of `orchestrator plan --json`."""
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
            "entries": [entry._asdict() for entry in self.entries],
        }


async def plan_batch(
    request: ManifestRequest,
    manifest: Manifest,
    effective: EffectiveSettings,
    environ: Mapping[str, str],
    *,
    rate: int | None,
    on_comparison: Callable[[int], None],
) -> BatchPlan:
    """Compare the manifest with the journal without changing anything; blocks the loop to inspect files.

    *on_comparison* is called with the number of files that are read to compare their content. Raises
    ConfigurationError if the journal has several batches of that name, and JournalError.
    """
    async with _known_journal(effective.values.state) as journal:
        digest = await find_batch_digest(journal, manifest.batch_name, effective, environ)
        planner = Planner(
            manifest,
            journal,
            digest,
            run_settings(effective.values, is_submit_wanted=manifest.is_submit_wanted),
            with_media=effective.values.media_check,
            scope=scope_of(tuple(request.patterns), effective.values.min_age, time.time()),
            contents=None if journal is None else ContentComparison(journal, on_comparison),
        )
        entries, new = [], 0
        async for plan in planner.plans():
            new += plan.record is None
            entries.append(planned_entry(plan, rate))
        known = await journal.entry_ids(digest) if journal is not None else set()
        removed = sorted(known - {entry.entry for entry in entries} - planner.left_alone)
        batch = None if journal is None or request.batch_name is not None else await journal.batch(digest)
    decision: DecisionNeededError | None = None
    if batch is not None:
        # A run would ask for a decision if the batch was made from another file.
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
    """Return the error for a plan whose manifest a run would refuse."""
    errors = sum(problem.is_error for problem in plan.problems)
    return ManifestError(
        f"{manifest.path} has {errors} error{'' if errors == 1 else 's'}; a run would refuse it"
    )


@asynccontextmanager
async def _known_journal(state: str) -> AsyncIterator[Journal | None]:
    """Open the journal, None if there is none: reading must not create one."""
    if not await to_thread.run_sync(exists, state):
        yield None
        return
    async with open_journal(state, clock=time.time) as journal:
        yield journal


async def find_batch_digest(
    journal: Journal | None, name: str, effective: EffectiveSettings, environ: Mapping[str, str]
) -> str:
    """Return the digest of the matching batch, "" if there is none, without asking the service.

    The endpoint and the project restrict the match as far as the settings and credentials set them. Raises
    ConfigurationError if several batches match.
    """
    endpoint, project_id = effective.endpoint, effective.values.project_id or None
    if not project_id:
        with suppress(ConfigurationError):
            project_id = find_credentials(environ, home_folder()).project_id
    if endpoint is not None and project_id is not None:
        key = BatchKey(endpoint.rstrip("/"), project_id, name)
        return (key if journal is None else await journal.known_key(key)).digest
    if journal is None:
        return ""
    alike = await journal.batches_named(name, endpoint=endpoint, project_id=project_id)
    if len(alike) > 1:
        raise ConfigurationError(
            f"the journal has {len(alike)} batches named {name}",
            hint="choose one with --endpoint or --region, and --project-id",
        )
    return alike[0].batch if alike else ""
