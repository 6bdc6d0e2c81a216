"""`retry`: failed entries again, with the manifest as it is now."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from shlex import quote

from orchestrator.api.checking import Asked
from orchestrator.cli.invocation import Invocation
from orchestrator.cli.output import Output
from orchestrator.cli.process import run_on_network
from orchestrator.cli.session import open_shown_session
from orchestrator.cli.work.batches import KnownBatch, known_batch, matching_entries
from orchestrator.cli.work.report import print_run
from orchestrator.cli.work.run_history import known_kept_in_history
from orchestrator.cli.work.validate import ProblemReport
from orchestrator.domain.errors import ManifestError
from orchestrator.engine.batch import RunRequest, retry_batch
from orchestrator.engine.decision import Retry
from orchestrator.manifest import Manifest


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryRequest:
    """Which entries, None for all that failed; *manifest* goes before the one of the last run.

    With *is_cancelled_wanted* every cancelled entry comes back.
    """

    entry_ids: Collection[str] | None
    is_cancelled_wanted: bool
    manifest: Path | None
    defaults: Sequence[str]


def retry_entries(invocation: Invocation, name: str, request: RetryRequest) -> int:
    """Retry what failed of the batch called *name* and return the exit code.

    Raises UsageError for an entry it does not have, ManifestError when its manifest is missing or wrong.
    """
    known = known_batch(invocation, name)
    retry = Retry(entry_ids=request.entry_ids, is_cancelled_wanted=request.is_cancelled_wanted)
    with known_kept_in_history(invocation.output, known):
        values = known.effective.values
        is_submit_wanted = (
            values.submit if values.submit is not None else known.record.is_submit_wanted or None
        )
        return run_on_network(
            _retry,
            invocation.output,
            known,
            Asked(
                path=request.manifest or _last_manifest(known),
                batch_name=known.record.name,
                defaults=request.defaults,
            ).open(values.model_copy(update={"submit": is_submit_wanted})),
            retry,
        )


def _last_manifest(known: KnownBatch) -> Path:
    path = known.record.manifest_path
    if path is None or not Path(path).is_file():
        where = "" if path is None else f", {path},"
        raise ManifestError(
            f"the manifest of batch {known.record.name}{where} no longer exists",
            hint="give its new path with --manifest, or write one from the journal with "
            f"`orchestrator results {quote(known.record.name)} -o results.csv`",
        )
    return Path(path)


async def _retry(output: Output, known: KnownBatch, manifest: Manifest, retry: Retry) -> int:
    values = known.effective.values
    async with open_shown_session(
        output,
        known.effective,
        known.record.name,
        is_submit_wanted=manifest.is_submit_wanted,
        environ=os.environ,
    ) as session:
        ids = await matching_entries(session.journal, known.record, retry.entry_ids)
        retry = replace(retry, entry_ids=ids)
        request = RunRequest(
            manifest=manifest,
            work=session.work,
            with_media=values.media_check,
            # Whichever manifest is read, it is this batch that is meant.
            is_batch_named=True,
            patterns=tuple(ids or ()),
            on_problems=ProblemReport(output),
        )
        report = await retry_batch(request, retry, session.journal, session.events, session.clocks)
        await print_run(output, report, session.journal, had_work=session.tracker.has_worked)
        await session.report_end(report)
    return report.exit_code
