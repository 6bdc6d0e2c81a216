"""The events file: what is in a line, what is never in one, and what becomes of a file that fails."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from orchestrator.domain.assets import AssetKind
from orchestrator.domain.states import EntryState
from orchestrator.engine import events
from orchestrator.engine.events import (
    CallAttempted,
    EntryTransitioned,
    Event,
    RetryScheduled,
    RunFinished,
    SegmentProgressed,
    ServiceWarning,
    StepReached,
    WarningRaised,
)
from orchestrator.observe.event_file import PUBLISHED, EventFile, event_file

DOCS = Path(__file__).parents[2] / "docs"
NOON = 1_795_435_200.25
MOVED = EntryTransitioned(
    batch="studio",
    entry="anna",
    job_id="j1",
    from_state=EntryState.PENDING,
    to_state=EntryState.CREATING,
    reason="why",
)


def write(path: Path, *told: Event, hidden: tuple[str, ...] = ()) -> list[str]:
    """Write events to *path*; what was warned of."""
    warnings: list[str] = []
    context = {"batch": "studio", "run_id": "r1"}
    with event_file(path, context, clock=lambda: NOON, hidden=hidden, warn=warnings.append) as lines:
        for event in told if lines is not None else ():
            lines(event)
    return warnings


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def kinds() -> set[type[Event]]:
    """Every class of event that is published."""
    classes = (each for each in vars(events).values() if isinstance(each, type) and issubclass(each, Event))
    return {each for each in classes if "name" in vars(each)}


def test_every_kind_of_event_is_written_but_bytes_and_steps() -> None:
    """Those are too many; a new kind needs its place in the file, the page and the schema."""
    assert kinds() - PUBLISHED == {SegmentProgressed, StepReached}


@pytest.mark.parametrize("kind", sorted(PUBLISHED, key=lambda kind: kind.name), ids=lambda kind: kind.name)
def test_the_page_and_the_schema_know_every_type_with_its_fields(kind: type[Event]) -> None:
    """Documents are not written from memory."""
    page = (DOCS / "events.md").read_text(encoding="utf-8")
    schema = json.loads((DOCS / "schemas/events.schema.json").read_text(encoding="utf-8"))
    (rule,) = (
        each["then"] for each in schema["allOf"] if each["then"]["properties"]["type"]["const"] == kind.name
    )

    assert f"`{kind.name}`" in page
    head = {"schema", "type", "time", "batch", "run_id", "worker"}
    assert set(rule["properties"]) - head == {
        field for field in kind.__dataclass_fields__ if field not in {"name", *head}
    }
    Draft202012Validator.check_schema(schema)


def test_a_line_says_what_happened_to_whom_and_when(tmp_path: Path) -> None:
    """What is not known is left out."""
    path = tmp_path / "deep/events.jsonl"
    retry = RetryScheduled(
        batch="studio",
        entry="anna",
        operation="put",
        asset=AssetKind.TRAINING_VIDEO,
        part_number=4,
        attempt=1,
        delay=0.123456789,
        kind="interrupted",
        code=None,
        request_id=None,
        message="reset",
    )

    assert write(path, MOVED, retry) == []

    head = {"schema": 1, "time": "2026-11-23T12:00:00.250000Z", "batch": "studio", "run_id": "r1"}
    assert lines_of(path) == [
        head
        | {"type": "entry.transitioned", "entry": "anna", "job_id": "j1"}
        | {"from_state": "pending", "to_state": "creating", "reason": "why"},
        head
        | {"type": "request.retry_scheduled", "entry": "anna", "operation": "put", "asset": "training_video"}
        | {"part_number": 4, "attempt": 1, "delay": 0.123457, "kind": "interrupted", "message": "reset"},
    ]
    assert path.stat().st_mode & 0o777 == 0o600


def test_calls_of_the_service_are_lines_only_when_they_fail(tmp_path: Path) -> None:
    """The others are the work itself."""
    path = tmp_path / "events.jsonl"
    facts = {"attempt": 1, "code": None, "request_id": "q", "seconds": 0.1}
    fine = CallAttempted(operation="create", outcome="ok", status=200, **facts)
    busy = CallAttempted(operation="create", outcome="throttled", status=429, **facts)

    write(path, fine, busy)

    assert [line["outcome"] for line in lines_of(path)] == ["throttled"]


def test_words_of_others_are_masked_and_disarmed(tmp_path: Path) -> None:
    """Whatever reads the file may show it on a terminal."""
    path = tmp_path / "events.jsonl"
    message = "call 13800138000 or https://store/x?Signature=abc with top-secret-key \x1b[31m\u202e"

    write(
        path,
        ServiceWarning(message=message),
        WarningRaised(batch="studio", entry="anna", message=message),
        hidden=("top-secret-key",),
    )

    text = path.read_text(encoding="utf-8")
    assert not any(secret in text for secret in ("13800138000", "abc", "top-secret-key", "\x1b", "\u202e"))
    assert lines_of(path)[1]["message"].startswith("call *** or https://store/x?***")


async def test_events_that_come_together_are_one_write_and_the_last_of_a_run_waits_for_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that a program may read the file as soon as it knows of the end."""
    path, written = tmp_path / "events.jsonl", list[bytes]()
    real: Callable[..., int] = os.write
    monkeypatch.setattr(os, "write", lambda to, data: (written.append(bytes(data)), real(to, data))[1])
    finished = RunFinished(batch="studio", run_id="r1", exit_code=0, elapsed_seconds=1.0, entries={})
    context = {"batch": "studio"}

    with event_file(path, context, clock=lambda: NOON, hidden=(), warn=lambda _: None) as lines:
        assert lines is not None
        lines(MOVED)
        lines(MOVED)
        assert written == []
        lines(finished)
        assert written[0].count(b"\n") == 3
        lines(MOVED)

    assert len(written) == 2
    assert len(lines_of(path)) == 4


def test_a_line_is_one_write_at_the_end_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a line that a full disk left stays by itself, and whoever follows the file sees whole ones."""
    path = tmp_path / "events.jsonl"
    path.write_bytes(b'{"schema":1,"type":"en')
    written: list[bytes] = []
    real: Callable[..., int] = os.write
    monkeypatch.setattr(os, "write", lambda to, data: (written.append(bytes(data)), real(to, data))[1])

    write(path, MOVED, MOVED)

    assert written[0] == b"\n"
    assert all(line.endswith(b"}\n") and line.count(b"\n") == 1 for line in written[1:])
    cut, *whole = path.read_bytes().splitlines()
    assert cut == b'{"schema":1,"type":"en'
    assert len(whole) == 2


@pytest.mark.parametrize("place", ["/dev/full", "/dev/null/events", "."])
def test_a_file_that_cannot_be_written_is_one_warning(place: str) -> None:
    """However many events follow."""
    (warning,) = write(Path(place), MOVED, MOVED)

    assert warning.startswith(f"events are not written to {place}: ")
    assert warning.endswith("; the command continues without them")


def test_what_is_said_again_is_masked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Masking costs more than all else about a line."""
    masked: list[str] = []
    monkeypatch.setattr("orchestrator.observe.event_file.masked", lambda text: masked.append(text) or text)

    write(tmp_path / "events.jsonl", MOVED, MOVED)

    assert masked == ["why"]
    assert events.EntryTransitioned in EventFile.event_types
