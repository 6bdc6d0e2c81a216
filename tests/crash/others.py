"""Jobs of others on the service: people's in the console, and those that another journal made."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from orchestrator.domain.entries import BatchKey, create_tag
from orchestrator.simulator import JobView, Simulator
from orchestrator.simulator.links import COVER, TRAINING_VIDEO, object_key
from orchestrator.simulator.requests import CommandBody, CreateBody

_CONFIRM = CommandBody(command="CONFIRM_MULTIPART_UPLOADED")


class Others:
    """Makes jobs in ways in which they are easily taken for ours, and says whether they were touched."""

    def __init__(self, simulator: Simulator, *, batch_name: str, names: Sequence[str]) -> None:
        """Make them look like jobs for avatars of these *names* in the batch *batch_name*."""
        self._simulator = simulator
        self._batch_name = batch_name
        self._names = names
        self._before: dict[str, dict[str, Any]] = {}

    @property
    def job_ids(self) -> list[str]:
        """Which jobs are theirs."""
        return [*self._before]

    def move(self, simulator: Simulator) -> None:
        """Look from now on at *simulator*, which serves the same state."""
        self._simulator = simulator

    async def arrive(self) -> None:
        """Five jobs of people, without a tag of ours, and two of another journal with the same entries."""
        first, batch = self._names[0], self._batch_name
        await self._make(first, batch_name=batch, is_confirmed=True)
        await self._make(first, batch_name=batch)
        await self._make(first)
        await self._make("Somebody else", batch_name=batch, tags=["studio"], is_confirmed=True)
        await self._make("Somebody else", tags=[f"orch:{'0' * 12}:{'0' * 12}:1"])
        other = BatchKey(self._simulator.endpoint, self._simulator.options.project_id, "another batch")
        for number, is_confirmed in enumerate((True, False)):
            tag = create_tag(other, f"avatar-{number}", str(number))
            name = self._names[number % len(self._names)]
            await self._make(name, batch_name=other.name, tags=["studio", tag], is_confirmed=is_confirmed)

    async def make_twins(self) -> None:
        """Two jobs of another journal for the first entry of this very batch."""
        key = BatchKey(self._simulator.endpoint, self._simulator.options.project_id, self._batch_name)
        for number, is_confirmed in enumerate((True, False)):
            tag = create_tag(key, "avatar-0", f"twin-{number}")
            await self._make(
                self._names[0], batch_name=self._batch_name, tags=[tag], is_confirmed=is_confirmed
            )

    async def make_some_meanwhile(self) -> None:
        """One more job for each avatar that a person makes while no run is alive, without tags."""
        for name in self._names:
            await self._make(name, batch_name=self._batch_name)

    def touched(self) -> list[str]:
        """What was done to their jobs, one sentence each."""
        now = {job.job_id: _facts(job) for job in self._simulator.all_jobs}
        return [
            f"job {job_id} of others was touched: {_changes(before, now[job_id])}"
            for job_id, before in self._before.items()
            if now[job_id] != before
        ]

    async def _make(self, name: str, *, is_confirmed: bool = False, **fields: Any) -> None:
        service = self._simulator.service
        job_id = (await service.create(CreateBody(name=name, **fields), None))["job_id"]
        await self._put(object_key(job_id, COVER), b"their cover")
        await self._put(
            object_key(job_id, TRAINING_VIDEO),
            b"their film",
            service.jobs[job_id].upload_ids["training_video"],
        )
        if is_confirmed:
            await service.command(job_id, _CONFIRM)
        self._before[job_id] = next(_facts(job) for job in self._simulator.jobs if job.job_id == job_id)

    async def _put(self, key: str, body: bytes, upload_id: str | None = None) -> None:
        store = self._simulator.store
        receiver = store.receiver()
        await receiver.write(body)
        received = await receiver.finish()
        if upload_id is None:
            await store.keep_object(key, received)
        else:
            await store.keep_part(upload_id, key, 1, received)


def _facts(job: JobView) -> dict[str, Any]:
    return {
        "is_deleted": job.is_deleted,
        "state": job.state,
        "name": job.name,
        "tags": job.tags,
        "updates": job.updates,
        "submissions": job.submissions,
        "confirmations": job.confirmations,
        "etags": job.etags,
        "parts": job.parts,
    }


def _changes(before: dict[str, Any], now: dict[str, Any]) -> str:
    changed: Iterable[str] = (name for name in before if before[name] != now[name])
    return ", ".join(f"{name} from {before[name]!s:.80} to {now[name]!s:.80}" for name in changed)
