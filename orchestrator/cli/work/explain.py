"""`explain`: the rules, from their registry."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.cli.output import SCHEMA, Output
from orchestrator.domain.errors import UsageError
from orchestrator.preflight.rules import RULES, Rule
from orchestrator.preflight.rules.page import rule_document, rule_text, rules_page


def explain_rules(output: Output, rule_id: str | None, *, is_all_wanted: bool) -> None:
    """Print the rule *rule_id*, or all; raises UsageError when there is no such rule."""
    rules = _chosen(rule_id, is_all_wanted=is_all_wanted)
    if output.is_json:
        output.document({"schema": SCHEMA, "rules": [rule_document(rule) for rule in rules]})
    elif is_all_wanted:
        output.write(rules_page(rules))
    else:
        output.write(rule_text(rules[0]))


def _chosen(rule_id: str | None, *, is_all_wanted: bool) -> Sequence[Rule]:
    if is_all_wanted == (rule_id is not None):
        raise UsageError("give the ID of a rule, or --all", hint="for example orchestrator explain P10")
    if rule_id is None:
        return list(RULES.values())
    rule = RULES.get(rule_id.strip().upper())
    if rule is None:
        raise UsageError(f"no such rule: {rule_id}", hint="`orchestrator explain --all` lists the rules")
    return [rule]
