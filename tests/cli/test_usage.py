"""The usage page shows every command and every option, as the program has them."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from orchestrator.api.options import (
    ALL_OPTIONS,
    DEFAULTS,
    LOOK_OPTIONS,
    MANIFEST_OPTIONS,
    OUTPUT_OPTIONS,
    PLAN_OPTIONS,
    RUN_OPTIONS,
    SERVICE_OPTIONS,
    SettingOption,
)
from orchestrator.api.settings import Settings, setting_names
from orchestrator.cli.invocation import setting_parameter
from orchestrator.cli.main import application

PAGE = Path(__file__).parents[2] / "docs/usage.md"
#: The tables of settings on the page, in order.
TABLES = (SERVICE_OPTIONS, RUN_OPTIONS, PLAN_OPTIONS, (*MANIFEST_OPTIONS, *LOOK_OPTIONS), OUTPUT_OPTIONS)
_HEAD = "| flag | environment | default | |\n|---|---|---|---|\n"
_TABLE = re.compile(re.escape(_HEAD) + r"(?:\|[^\n]*\n)+")


def table_of(options: Sequence[SettingOption]) -> str:
    """The table of *options* as the page has it."""
    return _HEAD + "".join(map(_row, options))


def _row(option: SettingOption) -> str:
    spellings = [spelling for flag in option.flags for spelling in flag.split("/")]
    flags = ", ".join(
        f"`{spelling}`" for spelling in sorted(spellings, key=lambda flag: flag.startswith("--"))
    )
    value = "" if option.metavar is None else " `" + option.metavar.replace("|", "\\|") + "`"
    return f"| {flags}{value} | `{option.variable}` | {option.shown_default} | {option.summary} |\n"


def test_the_tables_are_those_of_the_options() -> None:
    """`python -m tests.cli.test_usage` writes them."""
    assert _TABLE.findall(PAGE.read_text(encoding="utf-8")) == [table_of(options) for options in TABLES]


def test_every_setting_has_one_option_and_its_default_is_a_value_of_it() -> None:
    """The default is read as if it had been given; only the place of the journal depends on the user."""
    given = {name: text for name, text in DEFAULTS.items() if text is not None}

    assert set(setting_names()) == {option.name for option in ALL_OPTIONS}
    assert Settings(**given) == Settings()


@pytest.mark.parametrize("option", ALL_OPTIONS, ids=lambda option: option.name)
def test_help_shows_the_default(option: SettingOption) -> None:
    """At the end, after the variable."""
    (help_text,) = (data.help for data in setting_parameter(option).annotation.__metadata__)

    assert help_text.endswith(
        f"; default {option.shown_default})" if option.shown_default else f"{option.variable})"
    )


def test_every_command_is_on_the_page() -> None:
    """In the table on top."""
    page = PAGE.read_text(encoding="utf-8")

    for command in application().registered_commands:
        assert f"[`{command.callback.__name__}" in page  # type: ignore[union-attr]


def write_tables() -> None:
    """Replace the tables of the page; their number must not change."""
    tables = iter(TABLES)
    text = _TABLE.sub(lambda _: table_of(next(tables)), PAGE.read_text(encoding="utf-8"))
    PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write_tables()
    sys.exit()
