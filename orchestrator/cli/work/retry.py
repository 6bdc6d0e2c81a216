"""`retry`: runs failed entries again, with the current manifest."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

from orchestrator.api.checking import ManifestRequest
from orchestrator.api.session import Session
from orchestrator.cli.invocation import Invocation
from orchestrator.cli.output import Output
from orchestrator.cli.process import run_on_network
from orchestrator.cli.session import known_kept_in_history, open_shown_session
from orchestrator.cli.work.batches import KnownBatch, known_batch, matching_entries
from orchestrator.cli.work.enqueue import enqueue_by
from orchestrator.cli.work.listings import ProblemReport
from orchestrator.cli.work.run import print_run
from orchestrator.domain.errors import ManifestError
from orchestrator.engine.batch import RunRequest, run_batch
from orchestrator.engine.decision import Retry
from orchestrator.journal.backend import is_shared
from orchestrator.manifest import Manifest

if TYPE_CHECKING:
    from orchestrator.fleet.enqueueing import Enqueued, Enqueuer


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryRequest:
    """The entries to retry, None for all failed ones; *manifest* overrides the one of the last run.

    With *is_cancelled_wanted*, every cancelled entry is retried too.
    """

    entry_ids: Collection[str] | None
    is_cancelled_wanted: bool
    manifest: Path | None
    defaults: Mapping[str, str]


def retry_entries(invocation: Invocation, name: str, request: RetryRequest) -> int:
    """Retry the failed entries of the batch called *name* and return the exit code.

    Raises UsageError for an unknown entry, ManifestError if the manifest is missing or wrong.
    """
    known = known_batch(invocation, name)
    retry = Retry(entry_ids=request.entry_ids, is_cancelled_wanted=request.is_cancelled_wanted)
    with known_kept_in_history(invocation.output, known):
        values, manifest = known.effective.values, request.manifest
        if manifest is None:
            last = known.record.manifest_path
            if last is None or not Path(last).is_file():
                where = "" if last is None else f", {last},"
                raise ManifestError(
                    f"the manifest of batch {known.record.name}{where} no longer exists",
                    hint="give its new path with --manifest, or write one from the journal with "
                    f"`orchestrator results {quote(known.record.name)} -o results.csv`",
                )
            manifest = Path(last)
        is_submit_wanted = (
            values.submit if values.submit is not None else known.record.is_submit_wanted or None
        )
        return run_on_network(
            _retry,
            invocation.output,
            known,
            ManifestRequest(
                path=manifest,
                batch_name=known.record.name,
                defaults=request.defaults,
            ).open(values.model_copy(update={"submit": is_submit_wanted})),
            retry,
        )


async def _retry(output: Output, known: KnownBatch, manifest: Manifest, retry: Retry) -> int:
    async def request_of(session: Session) -> RunRequest:
        ids = await matching_entries(session.journal, known.record, retry.entry_ids)
        return RunRequest(
            manifest=manifest,
            work=session.work,
            with_media=known.effective.values.media_check,
            # This batch is used, whichever manifest is read.
            is_batch_named=True,
            patterns=tuple(ids or ()),
            retry=replace(retry, entry_ids=ids),
            on_problems=ProblemReport(output),
        )

    async def enqueue(session: Session, enqueuer: Enqueuer) -> Enqueued:
        return await enqueuer.enqueue(await request_of(session))

    name, is_submit_wanted = known.record.name, manifest.is_submit_wanted
    if is_shared(known.effective.values.state):
        return await enqueue_by(output, known.as_enqueued, name, enqueue, is_submit_wanted=is_submit_wanted)
    async with open_shown_session(
        output, known.effective, name, is_submit_wanted=is_submit_wanted, environ=os.environ
    ) as session:
        report = await run_batch(await request_of(session), session.journal, session.events, session.clocks)
        await print_run(output, report, session.journal, had_work=session.has_worked)
        await session.report_end(report)
    return report.exit_code
