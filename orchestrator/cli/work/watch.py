"""`watch`: jobs followed through review and training, and what came of them."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Collection, Iterator, Mapping
from dataclasses import dataclass
from shlex import quote

import anyio

from orchestrator.api.notices import WatchNotifier
from orchestrator.api.run_report import error_of
from orchestrator.cli.invocation import Invocation
from orchestrator.cli.output import SCHEMA, Output, Row, print_table
from orchestrator.cli.process import run_on_network
from orchestrator.cli.session import ServiceSession, open_service_session
from orchestrator.cli.work.batches import KnownBatch, known_batch, matching_entries
from orchestrator.cli.work.report import review_text
from orchestrator.cli.work.watch_display import count_groups, display_for, entry_group
from orchestrator.domain.exit_codes import ExitCode
from orchestrator.domain.states import EntryState
from orchestrator.engine.drain import until_signalled
from orchestrator.engine.following import Follower, Milestone, PollPace, Progress
from orchestrator.journal.reading import JournalReader
from orchestrator.observe.wording import duration

_SHOWN_ENTRIES = 40
_NEEDS_PERSON = (EntryState.REVIEW_FAILED, EntryState.FAILED)


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchRequest:
    """How far to follow, how often to ask, and for how many seconds; None for ever.

    *patterns* mean the entries that are followed, None for all.
    """

    until: Milestone
    pace: PollPace
    timeout_seconds: float | None
    patterns: Collection[str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """How watching a batch ended."""

    known: KnownBatch
    request: WatchRequest
    exit_code: ExitCode
    progress: Progress
    elapsed_seconds: float
    groups: Mapping[str, int]
    only: Collection[str] | None


def watch_batch(invocation: Invocation, name: str, request: WatchRequest) -> int:
    """Follow the jobs of the batch called *name* and return the exit code; it may be stopped at any time."""
    known = known_batch(invocation, name)
    return run_on_network(_watch, invocation.output, known, request)


async def _watch(output: Output, known: KnownBatch, request: WatchRequest) -> int:
    output.known["batch"] = known.record.name
    began = time.monotonic()
    display = display_for(output, known)
    async with open_service_session(
        output, known.effective, known.record.name, display, is_patient=False
    ) as session:
        only = await matching_entries(session.journal, known.record, request.patterns)
        follower = _follower(session, known, only)
        notifier = WatchNotifier(
            known.effective.values.notify, session.journal, session.around, known.record, only=only
        )

        async def wait(seconds: float) -> None:
            display.show(await follower.job_counts(), seconds)
            await notifier.report_reviews()
            await anyio.sleep(seconds)

        with display, until_signalled() as received:
            exit_code = await follower.follow(
                request.until,
                pace=request.pace,
                timeout_seconds=request.timeout_seconds,
                monotonic=session.clocks.monotonic,
                sleep=wait,
            )
        # What was seen is printed whole, whatever signal came.
        with anyio.CancelScope(shield=True):
            watched = Watched(
                known=known,
                request=request,
                exit_code=ExitCode(128 + received[0]) if received else exit_code,
                progress=await follower.progress(request.until),
                elapsed_seconds=time.monotonic() - began,
                groups=count_groups(await follower.job_counts()),
                only=only,
            )
            await _print_result(output, session.journal, watched)
            await notifier.report_end(request.until, watched.exit_code, watched.progress)
    return watched.exit_code


def _follower(session: ServiceSession, known: KnownBatch, only: Collection[str] | None) -> Follower:
    """Follows the entries *only*, None for all; while a run works, those it has not reached are under way."""

    async def is_run_under_way() -> bool:
        return await session.journal.batch_holder(known.record.key) is not None

    return Follower(
        session.journal,
        session.client,
        session.events,
        known.record.key,
        is_run_under_way=is_run_under_way,
        only=None if only is None else frozenset(only),
    )


async def _print_result(output: Output, journal: JournalReader, watched: Watched) -> None:
    groups = watched.groups
    if output.is_json:
        await output.stream_document(
            {
                "schema": SCHEMA,
                "batch": watched.known.record.name,
                "digest": watched.known.record.batch,
                "until": watched.request.until.value,
                "exit_code": int(watched.exit_code),
                "elapsed_seconds": round(watched.elapsed_seconds, 3),
                "groups": groups,
            },
            "entries",
            _entries(journal, watched),
        )
        return
    rows: list[Row] = []
    total = 0
    async for record in journal.entries(watched.known.record.batch, states=_NEEDS_PERSON):
        if watched.only is not None and record.entry_id not in watched.only:
            continue
        total += 1
        if total > _SHOWN_ENTRIES:
            continue
        why = f"review failed: {review_text(record) or 'no reason was given'}"
        if record.state is EntryState.FAILED and record.error is not None:
            why = f"failed: {record.error.message}"
        rows.append((record.entry_id, record.job_id or "-", why))
    if rows:
        print_table(output, ("entry", "job", "reason"), rows)
    if total > len(rows):
        command = f"`orchestrator status {quote(watched.known.record.name)} --failed --all`"
        output.say(f"... and {total - len(rows)} more; {command} lists all")
    counted = ", ".join(f"{count} {group}" for group, count in groups.items()) or "no entries"
    output.say(f"{watched.known.record.name}: {counted}")
    for line in _next_steps(watched):
        output.note(line)


async def _entries(journal: JournalReader, watched: Watched) -> AsyncIterator[dict[str, object]]:
    async for record in journal.entries(watched.known.record.batch):
        if watched.only is not None and record.entry_id not in watched.only:
            continue
        yield {
            "entry": record.entry_id,
            "state": record.state.value,
            "group": entry_group(record.state, record.service_state),
            "service_state": record.service_state,
            "job_id": record.job_id,
            "review_reason": record.review_reason,
            "review_code": record.review_code,
            "error": error_of(record),
        }


def _next_steps(watched: Watched) -> Iterator[str]:
    name = quote(watched.known.record.name)
    match watched.exit_code:
        case ExitCode.SOME_FAILED:
            yield (
                f"some entries need attention: fix what the review rejected, then `orchestrator retry {name}`; "
                f"`orchestrator submit {name}` sends uploaded jobs to review"
            )
        case ExitCode.TEMPORARY:
            progress = watched.progress
            total = progress.reached + progress.stuck + progress.under_way
            yield (
                f"timed out after {duration(watched.elapsed_seconds)}: {total - progress.reached} of {total} jobs "
                f"are not {watched.request.until} yet; run the same command again to keep watching"
            )
        case ExitCode.INTERRUPTED:
            yield "interrupted; progress is saved, run the same command again to continue"
        case ExitCode.HUNG_UP | ExitCode.TERMINATED:
            yield "stopped; progress is saved, run the same command again to continue"
