"""The journal: whether it can be read, is whole, and of which version it is."""

from __future__ import annotations

from orchestrator.cli.work.checks.check import Check, failed, failed_by, passed
from orchestrator.domain.errors import OrchestratorError
from orchestrator.domain.presigned import PresignedUrl
from orchestrator.journal.backend import shown
from orchestrator.journal.journal import examine
from orchestrator.journal.migrations import NEWEST
from orchestrator.journal.shapes import DAMAGE_HINT

_NAME = "journal"


def check_journal(state: str) -> tuple[Check, PresignedUrl | None]:
    """Check the journal at *state*; also return an upload URL that it knows, if any."""
    try:
        health = examine(state)
    except OrchestratorError as error:
        return failed_by(_NAME, error, "name another place with --state"), None
    if health is None:
        return passed(_NAME, f"{shown(state)} does not exist yet; the first run makes it"), None
    if health.damage is not None:
        return failed(_NAME, f"{health.place} is damaged: {health.damage}", DAMAGE_HINT), None
    if health.version > NEWEST:
        detail = f"{health.place} was written by a newer version (schema {health.version}, known {NEWEST})"
        fix = "upgrade metastudio-orchestrator, or name another journal with --state"
        return failed(_NAME, detail, fix), None
    later = "" if health.version == NEWEST else f"; the next command that opens it brings it to {NEWEST}"
    return passed(_NAME, f"{health.place} is whole, schema {health.version}{later}"), health.upload_url
