"""`orchestrator explain`."""

from __future__ import annotations

from typing import Annotated

import typer

from orchestrator.cli.invocation import Invocation, takes_settings
from orchestrator.cli.output import SCHEMA
from orchestrator.domain.errors import UsageError


@takes_settings(unused=("state", "progress", "log_max_size"))
def explain(
    invocation: Invocation,
    rule: Annotated[
        str | None,
        typer.Argument(metavar="RULE", help="The id of a rule, such as P10.", show_default=False),
    ] = None,
    *,
    is_all_wanted: Annotated[bool, typer.Option("--all", help="Explain every rule")] = False,
) -> None:
    """Explain a rule: what it checks, why, and how to fix what it finds.

    Problems in `validate` end with the id of their rule. Also shown: where the rule comes from, and the ffmpeg
    command where one repairs the film.

    \b
    Examples:
      orchestrator explain P10
      orchestrator explain --all
      orchestrator explain --all --json
    """
    from orchestrator.preflight.rulebook import RULES  # noqa: PLC0415 - keeps --help quick
    from orchestrator.preflight.rules.rule import rule_document, rule_text, rules_page  # noqa: PLC0415

    output = invocation.output
    if is_all_wanted == (rule is not None):
        raise UsageError("give the ID of a rule, or --all", hint="for example orchestrator explain P10")
    known = list(RULES.values()) if rule is None else [RULES.get(rule.strip().upper())]
    rules = [one for one in known if one is not None]
    if not rules:
        raise UsageError(f"no such rule: {rule}", hint="`orchestrator explain --all` lists the rules")
    if output.is_json:
        output.document({"schema": SCHEMA, "rules": [rule_document(one) for one in rules]})
    elif is_all_wanted:
        output.write(rules_page(rules))
    else:
        output.write(rule_text(rules[0]))
