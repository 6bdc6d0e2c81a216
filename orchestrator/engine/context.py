"""What the lifecycle works with, passed in once: no part of the engine makes its own."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import StrEnum

from orchestrator.domain.delivery import ObjectFacts
from orchestrator.domain.entries import BatchKey
from orchestrator.domain.presigned import PresignedUrl
from orchestrator.domain.retry import Draw, RetryBudget, RetryPolicy
from orchestrator.domain.segments import DEFAULT_PART_BYTES
from orchestrator.domain.service_time import ServiceTime
from orchestrator.domain.states import Change
from orchestrator.engine.drain import Drain
from orchestrator.engine.events import EventBus
from orchestrator.engine.outage import Outages
from orchestrator.engine.parallelism import MAX_PARALLEL
from orchestrator.engine.rates import RateEstimate
from orchestrator.journal.journal import Journal
from orchestrator.metastudio.client import MetaStudioClient
from orchestrator.transfer.bandwidth import BandwidthLimit
from orchestrator.transfer.sender import SegmentSender
from orchestrator.transfer.slots import PutSlots


class OnExpired(StrEnum):
    """What to do when upload URLs have expired and the service gives no fresh ones for the job."""

    RECREATE = "recreate"
    FAIL = "fail"


class OnExisting(StrEnum):
    """What to do about a job that exists before the first create of its entry."""

    ASK = "ask"
    ADOPT = "adopt"
    CREATE = "create"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSettings:
    """How a run behaves; the defaults are those of design section 4."""

    jobs: int = 5
    #: PUTs at once over the whole run; None finds out while it runs.
    parallel: int | None = 16
    part_bytes: int = DEFAULT_PART_BYTES
    is_submit_wanted: bool = False
    #: Submit also what is known to be refused.
    is_submit_forced: bool = False
    is_fail_fast: bool = False
    on_expired: OnExpired = OnExpired.RECREATE
    on_change: Change | None = None
    on_existing: OnExisting = OnExisting.ASK
    is_object_verified: bool = False
    entry_retries: int = 200
    run_retries: int = 5000
    url_refreshes: int = 8
    settle_seconds: float = 5.0
    breaker_entries: int = 3

    @property
    def most_parallel(self) -> int:
        """How many PUTs at once there can be."""
        return MAX_PARALLEL if self.parallel is None else self.parallel


#: Looks at an object through its download URL; None when the store does not tell.
Probe = Callable[[PresignedUrl], Awaitable[ObjectFacts | None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Collaborators:
    """The run's journal, client, sender, clocks and limits."""

    batch: BatchKey
    settings: RunSettings
    journal: Journal
    client: MetaStudioClient
    sender: SegmentSender
    probe: Probe
    events: EventBus
    drain: Drain
    policy: RetryPolicy
    budget: RetryBudget
    outages: Outages
    slots: PutSlots
    bandwidth: BandwidthLimit
    clock: Callable[[], float]
    service_time: ServiceTime
    monotonic: Callable[[], float]
    draw: Draw
    nonce: Callable[[], str]
    rate: RateEstimate = field(default_factory=RateEstimate)
