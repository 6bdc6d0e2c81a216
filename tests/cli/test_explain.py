"""`explain`: every rule, one rule, no such rule."""

from __future__ import annotations

from orchestrator.preflight.rulebook import RULES
from tests.cli.conftest import Cli


def test_explain_shows_a_rule_however_it_is_written(cli: Cli) -> None:
    """What, why, what to do, and what to install for it."""
    result = cli("explain", "p10")

    assert result.exit_code == 0
    assert result.stdout.startswith("# P10: ")
    assert "[preflight]" in result.stdout


def test_explain_all_as_a_document_has_every_rule(cli: Cli) -> None:
    """In the order of the ids."""
    assert [rule["rule"] for rule in cli("explain", "--all", "--json").document["rules"]] == list(RULES)


def test_explain_wants_one_known_rule_or_all(cli: Cli) -> None:
    """Anything else is wrong usage, with what to do."""
    for arguments in (("P99",), (), ("P10", "--all")):
        result = cli("explain", *arguments)

        assert result.exit_code == 2
        assert "orchestrator explain" in result.stderr
