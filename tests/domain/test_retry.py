"""Whether and when to try again."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.errors import (
    EntryError,
    InterruptedTransferError,
    NotSentError,
    RefusedUploadError,
    RetryableError,
    RunError,
    ThrottledError,
    UrlExpiredError,
)
from orchestrator.domain.retry import (
    Attempts,
    RetryBudget,
    RetryPolicy,
    http_date_seconds,
    retry_after_seconds,
)

POLICY = RetryPolicy(attempts=6, base_seconds=0.5, cap_seconds=4.0, throttled_floor_seconds=1.0)
DRAWS = st.floats(0.0, 1.0, exclude_max=True)
NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(("attempt", "ceiling"), [(1, 0.5), (2, 1.0), (3, 2.0), (4, 4.0), (5, 4.0)])
def test_waits_are_drawn_from_zero_to_a_ceiling_that_doubles_up_to_the_cap(
    attempt: int, ceiling: float
) -> None:
    """Full jitter: the draw decides where between nothing and the ceiling."""
    error = InterruptedTransferError("broke")

    assert POLICY.delay_after(error, attempt, lambda: 0.0) == 0.0
    assert POLICY.delay_after(error, attempt, lambda: 0.25) == ceiling / 4
    assert POLICY.delay_after(error, attempt, lambda: 1.0) == ceiling


def test_the_last_attempt_is_not_followed_by_another() -> None:
    """`attempts` counts tries, not retries."""
    error = RetryableError("later")

    assert POLICY.delay_after(error, 5, lambda: 0.5) is not None
    assert POLICY.delay_after(error, 6, lambda: 0.5) is None
    assert POLICY.delay_after(error, 7, lambda: 0.5) is None


@pytest.mark.parametrize(
    "error",
    [
        UrlExpiredError("x"),
        RefusedUploadError("x"),
        EntryError("x"),
        RunError("x"),
        ValueError("x"),
        OSError("x"),
    ],
)
def test_only_errors_that_may_pass_are_tried_again(error: Exception) -> None:
    """The rest calls for something else than the same request."""
    assert POLICY.delay_after(error, 1, lambda: 0.5) is None


@given(DRAWS, st.integers(1, 4000))
def test_a_wait_stays_within_its_bounds_at_any_attempt(draw: float, attempt: int) -> None:
    """No number of attempts overflows."""
    policy = RetryPolicy(attempts=5000, cap_seconds=30.0)

    delay = policy.delay_after(NotSentError("no connection"), attempt, lambda: draw)

    assert delay is not None
    assert 0.0 <= delay <= 30.0


def test_a_throttled_request_waits_at_least_the_floor() -> None:
    """Backing off by nothing would meet the same limit."""
    assert POLICY.delay_after(ThrottledError("slow down"), 1, lambda: 0.0) == 1.0
    assert POLICY.delay_after(ThrottledError("slow down"), 1, lambda: 1.0) == 1.5


@pytest.mark.parametrize("kind", [RetryableError, ThrottledError])
def test_retry_after_is_kept_and_jitter_comes_on_top(kind: type[RetryableError]) -> None:
    """Never earlier than asked, and not all workers at once."""
    error = kind("later", retry_after=7.0)

    assert POLICY.delay_after(error, 1, lambda: 0.0) == 7.0
    assert POLICY.delay_after(error, 1, lambda: 1.0) == 7.5


def test_an_absurd_retry_after_is_capped() -> None:
    """A broken server cannot park a run for a year."""
    error = ThrottledError("later", retry_after=31_536_000.0)

    assert POLICY.delay_after(error, 1, lambda: 0.0) == POLICY.retry_after_cap_seconds


def test_a_budget_counts_retries_and_then_refuses() -> None:
    """An entry that goes on failing ends."""
    budget = RetryBudget(3)

    assert [budget.take() for _ in range(5)] == [True, True, True, False, False]


def test_entries_share_the_budget_of_the_run() -> None:
    """What one entry uses up is gone for the others."""
    run = RetryBudget(3)
    first, second = RetryBudget(2, run), RetryBudget(10, run)

    assert [first.take() for _ in range(3)] == [True, True, False]
    assert [second.take() for _ in range(2)] == [True, False]


def test_an_entry_without_budget_takes_nothing_from_the_run() -> None:
    """A refused retry costs nobody anything."""
    run = RetryBudget(1)
    empty = RetryBudget(0, run)

    assert not empty.take()
    assert run.take()


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("0", 0.0),
        ("120", 120.0),
        (" 1.5 ", 1.5),
        ("Sun, 01 Mar 2026 12:00:30 GMT", 30.0),
        ("Sun, 01 Mar 2026 13:00:30 +0100", 30.0),
        ("Sun, 01 Mar 2026 12:00:30 -0000", 30.0),
        ("Sun, 01 Mar 2026 11:59:00 GMT", 0.0),
        (None, None),
        ("", None),
        ("soon", None),
        ("-5", None),
        ("1e3", None),
        ("Sun, 99 Mar 2026 12:00:30 GMT", None),
    ],
)
def test_retry_after_is_read_as_seconds_or_as_a_date(header: str | None, seconds: float | None) -> None:
    """A past date means now; what cannot be read means nothing."""
    assert retry_after_seconds(header, NOON.timestamp()) == seconds


@given(st.integers(0, 4_102_444_800))
def test_http_dates_read_back_as_the_moment_they_name(seconds: int) -> None:
    """Any second up to the year 2100."""
    assert http_date_seconds(formatdate(seconds, usegmt=True)) == seconds


@given(st.text(max_size=60) | st.from_regex(r"[0-9 :+,GMTJan-]{0,40}", fullmatch=True))
def test_any_header_is_a_wait_or_none(header: str) -> None:
    """Garbage from a server never raises."""
    seconds = retry_after_seconds(header, 0.0)

    assert seconds is None or seconds >= 0.0


async def test_a_block_is_tried_again_after_each_failure_until_it_succeeds() -> None:
    """Waits come between the attempts, and what fails in an outage is made but not counted."""
    failures = iter([RetryableError("first"), outage(), RetryableError("third"), None])
    waits: list[tuple[str, int, int]] = []
    tried: list[tuple[int, int]] = []

    async def wait(error: RetryableError, attempts: Attempts) -> int:
        waits.append((error.message, attempts.number, attempts.made))
        return not error.is_outage

    async for attempt in Attempts(wait):
        with attempt:
            tried.append((attempt.number, attempt.made))
            if (failure := next(failures)) is not None:
                raise failure

    assert tried == [(1, 1), (2, 2), (2, 3), (3, 4)]
    assert waits == [("first", 1, 1), ("out", 2, 2), ("third", 2, 3)]


async def test_what_the_wait_raises_ends_the_attempts() -> None:
    """A policy or a budget that is used up says with which error."""

    async def wait(_: RetryableError, attempts: Attempts) -> int:
        if attempts.number == 3:
            raise EntryError("used up")
        return 1

    attempts = Attempts(wait)

    with pytest.raises(EntryError, match="used up"):
        await fail_each_time(attempts, RetryableError("again"))
    assert attempts.made == 3


@pytest.mark.parametrize(
    ("kind", "on"), [(EntryError, RetryableError), (NotSentError, InterruptedTransferError)]
)
async def test_an_error_of_another_kind_leaves_the_block(
    kind: type[EntryError | NotSentError], on: type[RetryableError]
) -> None:
    """Only what the attempts are for is tried again."""

    async def wait(_: RetryableError, __: Attempts) -> int:
        pytest.fail("nothing is to be waited for")

    with pytest.raises(kind):
        await fail_each_time(Attempts(wait, on=on), kind("no"))


async def test_a_caller_that_waits_itself_is_given_another_attempt() -> None:
    """For those that ask something between the wait and the next attempt."""
    tried = 0

    async def wait(_: RetryableError, __: Attempts) -> int:
        return 1

    async for attempt in Attempts(wait):
        tried += 1
        if tried < 3:
            await attempt.wait_after(RetryableError("lost"))

    assert (tried, attempt.number) == (3, 3)


async def fail_each_time(attempts: Attempts, error: Exception) -> None:
    """Make all *attempts* there may be."""
    async for attempt in attempts:
        with attempt:
            raise error


def outage() -> RetryableError:
    """A failure that counts against nothing."""
    error = RetryableError("out")
    error.is_outage = True
    return error
