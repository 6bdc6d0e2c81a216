"""Conversion of the program's settings and credentials into the engine's settings."""

from __future__ import annotations

import random
import secrets
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import anyio

from orchestrator.domain.errors import ConfigurationError, UsageError
from orchestrator.domain.outage import OutagePolicy
from orchestrator.domain.retry import RetryPolicy
from orchestrator.domain.states import Change
from orchestrator.engine.context import OnExisting, OnExpired, RunSettings, WorkSettings
from orchestrator.engine.drain import Listening, by_signals
from orchestrator.engine.service_connection import Clocks, ServiceSettings
from orchestrator.journal.records import BatchRecord
from orchestrator.metastudio.credentials import find_credentials
from orchestrator.settings.sources import EffectiveSettings
from orchestrator.settings.values import Settings
from orchestrator.transfer.bandwidth import BandwidthLimit

_API_CAP_SECONDS = 20.0
#: Seconds to wait for a service that was never reached while a person watches: usually a setting is wrong.
_FIRST_PATIENCE_SECONDS = 60.0


def home_folder() -> Path | None:
    """Return the user's home directory; None if it is unknown, as in a container with a made-up user."""
    try:
        return Path.home()
    except RuntimeError:
        return None


def service_settings(effective: EffectiveSettings, environ: Mapping[str, str]) -> ServiceSettings:
    """Return the service's address and the credentials of *environ*; raises ConfigurationError if one is not set."""
    endpoint, values = effective.endpoint, effective.values
    if endpoint is None:
        raise ConfigurationError(
            "no region or endpoint set",
            hint="set --region (for example cn-north-4), --endpoint or ORCHESTRATOR_REGION; "
            "for a trial, `orchestrator simulate` serves one on this machine",
        )
    return ServiceSettings(
        endpoint=endpoint,
        project_id=values.project_id,
        region=values.region,
        credentials=find_credentials(environ, home_folder()),
        api_rate=values.api_rate,
        api_policy=RetryPolicy(attempts=values.api_attempts, cap_seconds=_API_CAP_SECONDS),
        idle_timeout=values.idle_timeout,
        outage=OutagePolicy(
            patience_seconds=values.max_outage,
            first_patience_seconds=min(values.max_outage, _FIRST_PATIENCE_SECONDS)
            if effective.is_interactive
            else values.max_outage,
        ),
        is_verifying=values.verify == "etag",
        is_insecure_http_allowed=values.insecure_http,
    )


def run_settings(values: Settings, *, is_submit_wanted: bool) -> RunSettings:
    """Return the settings of a run."""
    return RunSettings(
        jobs=values.jobs,
        parallel=values.parallel,
        part_bytes=values.part_size,
        is_submit_wanted=is_submit_wanted,
        is_submit_forced=values.submit_anyway,
        is_fail_fast=values.fail_fast,
        on_expired=OnExpired(values.on_expired),
        on_change=None if values.on_change == "ask" else Change(values.on_change),
        on_existing=OnExisting(values.on_existing),
        is_object_verified=values.verify_object,
        max_duration=values.max_duration,
        max_transfer=values.max_transfer,
        is_skipping_invalid=values.skip_invalid,
        min_age=values.min_age,
    )


def work_settings(
    effective: EffectiveSettings,
    environ: Mapping[str, str],
    *,
    is_submit_wanted: bool,
    run_id: str,
    listening: Listening = by_signals,
) -> WorkSettings:
    """Return all settings for a command that works on entries; raises ConfigurationError.

    Raises UsageError if object verification is required but the same settings turn off the digests it needs.
    """
    if effective.values.verify_object and effective.values.verify == "off":
        raise UsageError(
            "--verify-object needs the digests that --verify off turns off",
            hint=f"remove one of them: verify comes from {effective.source_of('verify')}, "
            f"verify_object from {effective.source_of('verify_object')}",
        )
    return WorkSettings(
        service=service_settings(effective, environ),
        settings=run_settings(effective.values, is_submit_wanted=is_submit_wanted),
        policy=RetryPolicy(),
        grace_seconds=effective.values.grace,
        run_id=run_id,
        bandwidth=BandwidthLimit(effective.values.bwlimit),
        listening=listening,
    )


def work_settings_of_batch(
    work: WorkSettings, effective: EffectiveSettings, batch: BatchRecord
) -> WorkSettings:
    """Return *work* of a fleet's host with the settings that the batch itself decides; raises JournalError."""
    values = effective.as_enqueued(batch.settings or "{}").values
    decided = run_settings(values, is_submit_wanted=batch.is_submit_wanted)
    settings = replace(
        work.settings,
        part_bytes=decided.part_bytes,
        is_submit_wanted=decided.is_submit_wanted,
        is_submit_forced=decided.is_submit_forced,
        on_expired=decided.on_expired,
        on_change=decided.on_change,
        on_existing=decided.on_existing,
        is_object_verified=decided.is_object_verified,
    )
    service = replace(work.service, is_verifying=values.verify == "etag")
    return replace(work, settings=settings, service=service)


def real_clocks() -> Clocks:
    """Return the system's clocks and sources of randomness."""
    return Clocks(
        clock=time.time,
        monotonic=time.monotonic,
        sleep=anyio.sleep,
        draw=random.random,
        nonce=lambda: secrets.token_hex(8),
    )
