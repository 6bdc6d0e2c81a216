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
from orchestrator.engine.events import EntryTransitioned, StepReached
from orchestrator.observe.logs import EventLog, logging_to
from orchestrator.observe.masking import masked, masked_event

URL = "https://bucket.obs.example.com/job_trainingVideo?AccessKeyId=AKXYZ&Expires=1795420800&Signature=s%2Fecret%3D"


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        (f"PUT {URL} failed", "Signature"),
        ("GET https://h/o?X-Amz-Signature=abc&X-Amz-Credential=AKXYZ", "AKXYZ"),
        ("Authorization: SDK-HMAC-SHA256 Access=AKXYZ, SignedHeaders=host, Signature=0123abc", "0123abc"),
        ("{'X-Auth-Token': 'MIIFtokenMII'}", "MIIF"),
        ('{"password": "hunter2"}', "hunter2"),
        ("sk=topsecretkey", "topsecret"),
        ("security_token=abcdef", "abcdef"),
        ("call +86 138 0013 8000 now", "138"),
        ("contact 13800138000", "13800138000"),
    ],
)
def test_what_looks_like_a_secret_is_masked(text: str, secret: str) -> None:
    """The last line of defence."""
    assert secret not in masked(text)
    assert "***" in masked(text)


@pytest.mark.parametrize(
    "text",
    [
        "4294967296000 bytes do not fit",
        "2026-11-05T10:22:33Z",
        "0d697589d98091f12f92c0073501cd79",
        "127.0.0.1:18437",
        "the task is done, ask again",
        "https://host/path",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    """A log that says nothing helps nobody."""
    assert masked(text) == text


def test_ids_of_digits_stay_and_nested_secrets_do_not() -> None:
    """The mask goes as deep as the event."""
    event = {"job_id": "12345678901", "deep": [{"url": URL}, ("13800138000",)], "bytes": 12345678901}

    assert masked_event(event) == {
        "job_id": "12345678901",
        "deep": [{"url": "https://bucket.obs.example.com/job_trainingVideo?***"}, ["***"]],
        "bytes": 12345678901,
    }


def test_events_become_lines_with_their_name_and_fields(tmp_path: Path) -> None:
    """In a file only its owner can read."""
    path = tmp_path / "logs" / "run.log"
    with logging_to(None, path, is_verbose=False):
        log = EventLog()
        log(
            EntryTransitioned(
                entry="anna", from_state=EntryState.PENDING, to_state=EntryState.CREATING, reason="r"
            )
        )
        log(StepReached(entry="anna", point="create.before"))

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
        logging.getLogger("orchestrator.engine.run").warning("entry.taken_over", extra={"told": details})

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
