"""Errors: each has a kind that reports can name and an exit code that scripts can act on."""

from __future__ import annotations

import pkgutil
from collections import defaultdict
from collections.abc import Iterator
from importlib import import_module

import pytest

import orchestrator
from orchestrator.domain.errors import (
    ConfigurationError,
    CredentialsError,
    DecisionNeededError,
    EntryError,
    ETagMismatchError,
    ExitCode,
    GaveUpError,
    HoldLostError,
    IllegalTransitionError,
    InterruptedTransferError,
    JournalError,
    LimitReachedError,
    LockHeldError,
    ManifestError,
    NotSentError,
    OrchestratorError,
    ParkedError,
    RefusedUploadError,
    RequestRejectedError,
    RetryableError,
    RunError,
    ServiceRefusesError,
    ServiceUnreachableError,
    SourceChangedError,
    StaleEpochError,
    StoppedError,
    ThrottledError,
    UnmarkedAnswerError,
    UrlExpiredError,
    UsageError,
    exit_code_of,
    exit_code_of_failures,
)

#: Design section 4. What is dealt with before a command ends, or is our bug, is unexpected when it gets there.
EXIT_CODES = {
    UsageError: ExitCode.USAGE,
    ManifestError: ExitCode.MANIFEST_INVALID,
    ConfigurationError: ExitCode.CONFIGURATION,
    CredentialsError: ExitCode.CONFIGURATION,
    JournalError: ExitCode.CONFIGURATION,
    RetryableError: ExitCode.TEMPORARY,
    ThrottledError: ExitCode.TEMPORARY,
    NotSentError: ExitCode.TEMPORARY,
    InterruptedTransferError: ExitCode.TEMPORARY,
    UnmarkedAnswerError: ExitCode.TEMPORARY,
    ETagMismatchError: ExitCode.TEMPORARY,
    GaveUpError: ExitCode.TEMPORARY,
    ServiceUnreachableError: ExitCode.TEMPORARY,
    LimitReachedError: ExitCode.TEMPORARY,
    LockHeldError: ExitCode.LOCKED,
    ServiceRefusesError: ExitCode.REFUSED,
    EntryError: ExitCode.SOME_FAILED,
    RequestRejectedError: ExitCode.SOME_FAILED,
    SourceChangedError: ExitCode.SOME_FAILED,
    DecisionNeededError: ExitCode.DECISION_NEEDED,
    OrchestratorError: ExitCode.UNEXPECTED,
    RunError: ExitCode.UNEXPECTED,
    StoppedError: ExitCode.UNEXPECTED,
    UrlExpiredError: ExitCode.UNEXPECTED,
    RefusedUploadError: ExitCode.UNEXPECTED,
    IllegalTransitionError: ExitCode.UNEXPECTED,
    StaleEpochError: ExitCode.UNEXPECTED,
    HoldLostError: ExitCode.UNEXPECTED,
    ParkedError: ExitCode.SOME_FAILED,
}
#: Kinds that several classes share on purpose: reports tell what happened, classes what the caller does.
SHARED_KINDS = {
    "interrupted": {InterruptedTransferError, UnmarkedAnswerError},
    "internal": {OrchestratorError, IllegalTransitionError},
    "temporary": {RetryableError, GaveUpError},
    "unreachable": {NotSentError, ServiceUnreachableError},
    "stale_epoch": {StaleEpochError, HoldLostError},
}


def subclasses(kind: type[OrchestratorError]) -> Iterator[type[OrchestratorError]]:
    """*kind* and everything derived from it."""
    yield kind
    for derived in kind.__subclasses__():
        yield from subclasses(derived)


def import_where_installed(name: str) -> None:
    """Import a module of the product; one whose extra is not installed is left out."""
    try:
        import_module(name)
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("orchestrator"):
            raise


def classes() -> set[type[OrchestratorError]]:
    """Every error class of the product, also those that layers derive for themselves."""
    for module in pkgutil.walk_packages(orchestrator.__path__, "orchestrator."):
        if not module.name.endswith("__main__"):
            import_where_installed(module.name)
    return {kind for kind in subclasses(OrchestratorError) if kind.__module__.startswith("orchestrator.")}


def domain_classes() -> set[type[OrchestratorError]]:
    """The error classes that all layers share."""
    return {kind for kind in classes() if kind.__module__ == OrchestratorError.__module__}


def test_every_error_has_its_exit_code() -> None:
    """A class that the table does not name has the code of the nearest one that it does."""
    for kind in classes():
        nearest = next(base for base in kind.__mro__ if base in EXIT_CODES)
        assert exit_code_of(kind("message")) is EXIT_CODES[nearest], kind


def test_every_error_of_the_domain_is_in_the_table() -> None:
    """A new class needs a decision."""
    assert domain_classes() == set(EXIT_CODES)


def test_a_journal_that_waiting_may_mend_is_temporary() -> None:
    """A full disk is a matter of later, a wrong path is not."""
    assert exit_code_of(JournalError("full", is_temporary=True)) is ExitCode.TEMPORARY
    assert exit_code_of(JournalError("damaged")) is ExitCode.CONFIGURATION


def test_kinds_are_unique_or_shared_on_purpose() -> None:
    """`kind` is what `--json`, the journal and the exit code of a run go by."""
    by_kind: dict[str, set[type[OrchestratorError]]] = defaultdict(set)
    for error_class in domain_classes():
        by_kind[error_class.kind].add(error_class)

    assert {kind: found for kind, found in by_kind.items() if len(found) > 1} == SHARED_KINDS


def test_an_error_keeps_what_the_service_said() -> None:
    """Code, status, request id and hint reach reports; the text is the message alone."""
    error = RetryableError(
        "it is busy", retry_after=3.0, code="APIGW.0308", request_id="R1", hint="wait", status=429
    )

    assert str(error) == error.message == "it is busy"
    assert (error.code, error.request_id, error.hint, error.status) == ("APIGW.0308", "R1", "wait", 429)
    assert error.retry_after == 3.0


def test_an_error_of_another_kind_still_says_what_the_service_said() -> None:
    """Support asks for the request id, whatever the failure is called in the end; the way out is another one."""
    refused = RequestRejectedError("no", code="MSS.1", request_id="r-1", hint="ask", status=403)

    gave_up = refused.restated(GaveUpError, "no (gave up)", hint="run again")

    assert type(gave_up) is GaveUpError
    assert gave_up.facts == {
        "kind": GaveUpError.kind,
        "code": "MSS.1",
        "message": "no (gave up)",
        "request_id": "r-1",
    }
    assert (gave_up.hint, gave_up.status) == ("run again", 403)
    assert (refused.restated(UrlExpiredError).message, refused.restated(UrlExpiredError).hint) == ("no", None)


@pytest.mark.parametrize(
    ("failures", "undecided", "code"),
    [
        ({}, 0, ExitCode.OK),
        ({"rejected": 0}, 0, ExitCode.OK),
        ({}, 1, ExitCode.DECISION_NEEDED),
        ({GaveUpError.kind: 2}, 0, ExitCode.TEMPORARY),
        ({GaveUpError.kind: 2}, 1, ExitCode.TEMPORARY),
        ({DecisionNeededError.kind: 1}, 0, ExitCode.DECISION_NEEDED),
        ({"rejected": 1}, 1, ExitCode.SOME_FAILED),
        ({"rejected": 1, GaveUpError.kind: 5}, 0, ExitCode.SOME_FAILED),
        ({DecisionNeededError.kind: 1, GaveUpError.kind: 5}, 0, ExitCode.SOME_FAILED),
    ],
)
def test_a_run_that_went_to_its_end_tells_what_kind_of_day_it_was(
    failures: dict[str, int], undecided: int, code: ExitCode
) -> None:
    """Run again, decide, or look at what failed."""
    assert exit_code_of_failures(failures, undecided) is code


def test_what_needs_other_footage_or_a_right_row_wins_over_a_decision() -> None:
    """Reviews that failed, and rows that were skipped as invalid."""
    assert exit_code_of_failures({}, 1, reviews_failed=1) is ExitCode.SOME_FAILED
    assert exit_code_of_failures({DecisionNeededError.kind: 1}, 1, reviews_failed=1) is ExitCode.SOME_FAILED


def test_exit_codes_are_those_scripts_know() -> None:
    """The numbers are a promise."""
    assert {code.name: int(code) for code in ExitCode} == {
        "OK": 0,
        "UNEXPECTED": 1,
        "USAGE": 2,
        "MANIFEST_INVALID": 3,
        "CONFIGURATION": 4,
        "TEMPORARY": 5,
        "LOCKED": 6,
        "REFUSED": 7,
        "SOME_FAILED": 8,
        "DECISION_NEEDED": 9,
        "INTERRUPTED": 130,
        "TERMINATED": 143,
        "HUNG_UP": 129,
    }
