"""Translation of psycopg's errors into errors of the journal with a hint."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import psycopg

from orchestrator.domain.errors import JournalError
from orchestrator.domain.untrusted_text import quotable
from orchestrator.journal.group_commit import LostConnectionError


class DeadlockError(JournalError):
    """A transaction that the database aborted so that another one could continue."""


_AWAY: Final = "run again when the server is back; nothing is lost"
#: Prefixes of SQLSTATE codes, the error they become, its message and hint, and whether waiting may help.
_MEANINGS: Final = (
    # The connection failed; the server stopped or ended the session; the session was idle in a transaction too long.
    (("08", "57P", "25P03"), LostConnectionError, "the journal's server went away: {words}", _AWAY, True),
    (
        ("40P01", "40001"),
        DeadlockError,
        "the journal is locked by another process: {words}",
        "run again later",
        True,
    ),
    (
        ("53100",),
        JournalError,
        "the journal cannot be written: the server's disk is full",
        "free some space there and run again; nothing is lost",
        True,
    ),
    (
        ("53", "55P03", "57014"),
        JournalError,
        "the journal's server is busy: {words}",
        "run again later",
        True,
    ),
    # Prepared statements belong to one session.
    (
        ("42P05", "26000"),
        JournalError,
        "the journal's server is behind a pooler that gives each transaction another session: {words}",
        "name the server itself with --state, or a pool in session mode",
        False,
    ),
    (
        ("25006",),
        JournalError,
        "the journal cannot be written: the server is read-only",
        "name the primary server with --state; ?target_session_attrs=read-write finds it among several",
        False,
    ),
    (
        ("42501",),
        JournalError,
        "the journal cannot be used: {words}",
        "open it once as the database's owner, who then grants its tables and sequences to this user",
        False,
    ),
)


#: Phrases in libpq's message when a connection fails, their meaning, the hint, and whether waiting may help.
_AT_THE_DOOR: Final = (
    (
        ("too many", "connection slots"),
        "takes no more connections",
        "raise its max_connections to 4 for each worker and 10 more, or run fewer workers",
        True,
    ),
    (("starting up", "shutting down", "recovery", "not yet accepting"), "is not ready", _AWAY, True),
    (
        ("no password supplied",),
        "asks for a password",
        "put it into ~/.pgpass (mode 0600) or PGPASSWORD",
        False,
    ),
    (
        ("pg_hba.conf",),
        "allows no connection from here",
        "add user, database and address to its pg_hba.conf; if it asks for encryption, ?sslmode=require to --state",
        False,
    ),
    (
        ("does not support SSL",),
        "has no TLS",
        "turn ssl on there, or leave sslmode in --state or PGSSLMODE out",
        False,
    ),
    (
        ("root certificate", "certificate verify failed", "server certificate for"),
        "cannot be trusted",
        "add ?sslrootcert=FILE to --state, and name the host as its certificate does",
        False,
    ),
    (
        ("invalid response", "expected authentication request"),
        "is no PostgreSQL server",
        "check host and port in --state",
        False,
    ),
    (
        ("definition of service", "service file"),
        "is not known",
        "check service in --state and PGSERVICEFILE",
        False,
    ),
)
#: The prefixes and the suffix that libpq and psycopg put around the cause of a connection failure.
_FRAME: Final = re.compile(
    r"^(connection failed|connection is bad|consuming input failed): |\s+Is the server running .*", re.DOTALL
)
_PLACE: Final = re.compile(
    r'connection to server (?:at|on socket) "([^"]*)"(?: \([^)]*\))?(?:, port (\d+))? failed: '
)


def _journal_error(error: psycopg.Error) -> JournalError:
    code = error.sqlstate or ""
    short = _PLACE.sub(
        lambda found: ":".join(filter(None, found.groups())) + ": ", _FRAME.sub("", str(error))
    )
    words = quotable(error.diag.message_primary or short, longest=300)
    for codes, kind, message, hint, is_temporary in _MEANINGS:
        if code.startswith(codes):
            return kind(message.format(words=words), hint=hint, is_temporary=is_temporary)
    if code or not isinstance(error, psycopg.OperationalError):
        return JournalError(f"the journal failed: {words}")
    # When a connection fails or breaks off, there is only libpq's message, without a code.
    for signs, what, hint, is_temporary in _AT_THE_DOOR:
        if any(sign in words for sign in signs):
            made = LostConnectionError if is_temporary else JournalError
            return made(f"the journal's server {what}: {words}", hint=hint, is_temporary=is_temporary)
    if "FATAL:" in words:
        return JournalError(
            f"the journal's server refuses the connection: {words}",
            hint="check user and database in --state, and the password in PGPASSFILE or PGPASSWORD",
        )
    return LostConnectionError(
        f"the journal's server cannot be reached: {words}",
        hint="check host and port in --state; if they are right, run again when the server is back; nothing is lost",
        is_temporary=True,
    )


def later_error(error: psycopg.Error) -> JournalError:
    """As `_journal_error`, for a server that has accepted this process before: a connection failure is temporary.

    A server that starts, stops, recovers or ends the session reports it in many wordings, and in its own language.
    """
    found = _journal_error(error)
    if error.sqlstate or not isinstance(error, psycopg.OperationalError):
        return found
    return LostConnectionError(found.message, hint=_AWAY, is_temporary=True)


@contextmanager
def translated(meaning: Callable[[psycopg.Error], JournalError] = _journal_error) -> Iterator[None]:
    """Raise JournalError, with a hint, for any error that psycopg raises in the block."""
    try:
        yield
    except psycopg.Error as error:
        raise meaning(error) from None
