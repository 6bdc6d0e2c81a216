"""Retry-After: seconds, an HTTP date, or nothing that can be read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.retry import retry_after_seconds

NOW = 1795334400.0  # Sun, 22 Nov 2026 08:00:00 GMT


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("120", 120.0),
        (" 0 ", 0.0),
        ("1.5", 1.5),
        ("Sun, 22 Nov 2026 08:00:30 GMT", 30.0),
        ("Sun, 22 Nov 2026 08:00:30 -0000", 30.0),
        ("Sunday, 22-Nov-26 08:00:30 GMT", 30.0),
        ("Sun, 22 Nov 2026 07:00:00 GMT", 0.0),
        (None, None),
        ("", None),
        ("-5", None),
        ("soon", None),
        ("٣", None),
        ("nan", None),
        ("Sun, 99 Nov 2026 08:00:30 GMT", None),
    ],
)
def test_a_header_is_read_as_seconds_from_now(header, seconds):
    """A date that is past means at once; what cannot be read means nothing."""
    assert retry_after_seconds(header, NOW) == seconds


@given(st.text() | st.from_regex(r"[A-Z][a-z]{2}, \d{1,9} [A-Z][a-z]{2} \d{1,12} \d+:\d+:\d+ \S{1,8}"))
def test_no_header_makes_it_fail(header):
    """Whatever a proxy sends."""
    seconds = retry_after_seconds(header, NOW)

    assert seconds is None or seconds >= 0
