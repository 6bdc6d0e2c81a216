"""Byte ranges: what every plan must keep, and which counts are refused."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from orchestrator.domain.assets import (
    DEFAULT_PART_BYTES,
    MAX_AUTO_PARTS,
    MAX_PART_BYTES,
    MIN_PART_BYTES,
    Segment,
    SegmentError,
    auto_part_count,
    explicit_part_count,
    largest_part_count,
    plan_segments,
    smallest_part_count,
)

MAX_ASSET_BYTES = 1000 * MAX_PART_BYTES


def sizes_near(part_bytes: int) -> st.SearchStrategy[int]:
    """Files of whole parts of *part_bytes*, and a few bytes more or less."""
    return st.builds(
        lambda count, off: max(1, count * part_bytes + off), st.integers(0, 1000), st.integers(-2, 2)
    )


ASSET_BYTES = st.one_of(
    st.integers(1, 10 * MIN_PART_BYTES),
    st.integers(1, MAX_ASSET_BYTES),
    sizes_near(MIN_PART_BYTES),
    sizes_near(MAX_PART_BYTES).map(lambda size: min(size, MAX_ASSET_BYTES)),
)
PART_COUNTS = st.integers(1, 60) | st.sampled_from([100, 999, 1000])


@given(ASSET_BYTES, PART_COUNTS)
def test_ranges_cover_the_file_exactly_and_in_order(asset_bytes: int, part_count: int) -> None:
    """Numbers count from 1, each range begins where the one before ended, and the last ends with the file."""
    segments = list(plan_segments(asset_bytes, part_count))

    ends = list(itertools.accumulate(segment.length for segment in segments))
    assert [segment.part_number for segment in segments] == list(range(1, part_count + 1))
    assert [segment.offset for segment in segments] == [0, *ends[:-1]]
    assert ends[-1] == asset_bytes


@given(ASSET_BYTES, PART_COUNTS)
def test_ranges_differ_by_at_most_one_byte_unless_parts_are_the_smallest_there_are(
    asset_bytes: int, part_count: int
) -> None:
    """No part is a straggler but the last, where all others are as small as a part may be."""
    *lengths, last = [segment.length for segment in plan_segments(asset_bytes, part_count)]

    is_even = max([*lengths, last]) - min([*lengths, last]) <= 1
    assert is_even or (set(lengths) == {MIN_PART_BYTES} and 0 < last < MIN_PART_BYTES)


@pytest.mark.parametrize(
    ("asset_bytes", "lengths"), [(307_199, [102_400, 102_400, 102_399]), (204_801, [102_400] * 2 + [1])]
)
def test_the_last_part_may_be_smaller_than_the_others(asset_bytes: int, lengths: list[int]) -> None:
    """The store asks for 100 KiB of each part but the last."""
    assert explicit_part_count(asset_bytes, 3) == 3
    assert [segment.length for segment in plan_segments(asset_bytes, 3)] == lengths


def test_a_plan_is_made_lazily() -> None:
    """A thousand parts of a batch of thousands are never in memory at once."""
    assert next(plan_segments(10**12, 1000)) == Segment(1, 0, 10**9)


@given(ASSET_BYTES, st.integers(1, 2 * MAX_PART_BYTES))
@example(MAX_ASSET_BYTES, DEFAULT_PART_BYTES)
@example(1, 1)
def test_auto_never_makes_a_part_the_store_refuses(asset_bytes: int, part_bytes: int) -> None:
    """Whatever size `auto` aims at: none under 100 KiB but a lone one, none over 5 GiB, at most 1000."""
    part_count = auto_part_count(asset_bytes, part_bytes)

    lengths = [segment.length for segment in plan_segments(asset_bytes, part_count)]
    assert part_count <= 1000
    assert max(lengths) <= MAX_PART_BYTES
    assert part_count == 1 or min(lengths) >= MIN_PART_BYTES


@given(ASSET_BYTES)
def test_auto_goes_over_50_parts_only_when_5_gib_demand_it(asset_bytes: int) -> None:
    """The service's definitions cap the URL arrays at 50."""
    part_count = auto_part_count(asset_bytes)

    assert part_count <= MAX_AUTO_PARTS or part_count == smallest_part_count(asset_bytes)


@pytest.mark.parametrize(
    ("asset_bytes", "part_count"),
    [
        (1, 1),
        (DEFAULT_PART_BYTES, 1),
        (DEFAULT_PART_BYTES + 1, 2),
        (10 * DEFAULT_PART_BYTES, 10),
        (50 * DEFAULT_PART_BYTES + 1, 50),
        (50 * MAX_PART_BYTES, 50),
        (50 * MAX_PART_BYTES + 1, 51),
    ],
)
def test_auto_aims_at_32_mib(asset_bytes: int, part_count: int) -> None:
    """Up to 50 parts; beyond, the parts grow."""
    assert auto_part_count(asset_bytes) == part_count


@given(ASSET_BYTES, PART_COUNTS)
@example(2 * MIN_PART_BYTES, 2)
@example(2 * MIN_PART_BYTES - 2, 2)
@example(2 * MAX_PART_BYTES, 2)
@example(2 * MAX_PART_BYTES + 1, 2)
def test_a_count_is_refused_exactly_when_a_part_would_be_too_small_or_too_large(
    asset_bytes: int, part_count: int
) -> None:
    """A file in one piece may be small."""
    *lengths, last = [segment.length for segment in plan_segments(asset_bytes, part_count)]
    is_possible = (
        max([*lengths, last]) <= MAX_PART_BYTES and min(lengths, default=MIN_PART_BYTES) >= MIN_PART_BYTES
    )

    if is_possible:
        assert explicit_part_count(asset_bytes, part_count) == part_count
    else:
        with pytest.raises(SegmentError):
            explicit_part_count(asset_bytes, part_count)


@given(ASSET_BYTES)
def test_the_bounds_that_messages_name_are_themselves_allowed(asset_bytes: int) -> None:
    """Who follows the hint is not refused again."""
    largest, smallest = largest_part_count(asset_bytes), smallest_part_count(asset_bytes)

    assert explicit_part_count(asset_bytes, largest) == largest
    assert explicit_part_count(asset_bytes, smallest) == smallest


def test_a_refused_count_names_what_is_possible() -> None:
    """The message is something to act on, in both directions."""
    with pytest.raises(SegmentError, match=r"use at most 10, or auto"):
        explicit_part_count(1_000_000, 11)
    with pytest.raises(SegmentError, match=r"use at least 3, or auto"):
        explicit_part_count(2 * MAX_PART_BYTES + 1, 2)


def test_a_file_that_no_count_can_hold_is_refused() -> None:
    """1000 parts of 5 GiB are the end."""
    assert auto_part_count(MAX_ASSET_BYTES) == 1000
    with pytest.raises(SegmentError, match="do not fit into 1000 parts"):
        auto_part_count(MAX_ASSET_BYTES + 1)
