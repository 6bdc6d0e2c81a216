"""Defaults: of the file, of the command line, and what an avatar says against them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

Read = Callable[..., Any]


def test_defaults_fill_what_an_avatar_leaves_out_and_groups_are_merged(read: Read) -> None:
    """An avatar may give one part of a group and take the rest."""
    text = """\
defaults:
  tags: [studio]
  voice_properties: {job_tag: NEWS, sex: FEMALE, language: CN}
avatars:
  - {name: A, training_video: a.mp4, voice_properties: {sex: MALE}}
  - {name: B, training_video: b.mp4, tags: [own]}
"""
    outcome = read("m.yaml", text)

    assert outcome.problems == []
    first, second = (entry.avatar for entry in outcome.entries)
    assert first.tags == ("studio",)
    assert first.voice_properties.model_dump(mode="json") == {
        "job_tag": "NEWS",
        "sex": "MALE",
        "language": "CN",
    }
    assert second.tags == ("own",)
    assert second.voice_properties.sex == "FEMALE"


def test_null_takes_a_default_away(read: Read) -> None:
    """So does an empty list."""
    text = """\
defaults: {cover: c.png, tags: [studio]}
avatars:
  - {name: A, training_video: a.mp4, cover: null, tags: []}
"""
    avatar = read("m.yaml", text).entries[0].avatar

    assert (avatar.cover, avatar.tags) == (None, None)


def test_a_problem_in_the_defaults_is_reported_once_and_at_its_own_line(read: Read) -> None:
    """Not for each of the avatars that would inherit it."""
    avatars = "".join(f"  - {{name: A{index}, training_video: a.mp4}}\n" for index in range(50))
    problem = read("m.yaml", "defaults:\n  model_version: V9\navatars:\n" + avatars).only

    assert (problem.line, problem.column, problem.entry) == (2, 18, None)


def test_an_avatar_that_replaces_a_faulty_default_is_valid(read: Read) -> None:
    """The default's problem remains."""
    text = "defaults: {model_version: V9}\navatars: [{name: A, training_video: a, model_version: V3.2}]\n"
    outcome = read("m.yaml", text)

    assert len(outcome.entries) == len(outcome.problems) == 1


@pytest.mark.parametrize("name", ["id", "name"])
def test_id_and_name_have_no_default(read: Read, name: str) -> None:
    """They tell avatars apart."""
    text = f"defaults: {{{name}: x}}\navatars: [{{id: a, name: A, training_video: a}}]\n"

    assert read("m.yaml", text).only.field == name


def test_defaults_of_the_command_line_go_before_those_of_the_file(read: Read) -> None:
    """And after what the avatar says."""
    text = """\
defaults: {contact: file, tags: [file], voice_properties: {job_tag: NEWS, sex: MALE, language: CN}}
avatars:
  - {name: A, training_video: a.mp4, contact: own}
"""
    given = {"contact": "line", "tags": "x;y", "voice_properties.sex": "FEMALE", "cover": "c.png"}
    avatar = read("m.yaml", text, defaults=given).entries[0].avatar

    assert (avatar.contact, avatar.tags) == ("own", ("x", "y"))
    assert (avatar.voice_properties.sex, avatar.voice_properties.language) == ("FEMALE", "CN")
    assert avatar.cover.endswith("/c.png")


def test_a_wrong_default_of_the_command_line_is_named_as_such(read: Read) -> None:
    """An unknown one with a hint."""
    given = {"conact": "x", "model_version": "V9"}
    problems = read("m.csv", "name,training_video\nA,a.mp4\n", defaults=given).problems

    assert {(p.file, p.field) for p in problems} == {("--default", "conact"), ("--default", "model_version")}
    assert "did you mean contact?" in problems[0].message


def test_a_default_stands_in_for_a_column_the_table_lacks(read: Read) -> None:
    """Even for a mandatory one."""
    outcome = read("m.csv", "name\nA\nB\n", defaults={"training_video": "same.mp4"})

    assert outcome.problems == []
    assert len(outcome.entries) == 2


@pytest.mark.parametrize("empty", ["''", "'  '", "null"])
def test_an_empty_file_takes_the_default_away(read: Read, empty: str) -> None:
    """It is no file, and not the manifest's folder either."""
    text = f"defaults: {{cover: c.png}}\navatars: [{{name: A, training_video: a.mp4, cover: {empty}}}]\n"

    outcome = read("m.yaml", text)

    assert outcome.problems == []
    assert outcome.entries[0].avatar.cover is None


def test_the_sex_of_a_voice_has_the_default_of_the_service(read: Read) -> None:
    """Style and language have none."""
    text = "avatars: [{name: A, training_video: a.mp4, voice_properties: {job_tag: NEWS, language: CN}}]\n"

    assert read("m.yaml", text).entries[0].avatar.voice_properties.sex == "FEMALE"


@pytest.mark.parametrize("name", ["", "   ", "x" * 257, "a\nb"])
def test_a_batch_name_that_cannot_be_is_refused(read: Read, name: str) -> None:
    """The problem names the flag."""
    assert read("m.csv", "name,training_video\nA,a\n", batch_name=name).only.file == "--batch-name"
