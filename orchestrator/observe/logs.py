"""Logs, as text on stderr with -v and as JSON lines in a file; values are masked, and tracebacks have no locals."""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Callable, Collection, Iterator, Mapping, MutableMapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any, TextIO

import structlog

from orchestrator.domain.errors import ConfigurationError
from orchestrator.domain.untrusted_text import disarmed_json, shown
from orchestrator.engine.events import (
    CallAttempted,
    EntryFailed,
    EntryHandedBack,
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
from orchestrator.observe.masked import masked_event
from orchestrator.observe.streams import SinkFile, open_at_once, reason_of, text_on

_WARNINGS = (
    *(RetryScheduled, WarningRaised, ServiceWarning, SubscriberDropped, OutageBegan, UrlsExpired),
    EntryHandedBack,
)
#: The levels of events other than INFO.
_LEVELS = (
    ((StepReached, CallAttempted), logging.DEBUG),
    (EntryFailed, logging.ERROR),
    (_WARNINGS, logging.WARNING),
)
_HARDLY_ANY = logging.CRITICAL

Line = MutableMapping[str, Any]
Sink = Callable[[Line], None]
#: Called with the reason when a log can no longer be written.
OnLost = Callable[[str], None]
#: The number of rotated files that are kept, as FILE.1 (the latest) to FILE.5.
KEPT_FILES = 5


@contextmanager
def logging_to(
    stderr: TextIO | None,
    file: Path | None,
    *,
    is_verbose: bool,
    on_lost: OnLost | None = None,
    hidden: Collection[str] = (),
    max_bytes: int | None = None,
) -> Iterator[None]:
    """Log to *stderr* and *file*, if given, for the block; without both nothing is logged, not even by libraries.

    A file of *max_bytes* is rotated.
    The texts in *hidden* appear in no line, including those added to it later. When a log can no longer be written,
    it is no longer used, and *on_lost* is called once. Raises ConfigurationError when the file cannot be opened.
    """
    lost = on_lost or (lambda _sentence: None)
    streams = _Streams(lost)
    with ExitStack() as opened:
        if stderr is not None:
            streams.add(partial(_write_for_people, stderr))
        if file is not None:
            log_file = LogFile(file, max_bytes, lost)
            opened.callback(log_file.close)
            streams.add(lambda line: log_file.write(disarmed_json(str(_AS_JSON(None, "", line)))))
        root = logging.getLogger()
        before = root.handlers, root.level
        level = logging.DEBUG if is_verbose else logging.INFO
        _configure(streams, level if stderr or file else _HARDLY_ANY, hidden)
        try:
            yield
        finally:
            _configure(_Streams(lost), _HARDLY_ANY)
            root.handlers, root.level = before


class _Streams:
    """The logger for structlog, which writes each masked line to all streams that still work."""

    def __init__(self, on_lost: OnLost) -> None:
        self._sinks: list[Sink] = []
        self._on_lost = on_lost

    def add(self, sink: Sink) -> None:
        """Add *sink* to the streams."""
        self._sinks.append(sink)

    def log(self, **line: Any) -> None:
        """Write *line* to each stream, and drop a stream that fails."""
        for sink in tuple(self._sinks):
            try:
                sink(dict(line))
            except Exception as error:  # noqa: BLE001 - a failed log line must not stop the work
                self._sinks.remove(sink)
                self._on_lost(
                    f"the log can no longer be written: {reason_of(error)}; the run continues without it"
                )

    #: Methods with the names of structlog's levels.
    debug = info = warning = error = critical = log


def _configure(streams: _Streams, level: int, hidden: Collection[str] = ()) -> None:
    def mask(_logger: object, _method: str, event: Line) -> Line:
        # The mask precedes renderers and streams, so everything that is written is masked.
        first = {name: event.pop(name) for name in ("timestamp", "level", "event")}
        return masked_event({**first, **event}, hidden=hidden)

    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            mask,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=lambda *_: streams,
        cache_logger_on_first_use=False,
    )
    # Log records of libraries use the same path, from WARNING up.
    root = logging.getLogger()
    root.handlers = [_Forwarder()]
    root.setLevel(max(level, logging.WARNING))


class _Forwarder(logging.Handler):
    """Handler that forwards our own records with their name and fields, and those of libraries as messages."""

    def emit(self, record: logging.LogRecord) -> None:
        own = getattr(record, "fields", None)
        try:
            name = "library.message_logged" if own is None else record.getMessage()
            details = {"logger": record.name, "message": record.getMessage()} if own is None else own
            structlog.get_logger().log(record.levelno, name, exc_info=record.exc_info, **details)
        except Exception:  # noqa: BLE001 - like logging's own handlers, for any record of a library
            self.handleError(record)


def _shown(value: object) -> str:
    text = shown(f"{value:.3f}" if isinstance(value, float) else str(value))
    return repr(text) if " " in text or not text else text


def _column(name: str, form: Callable[[str], str]) -> structlog.dev.Column:
    return structlog.dev.Column(name, lambda _key, value: form(str(value)))


_AS_JSON = structlog.processors.JSONRenderer(ensure_ascii=False, default=str)
_AS_TEXT = structlog.dev.ConsoleRenderer(
    sort_keys=False,
    columns=[
        _column("timestamp", lambda time: time[11:23]),
        _column("level", lambda level: f"{level:<7}"),
        _column("event", str),
        # All other fields.
        structlog.dev.Column(
            "",
            structlog.dev.KeyValueColumnFormatter(
                key_style="", value_style="", reset_style="", value_repr=_shown
            ),
        ),
    ],
)


def _write_for_people(stream: TextIO, line: Line) -> None:
    """Write *line* with the fields of a mapping as `outer.inner`, followed by the lines of a traceback."""
    traced = str(line.pop("exception", "") or "")
    flat: dict[str, Any] = {}
    for name, value in line.items():
        is_outer = isinstance(value, Mapping)
        flat |= {f"{name}.{each}": inner for each, inner in value.items()} if is_outer else {name: value}
    text = _AS_TEXT(None, "", {name: value for name, value in flat.items() if value is not None})
    stream.write(shown(text.rstrip()) + "\n")
    # Split at our own line ends only; `shown` escapes other line breaks inside a line.
    stream.writelines(f"{shown(each)}\n" for each in (traced.rstrip("\n").split("\n") if traced else []))
    stream.flush()


class EventLog:
    """A subscriber that logs every event except progress of bytes, of which there are too many."""

    name = "the log"

    def __init__(self) -> None:
        self._log = structlog.get_logger()

    def __call__(self, event: Event) -> None:
        """Log *event* under its name, with all its fields."""
        if isinstance(event, SegmentProgressed):
            return
        values = {field.name: getattr(event, field.name) for field in fields(event)}
        level = next((level for kinds, level in _LEVELS if isinstance(event, kinds)), logging.INFO)
        self._log.log(level, event.name, **values)


class LogFile:
    """A log file of whole lines; *on_lost* is called once with the reason when it can no longer be written.

    A file of *max_bytes* or more is rotated before the next line; None for never. Pipes and devices are not rotated.
    Raises ConfigurationError when it cannot be opened.
    """

    def __init__(self, path: Path, max_bytes: int | None, on_lost: Callable[[str], None]) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._on_lost = on_lost
        try:
            # A missing folder is not created: it is more likely a typing mistake.
            self._stream = self._opened()
        except (OSError, ValueError) as error:
            raise ConfigurationError(
                f"the log file {path} cannot be opened: {reason_of(error)}",
                hint="choose a writable path with --log-file",
            ) from None

    def write(self, line: str) -> None:
        """Append *line*."""
        if self._max_bytes is not None and self._bytes_written() >= self._max_bytes:
            # If rotation fails, the file keeps growing, because a log must never stop the work.
            with suppress(OSError):
                self._put_aside()
        self._stream.write(line + "\n")

    def close(self) -> None:
        """Close the file."""
        self._stream.close()

    def _put_aside(self) -> None:
        for number in range(KEPT_FILES - 1, 0, -1):
            with suppress(FileNotFoundError):
                self._kept(number).replace(self._kept(number + 1))
        self._path.replace(self._kept(1))
        stream = self._opened()
        self._stream.close()
        self._stream = stream

    def _kept(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}")

    def _bytes_written(self) -> int:
        try:
            status = os.fstat(self._stream.fileno())
        except (OSError, ValueError):
            return 0
        return status.st_size if stat.S_ISREG(status.st_mode) else 0

    def _opened(self) -> TextIO:
        descriptor = open_at_once(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

        def warn(error: OSError) -> None:
            self._on_lost(
                f"the log file {self._path} can no longer be written: {reason_of(error)}; "
                "the run continues without it"
            )

        return text_on(SinkFile(descriptor, is_owner=True, on_failure=warn))
