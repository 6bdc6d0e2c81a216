"""The public names of `import orchestrator`; they follow semantic versioning (docs/api.md)."""

from orchestrator.api.batch import Batch, EventStream, SettingKeywords, open_batch
from orchestrator.api.planning import BatchPlan, PlannedEntry
from orchestrator.api.run_report import EntryResult, RunReport
from orchestrator.api.status import BatchStatus, EntryStatus
from orchestrator.domain.errors import (
    ConfigurationError,
    CredentialsError,
    DecisionNeededError,
    EntryError,
    ExitCode,
    JournalError,
    LockHeldError,
    ManifestError,
    OrchestratorError,
    RunError,
    ServiceRefusesError,
    ServiceUnreachableError,
    UsageError,
)
from orchestrator.domain.states import EntryState
from orchestrator.manifest import Problem, Severity

__all__ = [
    "Batch",
    "BatchPlan",
    "BatchStatus",
    "ConfigurationError",
    "CredentialsError",
    "DecisionNeededError",
    "EntryError",
    "EntryResult",
    "EntryState",
    "EntryStatus",
    "EventStream",
    "ExitCode",
    "JournalError",
    "LockHeldError",
    "ManifestError",
    "OrchestratorError",
    "PlannedEntry",
    "Problem",
    "RunError",
    "RunReport",
    "ServiceRefusesError",
    "ServiceUnreachableError",
    "SettingKeywords",
    "Severity",
    "UsageError",
    "open_batch",
]
