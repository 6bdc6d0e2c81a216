"""What a command that asks the service has open: journal, client, logs."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.cli.logs import logs_of
from orchestrator.cli.service import real_clocks, service_settings
from orchestrator.cli.settings import EffectiveSettings
from orchestrator.engine.connection import Clocks, connect
from orchestrator.engine.drain import Drain
from orchestrator.engine.events import (
    Event,
    EventBus,
    OutageBegan,
    OutageEnded,
    OutageEvent,
    OutageProlonged,
    Subscriber,
)
from orchestrator.engine.outage import gates
from orchestrator.journal.journal import Journal, open_journal
from orchestrator.metastudio.client import MetaStudioClient
from orchestrator.observe.wording import outage_news

if TYPE_CHECKING:
    from orchestrator.cli.output import Output


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceSession:
    """A journal, and a client for the service."""

    journal: Journal
    client: MetaStudioClient
    events: EventBus
    clocks: Clocks


class _OutageNotes:
    """Says on stderr why the command waits."""

    hears = frozenset({OutageBegan, OutageProlonged, OutageEnded})

    def __init__(self, output: Output) -> None:
        self._output = output

    def __call__(self, event: Event) -> None:
        if isinstance(event, OutageEvent):
            self._output.note(outage_news(event))


@asynccontextmanager
async def open_service_session(
    output: Output,
    effective: EffectiveSettings,
    batch_name: str | None,
    *subscribers: Subscriber,
    is_patient: bool = True,
) -> AsyncIterator[ServiceSession]:
    """Open all for a command about *batch_name*, None for all; raises ConfigurationError or JournalError.

    While the service is out its calls wait as those of a run do, unless the command has its own way to wait and
    *is_patient* is False.
    """
    output.is_record = True
    service = service_settings(effective, os.environ)
    for warning in service.credentials.warnings:
        output.note(f"warning: {warning}")
    clocks = real_clocks()
    with logs_of(effective.values, output.complain, batch=batch_name) as logs:
        logs.hidden.extend(service.credentials.secret.texts)
        events = EventBus(*subscribers, *logs.subscribers, _OutageNotes(output))
        outages = gates(service.outage, clocks, Drain(clocks.sleep, events), events)
        gate = outages.call if is_patient else None
        async with (
            open_journal(effective.values.state, clock=clocks.clock) as journal,
            connect(service, clocks, reader_threads=1, on_attempt=logs.on_attempt, gate=gate) as connection,
        ):
            yield ServiceSession(journal=journal, client=connection.client, events=events, clocks=clocks)
