"""Where a journal is: one file by one name, whatever links lead to it."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from shlex import quote
from typing import NamedTuple

from orchestrator.domain.errors import ConfigurationError, JournalError
from orchestrator.journal.backend import is_url, shown

FILE_NAME = "journal.db"
_HOW_TO_NAME = "give --state the path of a file or a directory"


class JournalFile(NamedTuple):
    """The file of a journal; *is_linked* when a symbolic link leads to it, so that it may be another's business."""

    path: Path
    exists: bool
    is_linked: bool


def find_journal(location: str) -> JournalFile:
    """The file that *location*, a path to a file or a directory, means.

    Raises ConfigurationError for a location that can be no path, JournalError for a path that cannot be used.
    """
    if is_url(location):
        # No more of it than its kind: it may hold a password.
        raise ConfigurationError(
            f"this version keeps its journal in a file, not at {shown(location)}", hint=_HOW_TO_NAME
        )
    try:
        named = Path(location).expanduser().absolute()
        if named.is_dir():
            named /= FILE_NAME
        real = Path(os.path.realpath(named))
        is_linked = named.is_symlink()
        status = _status(real)
        path = real if status is None or status.st_nlink == 1 else _one_name(real, status)
    except RuntimeError:
        raise ConfigurationError(
            f"there is no home directory to keep the journal in ({location})", hint=_HOW_TO_NAME
        ) from None
    except (OSError, ValueError) as error:
        # A path may be too long by thousands of characters.
        short = location if len(location) <= 200 else f"{location[:200]}..."
        reason = error.strerror if isinstance(error, OSError) else "no path has a NUL character"
        raise JournalError(f"the journal {short} cannot be opened: {reason}", hint=_HOW_TO_NAME) from None
    return JournalFile(path, exists=status is not None, is_linked=is_linked)


def _status(path: Path) -> os.stat_result | None:
    """What is at *path*, None where there is nothing yet; raises OSError where nothing can be."""
    try:
        return path.stat()
    except FileNotFoundError:
        return None


def _one_name(path: Path, status: os.stat_result) -> Path:
    """Of the names that hard links gave the file, the one its write-ahead log goes by; the first where none has one.

    SQLite finds the log by the name. Opened by another, the journal would lack what is in the log, and two
    processes would write past each other. Raises JournalError where a name is out of sight.
    """
    if not stat.S_ISREG(status.st_mode):
        return path
    with os.scandir(path.parent) as neighbours:
        alike = [each.path for each in neighbours if each.inode() == status.st_ino and not each.is_symlink()]
    logged = [name for name in alike if Path(f"{name}-wal").exists()]
    if len(alike) != status.st_nlink or len(logged) > 1:
        raise JournalError(
            f"the journal {path} has other names (hard links), and its log only one of them",
            hint=f"remove the other names, which `find / -samefile {quote(str(path))}` lists",
        )
    return Path(min(logged or alike))
