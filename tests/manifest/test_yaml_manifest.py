"""YAML manifests: what is read, and where each problem is said to be."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from orchestrator.domain.avatar import ModelVersion
from orchestrator.manifest import Severity

Read = Callable[..., Any]
AVATARS = "avatars:\n  - name: Anna\n    training_video: anna.mp4\n"


def test_an_entry_has_absolute_paths_and_a_slug_of_its_name(read: Read, tmp_path: Any) -> None:
    """Paths start at the manifest's folder."""
    outcome = read("m.yaml", "avatars:\n  - {name: Anna B., training_video: ./f/a.mp4}\n")

    assert outcome.problems == []
    entry = outcome.entries[0]
    assert (entry.entry_id, entry.line) == ("anna-b", 2)
    assert entry.avatar.training_video == f"{tmp_path}/f/a.mp4"


def test_the_head_names_the_batch_and_asks_for_submit(read: Read) -> None:
    """Both have their places in the file."""
    manifest = read("m.yaml", "batch_name: november\nsubmit: yes\n" + AVATARS).manifest

    assert (manifest.batch_name, manifest.is_submit_wanted) == ("november", True)


def test_the_command_line_goes_before_the_head(read: Read) -> None:
    """A flag wins over the file."""
    head = "batch_name: november\nsubmit: true\n"
    manifest = read("m.yaml", head + AVATARS, batch_name="other", is_submit_wanted=False).manifest

    assert (manifest.batch_name, manifest.is_submit_wanted) == ("other", False)


def test_a_batch_is_called_like_its_file_unless_it_says_otherwise(read: Read) -> None:
    """The default needs no field."""
    assert read("footage-of-may.yaml", AVATARS).manifest.batch_name == "footage-of-may"


def test_every_problem_is_found_in_one_pass_with_its_place(read: Read) -> None:
    """Line and column are those of the value, or of a key that should not be there."""
    text = """\
submit: perhaps
avatars:
  - name: Anna
    training_vido: anna.mp4
    voice_properties: {sex: FEMAL, job_tag: NEWS}
    tags: [ok, "orch:mine"]
  - name: Bert
    training_video: bert.mp4
    video_multipart_count: 2000
"""
    problems = read("m.yaml", text).problems

    assert [(p.line, p.column, p.entry, p.field) for p in problems] == [
        (1, 9, None, "submit"),
        (3, 5, "anna", "training_video"),
        (4, 5, "anna", "training_vido"),
        (5, 23, "anna", "voice_properties.language"),
        (5, 29, "anna", "voice_properties.sex"),
        (6, 16, "anna", "tags"),
        (9, 28, "bert", "video_multipart_count"),
    ]
    assert all(p.severity is Severity.ERROR for p in problems)


def test_an_entry_with_an_error_is_not_among_the_valid_ones(read: Read) -> None:
    """The others are."""
    text = AVATARS + "  - {name: Bert, training_video: b.mp4, is_flexus: perhaps}\n"

    assert [entry.entry_id for entry in read("m.yaml", text).entries] == ["anna"]


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        ("nmae: x", "did you mean name?"),
        ("trainingvideo: x", "did you mean training_video?"),
        ("letter: x", None),
        ("sex: MALE", "did you mean voice_properties.sex?"),
        ("model_version: V3.1", "did you mean V3"),
        ("model_version: 3.2", "did you mean V3.2?"),
        ("audio_source_type: audio", "did you mean AUDIO?"),
        ("supported_service: [VIDEO2D]", "did you mean VIDEO_2D?"),
    ],
)
def test_a_mistyped_field_or_word_gets_the_nearest_one_as_a_hint(
    read: Read, line: str, hint: str | None
) -> None:
    """A name like no other gets none."""
    message = read("m.yaml", f"{AVATARS}    {line}\n").only.message

    assert (hint in message) if hint else ("did you mean" not in message)


def test_a_key_given_twice_is_reported_with_both_lines(read: Read) -> None:
    """YAML readers take the last one without a word."""
    problem = read("m.yaml", AVATARS + "    cover: a.png\n    cover: b.png\n").only

    assert (problem.line, problem.column, problem.field) == (5, 5, "cover")
    assert "line 4" in problem.message


def test_two_alike_ids_are_an_error_and_name_the_first_place(read: Read) -> None:
    """An id made from the name counts as well."""
    text = AVATARS + "  - {name: ANNA, training_video: b.mp4}\n"
    problem = read("m.yaml", text).only

    assert (problem.line, problem.field, problem.severity) == (4, "name", Severity.ERROR)
    assert "line 2" in problem.message


def test_two_alike_names_with_ids_of_their_own_are_a_warning(read: Read) -> None:
    """The service allows it, but it is rarely meant."""
    outcome = read("m.yaml", AVATARS + "  - {id: second, name: Anna, training_video: b.mp4}\n")

    assert (outcome.only.severity, outcome.only.line) == (Severity.WARNING, 4)
    assert not outcome.manifest.has_errors
    assert [entry.entry_id for entry in outcome.entries] == ["anna", "second"]


def test_a_name_that_leaves_no_id_asks_for_one(read: Read) -> None:
    """The id is what later runs know the avatar by."""
    assert "add the field id" in read("m.yaml", 'avatars: [{name: "!!!", training_video: a}]\n').only.message


@pytest.mark.parametrize(
    ("written", "taken"),
    [
        ("13800000000", "13800000000"),
        ("013800000", "013800000"),
        ("1_000", "1_000"),
        ("3.20", "3.20"),
        ("no", "no"),
        ("2026-11-01", "2026-11-01"),
        ("0x1F", "0x1F"),
        ("1:30", "1:30"),
    ],
)
def test_text_that_yaml_takes_for_something_else_stays_as_it_is_written(
    read: Read, written: str, taken: str
) -> None:
    """A phone number is no integer, `no` is a word."""
    outcome = read("m.yaml", f"{AVATARS}    contact: {written}\n    id: {written}\n")

    assert outcome.problems == []
    assert outcome.entries[0].avatar.contact == taken
    assert outcome.entries[0].entry_id == taken


@pytest.mark.parametrize("count", ["010", "0x10", "1e2", "8.0", "0", "-1", "1001", "many", "true"])
def test_a_part_count_is_a_plain_whole_number_or_auto(read: Read, count: str) -> None:
    """No silent octal, no fractions."""
    problem = read("m.yaml", f"{AVATARS}    video_multipart_count: {count}\n").only

    assert "auto or a whole number from 1 to 1000" in problem.message


@pytest.mark.parametrize(
    ("written", "taken"), [("yes", True), ("True", True), ("off", False), ('"false"', False), ("null", None)]
)
def test_truth_is_written_in_any_usual_way(read: Read, written: str, taken: bool | None) -> None:
    """YAML's words, quoted or not."""
    entries = read("m.yaml", f"{AVATARS}    is_flexus: {written}\n").entries

    assert entries[0].avatar.is_flexus is taken


def test_anchors_aliases_and_merges_work(read: Read) -> None:
    """What an avatar says itself goes before what it merges; of two merges the first counts."""
    text = """\
x-shared:
  studio: &studio {contact: ops@example.com, model_version: V3.3, cover: s.png}
  other: &other {<<: *studio, cover: o.png, tags: &tags [a]}
avatars:
  - {name: A, training_video: a.mp4, <<: *studio, model_version: V3.2}
  - {name: B, training_video: b.mp4, <<: [*other, *studio]}
  - {name: C, training_video: c.mp4, tags: *tags}
"""
    outcome = read("m.yaml", text)

    assert outcome.problems == []
    first, second, third = (entry.avatar for entry in outcome.entries)
    assert (first.contact, first.model_version) == ("ops@example.com", ModelVersion.V3_2)
    assert (second.cover or "").endswith("/o.png")
    assert second.tags == third.tags == ("a",)


@pytest.mark.parametrize("value", ["3", "[1]", "[[a]]"])
def test_a_merge_of_what_is_no_mapping_is_an_error(read: Read, value: str) -> None:
    """It would silently bring nothing."""
    assert read("m.yaml", f"{AVATARS}    <<: {value}\n").only.field == "<<"


@pytest.mark.parametrize(
    ("text", "words", "line"),
    [
        ("", "empty", None),
        ("# nothing\n", "must be a mapping", 1),
        ("avatars:\n", "no avatars", None),
        ("avatars: []\n", "no avatars", None),
        ("batch_name: x\n", "no avatars", None),
        ("- name: A\n", "must be a mapping", 1),
        ("avatars: text\n", "must be a list", 1),
        ("avatars: [text]\n", "mapping of fields", 1),
        ("avatars:\n\t- name: x\n", "spaces, not tabs", 2),
        ("avatars:\n  - name: A: B\n", "contain a colon", 2),
        ('avatars: "open\n', "missing quote", 2),
        ("avatars: [*nobody]\n", "undefined alias", 1),
        (AVATARS + "---\nmore: 1\n", "second YAML document", 4),
        (AVATARS + "    cover: !!binary aGVsbG8=\n", "is not supported", 4),
        (AVATARS + "    cover: [a]\n", "must be text, not a list", 4),
        (AVATARS + "    tags: a\n", "must be a list", 4),
        (AVATARS + "    voice_properties: NEWS\n", "must be a mapping of job_tag", 4),
        (AVATARS + "    ? [a]\n    : b\n", "name must be text", 4),
        (AVATARS + '    cover: "a\\nb"\n', "line breaks", 4),
        (AVATARS + "    tags: [1,2,3,4,5,6,7,8,9,10]\n", "has 10 items; 9 are allowed", 4),
        (AVATARS + "    app_user_id: 陈\n", "printable ASCII", 4),
        (AVATARS + f"    id: {'x' * 129}\n", "longer than 128", 4),
        (AVATARS + "    cover: $NOT_SET_ANYWHERE/a.png\n", "NOT_SET_ANYWHERE is not set", 4),
        (AVATARS + "    cover: ~nobody-of-that-name/a.png\n", "home directory", 4),
    ],
)
def test_what_cannot_be_read_is_one_clear_problem(
    read: Read, text: str, words: str, line: int | None
) -> None:
    """Never a traceback, never nothing."""
    problem = read("m.yaml", text).only

    assert words in problem.message
    assert problem.line == line


def test_the_missing_fields_of_an_avatar_are_reported_where_it_begins(read: Read) -> None:
    """Empty text counts as missing."""
    problems = read("m.yaml", 'avatars:\n  - name: ""\n    cover: a.png\n').problems

    assert [(p.line, p.column, p.message) for p in problems] == [
        (2, 5, "is missing"),
        (2, 11, "is missing"),
    ]


def test_combinations_the_service_refuses_are_errors_and_doubtful_ones_warnings(read: Read) -> None:
    """metastudio-protocol sections 1.1 and 6."""
    text = """\
avatars:
  - {name: A, training_video: a.mp4, audio: a.zip}
  - {name: B, training_video: b.mp4, audio_source_type: AUDIO}
  - {name: C, training_video: c.mp4, is_flexus: yes, supported_service: [LIVE_2D]}
  - {name: D, training_video: d.mp4, model_version: V2, is_only_human_model: yes}
  - {name: E, training_video: e.mp4, is_fast_flexus: yes, is_background_replacement: yes}
"""
    outcome = read("m.yaml", text)

    assert [(p.entry, p.field, p.severity.value) for p in outcome.problems] == [
        ("a", "audio", "error"),
        ("b", "audio_source_type", "error"),
        ("c", "supported_service", "warning"),
        ("d", "model_version", "warning"),
        ("d", "is_only_human_model", "warning"),
        ("e", "is_background_replacement", "warning"),
    ]
    assert [entry.entry_id for entry in outcome.entries] == ["c", "d", "e"]


def test_reading_twice_gives_the_same_and_does_not_double_the_problems(read: Read) -> None:
    """Each pass begins anew."""
    manifest = read("m.yaml", "oops: 1\n" + AVATARS + "    nmae: x\n").manifest
    problems = list(manifest.problems)

    assert list(manifest.entries()) == []
    assert manifest.problems == problems
    assert len(problems) == 2


def test_a_contact_never_shows_in_a_message(read: Read) -> None:
    """It is a phone number, wherever it ends up."""
    number = "13800000000"
    text = (
        f'defaults: {{contact: "{number * 10}"}}\navatars:\n  - name: Anna\n    training_video: a.mp4\n'
        f'    contact: "{number}\\n{number}"\n    model_version: {number}\n    is_flexus: {number}\n'
    )
    problems = read("m.yaml", text).problems

    assert len(problems) == 4
    assert all("13800" not in str(problem) for problem in problems)


def test_a_problem_reads_like_a_compilers_and_serializes_as_specified(read: Read) -> None:
    """Editors jump to the first form; `validate --json` prints the second (design section 4)."""
    problem = read("m.yaml", AVATARS + "    is_flexus: maybe\n").only

    assert str(problem).endswith(
        "m.yaml:4:16: error: anna: is_flexus: 'maybe' is neither true nor false [M03]"
    )
    names = ["file", "line", "column", "entry", "field", "rule", "verdict", "message", "severity"]
    assert list(problem.as_dict()) == names
    assert problem.as_dict()["severity"] == "error"


def test_an_entry_knows_where_its_fields_stand(read: Read) -> None:
    """Messages about its files need that."""
    entry = read("m.yaml", "defaults:\n  cover: c.png\n" + AVATARS).entries[0]

    assert entry.place_of("training_video") == (5, 21)
    assert entry.place_of("cover") == (2, 10)
    assert entry.place_of("audio").line == 4
