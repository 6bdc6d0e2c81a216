"""Keys, tokens, upload URLs and phone numbers stay where they belong, whatever goes wrong.

Every test in this folder ends with the same search (`conftest.py`); these go looking for trouble.
"""

from __future__ import annotations

import io
from typing import NoReturn

import pytest

from orchestrator.domain.errors import ExitCode
from orchestrator.engine.events import Point, WarningRaised
from orchestrator.metastudio.credentials import FoundCredentials, UserToken
from orchestrator.simulator import SimulatorOptions
from orchestrator.simulator.faults import FAULTS
from tests.faults.conftest import PHONE, Trial, secrets_told

#: Slow ones, and those of the review.
_OTHERS = {"stall", "never-answer", "stall-api", "review-fail", "manual-review-fail"}
EVERYTHING = SimulatorOptions(
    fault_rates={name: 0.03 for name in FAULTS if name not in _OTHERS},
    seed=5,
)


def write_batch_with_phone(trial: Trial, count: int) -> None:
    """Make a batch whose avatars have a contact."""
    entries = trial.rig.make_entries(count, size=600_000, kinds=("action_video", "cover"))
    trial.rig.write_batch([{**entry, "contact": PHONE} for entry in entries])


@pytest.mark.parametrize("simulator_options", [EVERYTHING], ids=[""])
@pytest.mark.parametrize("has_token", [False, True], ids=["key", "token"])
async def test_a_run_through_every_fault_tells_no_secret(
    trial: Trial, logged: io.StringIO, has_token: bool
) -> None:
    """Retries, failures and their reasons are told; keys, tokens, URLs and contacts are not."""
    write_batch_with_phone(trial, 4)
    if has_token:
        secret = UserToken(trial.rig.simulator.options.token)
        found = FoundCredentials(secret=secret, source="the test", project_id=None)
        trial.rig.service = {**trial.rig.service, "credentials": found}

    await trial.run()

    assert len(trial.retries()) > 5
    assert not secrets_told(trial, logged.getvalue())


async def test_an_error_of_our_own_tells_no_secret(trial: Trial, logged: io.StringIO) -> None:
    """Its traceback goes to the log, without what the variables held."""
    write_batch_with_phone(trial, 1)

    def fail() -> NoReturn:
        raise RuntimeError("something nobody thought of")

    trial.at(Point.PUT.before, fail)

    report = await trial.run()

    assert report.exit_code == ExitCode.SOME_FAILED
    assert "something nobody thought of" in logged.getvalue()
    assert not secrets_told(trial, logged.getvalue())


async def test_the_search_finds_what_it_looks_for(trial: Trial, logged: io.StringIO) -> None:
    """A key in an event, and a URL in the log, would be seen."""
    write_batch_with_phone(trial, 1)
    await trial.run()
    trial.rig.events.append(
        WarningRaised(batch="studio", entry="anna", message=trial.rig.simulator.options.sk)
    )
    log = f"PUT https://store/object?Signature=abc to {PHONE}"

    told = secrets_told(trial, logged.getvalue() + log)

    trial.rig.events.pop()
    assert {name for name, _ in told} == {"events", "log"}
    assert len(told) == 3
