"""All rules by id, and what they find."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from orchestrator.preflight.rules.footage import FOOTAGE_RULES
from orchestrator.preflight.rules.manifests import MANIFEST_RULES
from orchestrator.preflight.rules.rule import Rule, Verdict

#: Every rule by its id, in the order of the ids.
RULES: Mapping[str, Rule] = {
    rule.id: rule for rule in sorted((*MANIFEST_RULES, *FOOTAGE_RULES), key=lambda rule: rule.id)
}


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
