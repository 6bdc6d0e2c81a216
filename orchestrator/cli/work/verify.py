"""`verify`: compares a batch's local files and stored objects with what was sent."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager

from orchestrator.api.engine_settings import real_clocks, service_settings
from orchestrator.cli.invocation import Invocation
from orchestrator.cli.output import SCHEMA, Output
from orchestrator.cli.process import run_on_network
from orchestrator.cli.work.batches import KnownBatch, known_batch, matching_entries
from orchestrator.domain.assets import AssetKind
from orchestrator.domain.errors import ExitCode, OrchestratorError, RequestRejectedError
from orchestrator.domain.evidence import ObjectFacts
from orchestrator.engine.file_comparison import FileState, FileVerdict, verify_entry
from orchestrator.engine.service_connection import Connection, ServiceSettings, connect
from orchestrator.journal.journal import open_journal
from orchestrator.journal.records import EntryRecord
from orchestrator.transfer.answer import probe_object

_PROBE_SECONDS = 30.0

Objects = Mapping[AssetKind, ObjectFacts]
#: Queries the service for the stored objects of an entry.
AskForObjects = Callable[[EntryRecord], Awaitable[Objects]]


def verify_files(invocation: Invocation, name: str, patterns: Sequence[str]) -> ExitCode:
    """Compare the files of the entries matching *patterns*, all if empty, and print the results.

    Raises UsageError for an unknown batch or a pattern without a match.
    """
    known = known_batch(invocation, name)
    verdicts = run_on_network(_verify, known, patterns, invocation.output)
    counts = Counter(verdict.state for verdict in verdicts)
    undecided = ExitCode.DECISION_NEEDED if counts[FileState.UNKNOWN] else ExitCode.OK
    code = ExitCode.SOME_FAILED if counts[FileState.CHANGED] else undecided
    if invocation.is_json:
        files = [
            {
                "entry": verdict.entry_id,
                "kind": verdict.kind.value,
                "path": verdict.path,
                "state": verdict.state.value,
                "reason": verdict.reason,
                "stored": None if verdict.stored is None else verdict.stored.state.value,
            }
            for verdict in verdicts
        ]
        head = {
            "schema": SCHEMA,
            "batch": known.record.name,
            "digest": known.record.batch,
            "exit_code": int(code),
        }
        totals = {state.value: counts.get(state, 0) for state in FileState}
        invocation.output.document({**head, "counts": totals, "files": files})
    else:
        for verdict in verdicts:
            if verdict.state is not FileState.SAME:
                line = (
                    f"{verdict.entry_id}: {verdict.kind}: {verdict.state}: {verdict.reason} ({verdict.path})"
                )
                (invocation.output.complain if invocation.output.is_quiet else invocation.output.say)(line)
        stored = sum(verdict.stored is not None for verdict in verdicts)
        found = ", ".join(f"{counts.get(state, 0)} {state}" for state in FileState)
        invocation.output.say(
            f"{known.record.name}: {found}; {stored} of {len(verdicts)} also compared with the stored object"
        )
    return code


async def _verify(known: KnownBatch, patterns: Sequence[str], output: Output) -> list[FileVerdict]:
    verdicts: list[FileVerdict] = []
    batch = known.record
    async with (
        open_journal(known.effective.values.state, clock=time.time) as journal,
        _stored_objects(known, output) as ask,
    ):
        wanted = await matching_entries(journal, batch, patterns or None)
        async for record in journal.entries(batch.batch):
            if wanted is None or record.entry_id in wanted:
                verdicts += await verify_entry(record, await journal.segments(record), await ask(record))
    return verdicts


@asynccontextmanager
async def _stored_objects(known: KnownBatch, output: Output) -> AsyncIterator[AskForObjects]:
    """Yield a function that queries stored objects; without access to the service, it finds none.

    In that case, a note is printed once.
    """
    asking: _Asking | None = None
    try:
        service = service_settings(known.effective, os.environ)
    except OrchestratorError as error:
        output.note(f"stored objects are not compared: {error.message}")
        yield _see_none
        return
    async with connect(service, real_clocks(), reader_threads=1) as connection:
        asking = _Asking(connection, service, output)
        yield asking.objects_of


async def _see_none(_: EntryRecord) -> Objects:
    return {}


class _Asking:
    """A client for stored objects that stops after the first time the service or the store is unreachable."""

    def __init__(self, connection: Connection, service: ServiceSettings, output: Output) -> None:
        self._connection = connection
        self._service = service
        self._output = output
        self._is_over = False

    async def objects_of(self, record: EntryRecord) -> Objects:
        """Return the store's facts about the objects of the entry's job, by kind, without unavailable objects."""
        if self._is_over or record.job_id is None:
            return {}
        try:
            return await self._ask(record, record.job_id)
        except RequestRejectedError:
            return {}
        except OrchestratorError as error:
            self._is_over = True
            self._output.note(f"stored objects are not compared any further: {error.message}")
            return {}

    async def _ask(self, record: EntryRecord, job_id: str) -> Objects:
        job = await self._connection.client.show_job(job_id, app_user_id=record.avatar.app_user_id)
        found = {}
        for asset in record.assets:
            url = job.download_urls.of(asset.kind)
            facts = url and await probe_object(
                self._connection.session,
                url,
                timeout_seconds=_PROBE_SECONDS,
                is_insecure_http_allowed=self._service.is_insecure_http_allowed,
            )
            if facts:
                found[asset.kind] = facts
        return found
