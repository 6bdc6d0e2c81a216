"""SSLKEYLOGFILE, by which TLS libraries write down the keys of their connections for people who look into them."""

from __future__ import annotations

import os
from collections.abc import Callable

from orchestrator.observe.streams import open_at_once

_VARIABLE = "SSLKEYLOGFILE"


def drop_unusable_key_log(tell: Callable[[str], object]) -> None:
    """Take the variable from the environment where its file cannot be written, and *tell* so.

    Python's TLS contexts would raise, some as soon as a library is imported, which is no reason to send nothing.
    """
    name = os.environ.get(_VARIABLE)
    if not name:
        return
    try:
        os.close(open_at_once(name, os.O_WRONLY | os.O_APPEND | os.O_CREAT))
    except OSError as error:
        del os.environ[_VARIABLE]
        tell(f"warning: {_VARIABLE} is ignored: {name} cannot be written: {error.strerror}")
