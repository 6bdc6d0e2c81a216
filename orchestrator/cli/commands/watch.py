"""`orchestrator watch`."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from orchestrator.cli.invocation import BatchArgument, EntryPatterns, Invocation, seconds_of, takes_settings
from orchestrator.domain.errors import UsageError
from orchestrator.settings.options import API_OPTIONS, SERVICE_OPTIONS, WATCH_REPORTING_OPTIONS

_DEFAULT_INTERVAL_SECONDS = 15.0
#: Factor of the interval up to which the waits grow while nothing changes.
_LONGEST_WAIT = 8


class Until(StrEnum):
    """How far to follow."""

    SUBMITTED = "submitted"
    REVIEWED = "reviewed"
    TRAINED = "trained"


@takes_settings(SERVICE_OPTIONS, API_OPTIONS, WATCH_REPORTING_OPTIONS)
def watch(
    invocation: Invocation,
    batch: BatchArgument,
    *,
    until: Annotated[
        Until, typer.Option("--until", help="The state that every job must reach.")
    ] = Until.TRAINED,
    timeout: Annotated[
        str | None,
        typer.Option(
            "--timeout",
            metavar="TIME",
            help="Stop after this time, for example 90s, 45m or 2h",
            show_default=False,
        ),
    ] = None,
    entry: EntryPatterns = None,
    interval: Annotated[
        str | None,
        typer.Option(
            "--interval",
            metavar="TIME",
            help="Time between two checks, up to eight times as long while no state changes; default 15s",
            show_default=False,
        ),
    ] = None,
) -> int:
    """Follow jobs through review and training.

    Asks for a hundred jobs per call. Shows a table on a terminal, elsewhere a line per change, with the reviewer's
    reason. Can be stopped and started again at any time, also during a run. --notify sends a message for each failed
    review and for the end, once.

    \b
    Examples:
      orchestrator watch studio
      orchestrator watch studio --until reviewed --timeout 2h
      orchestrator watch studio --entry 'av1*'
      orchestrator watch studio --json

    \b
    Exit codes:
      0    all jobs reached the target state
      5    timed out
      8    some entries need attention, all others are finished
      130  stopped by Ctrl-C
    """
    from orchestrator.cli.work.watch import WatchRequest, watch_batch  # noqa: PLC0415 - keeps --help quick
    from orchestrator.engine.following import Milestone, PollPace  # noqa: PLC0415

    wait = seconds_of("--interval", interval)
    if wait == 0:
        raise UsageError("--interval must be greater than 0")
    first = _DEFAULT_INTERVAL_SECONDS if wait is None else wait
    request = WatchRequest(
        until=Milestone(until.value),
        pace=PollPace(first=first, cap=_LONGEST_WAIT * first),
        timeout_seconds=seconds_of("--timeout", timeout),
        patterns=entry or None,
    )
    return watch_batch(invocation, batch, request)
