"""What the processes of a fleet's round do; each is a fork of a server that has imported this once."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import aiohttp
import pgqueuer.core.qm  # noqa: F401 - the forks need it, and the server imports it for all of them
import psycopg  # noqa: F401 - as above

import orchestrator.fleet.worker  # noqa: F401 - as above
from orchestrator.api import session
from orchestrator.cli.invocation import Invocation
from orchestrator.cli.main import run_command
from orchestrator.cli.output import Output
from orchestrator.cli.process import StoppedBySignal, stop_on_signals
from orchestrator.cli.work import work as work_action
from orchestrator.domain.outage import OutagePolicy
from orchestrator.engine import service_connection
from orchestrator.engine.context import WorkSettings
from orchestrator.engine.events import EventBus
from orchestrator.journal import postgres
from orchestrator.network.http_session import open_http_session
from tests.crash import network
from tests.crash.driver import QUICK, Trail


@dataclass(frozen=True)
class Surroundings:
    """The environment of a process, the file for what it prints, and the network namespace of its host."""

    environ: Mapping[str, str]
    log: str
    host: str | None = None

    def enter(self) -> None:
        """Make them this process's."""
        os.environ.update(self.environ)
        if self.host is not None:
            network.enter(self.host)
            # Workers tell hosts apart by their names.
            network.take_host_name(self.host)
        descriptor = os.open(self.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        for stream in (1, 2):
            os.dup2(descriptor, stream)


def command(surroundings: Surroundings, *arguments: str) -> None:
    """Call the program and exit as it does."""
    surroundings.enter()
    sys.exit(run_command([*arguments]))


@dataclass(frozen=True)
class Shift:
    """How a worker works, and the file for its trail; it stops itself at *stops_at* when it is there first."""

    trail: str
    jobs: int
    hold_seconds: float
    is_until_done: bool
    stops_at: str | None


def _dating() -> aiohttp.TraceConfig:
    """Notes in each request when it was begun, before its connection is made."""

    async def date(
        _: aiohttp.ClientSession, __: SimpleNamespace, begun: aiohttp.TraceRequestStartParams
    ) -> None:
        begun.headers[network.BEGUN_HEADER] = repr(time.time())

    dating = aiohttp.TraceConfig()
    dating.on_request_start.append(date)
    dating.freeze()
    return dating


def work(surroundings: Surroundings, shift: Shift) -> None:
    """`work` with a shorter hold and shorter waits than users may set."""
    surroundings.enter()
    freeze = {"point": shift.stops_at, "occurrence": 1, "signal": signal.SIGSTOP} if shift.stops_at else None
    own, settings_of = Trail(shift.trail, freeze), work_action.work_settings

    def bus(*subscribers: Any) -> EventBus:
        return EventBus(own, *subscribers)

    def quick(*arguments: Any, **named: Any) -> WorkSettings:
        found = settings_of(*arguments, **named)
        return replace(
            found,
            policy=QUICK,
            service=replace(
                found.service,
                api_policy=QUICK,
                outage=OutagePolicy(patience_seconds=60.0, first_patience_seconds=60.0, base_seconds=0.02),
                idle_timeout=5.0,
            ),
            settings=replace(found.settings, settle_seconds=0.1),
        )

    def dated(**named: Any) -> aiohttp.ClientSession:
        opened = open_http_session(**named)
        opened.trace_configs.append(_dating())
        return opened

    # The command makes its own, and takes none from outside.
    if surroundings.host is not None:
        service_connection.open_http_session = dated  # type: ignore[attr-defined]
    session.EventBus = bus  # type: ignore[misc,assignment]
    work_action.work_settings = quick
    # At most a quarter of the shortest hold, as it is for users.
    postgres.LONGEST_WAIT_SECONDS = shift.hold_seconds / 4
    stop_on_signals()
    invocation = Invocation(
        output=Output(sys.stdout, sys.stderr), flags={"jobs": str(shift.jobs)}, config=None
    )
    try:
        sys.exit(
            work_action.work_on_queue(
                invocation, None, hold_seconds=shift.hold_seconds, is_until_done=shift.is_until_done
            )
        )
    except StoppedBySignal as stopped:
        sys.exit(stopped.exit_code)
