"""Errors, grouped by what the caller does about them, and their exit codes.

OrchestratorError
├── UsageError                 change the command; nothing was done
├── ManifestError              fix the manifest; nothing was sent
├── RetryableError             try again, after `retry_after` when it is known
│   ├── ThrottledError         ... and more slowly
│   ├── NotSentError           ... the request provably never left
│   ├── InterruptedTransferError   ... the request may have been carried out
│   │   └── UnmarkedAnswerError    ... a success that may not come from the store
│   └── ETagMismatchError      ... what arrived is not what was sent
├── UrlExpiredError            get fresh URLs
├── RefusedUploadError         ask the service whether the segment is there
├── EntryError                 stop this entry
│   ├── RequestRejectedError   the service rejected it
│   ├── SourceChangedError     the file is not the one that was planned
│   ├── GaveUpError            its attempts are used up
│   ├── DecisionNeededError    a person must choose
│   └── ParkedError            no worker of a fleet can continue it
├── RunError                   stop the run
│   ├── ConfigurationError, CredentialsError, ServiceUnreachableError,
│   └── ServiceRefusesError, LockHeldError, JournalError, StoppedError, LimitReachedError
└── IllegalTransitionError, StaleEpochError (HoldLostError)   a bug, or another worker owns the entry
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
    """The fields of an error that are recorded and published."""

    kind: str
    code: str | None
    message: str
    request_id: str | None


class OrchestratorError(Exception):
    """The base class of all errors this program raises on purpose; the text is a sentence an operator can act on."""

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
        """Return this failure as an error of another *kind*, with the service's code, request id and status.

        The hint is not carried over: another kind of error needs another hint.
        """
        return kind(
            message or self.message,
            code=self.code,
            request_id=self.request_id,
            hint=hint,
            status=self.status,
        )

    def conceal(self, secrets: Iterable[str]) -> None:
        """Mask *secrets* in the message; the other side may have quoted them."""
        self.message = without(self.message, secrets)
        self.args = (self.message,)


class UsageError(OrchestratorError):
    """An impossible request: a wrong flag or keyword, or a batch or an entry that does not exist."""

    kind = "usage"


class ManifestError(OrchestratorError):
    """An error in the manifest, which must be fixed; nothing was sent."""

    kind = "manifest"


class RetryableError(OrchestratorError):
    """A temporary failure; the request may succeed later, after *retry_after* seconds if the other side gave them."""

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
        #: True when the whole service or store is out, so that this failure counts against no budget.
        self.is_outage = False


class ThrottledError(RetryableError):
    """A throttled request: the other side asks for fewer requests, and did not carry this one out."""

    kind = "throttled"


class NotSentError(RetryableError):
    """A failed connection, so that the request was provably never sent."""

    kind = "unreachable"


class InterruptedTransferError(RetryableError):
    """A request that broke off or timed out; it may or may not have been carried out."""

    kind = "interrupted"
    #: True when every byte of the body was handed over, so that the other side may hold all of it.
    is_body_sent: bool = False


class UnmarkedAnswerError(InterruptedTransferError):
    """A success answer to a PUT that may not come from the store.

    `receipt` is the receipt to use if nothing else can be found out; None for a page or a document, which a store
    does not send.
    """

    is_body_sent = True
    receipt: Receipt | None = None


class ETagMismatchError(RetryableError):
    """An ETag from the store that is not the MD5 of what was sent."""

    kind = "integrity"


class UrlExpiredError(OrchestratorError):
    """An expired presigned URL; the entry needs fresh ones."""

    kind = "url_expired"


class RefusedUploadError(OrchestratorError):
    """A PUT that the store refused in a way that can also mean that it already has the segment."""

    kind = "upload_refused"


class EntryError(OrchestratorError):
    """An error that stops this entry; the others can continue."""

    kind = "entry"


class RequestRejectedError(EntryError):
    """A request that the service rejected, and would reject again."""

    kind = "rejected"


class SourceChangedError(EntryError):
    """A source file that is not the one that was planned."""

    kind = "source_changed"


class GaveUpError(EntryError):
    """An entry that has used up its attempts on temporary errors; a later run may succeed."""

    kind = "temporary"


class DecisionNeededError(EntryError):
    """A choice that a person must make, because the service's answers or the manifest allow two readings.

    It stops its entry. When the manifest looks like that of another batch, it is raised before a run and stops that.
    """

    kind = "decision_needed"


class ParkedError(EntryError):
    """An entry that no worker of a fleet can continue; it is laid aside until a person has looked at it."""

    kind = "parked"


#: The code of a ParkedError whose reason is that no host can use the entry's files.
FILES_UNREADABLE = "FilesUnreadable"


class RunError(OrchestratorError):
    """An error that must stop the whole run; everything in the journal stays."""

    kind = "run"


class ConfigurationError(RunError):
    """A missing or wrong setting."""

    kind = "configuration"


class CredentialsError(RunError):
    """Credentials that the service does not accept."""

    kind = "credentials"


class ServiceUnreachableError(RunError):
    """A service that could not be reached within the attempts of a call."""

    kind = "unreachable"


class ServiceRefusesError(RunError):
    """A permanent refusal by the service, whatever the entry."""

    kind = "refused"


class LockHeldError(RunError):
    """A batch that another run works on."""

    kind = "locked"


class StoppedError(RunError):
    """A run that drains; what was begun is left in a state from which the next run continues."""

    kind = "stopped"


class LimitReachedError(RunError):
    """A run that has reached a limit that was set for it; a later run does the rest."""

    kind = "limit"


class JournalError(RunError):
    """A journal that cannot be opened or written; `is_temporary` is True when waiting may help."""

    kind = "journal"

    def __init__(self, message: str, *, hint: str | None = None, is_temporary: bool = False) -> None:
        super().__init__(message, hint=hint)
        self.is_temporary = is_temporary


class IllegalTransitionError(OrchestratorError):
    """A transition that is not in the table of allowed transitions."""

    kind = "internal"


class StaleEpochError(OrchestratorError):
    """An entry that another worker has taken over; this worker may not write to it."""

    kind = "stale_epoch"


class HoldLostError(StaleEpochError):
    """A hold on an entry that has run out; this worker may not send either, and the next one continues its work."""


class ExitCode(IntEnum):
    """The exit codes of every command, for scripts to act on (design section 4)."""

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
    """Return the exit code of a command that ended with *error*."""
    if isinstance(error, JournalError):
        return ExitCode.TEMPORARY if error.is_temporary else ExitCode.CONFIGURATION
    return next((code for kind, code in _BY_ERROR if isinstance(error, kind)), ExitCode.UNEXPECTED)


def exit_code_of_any(error: BaseException) -> int:
    """Return the exit code for *error*; a cancelled run counts as interrupted."""
    if isinstance(error, OrchestratorError):
        return exit_code_of(error)
    return ExitCode.UNEXPECTED if isinstance(error, Exception) else ExitCode.INTERRUPTED


def exit_code_of_failures(failures: Mapping[str, int], undecided: int, reviews_failed: int = 0) -> ExitCode:
    """Return the exit code of a completed run, from the number of failed entries by kind of error.

    *reviews_failed* entries wait for other footage or a corrected row, *undecided* ones for a decision. The former
    take precedence: a script that acts on 9 with `--on-change` would otherwise consider a batch complete although its
    skipped entries are still unchecked.
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
