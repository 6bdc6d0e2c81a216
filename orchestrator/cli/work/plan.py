"""`plan`: what a run would do with each entry, and what it would take."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

from orchestrator.api.service import home_folder, run_settings
from orchestrator.api.settings import EffectiveSettings
from orchestrator.cli.invocation import Invocation
from orchestrator.cli.output import SCHEMA, Output, print_table
from orchestrator.cli.process import run_async
from orchestrator.cli.work.look import films_of, look_at, look_problems, strict
from orchestrator.cli.work.report import named
from orchestrator.cli.work.validate import Asked, ProblemReport, check_patterns
from orchestrator.domain.entries import BatchKey, normal
from orchestrator.domain.errors import ConfigurationError, DecisionNeededError, ManifestError, UsageError
from orchestrator.domain.quantities import format_bytes, parse_bytes
from orchestrator.engine.decision import EntryPlan
from orchestrator.engine.earlier_manifest import earlier_manifest
from orchestrator.engine.file_comparison import ContentComparison
from orchestrator.engine.planning import Planner
from orchestrator.engine.scope import scope_of
from orchestrator.journal.journal import Journal, exists, open_journal
from orchestrator.journal.records import BatchRecord
from orchestrator.manifest import Manifest, Severity
from orchestrator.metastudio.credentials import find_credentials
from orchestrator.observe.wording import comparing, duration

#: metastudio-protocol section 0, fact 4.
URL_LIFETIME_SECONDS = 86_400.0
_SHOWN_ENTRIES = 40


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


@dataclass(slots=True, kw_only=True)
class BatchPlan:
    """All entries of a manifest with what a run does with them."""

    batch: str
    rate: int | None
    is_batch_named: bool = False  #: a person named the batch, whatever manifest it was made from
    patterns: tuple[str, ...] = ()  #: the entries that are meant, as globs; none for all
    entries: list[PlannedEntry] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)

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


def plan_manifest(invocation: Invocation, asked: Asked, rate: str | None) -> int:
    """Print what a run would do; raises ManifestError when it would refuse the manifest."""
    effective = invocation.settings(beside=asked.path)
    manifest = asked.open(effective.values)
    check_patterns(manifest, asked.patterns)
    batch_plan = BatchPlan(
        batch=manifest.batch_name,
        rate=_rate(rate),
        is_batch_named=asked.batch_name is not None,
        patterns=tuple(asked.patterns),
    )
    report = ProblemReport(invocation.output)
    run_async(_fill, batch_plan, manifest, effective, report, invocation.output)
    output = invocation.output
    _look(manifest, effective, output)
    if output.is_json:
        run_async(output.stream_document, batch_plan.head(), "entries", batch_plan.documents())
    rows = [
        (
            entry.entry,
            entry.action,
            str(entry.files),
            str(entry.segments),
            format_bytes(entry.bytes),
            format_bytes(entry.bytes_to_send),
            entry.reason,
        )
        for entry in batch_plan.entries[:_SHOWN_ENTRIES]
    ]
    print_table(output, ("entry", "action", "files", "segments", "size", "to send", "reason"), rows)
    if len(batch_plan.entries) > _SHOWN_ENTRIES:
        output.say(f"... and {len(batch_plan.entries) - _SHOWN_ENTRIES} more; --json lists all")
    for line in _summary(batch_plan):
        output.say(line)
    return 0


def _look(manifest: Manifest, effective: EffectiveSettings, output: Output) -> None:
    """Look at the films as the settings want it; raises ManifestError for what they make an error."""
    settings = effective.values
    if settings.look == "off":
        return
    films = [film for entry in manifest.entries() for film in films_of(entry, ())]
    problems = look_problems(look_at(films, settings, output), str(manifest.path))
    if settings.look_strict:
        problems = strict(problems)
    ProblemReport(output)(problems)
    errors = sum(problem.is_error for problem in problems)
    if errors:
        raise ManifestError(f"the look at the films of {manifest.path} found {errors} errors")


def _rate(text: str | None) -> int | None:
    try:
        rate = None if text is None else parse_bytes(text.removesuffix("/s"))
    except ValueError as error:
        raise UsageError(f"--rate: {error}") from None
    if rate == 0:
        raise UsageError("--rate must be greater than 0")
    return rate


async def _fill(
    batch_plan: BatchPlan,
    manifest: Manifest,
    effective: EffectiveSettings,
    report: ProblemReport,
    output: Output,
) -> None:
    async with _known_journal(effective.values.state) as journal:
        digest = await _digest(journal, manifest.batch_name, effective)
        known_batch = None if journal is None else await journal.batch(digest)
        planner = Planner(
            manifest,
            journal,
            digest,
            run_settings(effective.values, is_submit_wanted=manifest.is_submit_wanted),
            with_media=effective.values.media_check,
            scope=scope_of(batch_plan.patterns, effective.values.min_age, time.time()),
            contents=None
            if journal is None
            else ContentComparison(journal, lambda files: output.note(comparing(files))),
        )
        new_entries = 0
        async for plan in planner.plans():
            new_entries += plan.record is None
            batch_plan.entries.append(planned_entry(plan, batch_plan.rate))
        known = await journal.entry_ids(digest) if journal is not None else set()
        batch_plan.removed = sorted(
            known - {entry.entry for entry in batch_plan.entries} - planner.left_alone
        )
    for reason, entries in (
        ("invalid, skipped", planner.invalid),
        ("files written just now", planner.too_young),
    ):
        if entries:
            output.note(f"{reason}: {named(sorted(entries))}")
    if known_batch is not None and not batch_plan.is_batch_named:
        _warn_of_other_manifest(output, known_batch, manifest, batch_plan, new_entries)
    report(planner.problems)
    errors = sum(problem.severity is Severity.ERROR for problem in planner.problems)
    if errors and not planner.is_sending_rest:
        output.known["batch"] = manifest.batch_name
        raise ManifestError(
            f"{manifest.path} has {errors} error{'' if errors == 1 else 's'}; a run would refuse it"
        )


def _warn_of_other_manifest(
    output: Output, known: BatchRecord, manifest: Manifest, batch_plan: BatchPlan, new_entries: int
) -> None:
    """Say what a run would ask when the batch was made from another file."""
    earlier = earlier_manifest(known.manifest_path, manifest.path, known.name)
    try:
        if earlier is not None:
            kept = len(batch_plan.entries) - new_entries
            earlier.check(kept=kept, new=new_entries, removed=len(batch_plan.removed))
    except DecisionNeededError as error:
        output.note(f"a run would need a decision: {error.message}")
        output.note(f"hint: {error.hint}")


@asynccontextmanager
async def _known_journal(state: str) -> AsyncIterator[Journal | None]:
    """The journal, None where there is none: looking must not make one."""
    if not exists(state):
        yield None
        return
    async with open_journal(state, clock=time.time) as journal:
        yield journal


async def _digest(journal: Journal | None, name: str, effective: EffectiveSettings) -> str:
    """Which batch of the journal is meant, as far as endpoint and project are known without asking anybody."""
    endpoint, project_id = effective.endpoint, effective.values.project_id or _project_id()
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


def _project_id() -> str | None:
    try:
        return find_credentials(os.environ, home_folder()).project_id
    except ConfigurationError:
        return None


def _summary(batch_plan: BatchPlan) -> Iterator[str]:
    actions = ", ".join(f"{count} to {action}" for action, count in sorted(batch_plan.actions.items()))
    yield f"{batch_plan.batch}: {len(batch_plan.entries)} entries ({actions})"
    to_send = format_bytes(batch_plan.total("bytes_to_send"))
    if batch_plan.seconds is None:
        yield f"{to_send} to send; add --rate 10M to estimate the time"
    else:
        rate = format_bytes(batch_plan.rate or 0)
        yield f"{to_send} to send: about {duration(batch_plan.seconds)} at {rate}/s"
    at_risk = [entry.entry for entry in batch_plan.entries if entry.is_url_expiry_risk]
    if at_risk:
        yield f"warning: upload URLs live 24 h, and at this rate would die under {_named(at_risk)}"
    if batch_plan.removed:
        yield f"no longer in the manifest, and left alone: {_named(batch_plan.removed)}"


def _named(entries: list[str]) -> str:
    return ", ".join(entries[:5]) + (f" and {len(entries) - 5} more" if len(entries) > 5 else "")
