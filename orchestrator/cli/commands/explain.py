"""`orchestrator explain`."""

from __future__ import annotations

from typing import Annotated

import typer

from orchestrator.cli.invocation import Invocation, takes_settings


@takes_settings()
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
    from orchestrator.cli.work.explain import explain_rules  # noqa: PLC0415 - keeps --help quick

    explain_rules(invocation.output, rule, is_all_wanted=is_all_wanted)
