"""Asking a person before something is taken away that cannot be had back."""

from __future__ import annotations

import sys

from orchestrator.cli.errors import UsageError
from orchestrator.cli.output import Output
from orchestrator.domain.foreign import shown


def can_ask(output: Output) -> bool:
    """True when somebody sits at the terminal and no document is being written."""
    # Python has None for a stdin that was closed when it started.
    return not output.is_json and sys.stdin is not None and sys.stdin.isatty() and sys.stderr.isatty()


def require_consent(output: Output, *, is_yes: bool) -> None:
    """Raise UsageError unless --yes was given or somebody can be asked."""
    if not (is_yes or can_ask(output)):
        raise UsageError("cannot ask for confirmation: not a terminal", hint="add --yes")


def is_agreed(output: Output, question: str, *, is_yes: bool) -> bool:
    """True when --yes was given or the person at the terminal says yes; raises UsageError where there is none."""
    require_consent(output, is_yes=is_yes)
    if is_yes:
        return True
    sys.stderr.write(f"{shown(question)} [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in {"y", "yes"}
