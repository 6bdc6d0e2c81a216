"""`plan`: shows what a run would do with each entry, and how long it would take."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial

from orchestrator.api.checking import (
    ManifestRequest,
    check_patterns,
    film_problems,
    films_of,
    refused_if_likely,
)
from orchestrator.api.planning import BatchPlan, plan_batch, refusal
from orchestrator.api.run_report import named
from orchestrator.cli.invocation import Invocation
from orchestrator.cli.output import Output, print_table
from orchestrator.cli.process import run_async
from orchestrator.cli.work.listings import ProblemReport
from orchestrator.cli.work.validate import check_films_shown
from orchestrator.domain.errors import ManifestError, UsageError
from orchestrator.domain.quantities import as_clock, format_bytes, parse_bytes
from orchestrator.manifest import Manifest
from orchestrator.observe.wording import comparing
from orchestrator.settings.sources import EffectiveSettings

_SHOWN_ENTRIES = 40


def plan_manifest(invocation: Invocation, request: ManifestRequest, rate: str | None) -> int:
    """Print what a run would do; raises ManifestError if it would refuse the manifest."""
    effective = invocation.settings(beside=request.path)
    manifest = request.open(effective.values)
    check_patterns(manifest, request.patterns)
    output = invocation.output
    try:
        bytes_per_second = None if rate is None else parse_bytes(rate.removesuffix("/s"))
    except ValueError as error:
        raise UsageError(f"--rate: {error}") from None
    if bytes_per_second == 0:
        raise UsageError("--rate must be greater than 0")
    planned = partial(
        plan_batch,
        rate=bytes_per_second,
        on_comparison=lambda files: output.note(comparing(files)),
    )
    batch_plan = run_async(planned, request, manifest, effective, os.environ)
    _print_warnings(output, batch_plan)
    if batch_plan.has_errors:
        output.known["batch"] = manifest.batch_name
        raise refusal(batch_plan, manifest)
    _look(manifest, effective, output)
    if output.is_json:
        output.document(batch_plan.as_dict())
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
    """Check the films as the settings say; raises ManifestError for problems that count as errors."""
    settings = effective.values
    if settings.look == "off":
        return
    films = [film for entry in manifest.entries() for film in films_of(entry, ())]
    problems = film_problems(check_films_shown(films, settings, output), str(manifest.path))
    if settings.look_strict:
        problems = refused_if_likely(problems)
    ProblemReport(output)(problems)
    errors = sum(problem.is_error for problem in problems)
    if errors:
        raise ManifestError(f"the look at the films of {manifest.path} found {errors} errors")


def _print_warnings(output: Output, batch_plan: BatchPlan) -> None:
    for reason, entries in (
        ("invalid, skipped", batch_plan.invalid),
        ("files written just now", batch_plan.too_young),
    ):
        if entries:
            output.note(f"{reason}: {named(entries)}")
    if batch_plan.decision is not None:
        output.note(f"a run would need a decision: {batch_plan.decision.message}")
        output.note(f"hint: {batch_plan.decision.hint}")
    ProblemReport(output)(batch_plan.problems)


def _summary(batch_plan: BatchPlan) -> Iterator[str]:
    actions = ", ".join(f"{count} to {action}" for action, count in sorted(batch_plan.actions.items()))
    yield f"{batch_plan.batch}: {len(batch_plan.entries)} entries ({actions})"
    to_send = format_bytes(batch_plan.total("bytes_to_send"))
    if batch_plan.seconds is None:
        yield f"{to_send} to send; add --rate 10M to estimate the time"
    else:
        rate = format_bytes(batch_plan.rate or 0)
        yield f"{to_send} to send: about {as_clock(batch_plan.seconds)} at {rate}/s"
    at_risk = [entry.entry for entry in batch_plan.entries if entry.is_url_expiry_risk]
    if at_risk:
        yield f"warning: upload URLs live 24 h, and at this rate would die under {_named(at_risk)}"
    if batch_plan.removed:
        yield f"no longer in the manifest, and left alone: {_named(batch_plan.removed)}"


def _named(entries: list[str]) -> str:
    return ", ".join(entries[:5]) + (f" and {len(entries) - 5} more" if len(entries) > 5 else "")
