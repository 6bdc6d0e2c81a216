"""The usage page tells of every option."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.cli.main import application
from orchestrator.cli.options import ALL_OPTIONS, SettingOption

USAGE = (Path(__file__).parents[2] / "docs/usage.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("option", ALL_OPTIONS, ids=lambda option: option.name)
def test_every_setting_is_on_the_page(option: SettingOption) -> None:
    """With its flags and its variable."""
    assert f"`{option.variable}`" in USAGE
    for flag in option.flags:
        for spelling in flag.split("/"):
            assert f"`{spelling}`" in USAGE


def test_every_command_is_on_the_page() -> None:
    """In the table on top."""
    for command in application().registered_commands:
        assert f"[`{command.callback.__name__}" in USAGE  # type: ignore[union-attr]
