"""No fault, however often, keeps a run busy for ever: it ends within its budgets, with the documented code."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.domain.errors import ExitCode
from orchestrator.domain.retry import RetryPolicy
from orchestrator.simulator import SimulatorOptions
from orchestrator.simulator.faults import FAULTS
from tests.faults.conftest import Trial

OK, TEMPORARY, SOME_FAILED = ExitCode.OK, ExitCode.TEMPORARY, ExitCode.SOME_FAILED
#: Every request meets the fault, in every run. What is not named here ends as temporary.
EXIT_CODES = {
    "close-keepalive": OK,
    "close-keepalive-api": OK,
    "lost-answer": OK,
    "truncated-answer": OK,
    "oversized-answer": OK,
    "oversized-answer-api": ExitCode.CONFIGURATION,
    "wrong-etag": OK,
    "lost-confirm": OK,
    "lost-submit": OK,
    "lost-update": OK,
    "lost-delete": OK,
    "false-refusal": TEMPORARY,
    "corrupt": SOME_FAILED,
    "early-403": SOME_FAILED,
    "redirect": SOME_FAILED,
    "page-404": SOME_FAILED,
    "page-404-api": ExitCode.CONFIGURATION,
}
ENDLESS = sorted(name for name, fault in FAULTS.items() if fault.operations != {"review"})
#: Found out by waiting in real time, once for each attempt.
SILENT = {"stall", "stall-api", "never-answer"}
#: More virtual seconds than any budget allows for an entry of a few segments.
MOST_SECONDS = 3600.0


@pytest.fixture
def simulator_options(request: pytest.FixtureRequest) -> SimulatorOptions:
    """The fault of the test, always."""
    return SimulatorOptions(fault_rates={request.node.callspec.params["fault"]: 1.0})


@pytest.mark.parametrize(
    "fault", [pytest.param(name, marks=pytest.mark.long) if name in SILENT else name for name in ENDLESS]
)
@pytest.mark.timeout(30)
async def test_a_fault_that_never_ends_ends_the_run(trial: Trial, fault: str) -> None:
    """In the documented way, in bounded time, and with no more requests than the budgets allow."""
    trial.rig.make_entries(1, size=200_000, kinds=("action_video", "cover"))
    trial.rig.settings = replace(trial.rig.settings, is_submit_wanted=True)
    trial.rig.policy = RetryPolicy(attempts=4)
    trial.rig.service = {
        **trial.rig.service,
        "idle_timeout": 0.1,
        "api_timeout": 0.1 if fault == "stall-api" else 2.0,
    }

    report = await trial.run()

    assert report.exit_code == EXIT_CODES.get(fault, TEMPORARY)
    assert trial.time.slept_seconds < MOST_SECONDS
    assert trial.rig.simulator.stats.requests.total() < 400


@pytest.mark.parametrize("fault", ["conflict-409"])
@pytest.mark.parametrize("budget", ["entry_retries", "run_retries"])
async def test_a_budget_ends_the_retries_before_the_attempts_do(
    trial: Trial, fault: str, budget: str
) -> None:
    """Each entry, and the run, may try again only so often, whatever each segment may."""
    trial.rig.make_entries(2, size=700_000)
    trial.rig.settings = replace(trial.rig.settings, **{budget: 5})

    report = await trial.run()

    assert report.exit_code == TEMPORARY
    assert len(trial.retries()) == (10 if budget == "entry_retries" else 5)
