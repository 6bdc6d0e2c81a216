"""Tables as spreadsheets save them: taken, or named for what they are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator.manifest import Severity

Read = Callable[..., Any]
HEADER = "name,training_video,contact,cover\n"


@pytest.mark.parametrize(
    "content",
    [
        "sep=;\nname;training_video;tags\nAnna;a.mp4;\n",
        '"sep=;"\r\nname;training_video;tags\r\nAnna;a.mp4;\r\n',
        "sep=|\nname|training_video|tags\nAnna|a.mp4|\n",
        "\ufeffsep=,\nname,training_video,tags\nAnna,a.mp4,\n",
        "name,training_video,tags\nAnna,a.mp4\n",
        "name,training_video,tags\nAnna,a.mp4,,,,\n",
        "name,training_video,tags,,,\nAnna,a.mp4\n",
        "name,training_video,x-notes,#price,tags\nAnna,a.mp4,=1+1,12 EUR,\n",
        "#price,name,training_video\n12,Anna,a.mp4\n",
        "x-a,name,x-a,training_video\n1,Anna,2,a.mp4\n",
        '\ufeff\ufeffname,training_video\n"Anna", "a.mp4"\n',
    ],
)
def test_what_a_spreadsheet_adds_or_leaves_out_is_passed_over(read: Read, content: str) -> None:
    """A separator's line, blank tails of any length, people's own columns, two byte-order marks."""
    outcome = read("m.csv", content)

    assert outcome.problems == []
    assert [(e.avatar.name, Path(e.avatar.training_video).name) for e in outcome.entries] == [
        ("Anna", "a.mp4")
    ]


@pytest.mark.parametrize("row", ["Anna", "Anna,a.mp4,1,,lost"])
def test_a_row_that_lacks_what_is_needed_or_has_too_much_is_an_error(read: Read, row: str) -> None:
    """Only blanks are passed over."""
    assert "cells, the header 4" in read("m.csv", f"{HEADER}{row}\n").only.message


def test_excel_leaves_out_a_blank_tail_from_the_17th_row_on(read: Read) -> None:
    """Rows before it have one."""
    rows = [f"P{number},v.mp4,1{',' if number <= 16 else ''}" for number in range(1, 30)]
    outcome = read("m.csv", HEADER + "\n".join(rows))

    assert outcome.problems == []
    assert len(outcome.entries) == 29


@pytest.mark.parametrize("encoding", ["gbk", "gb18030"])
@pytest.mark.parametrize("names", [["陈静"], ["欧阳娜娜", "王小明", "李喆"]])
def test_chinese_excel_is_read_with_a_note(read: Read, encoding: str, names: list[str]) -> None:
    """The note is a warning, and says what was assumed."""
    rows = "".join(f"{name},视频/{name}.mp4,1,\n" for name in names)
    ids = "".join(f"a{number}," + row + "\n" for number, row in enumerate(rows.splitlines()))
    outcome = read("m.csv", ("id," + HEADER + ids).encode(encoding))

    assert [entry.avatar.name for entry in outcome.entries] == names
    assert outcome.only.severity is Severity.WARNING
    assert "GB18030" in outcome.only.message


@pytest.mark.parametrize(
    "content",
    [
        "id,name,training_video\na,Änne Müller,a.mp4\n".encode("latin-1"),
        "id,name,training_video\na,Äße Müller Jäger Björn Söder,a.mp4\n".encode("latin-1"),
        "id,name,training_video\na,Łukasz,a.mp4\n".encode("cp1250"),
        "id,name,training_video\na,陈静静,a.mp4\n".encode()[:-12] + b"\xe9,a.mp4\n",
        "编号,姓名\n1,陈静\n".encode("gbk"),
        "id,name,training_video\na,\x81,a.mp4\n".encode("latin-1"),
    ],
    ids=["western", "western in part common", "central", "cut utf-8", "chinese header", "neither"],
)
def test_what_only_happens_to_decode_is_not_taken_for_chinese(read: Read, content: bytes) -> None:
    """A wrong name would reach the service."""
    outcome = read("m.csv", content)

    assert outcome.entries == []
    assert any(problem.is_error for problem in outcome.problems)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_utf_16_is_named(read: Read, encoding: str) -> None:
    """With and without its mark."""
    assert "UTF-16" in read("m.csv", f"{HEADER}Anna,a.mp4,,\n".encode(encoding)).only.message


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (f"Handover November,,,\n{HEADER}Anna,a.mp4,1,\n", 2),
        (f"Handover November\n\nfor review\n{HEADER}Anna,a.mp4,1,\n", 4),
        ("Handover;;\nname;training_video;contact\nAnna;a.mp4;1\n", 2),
    ],
)
def test_a_title_above_the_header_is_named(read: Read, content: str, line: int) -> None:
    """With the header's line, instead of an error for each column."""
    assert f"line {line} looks like the header" in read("m.csv", content).only.message


@pytest.mark.parametrize("head", [b"PK\x03\x04 a zip", bytes.fromhex("d0cf11e0a1b11ae1") + b"rest"])
def test_a_workbook_named_csv_is_named(read: Read, head: bytes) -> None:
    """Not for its control characters."""
    assert "Excel workbook" in read("m.csv", head + bytes(range(256))).only.message
