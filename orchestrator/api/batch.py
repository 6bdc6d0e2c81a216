"""The Python API of a batch: check, plan, run, query and follow it (docs/api.md).

It prints nothing, handles no signals and sets up no logger. All methods must be called in the event loop in which
the batch was opened, except `Batch.stop`, which may be called from any thread.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from subprocess import DEVNULL
from typing import NoReturn, Self, TypedDict, Unpack

import anyio
from anyio import to_thread

from orchestrator.api.checking import ManifestRequest, check, check_films, check_patterns, refuse_fleet
from orchestrator.api.engine_settings import real_clocks, work_settings
from orchestrator.api.planning import BatchPlan, find_batch_digest, plan_batch, refusal
from orchestrator.api.run_report import RunReport, new_run_id, run_kept_in_history, with_results
from orchestrator.api.session import open_session, run_request
from orchestrator.api.status import BatchStatus, batch_head, entry_status, warnings_of_batch
from orchestrator.domain.errors import UsageError
from orchestrator.engine.batch import run_batch
from orchestrator.engine.drain import Stop
from orchestrator.engine.events import Event, EventBus, SegmentProgressed
from orchestrator.journal.journal import exists, open_journal
from orchestrator.manifest import Manifest, Problem
from orchestrator.observe.event_file import PUBLISHED
from orchestrator.observe.streams import ReportingContext
from orchestrator.observe.tracking import RunTracker
from orchestrator.settings.sources import EffectiveSettings, settings_of_keywords

#: Events that a stream buffers for a reader that is slower than the run.
KEPT_EVENTS = 10_000


class SettingKeywords(TypedDict, total=False):
    """Every setting of docs/usage.md by name; strings are parsed as on the command line, None means not set."""

    region: str | None
    endpoint: str | None
    project_id: str | None
    insecure_http: bool | None
    state: str | os.PathLike[str] | None
    progress: str | None
    quiet: bool | None
    verbose: bool | None
    log_file: str | os.PathLike[str] | None
    log_max_size: int | str | None
    media_check: bool | None
    look: str | None
    look_strict: bool | None
    part_size: int | str | None
    submit: bool | None
    submit_anyway: bool | None
    jobs: int | None
    parallel: int | str | None
    bwlimit: str | None
    verify: str | None
    verify_object: bool | None
    idle_timeout: float | None
    api_rate: str | None
    api_attempts: int | None
    max_outage: float | str | None
    max_duration: float | str | None
    max_transfer: int | str | None
    on_expired: str | None
    skip_invalid: bool | None
    min_age: float | str | None
    on_change: str | None
    on_existing: str | None
    fail_fast: bool | None
    grace: float | None
    events: str | os.PathLike[str] | None
    metrics_file: str | os.PathLike[str] | None
    metrics_port: int | None
    notify: Sequence[str] | str | None
    on_finish: str | None
    heartbeat: str | None


@asynccontextmanager
async def open_batch(
    manifest: str | os.PathLike[str],
    *,
    batch_name: str | None = None,
    defaults: Mapping[str, str] | None = None,
    entries: Collection[str] = (),
    config: str | os.PathLike[str] | None = None,
    environ: Mapping[str, str] = os.environ,
    **settings: Unpack[SettingKeywords],
) -> AsyncIterator[Batch]:
    """Open the batch of *manifest* for the block; only settings are read until the first method is called.

    *batch_name* overrides the manifest's name, *defaults* are fields for avatars that do not set them, and
    *entries* selects entries by id or glob, all of them if empty. A setting that is not passed is looked up as on
    the command line: the variables of *environ*, the file *config*, orchestrator.toml beside the manifest, the
    user's file. Credentials come from *environ* and the vendor's file. Raises UsageError for a wrong keyword,
    ConfigurationError for a wrong value from elsewhere.
    """
    request = ManifestRequest(
        path=Path(manifest),
        batch_name=batch_name,
        defaults=dict(defaults or {}),
        patterns=tuple(entries),
    )
    effective = settings_of_keywords(
        settings, environ, config=None if config is None else Path(config), beside=request.path
    )
    batch = Batch(request, effective, environ)
    try:
        yield batch
    finally:
        batch.close()


class Batch:
    """A batch opened by `open_batch`; `problems` holds the errors and warnings found by the last call."""

    def __init__(
        self, request: ManifestRequest, effective: EffectiveSettings, environ: Mapping[str, str]
    ) -> None:
        self.problems: list[Problem] = []
        self._request = request
        self._effective = effective
        self._environ = environ
        self._stop = Stop()
        self._streams: list[EventStream] = []
        self._is_over = False
        self._bus: EventBus | None = None

    def __repr__(self) -> str:
        return f"<Batch of {self._request.path}>"

    async def validate(self) -> list[Problem]:
        """Return every problem of the manifest and its files, like `orchestrator validate`; nothing is sent.

        With the setting `look`, pictures and sound are checked too, which takes seconds per film. Raises
        JournalError if the manifest has rows copied from results and the journal that they refer to cannot be read.
        """
        values = self._effective.values
        look = partial(check_films, settings=values, note=_ignore, on_progress=_ignore)
        checked = await to_thread.run_sync(check, self._request, values, look)
        self.problems = checked.problems
        return checked.problems

    async def plan(self, *, rate: int | None = None) -> BatchPlan:
        """Return what a run would do with each entry, like `orchestrator plan`; *rate* is in bytes per second.

        Raises ManifestError if a run would refuse the manifest, UsageError for a pattern that matches no entry,
        ConfigurationError if several batches of the journal match, and JournalError.
        """
        manifest = await self._opened()
        work = partial(
            plan_batch,
            self._request,
            manifest,
            self._effective,
            self._environ,
            rate=rate,
            on_comparison=_ignore,
        )
        # Files are inspected one by one: in a thread, this does not block the caller's loop.
        plan = await to_thread.run_sync(anyio.run, work)
        self.problems = plan.problems
        if plan.has_errors:
            raise refusal(plan, manifest)
        return plan

    async def run(self) -> RunReport:
        """Do the remaining work of the batch, like `orchestrator run`; failures of entries are in the report.

        Raises ManifestError before anything is sent, DecisionNeededError if the manifest looks like that of another
        batch, LockHeldError while another run works on the batch, and ConfigurationError, CredentialsError or
        JournalError if the work could not start. After a cancelled run, the next one continues from where it stopped;
        `stop` lets uploads in flight finish first.
        """
        manifest = await self._opened()
        self._is_over = False
        clocks = real_clocks()
        run_id = new_run_id(clocks.clock())
        warnings: list[str] = []
        state, values = self._effective.values.state, self._effective.values
        refuse_fleet(state, manifest.path)
        try:
            async with run_kept_in_history(state, lambda batch: batch.is_named(manifest.batch_name), run_id):
                work = work_settings(
                    self._effective,
                    self._environ,
                    is_submit_wanted=manifest.is_submit_wanted,
                    run_id=run_id,
                    listening=self._stop.listening,
                )
                async with open_session(
                    work,
                    values,
                    clocks,
                    RunTracker(clocks.monotonic),
                    context={"batch": manifest.batch_name, "run_id": work.run_id},
                    subscribers=self._streams,
                    reporting=ReportingContext(
                        hidden=[*work.service.credentials.secret.texts, *values.secret_texts],
                        warn=warnings.append,
                        stdout=_no_stdout,
                        command_output=DEVNULL,
                    ),
                ) as session:
                    self._bus = session.events
                    request = run_request(
                        session,
                        self._request,
                        manifest,
                        with_media=values.media_check,
                        on_problems=self._note,
                    )
                    report = await run_batch(request, session.journal, session.events, session.clocks)
                    await session.report_end(report)
                    return await with_results(report, session.journal, warnings)
        finally:
            self.close()

    def stop(self) -> None:
        """Make the run take no new work and finish within `grace` seconds; a second call ends it at once."""
        self._stop.ask()

    async def status(self) -> BatchStatus | None:
        """Return the journal's state of the batch and its entries; None before its first run.

        Raises ConfigurationError if several batches of the journal match, and JournalError.
        """
        state = self._effective.values.state
        if not await to_thread.run_sync(exists, state):
            return None
        manifest = await to_thread.run_sync(self._request.open, self._effective.values)
        async with open_journal(state, clock=time.time) as journal:
            digest = await find_batch_digest(journal, manifest.batch_name, self._effective, self._environ)
            record = await journal.batch(digest)
            if record is None:
                return None
            counts = await journal.counts(digest)
            return BatchStatus(
                **batch_head(record, counts),
                warnings=await warnings_of_batch(journal, record, counts),
                holder=await journal.batch_holder(record.key),
                results=[entry_status(entry) async for entry in journal.entries(digest)],
            )

    def events(self, *, with_progress: bool = False) -> EventStream:
        """Return a stream of the events of the current or next run; *with_progress* adds the progress of bytes.

        Events are buffered from this call on, so a run may start before the first one is read.
        """
        stream = EventStream(with_progress=with_progress)
        if self._is_over:
            stream.close()
            return stream
        self._streams.append(stream)
        if self._bus is not None:
            self._bus.subscribe(stream)
        return stream

    def close(self) -> None:
        """End all event streams; leaving `open_batch` does this too."""
        self._is_over, self._bus = True, None
        for stream in self._streams:
            stream.close()
        self._streams.clear()

    async def _opened(self) -> Manifest:
        manifest = await to_thread.run_sync(self._request.open, self._effective.values)
        await to_thread.run_sync(check_patterns, manifest, self._request.patterns)
        return manifest

    def _note(self, problems: list[Problem]) -> None:
        self.problems = problems


class EventStream:
    """The events of one run, in order (docs/events.md); the stream ends with the run.

    A reader that falls more than `KEPT_EVENTS` behind loses the oldest events; `missed` counts them.
    """

    name = "the stream of events"

    def __init__(self, *, with_progress: bool) -> None:
        self.missed = 0
        self.event_types = PUBLISHED | {SegmentProgressed} if with_progress else PUBLISHED
        self._events: deque[Event] = deque()
        self._is_closed = False
        self._news = anyio.Event()

    def __call__(self, event: Event) -> None:
        """Buffer *event* for the reader."""
        if len(self._events) == KEPT_EVENTS:
            self._events.popleft()
            self.missed += 1
        self._events.append(event)
        self._news.set()

    def close(self) -> None:
        """End the stream once the reader has read the buffered events."""
        self._is_closed = True
        self._news.set()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        while not self._events:
            if self._is_closed:
                raise StopAsyncIteration
            self._news = anyio.Event()
            await self._news.wait()
        return self._events.popleft()


def _no_stdout() -> NoReturn:
    raise UsageError("events: '-' is for the command line", hint="name a file, or read Batch.events()")


def _ignore(*_: object) -> None:
    return
