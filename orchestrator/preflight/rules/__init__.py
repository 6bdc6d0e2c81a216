"""The rules by id: what each checks, why, where it comes from, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import chain

from orchestrator.preflight.rules.films import FILM_RULES
from orchestrator.preflight.rules.looks import LOOK_RULES
from orchestrator.preflight.rules.manifests import MANIFEST_RULES
from orchestrator.preflight.rules.papers import PAPER_RULES
from orchestrator.preflight.rules.rule import Extra, Rule, Verdict


def _by_id(rules: Iterable[Rule]) -> Mapping[str, Rule]:
    return {rule.id: rule for rule in sorted(rules, key=lambda rule: rule.id)}


#: Every rule by its id, in the order of the ids.
RULES = _by_id(chain(MANIFEST_RULES, FILM_RULES, PAPER_RULES, LOOK_RULES))

__all__ = ["RULES", "Extra", "Rule", "Verdict"]
