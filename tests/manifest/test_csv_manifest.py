"""CSV manifests: cells, rows, separators, and what spreadsheets do to them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator.manifest import RESULT_COLUMNS, open_manifest

Read = Callable[..., Any]
HEADER = "name,training_video,contact\n"


def test_cells_become_fields_lists_and_groups(read: Read, tmp_path: Path) -> None:
    """Blank cells say nothing; lists are separated by semicolons."""
    text = (
        "name,training_video,cover,tags,voice_properties.job_tag,voice_properties.sex,"
        "voice_properties.language,is_flexus,video_multipart_count\n"
        r"Anna, a.mp4 ,,studio; a\;b ;;c,NEWS,FEMALE,CN,TRUE,16" + "\n"
    )
    outcome = read("m.csv", text)

    assert outcome.problems == []
    avatar = outcome.entries[0].avatar
    assert (avatar.training_video, avatar.cover) == (f"{tmp_path}/a.mp4", None)
    assert avatar.tags == ("studio", "a;b", "c")
    assert (avatar.voice_properties.sex, avatar.is_flexus, avatar.video_multipart_count) == (
        "FEMALE",
        True,
        16,
    )


@pytest.mark.parametrize(
    "content",
    [
        "name,training_video,tags\nÄnne,a.mp4,x;y\n",
        "\ufeffname,training_video,tags\r\nÄnne,a.mp4,x;y\r\n",
        'name;training_video;tags\nÄnne;a.mp4;"x;y"\n',
        "name\ttraining_video\ttags\nÄnne\ta.mp4\tx;y\n",
        "name,training_video,tags\rÄnne,a.mp4,x;y\r",
        '"name","training_video","tags"\n"Änne","a.mp4","x;y"\n',
        "# a comment\n\n name , training_video,tags\n\nÄnne,a.mp4,x;y\n,,\n",
        "name,training_video,tags,,\nÄnne,a.mp4,x;y,,\n",
        "name,training_video,tags\nÄnne,a.mp4,x;y",
    ],
    ids=["plain", "bom", "semicolon", "tab", "cr", "quoted", "comment", "empty columns", "no last newline"],
)
def test_every_usual_way_to_save_a_table_is_read(read: Read, content: str) -> None:
    """Excel, Numbers, LibreOffice and scripts differ."""
    outcome = read("m.csv", content)

    assert outcome.problems == []
    assert [(e.avatar.name, e.avatar.tags) for e in outcome.entries] == [("Änne", ("x", "y"))]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "latin-1"])
def test_another_encoding_is_named_as_the_problem(read: Read, encoding: str) -> None:
    """With the line, and what to do."""
    name = "Änne" if encoding == "latin-1" else "陈"
    outcome = read("m.csv", f"{HEADER}{name},a.mp4,\n".encode(encoding))

    assert "UTF-8" in outcome.only.message
    assert outcome.only.line == (1 if "16" in encoding else 2)
    assert outcome.entries == []


def test_line_numbers_stay_right_after_quoted_line_breaks_and_blank_lines(read: Read) -> None:
    """A problem is in the line where its row begins; the column is the column's name."""
    text = HEADER + '"A\nB",a.mp4,1\n\nC,c.mp4,2\nD\nE,e.mp4,3,4\nF,,5\n'
    outcome = read("m.csv", text)

    assert [(p.line, p.column, p.field) for p in outcome.problems] == [
        (2, "name", "name"),
        (6, None, None),
        (7, None, None),
        (8, "training_video", "training_video"),
    ]
    assert [entry.line for entry in outcome.entries] == [5]


def test_a_ragged_row_says_how_many_cells_it_has_and_shows_none(read: Read) -> None:
    """A shifted cell may be a phone number."""
    message = read("m.csv", HEADER + "A,a.mp4,x,13800000000\n").only.message

    assert message.startswith("the row has 4 cells, the header 3")
    assert "13800" not in message


@pytest.mark.parametrize(
    ("header", "column", "words"),
    [
        ("name,training_video,nmae", "nmae", "did you mean name?"),
        ("name,training_video,notes", "notes", "a column of your own begins with x- or #"),
        ("name,training_video,sex", "sex", "did you mean voice_properties.sex?"),
        ("name,training_video,voice_properties", "voice_properties", "voice_properties.job_tag"),
        ("name,training_video,defaults", "defaults", "--default field=value"),
        ("name,training_video,name", "name", "2 times"),
    ],
)
def test_a_wrong_column_is_reported_once_at_the_header(
    read: Read, header: str, column: str, words: str
) -> None:
    """Not for each row."""
    problem = read("m.csv", f"{header}\nA,a.mp4,\nB,b.mp4,\n").only

    assert (problem.line, problem.column) == (1, column)
    assert words in problem.message


def test_a_missing_mandatory_column_is_reported_once(read: Read) -> None:
    """Not for each row."""
    problem = read("m.csv", "name,cover\n" + "A,c.png\n" * 30).problems[0]

    assert (problem.line, problem.field) == (1, "training_video")


@pytest.mark.parametrize(
    ("content", "words", "line"),
    [
        ("", "empty", None),
        ("\n\n", "no header", 1),
        (HEADER, "no avatars", None),
        (HEADER + ",,\n", "no avatars", None),
        (HEADER + '"A,a.mp4,1\nB,b.mp4,2\n', "never closed", 2),
        (HEADER + '"A"x,a.mp4,1\n', "text follows a closing quote", 2),
        (HEADER + "A," + "x" * 140_000 + ",1\n", "over 131072 characters", 2),
        (HEADER + "A,a\0.mp4,1\n", "NUL", 2),
        (HEADER + "A,a\x1b.mp4,1\n", "U+001B", 2),
        ("x" * 10_000_000, "over 131072 characters", 1),
        ("a," * 2000, "over 1000 columns", 1),
        ("name|training_video\nA|a\n", "separate them by commas", 1),
        ("name,training_video,\nA,a.mp4,lost\n", "a column without a name", 2),
    ],
)
def test_a_table_that_cannot_be_read_is_one_clear_problem(
    read: Read, content: str, words: str, line: int | None
) -> None:
    """Never a traceback, never nothing."""
    problem = read("m.csv", content).only

    assert words in problem.message
    assert problem.line == line


def test_a_line_without_end_is_not_read_into_memory(read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some files are no manifests at all."""
    monkeypatch.setattr("orchestrator.manifest.text.MAX_LINE_CHARACTERS", 1000)

    assert "is this a manifest?" in read("m.csv", "x" * 2000).only.message


def test_a_results_file_is_a_manifest(read: Read) -> None:
    """Its own columns are passed over, its batch name and submit are taken."""
    columns = ["name", "training_video", "batch_name", "submit", *RESULT_COLUMNS]
    rows = [["A", "a.mp4", "may", "true"], ["B", "b.mp4", "may", "true"]]
    lines = [",".join(row + ["x"] * len(RESULT_COLUMNS)) for row in rows]
    outcome = read("results.csv", "\n".join([",".join(columns), *lines]))

    assert outcome.problems == []
    assert len(outcome.entries) == 2
    assert (outcome.manifest.batch_name, outcome.manifest.is_submit_wanted) == ("may", True)


def test_rows_of_two_batches_are_refused(read: Read) -> None:
    """A manifest is one batch; a blank cell says nothing against it."""
    text = "name,training_video,batch_name\nA,a.mp4,may\nB,b.mp4,\nC,c.mp4,june\n"
    problem = read("m.csv", text).only

    assert (problem.line, problem.column, problem.entry) == (4, "batch_name", "c")


def test_a_batch_name_of_the_command_line_is_no_contradiction(read: Read) -> None:
    """The flag replaces the column's name for all rows."""
    outcome = read("m.csv", "name,training_video,batch_name\nA,a.mp4,may\nB,b.mp4,may\n", batch_name="x")

    assert outcome.problems == []
    assert outcome.manifest.batch_name == "x"


def test_an_entry_knows_its_row_and_columns(read: Read) -> None:
    """Messages about its files need that."""
    entry = read("m.csv", "name,training_video\nA,a.mp4\n").entries[0]

    assert entry.place_of("training_video") == (2, "training_video")
    assert entry.place_of("audio") == (2, None)


def test_rows_are_streamed(read: Read, tmp_path: Path) -> None:
    """The first entry is there before the last row is read."""
    read("m.csv", HEADER + "A,a.mp4,\n" + '"broken\n')
    entries = open_manifest(tmp_path / "m.csv").entries()

    assert next(entries).entry_id == "a"


@pytest.mark.parametrize("name", ["m.txt", "manifest", "footage.mp4"])
def test_a_file_of_another_kind_is_refused_by_name(read: Read, name: str) -> None:
    """The ending tells how to read it."""
    assert ".yaml, .yml, .csv or .xlsx" in read(name, HEADER).only.message


@pytest.mark.parametrize(
    ("name", "words"),
    [("missing.csv", "no such file"), ("folder.yaml", "a directory"), ("fifo.csv", "not a regular file")],
)
def test_what_is_no_file_is_said_to_be_none(tmp_path: Path, name: str, words: str) -> None:
    """And a pipe is not waited for."""
    (tmp_path / "folder.yaml").mkdir()
    os.mkfifo(tmp_path / "fifo.csv")
    manifest = open_manifest(tmp_path / name)

    assert list(manifest.entries()) == []
    assert words in manifest.problems[0].message
    assert manifest.has_errors


def test_a_file_that_goes_away_between_two_readings_is_a_problem(read: Read, tmp_path: Path) -> None:
    """Not an exception."""
    manifest = read("m.csv", HEADER + "A,a.mp4,\n").manifest
    (tmp_path / "m.csv").unlink()

    assert list(manifest.entries()) == []
    assert "No such file" in manifest.problems[0].message
