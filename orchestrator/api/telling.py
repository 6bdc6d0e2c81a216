"""What reports a batch's events beside the terminal and the log: lines for programs."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.api.history import code_of
from orchestrator.api.setting_places import STDOUT
from orchestrator.api.settings import Settings
from orchestrator.domain.errors import LockHeldError

if TYPE_CHECKING:
    from orchestrator.engine.event_bus import Subscriber


@dataclass(frozen=True, slots=True)
class Telling:
    """The subscribers, and where the events are written, None where no file takes them."""

    subscribers: tuple[Subscriber, ...] = ()
    events_path: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What reports need of their program: texts in `hidden` are in none, `warn` hears why one is not made.

    `stdout` gives a descriptor of the standard output, or raises UsageError where there is none to give;
    `command_output` is where commands write that are run, a descriptor or DEVNULL.
    """

    hidden: Collection[str]
    warn: Callable[[str], None]
    stdout: Callable[[], int]
    command_output: int


@contextmanager
def telling(
    values: Settings, context: Mapping[str, str], clock: Callable[[], float], around: Surroundings
) -> Iterator[Telling]:
    """Report events as the settings say for the block; *context* is in every line."""
    with ExitStack() as open_ones:
        lines = None
        if values.events is not None:
            # Loaded for those who want events only.
            from orchestrator.observe.event_file import event_file  # noqa: PLC0415

            opened = event_file(
                around.stdout() if values.events == STDOUT else values.events,
                context,
                clock=clock,
                hidden=around.hidden,
                warn=around.warn,
            )
            lines = open_ones.enter_context(opened)
        subscribers: list[Subscriber] = [] if lines is None else [lines]
        # Metrics are those of a run: other commands about a batch do not make it look like one.
        if "run_id" in context and (values.metrics_file is not None or values.metrics_port is not None):
            subscribers.append(open_ones.enter_context(_metrics(values, context, clock, around)))
        # A program that has set up OpenTelemetry has loaded it; for others it need not even be installed.
        if "run_id" in context and "opentelemetry.trace" in sys.modules:
            from orchestrator.observe.spans import run_spans  # noqa: PLC0415

            if (spans := run_spans()) is not None:
                subscribers.append(spans)
        is_file = lines is not None and values.events != STDOUT
        yield Telling(tuple(subscribers), str(Path(values.events or "").absolute()) if is_file else None)


@contextmanager
def _metrics(
    values: Settings, context: Mapping[str, str], clock: Callable[[], float], around: Surroundings
) -> Iterator[Subscriber]:
    # Loaded for those who want metrics only.
    from orchestrator.observe.metrics import RunMetrics, metrics_file, metrics_port  # noqa: PLC0415

    metrics = RunMetrics(context["batch"], context["run_id"], clock)
    with ExitStack() as open_ones:
        if values.metrics_file is not None:
            open_ones.enter_context(metrics_file(values.metrics_file, metrics, around.warn))
        if values.metrics_port is not None:
            open_ones.enter_context(metrics_port(values.metrics_port, metrics, around.warn))
        try:
            yield metrics
        except LockHeldError:
            # The metrics are those of the run that works.
            raise
        except BaseException as error:
            metrics.end(code_of(error))
            raise
