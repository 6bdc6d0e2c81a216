"""Errors of the command line itself, and the exit code of any error."""

from __future__ import annotations

from orchestrator.domain.errors import OrchestratorError
from orchestrator.domain.exit_codes import ExitCode, exit_code_of


class UsageError(OrchestratorError):
    """The command line asks for something that cannot be."""

    kind = "usage"


def exit_code_for(error: OrchestratorError) -> ExitCode:
    """The exit code of a command that ended with *error*."""
    return ExitCode.USAGE if isinstance(error, UsageError) else exit_code_of(error)


def error_document(error: OrchestratorError) -> dict[str, str | None]:
    """The error object of `--json` (design section 4)."""
    return {
        "kind": error.kind,
        "code": error.code,
        "message": error.message,
        "request_id": error.request_id,
        "hint": error.hint,
    }
