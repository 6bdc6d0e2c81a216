"""Errors, grouped by what the caller does about them, and the exit codes that they stand for.

OrchestratorError
├── UsageError                 ask for something else; nothing was done
├── ManifestError              fix the manifest; nothing was sent
├── RetryableError             try again, after `retry_after` when it is known
│   ├── ThrottledError         ... and more slowly
│   ├── NotSentError           ... the request provably never left
│   ├── InterruptedTransferError   ... the request may have been carried out
│   │   └── UnmarkedAnswerError    ... a success that need not come from the store
│   └── ETagMismatchError      ... what arrived is not what was sent
├── UrlExpiredError            get fresh URLs
├── RefusedUploadError         ask the service whether the segment is there
├── EntryError                 stop this entry
│   ├── RequestRejectedError   the service said no
│   ├── SourceChangedError     the file is not the one that was planned
│   ├── GaveUpError            its attempts are used up
│   └── DecisionNeededError    a person must choose
├── RunError                   stop the run
│   ├── ConfigurationError, CredentialsError, ServiceUnreachableError,
│   └── ServiceRefusesError, LockHeldError, JournalError, StoppedError
└── IllegalTransitionError, StaleEpochError (HoldLostError)   our bug, or another worker owns the entry
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import IntEnum
from typing import TYPE_CHECKING, ClassVar, TypedDict, TypeVar

from orchestrator.domain.untrusted_text import without

if TYPE_CHECKING:
    from orchestrator.domain.evidence import Receipt

E = TypeVar("E", bound="OrchestratorError")


class ErrorFacts(TypedDict):
    """What is kept and published of an error."""

    kind: str
    code: str | None
    message: str
    request_id: str | None


class OrchestratorError(Exception):
    """Anything this program raises on purpose; its text is a sentence an operator can act on."""

    kind: ClassVar[str] = "internal"

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        request_id: str | None = None,
        hint: str | None = None,
        status: int | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.request_id = request_id
        self.hint = hint
        self.status = status

    @property
    def facts(self) -> ErrorFacts:
        """The fields of a journal record or an event about this error."""
        return {
            "kind": self.kind,
            "code": self.code,
            "message": self.message,
            "request_id": self.request_id,
        }

    @property
    def document(self) -> dict[str, str | None]:
        """The error object of `--json` (design section 4)."""
        return {
            "kind": self.kind,
            "code": self.code,
            "message": self.message,
            "request_id": self.request_id,
            "hint": self.hint,
        }

    def restated(self, kind: type[E], message: str | None = None, *, hint: str | None = None) -> E:
        """Return this failure as an error of another *kind*, with what the service said to identify it.

        The hint is not taken along: another kind of error needs another way out.
        """
        return kind(
            message or self.message,
            code=self.code,
            request_id=self.request_id,
            hint=hint,
            status=self.status,
        )

    def conceal(self, secrets: Iterable[str]) -> None:
        """Mask these very texts in what is said; others may have repeated them."""
        self.message = without(self.message, secrets)
        self.args = (self.message,)


class UsageError(OrchestratorError):
    """What is asked for cannot be: a wrong flag or keyword, or a batch or an entry that does not exist."""

    kind = "usage"


class ManifestError(OrchestratorError):
    """The manifest must be fixed; nothing was sent."""

    kind = "manifest"


class RetryableError(OrchestratorError):
    """The same request may succeed later, after *retry_after* seconds where the other side asked for them."""

    kind = "temporary"

    def __init__(
        self,
        message: str,
        *,
        retry_after: float | None = None,
        code: str | None = None,
        request_id: str | None = None,
        hint: str | None = None,
        status: int | None = None,
    ) -> None:
        super().__init__(message, code=code, request_id=request_id, hint=hint, status=status)
        self.retry_after = retry_after
        #: True when the whole service or store is out, so that this failure counts against nothing.
        self.is_outage = False


class ThrottledError(RetryableError):
    """The other side asks for fewer requests; it did not carry this one out."""

    kind = "throttled"


class NotSentError(RetryableError):
    """No connection could be made, so the request provably never left."""

    kind = "unreachable"


class InterruptedTransferError(RetryableError):
    """The request broke off or timed out; it may or may not have been carried out."""

    kind = "interrupted"
    #: True when every byte of the body had been handed over, so that the other side may hold all of it.
    is_body_sent: bool = False


class UnmarkedAnswerError(InterruptedTransferError):
    """A PUT was answered with a success that need not come from the store.

    `receipt` is what the answer is worth where nothing else can be learned; None for a page or a document, which
    a store does not send.
    """

    is_body_sent = True
    receipt: Receipt | None = None


class ETagMismatchError(RetryableError):
    """The store's ETag is not the MD5 of what was sent."""

    kind = "integrity"


class UrlExpiredError(OrchestratorError):
    """The presigned URL is dead: the entry needs fresh ones."""

    kind = "url_expired"


class RefusedUploadError(OrchestratorError):
    """The store refused a PUT in a way that can also mean that it has the segment already."""

    kind = "upload_refused"


class EntryError(OrchestratorError):
    """This entry cannot go on; the others can."""

    kind = "entry"


class RequestRejectedError(EntryError):
    """The service said no, and would say it again."""

    kind = "rejected"


class SourceChangedError(EntryError):
    """A source file is not the one that was planned."""

    kind = "source_changed"


class GaveUpError(EntryError):
    """Every attempt an entry has was used up on errors that pass; a later run may succeed."""

    kind = "temporary"


class DecisionNeededError(EntryError):
    """The service's answers leave two readings; a person must choose."""

    kind = "decision_needed"


class ParkedError(EntryError):
    """No worker of a fleet can go on with this entry; it is laid aside until a person has looked."""

    kind = "parked"


#: The code of a ParkedError whose reason is that no host can use the entry's files.
FILES_UNREADABLE = "FilesUnreadable"


class RunError(OrchestratorError):
    """The whole run must stop; what is journalled stays."""

    kind = "run"


class ConfigurationError(RunError):
    """A setting is missing or wrong."""

    kind = "configuration"


class CredentialsError(RunError):
    """The service does not accept the credentials."""

    kind = "credentials"


class ServiceUnreachableError(RunError):
    """The service could not be reached within the attempts a call has."""

    kind = "unreachable"


class ServiceRefusesError(RunError):
    """The service refuses for good, whatever the entry."""

    kind = "refused"


class LockHeldError(RunError):
    """Another run works on this batch."""

    kind = "locked"


class StoppedError(RunError):
    """The run drains; what was begun is left in a state from which the next run goes on."""

    kind = "stopped"


class LimitReachedError(RunError):
    """The run has reached a limit that was set for it; a later run does the rest."""

    kind = "limit"


class JournalError(RunError):
    """The journal cannot be opened or written; `is_temporary` says whether waiting may help."""

    kind = "journal"

    def __init__(self, message: str, *, hint: str | None = None, is_temporary: bool = False) -> None:
        super().__init__(message, hint=hint)
        self.is_temporary = is_temporary


class IllegalTransitionError(OrchestratorError):
    """A step asked for a transition the table does not have."""

    kind = "internal"


class StaleEpochError(OrchestratorError):
    """Another worker has taken the entry over; this one may not write."""

    kind = "stale_epoch"


class HoldLostError(StaleEpochError):
    """This worker's time with the entry is over, so it may not send either; what it had begun is the next one's."""


class ExitCode(IntEnum):
    """The exit codes of every command: what kind of day it was, as a number scripts can act on (design section 4)."""

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
