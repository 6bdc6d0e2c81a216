"""The commands and flags that a message names are run from the state in which it is shown, and lead on."""

from __future__ import annotations

import ast
import re
from collections import Counter
from pathlib import Path

import pytest

from orchestrator.simulator import Simulator, SimulatorOptions
from tests.cli.advice import ROOT, Advice, texts_of_the_program
from tests.cli.conftest import Batch, Cli
from tests.cli.ways import NO_ADVICE, PROVED_ELSEWHERE, WAYS, Stage, Way, shown_text

PROGRAM = "orchestrator"


@pytest.fixture
def simulator_options(way: Way) -> SimulatorOptions:
    """The service that the way needs."""
    return way.options


@pytest.fixture
def stage(
    cli: Cli, batch: Batch, simulator: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Stage:
    """A batch that was never run."""
    return Stage(cli, batch, simulator, tmp_path, monkeypatch)


@pytest.mark.parametrize(
    "way", WAYS, ids=lambda way: f"{way.place.removeprefix('orchestrator/')}:{'+'.join(way.mentions)}"
)
def test_what_a_message_names_leads_on(way: Way, stage: Stage) -> None:
    """The text is seen, what it names is done, and that ends well."""
    shown = way.show(stage)
    asked = stage.commands[-1]
    seen = [advice for advice in texts_with(way) if pattern_of(advice).search(shown_text(shown))]
    stage.commands.clear()
    result = way.follow(stage)

    assert len(seen) >= way.texts, shown_text(shown)
    assert result.exit_code == 0, result.stderr
    assert [name for name in way.takes or way.mentions if not is_followed(name, stage.commands, asked)] == []


def test_the_ways_for_a_text_take_all_that_it_names() -> None:
    """Each alternative is tried; a text that is gone takes its ways along."""
    taken: dict[tuple[str, tuple[str, ...]], set[str]] = {}
    for way in WAYS:
        taken.setdefault(way.key, set()).update(way.takes or way.mentions)

    assert set(taken) <= {(advice.place, advice.mentions) for advice in texts_of_the_program()}
    assert {key: names for key, names in taken.items() if names != set(key[1])} == {}


def test_no_message_names_a_way_that_is_not_tried() -> None:
    """A new hint needs a row in `tests/cli/ways.py`: as many ways as there are texts that name the same."""
    tried = Counter(NO_ADVICE)
    for way in WAYS:
        tried[way.key] += way.texts
    texts = Counter((advice.place, advice.mentions) for advice in texts_of_the_program())
    untried = [
        f"{place}: {', '.join(mentions)}"
        for (place, mentions), count in texts.items()
        if (place, mentions) not in PROVED_ELSEWHERE and tried[place, mentions] < count
    ]

    assert not untried, "\n".join(untried)


def test_what_is_proved_elsewhere_or_no_advice_exists() -> None:
    """A text or a test that is gone takes its row along."""
    texts = {(advice.place, advice.mentions) for advice in texts_of_the_program()}

    assert set(PROVED_ELSEWHERE) | set(NO_ADVICE) <= texts
    for reference in " ".join(PROVED_ELSEWHERE.values()).split():
        path, _, name = reference.partition("::")
        tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
        names = {
            node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        }
        assert not name or name in names, reference


def texts_with(way: Way) -> list[Advice]:
    """The texts that the way is for."""
    return [advice for advice in texts_of_the_program() if (advice.place, advice.mentions) == way.key]


def pattern_of(advice: Advice) -> re.Pattern[str]:
    """The text with any value in its gaps."""
    return re.compile(".*?".join(map(re.escape, advice.text.split("{}"))), re.DOTALL)


def is_followed(mention: str, commands: list[list[str]], asked: list[str]) -> bool:
    """True when one of *commands* is what is named, or leaves out a flag that was *asked* with."""
    if not mention.startswith(PROGRAM):
        return any(mention in command for command in commands) or mention in asked
    name, *rest = mention.split()[1:]
    flags = {word for word in rest if word.startswith("-")}
    return any(command[0] == name and flags <= set(command) for command in commands)
