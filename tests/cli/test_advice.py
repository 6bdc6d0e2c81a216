"""No text names a command or a flag that does not exist."""

from __future__ import annotations

import pytest

from tests.cli.advice import (
    Advice,
    complaint,
    known_flags,
    texts_of_documents,
    texts_of_help,
    texts_of_the_program,
)

#: Flags of other programs that the documents name.
_OF_OTHERS: dict[str, frozenset[str]] = {
    "README.md": frozenset({"-m"}),
    "docs/reliability.md": frozenset({"--rounds", "--seed", "-9"}),
    "docs/fleet.md": frozenset({"-c"}),
}


def all_texts() -> list[Advice]:
    """Messages, hints, help, starters and documents."""
    return [*texts_of_the_program(), *texts_of_help(), *texts_of_documents()]


def test_every_command_that_a_text_names_is_one() -> None:
    """With arguments and flags that it takes."""
    wrong = [
        f"{advice.place}:{advice.line}: {found}"
        for advice in all_texts()
        for command in advice.commands
        if (found := complaint(command)) is not None
    ]

    assert not wrong, "\n".join(wrong)


def test_every_flag_that_a_text_names_is_one() -> None:
    """Of some command at least."""
    wrong = [
        f"{advice}: {flag}"
        for advice in all_texts()
        for flag in advice.flags
        if flag not in known_flags() | _OF_OTHERS.get(advice.place, frozenset())
    ]

    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    "command",
    [
        "orchestrator statsu",
        "orchestrator init --format yaml",
        "orchestrator status --faield",
        "orchestrator run",
    ],
)
def test_a_command_that_is_none_is_noticed(command: str) -> None:
    """So that the tests above cannot pass by finding nothing wrong with anything."""
    assert complaint(command) is not None
