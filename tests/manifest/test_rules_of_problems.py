"""Every problem of a manifest names its rule, and warnings can be ignored, errors not."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import pytest

from orchestrator.domain.avatar import COMBINED_FIELDS, Avatar
from orchestrator.manifest import Severity

AVATAR = "avatars:\n  - name: Anna\n    training_video: a.mp4\n"
TWINS = "  - id: a\n    name: Anna\n    training_video: b.mp4\n"
Read = Callable[..., Any]


@pytest.mark.parametrize(
    ("name", "content", "rule"),
    [
        ("m.yaml", "avatars: [", "M01"),
        ("m.csv", b"\xff\xfen\0a\0", "M01"),
        ("m.yaml", "avatars: []", "M17"),
        ("m.csv", "name,training_video\n", "M17"),
        ("m.csv", "name,training_video,batch_name\nAnna,a.mp4,one\nBo,b.mp4,two\n", "M17"),
        ("m.yaml", AVATAR + "    name: Bo\n", "M15"),
        ("m.yaml", "submit: false\nsubmit: true\n" + AVATAR, "M15"),
        ("m.csv", "name,training_video,name\nAnna,a.mp4,Anna\n", "M15"),
        ("m.yaml", AVATAR + "    tags: studio\n", "M16"),
        ("m.yaml", AVATAR + "    cover: [a.png]\n", "M16"),
        ("m.yaml", AVATAR + "  - just text\n", "M16"),
        ("m.yaml", AVATAR + "    voice_properties: NEWS\n", "M16"),
        ("m.csv", "id,name\na,Anna\n", "M16"),
        ("m.csv", "name,training_video,\nAnna,a.mp4,x\n", "M16"),
        ("m.yaml", AVATAR + "    nmae: x\n", "M02"),
        ("m.csv", "name,training_video,nmae\nAnna,a.mp4,x\n", "M02"),
        ("m.csv", "name,training_video\nAnna,a.mp4,x,y\n", "M16"),
        ("m.yaml", AVATAR + "    model_version: V9\n", "M03"),
        ("m.yaml", AVATAR + "    is_flexus: perhaps\n", "M03"),
        ("m.yaml", AVATAR + TWINS, "M04"),
        ("m.yaml", AVATAR + "  - name: anna\n    training_video: b.mp4\n", "M04"),
        ("m.yaml", AVATAR + "    cover: $NO_SUCH_VARIABLE/a.png\n", "M05"),
        ("m.yaml", AVATAR + "    model_version: V2\n", "M10"),
        ("m.yaml", AVATAR + "    ignore: [P99]\n", "M14"),
        ("m.yaml", "ignore: [P08]\n" + AVATAR, "M14"),
    ],
)
def test_a_problem_names_the_rule_that_found_it(
    read: Read, name: str, content: str | bytes, rule: str
) -> None:
    """Which `explain` explains."""
    assert [problem.rule for problem in read(name, content).problems] == [rule]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("m.yaml", "ignore: [M04]\n" + AVATAR + TWINS),
        ("m.yaml", AVATAR + TWINS + "    ignore: [m04, P15]\n"),
        ("m.yaml", "defaults: {ignore: [M04]}\n" + AVATAR + TWINS),
        ("m.csv", "id,name,training_video,ignore\na,Anna,a.mp4,\nb,Anna,b.mp4,P15;M04\n"),
    ],
)
def test_a_warning_of_an_ignored_rule_is_not_shown(read: Read, name: str, content: str) -> None:
    """For the batch, for an avatar, by default, in a column."""
    outcome = read(name, content)

    assert outcome.problems == []
    assert len(outcome.entries) == 2
    assert "M04" in outcome.entries[1].ignored


def test_an_error_of_an_ignored_rule_stays(read: Read) -> None:
    """The upload would stop at the same point."""
    outcome = read("m.yaml", "ignore: [M04]\n" + AVATAR + "  - name: anna\n    training_video: b.mp4\n")

    assert outcome.only.severity is Severity.ERROR


def test_to_ignore_a_rule_changes_nothing_about_the_job(read: Read) -> None:
    """The journal keeps the avatar without it, so no run asks whether the manifest has changed."""
    plain, ignoring = read("a.yaml", AVATAR), read("b.yaml", AVATAR + "    ignore: [P15]\n")

    assert plain.entries[0].spec == ignoring.entries[0].spec


def test_an_unknown_rule_is_an_error_with_the_nearest(read: Read) -> None:
    """A typing error would otherwise ignore nothing, silently."""
    problem = read("m.yaml", AVATAR + "    ignore: [P155]\n").only

    assert problem.severity is Severity.ERROR
    assert "did you mean P15?" in problem.message


CHOICES: dict[str, list[object]] = {
    "audio": [None, "/m/voice.zip"],
    "audio_source_type": [None, "VIDEO", "AUDIO"],
    "model_version": [None, "V2", "V3.2"],
    "supported_service": [None, ("VIDEO_2D",), ("LIVE_2D",)],
    **{
        name: [None, True]
        for name in ("is_flexus", "is_fast_flexus", "is_only_human_model", "is_background_replacement")
    },
}


def test_no_avatar_has_objections_without_a_field_for_which_they_are_looked_for() -> None:
    """Nearly all avatars have none of these fields, and are spared the question."""
    passed_over = []
    for values in product(*CHOICES.values()):
        given = {name: value for name, value in zip(CHOICES, values, strict=True) if value is not None}
        if COMBINED_FIELDS.isdisjoint(given):
            avatar = Avatar.model_validate({"name": "Anna", "training_video": "/m/a.mp4", **given})
            passed_over.append((given, list(avatar.objections())))

    assert passed_over
    assert [(given, objections) for given, objections in passed_over if objections] == []
