"""One check of `doctor`: what was found, and how to fix it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from orchestrator.domain.errors import OrchestratorError
from orchestrator.domain.exit_codes import ExitCode, exit_code_of


class CheckStatus(StrEnum):
    """How a check ended."""

    OK = "ok"
    WARNING = "warning"
    FAIL = "fail"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One line of `doctor`; *fix* is given where the status is not ok.

    A failed check *is_temporary* when time alone may fix it, so that a run later is worth trying.
    """

    name: str
    status: CheckStatus
    detail: str
    fix: str | None = None
    is_temporary: bool = False

    def as_dict(self) -> dict[str, str | None]:
        """The check as `doctor --json` prints it."""
        return {"name": self.name, "status": self.status.value, "detail": self.detail, "fix": self.fix}


def passed(name: str, detail: str) -> Check:
    """Return the check of what is right."""
    return Check(name=name, status=CheckStatus.OK, detail=detail)


def warned(name: str, detail: str, fix: str) -> Check:
    """Return the check of what a run would survive."""
    return Check(name=name, status=CheckStatus.WARNING, detail=detail, fix=fix)


def failed(name: str, detail: str, fix: str, *, is_temporary: bool = False) -> Check:
    """Return the check of what would stop a run."""
    return Check(name=name, status=CheckStatus.FAIL, detail=detail, fix=fix, is_temporary=is_temporary)


def failed_by(name: str, error: OrchestratorError, fix: str) -> Check:
    """Return the failed check for *error*; *fix* is for an error that has no hint of its own."""
    is_temporary = exit_code_of(error) is ExitCode.TEMPORARY
    return failed(name, error.message, error.hint or fix, is_temporary=is_temporary)


def skipped(name: str, because: str) -> Check:
    """Return the check that cannot be made before the check *because* passes."""
    return warned(name, f"not checked: {because} failed", f"fix {because} first, then run doctor again")


def exit_code_of_checks(checks: Iterable[Check]) -> ExitCode:
    """4 where something must be fixed before a run, 5 where time alone may fix it, else 0."""
    failures = [check for check in checks if check.status is CheckStatus.FAIL]
    if any(not check.is_temporary for check in failures):
        return ExitCode.CONFIGURATION
    return ExitCode.TEMPORARY if failures else ExitCode.OK
