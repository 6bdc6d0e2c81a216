"""Logs: to stderr for people with -v, to a file as JSON lines; masked, and tracebacks without locals."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Collection, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any, TextIO

import structlog

from orchestrator.domain.foreign import disarmed_json, shown
from orchestrator.engine.events import (
    CallAttempted,
    EntryFailed,
    Event,
    OutageBegan,
    RetryScheduled,
    SegmentProgressed,
    ServiceWarning,
    StepReached,
    SubscriberDropped,
    UrlsExpired,
    WarningRaised,
)
from orchestrator.observe.log_file import LogFile
from orchestrator.observe.masked import masked_event
from orchestrator.observe.streams import reason_of

_WARNINGS = (RetryScheduled, WarningRaised, ServiceWarning, SubscriberDropped, OutageBegan, UrlsExpired)
_FIRST = ("timestamp", "level", "event")
_HARDLY_ANY = logging.CRITICAL

Line = MutableMapping[str, Any]
Sink = Callable[[Line], None]
#: Hears why a log is written no more.
OnLost = Callable[[str], None]


def _ignore(_: str) -> None:
    return


@contextmanager
def logging_to(
    stderr: TextIO | None,
    file: Path | None,
    *,
    is_verbose: bool,
    on_lost: OnLost = _ignore,
    hidden: Collection[str] = (),
    max_bytes: int | None = None,
) -> Iterator[None]:
    """Log to *stderr* and *file*, where given, for the block; nothing at all, from libraries neither, without them.

    A file of *max_bytes* is put aside.
    The texts in *hidden* appear in no line, nor do those that are added to it later. A log that can no longer be
    written is given up, which *on_lost* hears once. Raises ConfigurationError when the file cannot be opened.
    """
    sinks: list[Sink] = [] if stderr is None else [_human_sink(stderr)]
    log_file = None if file is None else LogFile(file, max_bytes, on_lost)
    if log_file is not None:
        sinks.append(_json_sink(log_file))
    root = logging.getLogger()
    before = root.handlers, root.level
    _configure(sinks, _level(sinks, is_verbose=is_verbose), on_lost, hidden)
    try:
        yield
    finally:
        _configure([], _HARDLY_ANY, on_lost)
        root.handlers, root.level = before
        if log_file is not None:
            log_file.close()


def _level(sinks: list[Sink], *, is_verbose: bool) -> int:
    if not sinks:
        return _HARDLY_ANY
    return logging.DEBUG if is_verbose else logging.INFO


def _configure(sinks: list[Sink], level: int, on_lost: OnLost, hidden: Collection[str] = ()) -> None:
    def write(_logger: object, _method: str, event: Line) -> Line:
        # Renderers and sinks come after the mask: nothing that reaches a stream has escaped it.
        line = masked_event(event, hidden=hidden)
        for sink in tuple(sinks):
            try:
                sink(line)
            except Exception as error:  # noqa: BLE001 - a line that cannot be logged must not stop what it is about
                sinks.remove(sink)
                on_lost(f"the log can no longer be written: {reason_of(error)}; the run continues without it")
        raise structlog.DropEvent

    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            write,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.ReturnLoggerFactory(),
        cache_logger_on_first_use=False,
    )
    # What libraries log takes the same way, from warnings up.
    root = logging.getLogger()
    root.handlers = [_Forwarder()]
    root.setLevel(max(level, logging.WARNING))


class _Forwarder(logging.Handler):
    """Takes our own records by their name and fields, and those of libraries as messages."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._forward(record)
        except Exception:  # noqa: BLE001 - as logging's own handlers do, whatever a library wanted to log
            self.handleError(record)

    def _forward(self, record: logging.LogRecord) -> None:
        told = getattr(record, "told", None)
        name = "library.message_logged" if told is None else record.getMessage()
        details = {"logger": record.name, "message": record.getMessage()} if told is None else told
        structlog.get_logger().log(record.levelno, name, exc_info=record.exc_info, **details)


def _json_sink(file: LogFile) -> Sink:
    def write(line: Line) -> None:
        ordered = {name: line[name] for name in _FIRST if name in line} | dict(line)
        file.write(disarmed_json(json.dumps(ordered, ensure_ascii=False, default=str)))

    return write


def _human_sink(stream: TextIO) -> Sink:
    def write(line: Line) -> None:
        known = " ".join(f"{name}={_shown(value)}" for name, value in _flat(line) if _is_shown(name, value))
        time = str(line["timestamp"])[11:23]
        stream.write(shown(f"{time} {line['level']:<7} {line['event']} {known}".rstrip()) + "\n")
        stream.writelines(f"{shown(traced)}\n" for traced in _lines(line.get("exception")))
        stream.flush()

    return write


def _lines(traced: object) -> list[str]:
    """The lines of a traceback as we broke them: others' line ends are in the middle of one."""
    return str(traced).rstrip("\n").split("\n") if traced else []


def _flat(line: Line) -> Iterator[tuple[str, object]]:
    """The fields of *line*, those of a mapping by `outer.inner`."""
    for name, value in line.items():
        if isinstance(value, Mapping):
            yield from ((f"{name}.{inner}", each) for inner, each in value.items())
        else:
            yield name, value


def _is_shown(name: str, value: object) -> bool:
    return name not in _FIRST and name != "exception" and value is not None


def _shown(value: object) -> str:
    text = shown(f"{value:.3f}" if isinstance(value, float) else str(value))
    return repr(text) if " " in text or not text else text


class EventLog:
    """Writes every event to the log, but the bytes on their way, which are too many."""

    name = "the log"

    def __init__(self) -> None:
        self._log = structlog.get_logger()

    def __call__(self, event: Event) -> None:
        """Log *event* under its name, with all its fields."""
        if isinstance(event, SegmentProgressed):
            return
        told = {field.name: getattr(event, field.name) for field in fields(event)}
        self._log.log(_severity(event), event.name, **told)


def _severity(event: Event) -> int:
    if isinstance(event, StepReached | CallAttempted):
        return logging.DEBUG
    if isinstance(event, EntryFailed):
        return logging.ERROR
    return logging.WARNING if isinstance(event, _WARNINGS) else logging.INFO
