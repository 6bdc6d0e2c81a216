"""What a rule finds."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.preflight.rules import RULES, Verdict


@dataclass(frozen=True, slots=True)
class Finding:
    """A sentence of a rule about one file; an error stops the batch."""

    rule: str
    message: str
    verdict: Verdict | None
    is_error: bool = False


def refused(rule: str, message: str) -> Finding:
    """Find what the service publishes a rule against."""
    return Finding(rule, message, RULES[rule].verdict_of(is_error=True), is_error=True)


def likely_refused(rule: str, message: str) -> Finding:
    """Find what the service's guide for filming warns of."""
    return Finding(rule, message, Verdict.LIKELY_REFUSED)


def look_first(rule: str, message: str) -> Finding:
    """Find what a person should look at."""
    return Finding(rule, message, Verdict.LOOK_FIRST)
