"""Jobs that are none of ours, and a way to see that they were left alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from orchestrator.metastudio.client import MetaStudioClient
from orchestrator.simulator import JobView, Simulator


@dataclass(frozen=True)
class Untouched:
    """What some jobs were like when they were first looked at."""

    simulator: Simulator
    before: Mapping[str, JobView]

    @classmethod
    def of(cls, simulator: Simulator) -> Untouched:
        """All jobs that exist now."""
        return cls(simulator, {job.job_id: job for job in simulator.jobs})

    def differences(self) -> dict[str, JobView | None]:
        """Those that are not as they were, by their id; None for one that is gone."""
        now = {job.job_id: job for job in self.simulator.jobs}
        return {
            job_id: now.get(job_id) for job_id, before in self.before.items() if now.get(job_id) != before
        }

    def check(self) -> None:
        """Fail unless each of them is as it was."""
        assert self.differences() == {}


async def make_console_jobs(client: MetaStudioClient, batch_name: str, name: str) -> None:
    """Five jobs that people made: unlike ours, or like ours in all but the tag."""
    for body in (
        {"name": "holiday"},
        {"name": "tagged", "tags": ["holiday"]},
        {"name": "other batch", "batch_name": "theirs", "tags": ["studio"]},
        {"name": name, "batch_name": "theirs"},
        {"name": name, "tags": ["retake"]},
    ):
        await client.create_job(body)
