"""What programs leave in any cell, YAML text or default: damage, template marks, lists separated otherwise."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from orchestrator.domain.avatar import Avatar
from orchestrator.manifest import Problem, Severity, open_manifest

TEMPLATE_MARKS = (
    *("{{name}}", "Anna {{ n }}", "${name}", "{name}", "{% if x %}", "<%= name %>", "<name>", "%NAME%"),
    *("<<name>>", "\xabName\xbb"),
)


def read(folder: Path, *rows: Mapping[str, str], **options: Any) -> tuple[list[Avatar], list[Problem]]:
    """The avatars and problems of a table; a row says what differs from a good one."""
    table = folder / "m.csv"
    full = [
        {"id": f"a{n}", "name": f"Anna {n}", "training_video": "a.mp4", **row} for n, row in enumerate(rows)
    ]
    with table.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(full[0]))
        writer.writeheader()
        writer.writerows(full)
    manifest = open_manifest(table, **options)
    return [entry.avatar for entry in manifest.entries()], manifest.problems


def read_yaml(folder: Path, fields: str) -> tuple[list[Avatar], list[Problem]]:
    """The avatars and problems of a manifest of one avatar with *fields*."""
    (folder / "m.yaml").write_text(f"avatars: [{{training_video: a.mp4, {fields}}}]\n", "utf-8")
    manifest = open_manifest(folder / "m.yaml")
    return [entry.avatar for entry in manifest.entries()], manifest.problems


@pytest.mark.parametrize("mark", TEMPLATE_MARKS)
@pytest.mark.parametrize("column", ["name", "contact", "tags"])
def test_marks_of_a_template_are_warned_of_in_every_column(tmp_path: Path, mark: str, column: str) -> None:
    """A mail merge that was never run."""
    avatars, problems = read(tmp_path, {column: mark})

    assert len(avatars) == 1
    assert [(one.rule, one.field, one.severity) for one in problems] == [("M11", column, Severity.WARNING)]


def test_a_variable_in_a_path_is_no_mark_of_a_template(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Paths are expanded; one that is not set is an error of its own."""
    monkeypatch.setenv("FOOTAGE", "/footage")
    (avatar,), problems = read(tmp_path, {"training_video": "${FOOTAGE}/a.mp4"})

    assert avatar.training_video == "/footage/a.mp4"
    assert problems == []


@pytest.mark.parametrize("name", ["100% Anna", "Anna <3", "a {b} c", "<", "%", "{}", "E+E", "#1 E+ 5", "##a"])
def test_names_that_only_resemble_marks_are_names(tmp_path: Path, name: str) -> None:
    """A warning that is seldom right is not read."""
    (avatar,), problems = read(tmp_path, {"name": name})

    assert (avatar.name, problems) == (name, [])


@pytest.mark.parametrize(
    "column",
    [*("id", "name", "app_user_id", "training_video", "cover", "tags"), "voice_properties.sex"],
)
@pytest.mark.parametrize("cell", ["#N/A", "#REF!", "####", "1.38E+10"])
def test_damage_is_found_in_every_column(tmp_path: Path, column: str, cell: str) -> None:
    """Once, and the damaged value is not judged a second time."""
    avatars, problems = read(tmp_path, {column: cell})

    assert avatars == []
    assert [(one.rule, one.field, one.is_error) for one in problems] == [("M11", column, True)]


@pytest.mark.parametrize(
    ("text", "contact", "rules"),
    [
        ("1.38E+10", None, ["M11"]),
        ('"#N/A"', None, ["M11"]),
        ("13800000000.0", "13800000000.0", ["M11"]),
        ('"\'13800000000"', "13800000000", ["M11"]),
        ("'=\"13800000000\"'", "13800000000", ["M11"]),
        ('"{{phone}}"', "{{phone}}", ["M11"]),
        ("'138'", "138", []),
    ],
)
def test_damage_is_found_in_yaml_too(
    tmp_path: Path, text: str, contact: str | None, rules: list[str]
) -> None:
    """A manifest that a program makes from a table has all that the table had."""
    avatars, problems = read_yaml(tmp_path, f"name: Anna, contact: {text}")

    assert [avatar.contact for avatar in avatars] == ([] if contact is None else [contact])
    assert [problem.rule for problem in problems] == rules


def test_a_name_with_an_apostrophe_keeps_it_in_yaml(tmp_path: Path) -> None:
    """There it stands in quotes of its own, and is meant."""
    (avatar,), problems = read_yaml(tmp_path, 'name: "\'99 reunion"')

    assert (avatar.name, problems) == ("'99 reunion", [])


def test_a_damaged_default_of_the_command_line_is_an_error(tmp_path: Path) -> None:
    """Defaults are written like cells."""
    _, problems = read(tmp_path, {}, defaults={"contact": "#N/A"})

    assert [problem.rule for problem in problems] == ["M11"]


def test_a_damaged_item_of_a_list_is_found(tmp_path: Path) -> None:
    """The rest of the list may be right."""
    avatars, problems = read(tmp_path, {"tags": "studio;#N/A;#REF!"})

    assert avatars == []
    assert [(one.rule, one.field, one.is_error) for one in problems] == [("M11", "tags", True)]


@pytest.mark.parametrize("cell", ["a,b", "a, b", "a\uff0cb", "a\uff1bb", "a\u3001b", "a|b"])
def test_a_list_that_is_separated_otherwise_is_warned_of(tmp_path: Path, cell: str) -> None:
    """With the way to write it; the item stays as it is, as it may be meant."""
    (avatar,), (problem,) = read(tmp_path, {"tags": cell})

    assert avatar.tags == (cell,)
    assert (problem.rule, problem.field, problem.severity) == ("M12", "tags", Severity.WARNING)
    assert problem.message.endswith("for 2 write 'a;b'")


@pytest.mark.parametrize("cell", ["a;b", r"a\;b", "a", "a,", "#1;b"])
def test_a_list_as_it_should_be_is_not_warned_of(tmp_path: Path, cell: str) -> None:
    """Also with a `;` that is part of an item."""
    assert read(tmp_path, {"tags": cell})[1] == []


def test_an_item_with_a_comma_is_meant_in_yaml(tmp_path: Path) -> None:
    """There a list has brackets."""
    (avatar,), problems = read_yaml(tmp_path, 'name: Anna, tags: ["Paris, France", b]')

    assert (avatar.tags, problems) == (("Paris, France", "b"), [])


def test_services_separated_by_a_comma_are_an_error_with_the_way_to_write_them(tmp_path: Path) -> None:
    """The error alone would say that there is no such service."""
    avatars, problems = read(tmp_path, {"supported_service": "VIDEO_2D,LIVE_2D"})

    assert avatars == []
    assert {problem.rule for problem in problems} == {"M03", "M12"}
    assert any("write 'VIDEO_2D;LIVE_2D'" in problem.message for problem in problems)


def test_a_default_list_is_warned_of_once(tmp_path: Path) -> None:
    """Not once for every avatar."""
    avatars, problems = read(tmp_path, {}, {}, defaults={"tags": "a,b"})

    assert len(avatars) == 2
    assert [problem.rule for problem in problems] == ["M12"]
