"""When a side is out, when it is tried again, and when it is no longer waited for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.errors import (
    ConfigurationError,
    CredentialsError,
    ETagMismatchError,
    InterruptedTransferError,
    NotSentError,
    OrchestratorError,
    RequestRejectedError,
    RetryableError,
    SourceChangedError,
    StoppedError,
    ThrottledError,
    UrlExpiredError,
)
from orchestrator.domain.outage import Availability, Failure, OutagePolicy, Phase, Sign, sign_of

POLICY = OutagePolicy(patience_seconds=100.0, first_patience_seconds=40.0, cap_seconds=20.0)
FRESH = Availability(policy=POLICY)
WORKING = FRESH.answered()


def failure(at: float = 0.0, subject: str = "a", sign: Sign = Sign.FAILED, *, alone: bool = False) -> Failure:
    """One bad end."""
    return Failure(at=at, subject=subject, sign=sign, is_alone=alone)


DOWN = failure(sign=Sign.DOWN)
OUT = WORKING.failed(DOWN)


@pytest.mark.parametrize(
    ("error", "sign"),
    [
        (None, Sign.ANSWERED),
        (NotSentError("no connection"), Sign.DOWN),
        (ThrottledError("slow down", status=503), Sign.FAILED),
        (InterruptedTransferError("no answer"), Sign.FAILED),
        (InterruptedTransferError("internal", status=500, code="MSS.00000004"), Sign.FAILED),
        (InterruptedTransferError("a page instead of JSON", status=200), Sign.FAILED),
        (InterruptedTransferError("internal", status=200, code="MSS.00000004"), Sign.ANSWERED),
        (RetryableError("undone", status=409), Sign.ANSWERED),
        (ETagMismatchError("other bytes", status=200), Sign.ANSWERED),
        (RequestRejectedError("no", status=403), Sign.ANSWERED),
        (CredentialsError("no", status=401), Sign.ANSWERED),
        (UrlExpiredError("dead", status=403), Sign.ANSWERED),
        (UrlExpiredError("known to be dead, so nothing was sent"), Sign.SILENT),
        (SourceChangedError("changed"), Sign.SILENT),
        (StoppedError("drains"), Sign.SILENT),
        (ConfigurationError("untrusted"), Sign.SILENT),
    ],
)
def test_every_end_of_a_request_is_a_sign(error: OrchestratorError | None, sign: Sign) -> None:
    """Only what the other side said or did not say counts, never what went wrong on this machine."""
    assert sign_of(error) is sign


@pytest.mark.parametrize(
    ("before", "event", "phase"),
    [
        (WORKING, lambda side: side.answered(), Phase.OPEN),
        (WORKING, lambda side: side.failed(failure()), Phase.OPEN),
        (WORKING, lambda side: side.failed(DOWN), Phase.OUT),
        (WORKING, lambda side: side.probe_failed(DOWN), Phase.OPEN),
        (WORKING, lambda side: side.probe_withdrawn(1.0), Phase.OPEN),
        (OUT, lambda side: side.answered(), Phase.OPEN),
        (OUT, lambda side: side.failed(DOWN), Phase.OUT),
        (OUT, lambda side: side.probe_failed(DOWN), Phase.OUT),
        (OUT, lambda side: side.probe_withdrawn(1.0), Phase.OUT),
        (OUT, lambda side: side.probing(), Phase.PROBING),
        (OUT.probing(), lambda side: side.answered(), Phase.OPEN),
        (OUT.probing(), lambda side: side.failed(DOWN), Phase.PROBING),
        (OUT.probing(), lambda side: side.probe_failed(DOWN), Phase.OUT),
        (OUT.probing(), lambda side: side.probe_failed(failure(at=100.0)), Phase.OVER),
        (OUT.probing(), lambda side: side.probe_withdrawn(1.0), Phase.OUT),
    ],
)
def test_every_event_in_every_phase(
    before: Availability, event: Callable[[Availability], Availability], phase: Phase
) -> None:
    """The table of the state machine."""
    assert event(before).phase is phase


def test_one_subject_that_always_fails_stops_nothing_while_others_are_under_way() -> None:
    """A poisoned part is that part's trouble."""
    side = WORKING
    for attempt in range(50):
        side = side.failed(failure(at=attempt, subject="poison"))

    assert side.is_open


@pytest.mark.parametrize(
    "failures",
    [
        [failure(subject=subject) for subject in "abab"],
        [failure(alone=True)] * 4,
        [failure(), failure(), failure(), failure(), failure(subject="b")],
    ],
    ids=["several subjects", "the only one", "one subject, then another"],
)
def test_failures_in_a_row_that_are_not_one_subjects_are_an_outage(failures: list[Failure]) -> None:
    """Nobody has had an answer since."""
    side = WORKING
    for each in failures[:-1]:
        side = side.failed(each)
        assert side.is_open

    assert not side.failed(failures[-1]).is_open


def test_an_answer_in_between_starts_the_count_again() -> None:
    """Failures must be in a row."""
    side = WORKING
    for subject in "abcabcabcabc":
        side = side.failed(failure(subject=subject))
        assert side.is_open
        side = side.answered() if subject == "c" else side

    assert side.is_open


def test_waits_double_up_to_a_cap_and_never_pass_the_end() -> None:
    """One second, two, four ... and a last try at the very end."""
    side, waits, now = OUT, [OUT.next_try_at], OUT.next_try_at
    while side.phase is not Phase.OVER:
        side = side.probing().probe_failed(failure(at=now))
        if side.phase is Phase.OUT:
            waits.append(side.next_try_at - now)
            now = side.next_try_at

    assert waits == [1.0, 2.0, 4.0, 8.0, 16.0, 20.0, 20.0, 20.0, 9.0]
    assert now == 100.0


@pytest.mark.parametrize(("side", "ends_at"), [(FRESH, 40.0), (WORKING, 100.0)])
def test_a_side_that_never_answered_has_a_patience_of_its_own(side: Availability, ends_at: float) -> None:
    """On a terminal a wrong setting should show soon."""
    out = side.failed(DOWN).probing()

    assert out.probe_failed(failure(at=ends_at - 0.1)).phase is Phase.OUT
    assert out.probe_failed(failure(at=ends_at)).phase is Phase.OVER


def test_a_wait_that_is_asked_for_is_kept_up_to_its_cap() -> None:
    """Retry-After of a minute, and of a day."""
    assert WORKING.failed(replace(DOWN, retry_after=60.0)).next_try_at == 60.0
    assert OutagePolicy().wait_after(0, 86_400.0, 0.5) == 300.0


def test_no_patience_ends_at_the_first_sign() -> None:
    """--max-outage 0."""
    side = Availability(policy=OutagePolicy(patience_seconds=0.0, first_patience_seconds=0.0))

    assert side.failed(DOWN).phase is Phase.OVER


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["answer", "failure", "down", "probe", "probe failure", "withdrawn"]),
            st.floats(0.0, 30.0),
            st.floats(0.0, 1.0, exclude_max=True),
            st.sampled_from("abc"),
        ),
        max_size=60,
    )
)
def test_whatever_happens_the_next_try_is_in_time(events: list[tuple[str, float, float, str]]) -> None:
    """It is never put off beyond the cap or the end, an answer opens, and nothing but that does."""
    side, now = FRESH, 0.0
    for name, passed, draw, subject in events:
        now += passed
        before = side
        sign = Sign.DOWN if name == "down" else Sign.FAILED
        bad = Failure(at=now, subject=subject, sign=sign, is_alone=False, draw=draw)
        match name:
            case "answer":
                side = side.answered()
            case "failure" | "down":
                side = side.failed(bad)
            case "probe" if side.phase is Phase.OUT:
                side = side.probing()
            case "probe failure":
                side = side.probe_failed(bad)
            case "withdrawn":
                side = side.probe_withdrawn(now)
        assert (name != "answer") or side.is_open
        assert (name == "answer") or before.is_open or not side.is_open
        if side.phase is Phase.OUT and side is not before:
            assert side.next_try_at <= now + POLICY.cap_seconds * 1.25
            assert side.next_try_at <= max(side.since + side.patience_seconds, now)
