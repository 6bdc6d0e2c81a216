"""Every setting has one option, and its help shows its default."""

from __future__ import annotations

import pytest

from orchestrator.cli.invocation import setting_parameter
from orchestrator.settings.options import ALL_OPTIONS, DEFAULTS, SettingOption
from orchestrator.settings.sources import setting_names
from orchestrator.settings.values import Settings


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
