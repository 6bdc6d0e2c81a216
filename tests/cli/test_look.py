"""`validate --look`: what is found in pictures and sound, and what happens without the extra."""

from __future__ import annotations

import pytest

from orchestrator.preflight.look import measures
from tests.cli.conftest import Batch, Cli

#: Looks run below all else on the machine, which may be busy.
pytestmark = [pytest.mark.timeout(240), pytest.mark.long]


def test_a_look_finds_what_the_index_does_not_show(cli: Cli, batch: Batch) -> None:
    """The sample is a grey wall without a word; that it has no face is found where faces are looked for."""
    quick = cli("validate", batch.manifest, "--look", "quick", "--json")

    assert quick.exit_code == 0
    problems = [problem for problem in quick.document["problems"] if problem["rule"] != "P16"]
    assert [(p["entry"], p["rule"], p["verdict"]) for p in problems] == [
        (entry, rule, "likely_refused") for entry in ("anna", "bo") for rule in ("P10", "P14")
    ]
    assert "looking at 2 of 2 films" in quick.stderr


def test_a_strict_look_makes_errors_of_what_is_likely_refused(cli: Cli, batch: Batch) -> None:
    """But not of what is ignored."""
    assert cli("validate", batch.manifest, "--look", "quick", "--look-strict").exit_code == 3

    batch.write(*(batch.entry(name, ignore=["P10", "P14", "P16"]) for name in ("anna", "bo")))
    result = cli("validate", batch.manifest, "--look", "quick", "--look-strict")

    assert (result.exit_code, result.stdout) == (0, f"{batch.manifest}: 2 entries, no problems\n")


def test_without_the_extra_one_line_says_what_to_install(
    cli: Cli, batch: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All else works."""
    monkeypatch.setattr(measures, "find_spec", lambda _module: None)

    result = cli("validate", batch.manifest, "--look", "quick")

    assert (result.exit_code, result.stdout) == (0, f"{batch.manifest}: 2 entries, no problems\n")
    assert result.stderr.count("pip install 'metastudio-orchestrator[preflight]'") == 1


def test_a_wrong_word_is_wrong_usage(cli: Cli, batch: Batch) -> None:
    """With the words there are."""
    result = cli("validate", batch.manifest, "--look", "hard")

    assert result.exit_code == 2
    assert "quick" in result.stderr


def test_the_page_is_for_its_owner_and_shows_no_card(cli: Cli, batch: Batch) -> None:
    """Mode 0600, up to eight pictures of each film, what was found, and nothing of the ID cards."""
    page = batch.folder / "page.html"
    page.write_text("an older one")
    page.chmod(0o644)

    result = cli("validate", batch.manifest, "--look", "quick", "--report", page)

    text = page.read_text(encoding="utf-8")
    assert result.exit_code == 0
    assert page.stat().st_mode & 0o777 == 0o600
    assert 10 <= text.count("data:image/jpeg") <= 16
    assert "is silent" in text
    assert "front.png" not in text
    assert str(page) in result.stderr


def test_a_page_needs_a_look_and_a_place(cli: Cli, batch: Batch) -> None:
    """Each with what to do."""
    without = cli("validate", batch.manifest, "--report", "page.html")
    nowhere = cli(
        "validate", batch.manifest, "--look", "quick", "--report", batch.folder / "no" / "page.html"
    )

    assert (without.exit_code, nowhere.exit_code) == (2, 4)
    assert "--look quick" in without.stderr
    assert "--report" in nowhere.stderr


def test_a_plan_looks_too(cli: Cli, batch: Batch) -> None:
    """Warnings beside the plan; strict, the plan is refused."""
    plain = cli("plan", batch.manifest, "--look", "quick", "--json")
    refused = cli("plan", batch.manifest, "--look", "quick", "--look-strict")

    assert (plain.exit_code, plain.document["actions"]) == (0, {"create": 2})
    assert "[P10]" in plain.stderr
    assert refused.exit_code == 3
