"""`retry`: failed entries again, with the manifest as it is now."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from shlex import quote

from orchestrator.cli.batches import KnownBatch, check_entries, known_batch
from orchestrator.cli.checking import Asked, ProblemReport
from orchestrator.cli.invocation import Invocation
from orchestrator.cli.output import Output
from orchestrator.cli.run_report import tell_run
from orchestrator.cli.session import Session, open_session
from orchestrator.domain.errors import ManifestError
from orchestrator.domain.states import EntryState
from orchestrator.engine.running import RunRequest, retry_batch
from orchestrator.manifest import Manifest
from orchestrator.transfer.event_loop import run_async

_SHOWN_ENTRIES = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryRequest:
    """Which entries, None for all that failed; *manifest* goes before the one of the last run."""

    entry_ids: Collection[str] | None
    manifest: Path | None
    defaults: Sequence[str]


def retry_entries(invocation: Invocation, name: str, request: RetryRequest) -> int:
    """Take up what failed of the batch called *name* and return the exit code.

    Raises UsageError for an entry it does not have, ManifestError when its manifest is gone or wrong.
    """
    known = known_batch(invocation, name)
    manifest = _manifest(known, request)
    return run_async(_retry, invocation.output, known, manifest, request.entry_ids)


def _manifest(known: KnownBatch, request: RetryRequest) -> Manifest:
    values = known.effective.values
    is_submit_wanted = values.submit if values.submit is not None else known.record.is_submit_wanted or None
    return Asked(
        path=request.manifest or _last_manifest(known),
        batch_name=known.record.name,
        defaults=request.defaults,
    ).open(values.model_copy(update={"submit": is_submit_wanted}))


def _last_manifest(known: KnownBatch) -> Path:
    path = known.record.manifest_path
    if path is None or not Path(path).is_file():
        where = "" if path is None else f", {path},"
        raise ManifestError(
            f"the manifest of batch {known.record.name}{where} no longer exists",
            hint="give its new place with --manifest, or write one from the journal with "
            f"`orchestrator results {quote(known.record.name)} -o results.csv`",
        )
    return Path(path)


async def _retry(
    output: Output, known: KnownBatch, manifest: Manifest, entry_ids: Collection[str] | None
) -> int:
    values = known.effective.values
    async with open_session(
        output,
        known.effective,
        known.record.name,
        is_submit_wanted=manifest.is_submit_wanted,
        environ=os.environ,
    ) as session:
        await check_entries(session.journal, known.record, entry_ids or ())
        request = RunRequest(
            manifest=manifest,
            work=session.work,
            with_media=values.media_check,
            on_problems=ProblemReport(output),
        )
        report = await retry_batch(request, entry_ids, session.journal, session.events, session.clocks)
        await tell_run(output, report, session.journal, had_work=session.tracker.has_worked)
        await _tell_untouched(output, session, known.record.batch)
    return report.exit_code


async def _tell_untouched(output: Output, session: Session, batch: str) -> None:
    """What the review refused and nobody mended is not sent again by itself."""
    count = (await session.journal.counts(batch)).get(EntryState.REVIEW_FAILED, 0)
    if not count:
        return
    named: list[str] = []
    async for record in session.journal.entries(batch, states={EntryState.REVIEW_FAILED}):
        named.append(record.entry_id)
        if len(named) == _SHOWN_ENTRIES:
            break
    more = f" and {count - len(named)} more" if count > len(named) else ""
    output.note(
        f"review failed, and nothing was replaced since: {', '.join(named)}{more}; replace the files or fields "
        "the reviewer names and retry, or name the entry with --entry to send it as it is"
    )
