"""The requirements of a fleet on a journal."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Final

from orchestrator.domain.errors import ConfigurationError, UsageError
from orchestrator.journal.backend import is_url

#: PgQueuer cannot work on fewer entries at once.
LEAST_ENTRIES: Final = 2


def not_installed() -> ConfigurationError:
    """Return the error for a journal that was not prepared for workers."""
    return ConfigurationError(
        "this journal has no queue for workers yet", hint="make it once with `orchestrator fleet install`"
    )


def require_server(state: str) -> None:
    """Raise UsageError for a journal in a file, ConfigurationError if the libraries for a fleet are missing.

    It imports none of them, so that it can run before the modules that do.
    """
    # A URL of another database is refused, without its password, where the journal is opened.
    if not is_url(state):
        raise UsageError(
            f"workers on several hosts need a journal in PostgreSQL, not {state}",
            hint="set --state or ORCHESTRATOR_STATE to postgresql://USER@HOST/DATABASE",
        )
    if find_spec("pgqueuer") is None or find_spec("psycopg") is None:
        raise ConfigurationError(
            "workers on several hosts need the extra fleet",
            hint="`pip install 'metastudio-orchestrator[fleet]'`",
        )
