"""Pacing on a virtual clock."""

from __future__ import annotations

import anyio
import pytest

from orchestrator.domain.errors import ConfigurationError, ThrottledError
from orchestrator.metastudio.rate_limit import STEP_SLACK, ApiRate, CallKind, RateLimiter, parse_api_rate
from tests.metastudio.scripted import refuses, says


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("2:5", ApiRate(2, 5)),
        (" 0.5 : 10 ", ApiRate(0.5, 10)),
        ("unlimited", ApiRate(0, 0)),
        ("2:unlimited", ApiRate(2, 0)),
        ("0:0", ApiRate(0, 0)),
    ],
)
def test_a_rate_is_writes_and_reads_per_second(text, rate):
    """0 and `unlimited` are no limit."""
    assert parse_api_rate(text) == rate


@pytest.mark.parametrize("text", ["", "2", "2:5:7", "a:b", "-1:5", "nan:1", "inf:1"])
def test_what_is_no_rate_is_a_configuration_error(text):
    """The hint shows one."""
    with pytest.raises(ConfigurationError) as caught:
        parse_api_rate(text)

    assert "2:5" in (caught.value.hint or "")


class _Turns:
    """Lets many callers go and notes when each got its slot."""

    def __init__(self, limiter: RateLimiter, clock) -> None:
        self.limiter = limiter
        self.clock = clock
        self.times: list[float] = []

    async def take(self, kind: CallKind, times: int = 1) -> None:
        for _ in range(times):
            await self.limiter.acquire(kind)
            self.times.append(self.clock.now)


@pytest.fixture
def limiter(clock) -> RateLimiter:
    return RateLimiter(2, 5, clock=clock, sleep=clock.sleep)


async def test_no_second_holds_more_calls_than_the_rate(limiter, clock):
    """Two writes a second: the third comes over a second after the first, whichever is quicker on its way."""
    turns = _Turns(limiter, clock)

    await turns.take(CallKind.WRITE, 5)

    assert all(
        1.02 < third - first < 1.03 for first, third in zip(turns.times, turns.times[2:], strict=False)
    )
    assert turns.times[1] - turns.times[0] == pytest.approx(0.5 * STEP_SLACK)


async def test_a_quiet_time_does_not_allow_a_burst(limiter, clock):
    """Slots that nobody took are gone."""
    turns = _Turns(limiter, clock)
    await turns.take(CallKind.READ)
    clock.now += 100

    await turns.take(CallKind.READ, 3)

    assert turns.times[3] - turns.times[1] == pytest.approx(0.4 * STEP_SLACK)


async def test_reads_do_not_wait_for_writes(limiter, clock):
    """The two classes have slots of their own."""
    await _Turns(limiter, clock).take(CallKind.WRITE)

    await limiter.acquire(CallKind.READ)

    assert clock.sleeps == []


async def test_no_limit_means_no_wait(clock):
    """A rate of 0 lets every call go at once."""
    unlimited = RateLimiter(0, 0, clock=clock, sleep=clock.sleep)

    await _Turns(unlimited, clock).take(CallKind.WRITE, 50)

    assert clock.sleeps == []


@pytest.mark.parametrize("writes_per_second", [2, 0])
async def test_backing_off_holds_all_calls_of_the_kind(clock, writes_per_second):
    """Not only the one that was throttled, and the other kind goes on."""
    limiter = RateLimiter(writes_per_second, 5, clock=clock, sleep=clock.sleep)
    start = clock.now
    turns = _Turns(limiter, clock)

    limiter.back_off(CallKind.WRITE, 10)
    limiter.back_off(CallKind.WRITE, 3)
    await limiter.acquire(CallKind.READ)
    read_at = clock.now
    await turns.take(CallKind.WRITE)

    assert (read_at, turns.times) == (start, [start + 10])


async def test_a_call_that_waits_for_its_slot_is_held_by_a_pause_that_begins_then(clock):
    """A slot taken before the 429 is void, and those held still come one by one."""
    start = clock.now
    paused: list[bool] = []

    async def sleep(seconds: float) -> None:
        await clock.sleep(seconds)
        if not paused:
            paused.append(True)
            limiter.back_off(CallKind.WRITE, 10)

    limiter = RateLimiter(2, 5, clock=clock, sleep=sleep)
    turns = _Turns(limiter, clock)

    await turns.take(CallKind.WRITE, 3)

    assert turns.times == pytest.approx([start, start + 10 + 0.5 * STEP_SLACK, start + 10 + STEP_SLACK])


async def test_callers_share_the_pace(limiter, clock):
    """Ten tasks together get what one would."""
    start = clock.now
    turns = _Turns(limiter, clock)

    async with anyio.create_task_group() as group:
        for _ in range(10):
            group.start_soon(turns.take, CallKind.WRITE)

    assert sorted(turns.times) == turns.times
    assert turns.times[-1] >= start + 4.5


async def test_a_throttled_call_pauses_the_others_of_its_kind(make_client, service, clock):
    """The client hands Retry-After to the limiter that all calls share."""
    service.script = [refuses(429, "APIGW.0308", Retry_After="20"), says(200, {"job_id": "j"})]
    limiter = RateLimiter(0, 0, clock=clock, sleep=clock.sleep)
    client = make_client(limiter=limiter, attempts_allowed=1)
    start = clock.now
    with pytest.raises(ThrottledError, match="asks to wait"):
        await client.create_job({})

    await client.update_job("j", {})

    assert clock.now == start + 20
