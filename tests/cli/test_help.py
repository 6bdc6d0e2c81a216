"""The command line as a whole: names, aliases, wrong names, and the layout of help."""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path

import pytest
import typer
from pages.reference import all_commands

from orchestrator.cli.commands import ALIASES, SUMMARIES
from orchestrator.settings.options import ALL_OPTIONS
from tests.cli.conftest import Batch, Cli

PANELS = ["Arguments:", "Options:", "What is sent:", "Service:", "Transfer:", "Output:"]


@pytest.mark.parametrize("name", SUMMARIES)
def test_the_list_of_commands_says_what_each_says_of_itself(name: str) -> None:
    """The list is printed without loading them."""
    command = getattr(importlib.import_module(f"orchestrator.cli.commands.{name}"), name)
    text = command.info.help if isinstance(command, typer.Typer) else inspect.getdoc(command)

    assert text.split("\n\n")[0].replace("\n", " ") == SUMMARIES[name]


@pytest.mark.parametrize(("alias", "name"), ALIASES.items())
def test_an_alias_is_the_command(cli: Cli, alias: str, name: str) -> None:
    """As other uploaders call it; its help is the command's, and names it."""
    told = cli(alias, "--help").stdout

    assert told.partition("\n")[2] == cli(name, "--help").stdout.partition("\n")[2]
    assert f"`{alias}`" in told


@pytest.mark.parametrize("words", [["run"], ["config", "show"], []], ids=" ".join)
def test_help_is_a_command_too(cli: Cli, words: list[str]) -> None:
    """As people know it from git."""
    result = cli("help", *words)

    assert (result.exit_code, result.stdout) == (0, cli(*words, "--help").stdout)


@pytest.mark.parametrize(
    ("line", "nearest"),
    [
        ("statsu", "did you mean status?"),
        ("uplod", "did you mean upload?"),
        ("help rnu", "did you mean run?"),
    ],
)
def test_a_wrong_command_names_the_nearest(cli: Cli, line: str, nearest: str) -> None:
    """Exit 2, also as a document."""
    result = cli(*line.split(), "--json")

    assert result.exit_code == result.document["exit_code"] == 2
    assert nearest in result.stderr
    assert result.document["error"]["kind"] == "usage"


def test_a_wrong_option_names_the_nearest(cli: Cli, batch: Batch) -> None:
    """And where all are listed."""
    result = cli("run", batch.manifest, "--job", "3")

    assert result.exit_code == 2
    assert "--job; did you mean --jobs?" in result.stderr
    assert "`orchestrator run --help`" in result.stderr


@pytest.mark.parametrize("name", [name for name, _ in all_commands()])
def test_help_fits_eighty_columns_and_is_grouped(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """What all commands have comes last."""
    monkeypatch.setenv("COLUMNS", "80")

    lines = cli(*name.split(), "--help").stdout.splitlines()

    panels = [line for line in lines if line in PANELS]
    assert panels == sorted(panels, key=PANELS.index)
    assert panels[-1] == "Output:"
    assert [line for line in lines if len(line) > 80] == []


def test_help_is_as_wide_as_the_terminal(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """Up to a width at which lines are still easy to read."""
    monkeypatch.setenv("COLUMNS", "118")
    widest = max(map(len, cli("run", "--help").stdout.splitlines()))
    monkeypatch.setenv("COLUMNS", "300")

    assert 100 < widest <= 118
    assert max(map(len, cli("run", "--help").stdout.splitlines())) <= 120


def test_options_that_do_nothing_are_taken_but_not_shown(cli: Cli, tmp_path: Path) -> None:
    """A script may give every command the same ones."""
    told = cli("schema", "--help").stdout

    assert "--state" not in told
    assert "--log-max-size" not in told
    assert cli("schema", "--state", tmp_path / "journal.db").exit_code == 0


def test_every_option_is_shown_by_a_command() -> None:
    """None is hidden from all help."""
    shown = {
        parameter.name
        for _, command in all_commands()
        for parameter in command.params
        if not parameter.hidden
    }

    assert {option.name for option in ALL_OPTIONS} <= shown
