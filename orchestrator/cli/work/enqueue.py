"""`enqueue`, and `retry` and `submit` on a fleet's journal: they queue work that workers do."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from shlex import quote
from typing import TYPE_CHECKING

from orchestrator.api.checking import ManifestRequest, check_patterns
from orchestrator.api.session import Session, run_request
from orchestrator.cli.invocation import Invocation
from orchestrator.cli.output import SCHEMA, Output
from orchestrator.cli.process import run_on_network
from orchestrator.cli.session import open_shown_session, problems_first
from orchestrator.cli.work.listings import ProblemReport
from orchestrator.domain.errors import ExitCode
from orchestrator.fleet.requirements import require_server
from orchestrator.settings.sources import EffectiveSettings, kept_for_batch

if TYPE_CHECKING:
    from orchestrator.fleet.enqueueing import Enqueued, Enqueuer

#: Queues the work of a command through the enqueuer of a session.
Act = Callable[[Session, "Enqueuer"], Awaitable["Enqueued"]]


def enqueue_manifest(invocation: Invocation, request: ManifestRequest, *, is_waiting: bool) -> int:
    """Queue the manifest's unfinished entries and return the exit code; errors are refused like in `run`."""
    with problems_first(invocation, request) as problems:
        effective = invocation.settings(beside=request.path)
        require_server(effective.values.state)
        return run_on_network(_enqueue, invocation.output, request, effective, problems, is_waiting)


async def _enqueue(
    output: Output,
    request: ManifestRequest,
    effective: EffectiveSettings,
    problems: ProblemReport,
    is_waiting: bool,
) -> int:
    manifest = request.open(effective.values)
    check_patterns(manifest, request.patterns)

    async def act(session: Session, enqueuer: Enqueuer) -> Enqueued:
        run = run_request(
            session, request, manifest, with_media=effective.values.media_check, on_problems=problems
        )
        return await enqueuer.enqueue(run)

    return await enqueue_by(
        output,
        effective,
        manifest.batch_name,
        act,
        is_submit_wanted=manifest.is_submit_wanted,
        is_waiting=is_waiting,
    )


async def enqueue_by(
    output: Output,
    effective: EffectiveSettings,
    batch_name: str,
    act: Act,
    *,
    is_submit_wanted: bool,
    is_waiting: bool = False,
) -> int:
    """Queue a command's work with *act*, print the number of entries, and wait for their end if *is_waiting*."""
    # The queue's libraries are an extra that no other journal needs.
    from orchestrator.fleet.enqueueing import Enqueuer  # noqa: PLC0415
    from orchestrator.fleet.queue import open_queue  # noqa: PLC0415

    async with (
        open_queue(effective.values.state) as queries,
        open_shown_session(
            output, effective, batch_name, is_submit_wanted=is_submit_wanted, environ=os.environ
        ) as session,
    ):
        enqueuer = Enqueuer(
            journal=session.journal,
            queries=queries,
            events=session.events,
            clocks=session.clocks,
            settings=kept_for_batch(effective.values),
        )
        enqueued = await act(session, enqueuer)
        for entry_id, reason in enqueued.undecided.items():
            output.complain(f"{entry_id}: decide: {reason}")
        count = len(enqueued.wanted)
        entries = "1 entry" if count == 1 else f"{count} entries"
        already = f", {enqueued.already} queued already" if enqueued.already else ""
        output.say(f"{enqueued.batch.name}: {entries} for workers{already}")
        exit_code = await enqueuer.wait(enqueued) if is_waiting else enqueued.exit_code
        session.ending.exit_code = exit_code
    _print_end(output, enqueued, exit_code, is_waiting=is_waiting)
    return exit_code


def _print_end(output: Output, enqueued: Enqueued, exit_code: ExitCode, *, is_waiting: bool) -> None:
    name = enqueued.batch.name
    if output.is_json:
        output.document(
            {
                "schema": SCHEMA,
                "batch": name,
                "digest": enqueued.batch.digest,
                "entries": len(enqueued.wanted),
                "queued": enqueued.queued,
                "already": enqueued.already,
                "undecided": dict(enqueued.undecided),
                "exit_code": int(exit_code),
            }
        )
    if is_waiting:
        output.note(f"{name}: workers have finished; `orchestrator status {quote(name)}` shows the entries")
    elif enqueued.wanted:
        output.note(f"`orchestrator status {quote(name)}` shows how far the workers are")
