"""The log file: private, appended to, and put aside under another name once it is large."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TextIO

from orchestrator.domain.errors import ConfigurationError
from orchestrator.observe.streams import SinkFile, open_at_once, reason_of, text_on

#: Older files that are kept beside the one in use, as FILE.1 (the latest) to FILE.5.
KEPT_FILES = 5


class LogFile:
    """Takes whole lines; *on_lost* hears once why the file can no longer be written.

    A file of *max_bytes* or more is put aside before the next line; None for never. Pipes and devices are not.
    Raises ConfigurationError when it cannot be opened.
    """

    def __init__(self, path: Path, max_bytes: int | None, on_lost: Callable[[str], None]) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._on_lost = on_lost
        try:
            # A folder that is not there is more likely a typing mistake than a wish for a new one.
            self._stream = self._opened()
        except (OSError, ValueError) as error:
            raise ConfigurationError(
                f"the log file {path} cannot be opened: {reason_of(error)}",
                hint="choose a writable path with --log-file",
            ) from None

    def write(self, line: str) -> None:
        """Append *line*."""
        if self._max_bytes is not None and self._bytes_written() >= self._max_bytes:
            # What cannot be put aside grows on: a log is never worth more than the work.
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
