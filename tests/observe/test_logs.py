"""Logs: what is in them, and what is not."""

from __future__ import annotations

import io
import json
import logging
from pathlib import Path

import pytest
import structlog

from orchestrator.domain.errors import ConfigurationError
from orchestrator.domain.states import EntryState
from orchestrator.engine.events import (
    EntryTransitioned,
    Point,
    RunStarted,
    StepReached,
    Totals,
    WarningRaised,
)
from orchestrator.observe.logs import EventLog, logging_to
from orchestrator.observe.masked import masked_event

URL = "https://bucket.obs.example.com/job_trainingVideo?AccessKeyId=AKXYZ&Expires=1795420800&Signature=s%2Fecret%3D"


def test_ids_of_digits_stay_and_nested_secrets_do_not() -> None:
    """The mask goes as deep as the event."""
    event = {"job_id": "12345678901", "deep": [{"url": URL}, ("13800138000",)], "bytes": 12345678901}

    assert masked_event(event) == {
        "job_id": "12345678901",
        "deep": [{"url": "https://bucket.obs.example.com/job_trainingVideo?***"}, ["***"]],
        "bytes": 12345678901,
    }


@pytest.mark.parametrize("name", ["entry", "job_id", "request_id", "run_id", "batch", "timestamp"])
def test_our_own_fields_stay_whatever_they_look_like(name: str) -> None:
    """An entry may be called by eleven digits; only what the run knows to be secret is masked there."""
    event = {name: "13800138000", "message": "13800138000", "asset": "top-secret-key"}

    assert masked_event(event, hidden=["top-secret-key"]) == {
        name: "13800138000",
        "message": "***",
        "asset": "***",
    }


def test_totals_are_fields_in_file_and_console(tmp_path: Path) -> None:
    """So that `jq .totals.bytes` finds them."""
    stderr = io.StringIO()
    with logging_to(stderr, tmp_path / "log", is_verbose=True):
        EventLog()(
            RunStarted(
                batch="studio",
                run_id="r",
                totals=Totals(entries=3, segments=12, bytes=13800138000),
                done_entries=0,
                stored_segments=0,
                stored_bytes=0,
            )
        )

    (line,) = [json.loads(text) for text in (tmp_path / "log").read_text().splitlines()]
    assert line["totals"] == {"entries": 3, "segments": 12, "bytes": 13800138000}
    assert "totals.entries=3 totals.segments=12 totals.bytes=13800138000" in stderr.getvalue()


def test_no_line_of_a_log_acts_on_a_terminal(tmp_path: Path) -> None:
    """Neither in a field nor in a traceback, in the file neither: people read it with `tail`."""
    stderr = io.StringIO()
    words = "\x1b[31m\x9b2J\u202e\ud83d\u2028forged"
    with logging_to(stderr, tmp_path / "log", is_verbose=True):
        EventLog()(WarningRaised(batch="studio", entry=words, message=words))
        structlog.get_logger().error("entry.crashed", entry="anna", exc_info=ValueError(words))

    for text in (stderr.getvalue(), (tmp_path / "log").read_text(encoding="utf-8")):
        assert not set("\x1b\x9b\u202e\ud83d\u2028") & set(text)
        assert not any(line.startswith("forged") for line in text.splitlines())
        assert "ValueError" in text


def test_what_is_hidden_after_the_log_was_opened_is_in_no_line(tmp_path: Path) -> None:
    """The credentials are found later than the log."""
    hidden: list[str] = []
    with logging_to(None, tmp_path / "log", is_verbose=False, hidden=hidden):
        hidden.append("a-key-of-no-known-form")
        EventLog()(WarningRaised(batch="studio", entry="anna", message="refused: a-key-of-no-known-form"))

    assert "refused: ***" in (tmp_path / "log").read_text()


def test_events_become_lines_with_their_name_and_fields(tmp_path: Path) -> None:
    """In a file only its owner can read."""
    path = tmp_path / "run.log"
    with logging_to(None, path, is_verbose=False):
        log = EventLog()
        log(
            EntryTransitioned(
                batch="studio",
                entry="anna",
                from_state=EntryState.PENDING,
                to_state=EntryState.CREATING,
                reason="r",
            )
        )
        log(StepReached(batch="studio", entry="anna", point=Point.CREATE.before))

    (line,) = [json.loads(text) for text in path.read_text().splitlines()]
    assert list(line)[:3] == ["timestamp", "level", "event"]
    assert (line["event"], line["entry"], line["to_state"]) == ("entry.transitioned", "anna", "creating")
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_traceback_has_no_locals_and_no_url(tmp_path: Path) -> None:
    """Neither from the exception nor from the variables around it."""
    stderr = io.StringIO()
    with logging_to(stderr, tmp_path / "log", is_verbose=True):
        url = URL
        try:
            int(url)
        except ValueError:
            structlog.get_logger().exception("entry.crashed", entry="anna")

    for text in (stderr.getvalue(), (tmp_path / "log").read_text()):
        assert "ValueError: invalid literal" in text
        assert "https://bucket.obs.example.com/job_trainingVideo?***" in text
        assert "s%2Fecret" not in text


def test_what_libraries_log_takes_the_same_way(capsys: pytest.CaptureFixture[str]) -> None:
    """aiohttp and asyncio would else write past the mask, also where nobody wants logs."""
    stderr = io.StringIO()
    with logging_to(stderr, None, is_verbose=True):
        logging.getLogger("aiohttp.client").warning("gave up on %s", URL)
    with logging_to(None, None, is_verbose=False):
        logging.getLogger("aiohttp.client").error("gave up on %s", URL)

    assert "library.message_logged" in stderr.getvalue()
    assert "s%2Fecret" not in stderr.getvalue()
    assert capsys.readouterr().err == ""


def test_what_the_engine_logs_keeps_its_name_and_details(tmp_path: Path) -> None:
    """Through the standard library, so that a run without logs need not load more."""
    with logging_to(None, tmp_path / "log", is_verbose=False):
        details = {"entry": "anna", "reason": f"see {URL}"}
        logging.getLogger("orchestrator.engine.lifecycle").warning(
            "entry.taken_over", extra={"fields": details}
        )

    (line,) = [json.loads(text) for text in (tmp_path / "log").read_text().splitlines()]
    assert (line["event"], line["level"], line["entry"]) == ("entry.taken_over", "warning", "anna")
    assert line["reason"] == "see https://bucket.obs.example.com/job_trainingVideo?***"


def test_a_log_file_that_cannot_be_opened_is_a_wrong_setting(tmp_path: Path) -> None:
    """With a sentence that names it."""
    with (
        pytest.raises(ConfigurationError, match="cannot be opened"),
        logging_to(None, tmp_path, is_verbose=False),
    ):
        pass
