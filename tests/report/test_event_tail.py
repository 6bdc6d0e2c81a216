"""What is read of an events file while a run appends to it."""

from __future__ import annotations

import json
from pathlib import Path

from orchestrator.report.live import EventTail

CALM = {"outages": [], "checked": None}


def line(name: str, **fields: object) -> str:
    return json.dumps({"schema": 1, "type": name, "time": "2026-11-05T22:15:00.000000Z", **fields}) + "\n"


BEGUN = line("outage.begun", side="service", kind="unreachable", reason="refused", next_try_seconds=4)
ENDED = line("outage.ended", side="service", lasted_seconds=9)


def test_an_outage_is_shown_until_it_ends(tmp_path: Path) -> None:
    """Also when only half of a line has arrived."""
    path, tail = tmp_path / "events.jsonl", EventTail()
    with path.open("w") as file:
        file.write(BEGUN + ENDED[:20])
        file.flush()
        (outage,) = tail.read(str(path))["outages"]
        file.write(ENDED[20:])
        file.flush()

        assert (outage["side"], outage["reason"], outage["next_try_seconds"]) == ("service", "refused", 4.0)
        assert tail.read(str(path)) == CALM


def test_films_that_are_checked_are_counted_until_the_run_begins(tmp_path: Path) -> None:
    """Then there is something better to show."""
    path, tail = tmp_path / "events.jsonl", EventTail()
    path.write_text(line("films.checked", done=312, total=500))
    assert tail.read(str(path))["checked"] == {"done": 312, "total": 500}

    with path.open("a") as file:
        file.write(line("run.started"))
    assert tail.read(str(path)) == CALM


def test_a_file_that_is_replaced_missing_or_no_json_raises_nothing(tmp_path: Path) -> None:
    """The page is worth less than the run, and its server less than a file."""
    path, tail = tmp_path / "events.jsonl", EventTail()
    assert tail.read(str(path)) == CALM
    path.write_text("{\n[]\n" + line("outage.begun") + BEGUN)
    assert len(tail.read(str(path))["outages"]) == 1
    path.unlink()
    path.write_text(ENDED)

    assert tail.read(str(path)) == CALM
    assert tail.read(None) == CALM


def test_of_a_long_file_the_end_is_read(tmp_path: Path) -> None:
    """The first line there may be half of one."""
    path, tail = tmp_path / "events.jsonl", EventTail()
    path.write_text(BEGUN + line("run.finished", message="x" * 300) * 2000 + BEGUN)

    assert len(tail.read(str(path))["outages"]) == 1
