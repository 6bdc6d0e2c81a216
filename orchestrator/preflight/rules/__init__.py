"""The rules by id: what each checks, why, where it comes from, and what to do about it."""

from __future__ import annotations

from collections.abc import Mapping

from orchestrator.preflight.rules.footage import FOOTAGE_RULES
from orchestrator.preflight.rules.manifests import MANIFEST_RULES
from orchestrator.preflight.rules.rule import Extra, Rule, Verdict

#: Every rule by its id, in the order of the ids.
RULES: Mapping[str, Rule] = {
    rule.id: rule for rule in sorted((*MANIFEST_RULES, *FOOTAGE_RULES), key=lambda rule: rule.id)
}

__all__ = ["RULES", "Extra", "Rule", "Verdict"]
