"""`orchestrator work`."""

from __future__ import annotations

from typing import Annotated

import typer

from orchestrator.cli.invocation import Invocation, batch_names, seconds_of, takes_settings
from orchestrator.domain.errors import UsageError
from orchestrator.settings.options import HOST_OPTIONS, RUN_REPORTING_OPTIONS, SERVICE_OPTIONS

_DEFAULT_HOLD_SECONDS = 60.0
_SHORTEST_HOLD_SECONDS, _LONGEST_HOLD_SECONDS = 20.0, 600.0
#: Of a run's options those about its end: a worker works until it is stopped.
_OF_RUNS = ("max_duration", "max_transfer", "fail_fast", "progress")


@takes_settings(SERVICE_OPTIONS, HOST_OPTIONS, RUN_REPORTING_OPTIONS, unused=_OF_RUNS)
def work(
    invocation: Invocation,
    batch: Annotated[
        str | None,
        typer.Argument(
            metavar="BATCH",
            help="The only batch to work on, by its name or digest.",
            show_default=False,
            autocompletion=batch_names,
        ),
    ] = None,
    *,
    until_done: Annotated[
        bool, typer.Option("--until-done", help="Exit as soon as nothing is queued any more")
    ] = False,
    fail_if_stopped: Annotated[
        bool,
        typer.Option(
            "--fail-if-stopped",
            help="With --until-done: exit with 130 or 143, not 0, when a signal stops it before; for schedulers "
            "that take 0 for done",
        ),
    ] = False,
    hold: Annotated[
        str | None,
        typer.Option(
            "--hold",
            metavar="TIME",
            help="Other workers continue the entries of this one when it was silent for this long, 20s to 10m; "
            "must be the same for all workers; default 60s",
            show_default=False,
        ),
    ] = None,
) -> int:
    """Upload what is queued, together with workers on other hosts.

    Takes queued entries of its endpoint and project, at least 2 at once (-j), until a signal stops it: it then
    returns its entries to the queue and exits with 0. When a worker dies, others continue its entries without a
    second job, and send again at most what was in flight. All hosts must have the files under the same paths.

    \b
    Examples:
      orchestrator work -j 8
      orchestrator work studio --until-done
    """
    from orchestrator.cli.work.work import work_on_queue  # noqa: PLC0415 - keeps --help quick

    if fail_if_stopped and not until_done:
        raise UsageError(
            "--fail-if-stopped goes with --until-done: without it a signal is how a worker ends",
            hint="`orchestrator work --until-done --fail-if-stopped`",
        )
    return work_on_queue(
        invocation,
        batch,
        hold_seconds=_hold_seconds(hold),
        is_until_done=until_done,
        is_stop_failure=fail_if_stopped,
    )


def _hold_seconds(hold: str | None) -> float:
    seconds = seconds_of("--hold", hold)
    if seconds is None:
        return _DEFAULT_HOLD_SECONDS
    if not _SHORTEST_HOLD_SECONDS <= seconds <= _LONGEST_HOLD_SECONDS:
        raise UsageError(f"--hold {hold} is not between 20s and 10m", hint="`orchestrator work --hold 60s`")
    return seconds
