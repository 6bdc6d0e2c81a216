"""`work`: runs a worker of a fleet, which uploads queued entries."""

from __future__ import annotations

import os
import socket
from dataclasses import asdict, dataclass
from functools import partial

from orchestrator.api.engine_settings import real_clocks, work_settings, work_settings_of_batch
from orchestrator.api.run_report import new_run_id
from orchestrator.api.session import Session, open_session
from orchestrator.cli.invocation import Invocation
from orchestrator.cli.output import SCHEMA, Output
from orchestrator.cli.process import run_on_network
from orchestrator.cli.session import OutageNotes, changeable_bandwidth, logs_of, reporting_context
from orchestrator.cli.work.batches import known_batch
from orchestrator.domain.errors import UsageError
from orchestrator.engine.context import open_shared_resources
from orchestrator.engine.events import (
    BatchDrained,
    EntryFailed,
    EntryFinished,
    EntryHandedBack,
    Event,
    ServiceWarning,
    WarningRaised,
)
from orchestrator.fleet.requirements import LEAST_ENTRIES, require_server
from orchestrator.journal.history import process_name
from orchestrator.settings.sources import EffectiveSettings


def work_on_queue(
    invocation: Invocation,
    batch: str | None,
    *,
    hold_seconds: float,
    is_until_done: bool,
    is_stop_failure: bool = False,
) -> int:
    """Work on queued entries, only those of *batch* if given, and return the exit code.

    The work ends on a signal or, with *is_until_done*, when all of it is done.
    """
    effective = invocation.settings()
    require_server(effective.values.state)
    if effective.values.jobs < LEAST_ENTRIES:
        raise UsageError(
            "a worker has at least 2 entries in progress at once",
            hint=f"`orchestrator work -j 2`, or leave -j out; jobs comes from {effective.source_of('jobs')}",
        )
    digest = None
    if batch is not None:
        known = known_batch(invocation, batch)
        effective, digest = known.effective, known.record.batch
    return run_on_network(
        _work,
        invocation.output,
        effective,
        _Shift(
            hold_seconds=hold_seconds,
            batch=digest,
            is_until_done=is_until_done,
            is_stop_failure=is_stop_failure,
        ),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shift:
    """The arguments of a worker, with the field names of `WorkerSettings`, which needs an extra to import."""

    hold_seconds: float
    batch: str | None
    is_until_done: bool
    is_stop_failure: bool


class _EntryNotes:
    """A subscriber that prints the outcome of each entry on stderr, and counts them."""

    name = "the notes about entries"
    event_types = frozenset(
        {EntryFinished, EntryFailed, EntryHandedBack, WarningRaised, BatchDrained, ServiceWarning}
    )

    def __init__(self, output: Output) -> None:
        self._output = output
        self.done = self.failed = 0

    def __call__(self, event: Event) -> None:
        match event:
            case EntryFailed():
                self.failed += 1
                self._output.note(f"{event.entry}: failed: {event.message}")
            case EntryHandedBack():
                self._output.note(f"{event.entry}: left to other hosts: {event.message}")
            case EntryFinished(is_done=True):
                self.done += 1
                self._output.note(f"{event.entry}: {event.state}")
            case WarningRaised():
                self._output.note(f"{event.entry}: warning: {event.message}")
            case ServiceWarning():
                self._output.note(f"warning: {event.message}")
            case BatchDrained():
                self._output.note(event.reason)


async def _work(output: Output, effective: EffectiveSettings, shift: _Shift) -> int:
    output.is_record = True
    values, clocks = effective.values, real_clocks()
    # Settings that a batch decides are never the host's, whatever its own configuration sets.
    work = work_settings(
        effective.as_enqueued("{}"), os.environ, is_submit_wanted=False, run_id=new_run_id(clocks.clock())
    )
    context = {"worker": process_name(os.getpid(), socket.gethostname())}
    notes = _EntryNotes(output)
    with (
        logs_of(values, output.complain, **context) as logs,
        changeable_bandwidth(output, effective, work.bandwidth),
    ):
        logs.hidden.extend((*work.service.credentials.secret.texts, *values.secret_texts))
        async with open_session(
            work,
            values,
            clocks,
            None,
            # Each line's batch is the batch of its event.
            context={**context, "batch": ""},
            subscribers=(notes, OutageNotes(output), *logs.subscribers),
            reporting=reporting_context(output, logs),
        ) as session:
            exit_code = session.ending.exit_code = await _take_part(output, effective, shift, session)
    if output.is_json:
        head = {"schema": SCHEMA, "done": notes.done, "failed": notes.failed}
        output.document({**head, "exit_code": int(exit_code)})
    return exit_code


async def _take_part(output: Output, effective: EffectiveSettings, shift: _Shift, session: Session) -> int:
    # The queue's libraries are an extra that no other journal needs.
    from orchestrator.fleet.queue import open_queue  # noqa: PLC0415
    from orchestrator.fleet.rate_limit import SharedPacer  # noqa: PLC0415
    from orchestrator.fleet.worker import Worker, WorkerSettings  # noqa: PLC0415

    work, values = session.work, effective.values
    settings = WorkerSettings(
        entries=values.jobs,
        host=socket.gethostname(),
        work_of=partial(work_settings_of_batch, work, effective),
        **asdict(shift),
    )
    async with (
        open_queue(values.state) as queries,
        open_shared_resources(
            work,
            session.journal,
            session.events,
            session.clocks,
            make_pacer=partial(SharedPacer, queries.driver, work.service.api_rate),
        ) as resources,
    ):
        output.note("ready: waiting for entries")
        exit_code = await Worker(resources, queries, settings, session.batches_to_notify_of).work()
        if resources.drain.cause is not None:
            output.print_error(resources.drain.cause)
    return exit_code
