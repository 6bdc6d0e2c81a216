"""What a command logs with; nothing where nobody asked for logs."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from orchestrator.cli.settings import Settings
from orchestrator.engine.events import Subscriber
from orchestrator.metastudio.attempts import ApiAttempt, ignore
from orchestrator.observe.streams import failure_of

if TYPE_CHECKING:
    import structlog


@dataclass(frozen=True, slots=True)
class Logs:
    """Who logs the events, and the tries of service calls; what is added to `hidden` is in no line from then on."""

    subscribers: tuple[Subscriber, ...] = ()
    on_attempt: Callable[[ApiAttempt], None] = ignore
    hidden: list[str] = field(default_factory=list)


@contextmanager
def logs_of(values: Settings, tell: Callable[[str], None], **context: str | None) -> Iterator[Logs]:
    """Log as the settings say for the block, each line with *context*; *tell* people of a log that is lost.

    Raises ConfigurationError when the log file cannot be opened.
    """
    if not values.verbose and values.log_file is None:
        with _libraries_silenced():
            yield Logs()
        return
    # Loaded for those who want logs only: structlog and what it loads are a tenth of a start.
    import structlog  # noqa: PLC0415

    from orchestrator.observe.logs import EventLog, logging_to  # noqa: PLC0415

    stderr = sys.stderr if values.verbose else None
    hidden: list[str] = []
    with (
        logging_to(
            stderr,
            values.log_file,
            is_verbose=values.verbose,
            on_lost=lambda sentence: tell(f"warning: {sentence}"),
            hidden=hidden,
        ),
        structlog.contextvars.bound_contextvars(**context),
    ):
        log = structlog.get_logger()
        try:
            yield Logs((EventLog(),), _attempt_log(log), hidden)
        finally:
            _log_lost_stderr(log)


def _log_lost_stderr(log: structlog.typing.FilteringBoundLogger) -> None:
    """Leave a note where it can still be read that what was told on stderr has not been."""
    failure = failure_of(sys.stderr)
    if failure is not None:
        log.warning("stderr.lost", reason=failure.strerror)


@contextmanager
def _libraries_silenced() -> Iterator[None]:
    """Keep what libraries log from stderr, where Python shows warnings that nobody handles."""
    root, handler = logging.getLogger(), logging.NullHandler()
    root.addHandler(handler)
    try:
        yield
    finally:
        root.removeHandler(handler)


def _attempt_log(log: structlog.typing.FilteringBoundLogger) -> Callable[[ApiAttempt], None]:
    """Log every try of a service call with *log*, in detail."""

    def note(attempt: ApiAttempt) -> None:
        log.debug(
            "call.attempted",
            operation=attempt.operation,
            attempt=attempt.attempt,
            outcome=attempt.outcome,
            status=attempt.status,
            code=attempt.code,
            request_id=attempt.request_id,
            seconds=round(attempt.seconds, 3),
        )

    return note
