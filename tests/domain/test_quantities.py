"""Sizes as people write and read them."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.quantities import format_bytes, parse_bytes


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("0", 0),
        ("123", 123),
        ("5b", 5),
        ("16MiB", 16 * 1024**2),
        ("16 mib", 16 * 1024**2),
        ("16Mi", 16 * 1024**2),
        ("20M", 20_000_000),
        ("20MB", 20_000_000),
        ("512K", 512_000),
        (" 1.5 GiB ", 1024**3 * 3 // 2),
        ("1T", 10**12),
        ("9007199254740993", 9007199254740993),
    ],
)
def test_a_size_is_read_as_bytes(text: str, count: int) -> None:
    """With an i the unit is binary, without it decimal; no byte is lost to rounding."""
    assert parse_bytes(text) == count


@pytest.mark.parametrize("text", ["", "M", "-1", "1,5M", "16 MiB/s", "1e6", "0x10", "ten", "1 2", "1.M"])
def test_what_is_no_size_is_refused_with_an_example(text: str) -> None:
    """The message shows how to write one."""
    with pytest.raises(ValueError, match="16MiB"):
        parse_bytes(text)


@given(
    st.from_regex(r"[0-9]{1,400}(\.[0-9]{1,40})?[kmgtKMGT]?i?[bB]?", fullmatch=True) | st.text(max_size=30)
)
def test_any_text_is_a_size_or_a_value_error(text: str) -> None:
    """However long the number."""
    with contextlib.suppress(ValueError):
        assert parse_bytes(text) >= 0


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (999.7, "1.0 kB"),
        (1000, "1.0 kB"),
        (12_345_678, "12.3 MB"),
        (999_960, "1.0 MB"),
        (4_300_000_000, "4.3 GB"),
        (1_234_000_000_000_000, "1234.0 TB"),
        (-1500, "-1.5 kB"),
    ],
)
def test_bytes_are_shown_in_the_unit_that_fits(count: float, text: str) -> None:
    """Decimal units, one place; never a thousand of a smaller unit."""
    assert format_bytes(count) == text


@given(st.integers(0, 10**15 - 1))
def test_what_is_shown_reads_back_as_nearly_the_same(count: int) -> None:
    """One decimal place of a number of at least 1 is within 5 %."""
    assert parse_bytes(format_bytes(count)) == pytest.approx(count, rel=0.05)
