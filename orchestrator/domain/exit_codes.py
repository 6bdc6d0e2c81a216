"""What kind of day it was, as a number scripts can act on (design section 4)."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum

from orchestrator.domain.errors import (
    ConfigurationError,
    CredentialsError,
    DecisionNeededError,
    EntryError,
    GaveUpError,
    JournalError,
    LimitReachedError,
    LockHeldError,
    ManifestError,
    OrchestratorError,
    RetryableError,
    ServiceRefusesError,
    ServiceUnreachableError,
    UsageError,
)


class ExitCode(IntEnum):
    """The exit codes of every command."""

    OK = 0
    UNEXPECTED = 1
    USAGE = 2
    MANIFEST_INVALID = 3
    CONFIGURATION = 4
    TEMPORARY = 5
    LOCKED = 6
    REFUSED = 7
    SOME_FAILED = 8
    DECISION_NEEDED = 9
    HUNG_UP = 129
    INTERRUPTED = 130
    TERMINATED = 143


_BY_ERROR: tuple[tuple[type[OrchestratorError], ExitCode], ...] = (
    (UsageError, ExitCode.USAGE),
    (ManifestError, ExitCode.MANIFEST_INVALID),
    (ConfigurationError, ExitCode.CONFIGURATION),
    (CredentialsError, ExitCode.CONFIGURATION),
    (ServiceUnreachableError, ExitCode.TEMPORARY),
    (RetryableError, ExitCode.TEMPORARY),
    (LimitReachedError, ExitCode.TEMPORARY),
    (LockHeldError, ExitCode.LOCKED),
    (ServiceRefusesError, ExitCode.REFUSED),
    (DecisionNeededError, ExitCode.DECISION_NEEDED),
    (GaveUpError, ExitCode.TEMPORARY),
    (EntryError, ExitCode.SOME_FAILED),
)


def exit_code_of(error: OrchestratorError) -> ExitCode:
    """The exit code of a command that ended with *error*."""
    if isinstance(error, JournalError):
        return ExitCode.TEMPORARY if error.is_temporary else ExitCode.CONFIGURATION
    return next((code for kind, code in _BY_ERROR if isinstance(error, kind)), ExitCode.UNEXPECTED)


def exit_code_of_any(error: BaseException) -> int:
    """The exit code that stands for *error*; a run that is cancelled was interrupted."""
    if isinstance(error, OrchestratorError):
        return exit_code_of(error)
    return ExitCode.UNEXPECTED if isinstance(error, Exception) else ExitCode.INTERRUPTED


def exit_code_of_failures(failures: Mapping[str, int], undecided: int, reviews_failed: int = 0) -> ExitCode:
    """The exit code of a run that went to its end, from how many entries failed with which kind of error.

    *reviews_failed* entries wait for other footage or a right row, *undecided* ones for a decision. The former win: a
    script that acts on 9 with `--on-change` would take a batch for whole whose skipped entries are still unchecked.
    """
    kinds = {kind for kind, count in failures.items() if count}
    if reviews_failed:
        return ExitCode.SOME_FAILED
    if not kinds:
        return ExitCode.DECISION_NEEDED if undecided else ExitCode.OK
    if kinds == {GaveUpError.kind}:
        return ExitCode.TEMPORARY
    if kinds == {DecisionNeededError.kind}:
        return ExitCode.DECISION_NEEDED
    return ExitCode.SOME_FAILED
