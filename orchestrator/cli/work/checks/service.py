"""The service and the store: credentials, project, endpoint, one read, the clock, TLS."""

from __future__ import annotations

import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from yarl import URL

from orchestrator.api.service import service_settings
from orchestrator.api.settings import EffectiveSettings
from orchestrator.cli.work.checks.check import Check, failed, failed_by, passed, skipped, warned
from orchestrator.domain.errors import ConfigurationError, OrchestratorError
from orchestrator.domain.presigned import SKEW_SECONDS, PresignedUrl, ServiceTime
from orchestrator.domain.retry import RetryPolicy
from orchestrator.engine.connection import Clocks, ServiceSettings, connect
from orchestrator.metastudio.answers import exchange
from orchestrator.metastudio.credentials import FoundCredentials, IamAccount, find_credentials
from orchestrator.metastudio.endpoints import check_endpoint
from orchestrator.metastudio.requests import JobQuery
from orchestrator.network.session import open_http_session

_TIMEOUT_SECONDS = 15.0
#: The gateway refuses signatures that are older or newer (metastudio-protocol section 13).
_REFUSED_SKEW_SECONDS = 900.0
_CLOCK_FIX = "set this machine's clock: timedatectl set-ntp true"


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """What is known of the way to the service before anything is sent; None for what is missing or wrong."""

    credentials: FoundCredentials | None
    endpoint: str | None
    has_project: bool
    checks: tuple[Check, ...]


def find_access(effective: EffectiveSettings, environ: Mapping[str, str], home: Path | None) -> Access:
    """Check credentials, project and endpoint without asking anyone."""
    credentials, credentials_check = _credentials(environ, home)
    project = _project(effective, credentials)
    endpoint, endpoint_check = _endpoint(effective)
    return Access(
        credentials=credentials,
        endpoint=endpoint,
        has_project=project.fix is None,
        checks=(credentials_check, project, endpoint_check),
    )


def _credentials(environ: Mapping[str, str], home: Path | None) -> tuple[FoundCredentials | None, Check]:
    try:
        found = find_credentials(environ, home)
    except ConfigurationError as error:
        return None, failed_by("credentials", error, "see `orchestrator config show`")
    for warning in found.warnings:
        return found, warned("credentials", f"set (from {found.source})", warning)
    return found, passed("credentials", f"set (from {found.source})")


def _project(effective: EffectiveSettings, credentials: FoundCredentials | None) -> Check:
    if effective.values.project_id:
        return passed("project", f"{effective.values.project_id} (from {effective.source_of('project_id')})")
    if credentials is not None and credentials.project_id:
        return passed("project", f"{credentials.project_id} (from the place of the credentials)")
    if credentials is not None and isinstance(credentials.secret, IamAccount):
        return passed("project", "not set; IAM is asked for it")
    return failed("project", "no project ID set", "give --project-id, or set HUAWEICLOUD_SDK_PROJECT_ID")


def _endpoint(effective: EffectiveSettings) -> tuple[str | None, Check]:
    try:
        given = effective.endpoint
        if given is None:
            fix = "give --region (for example cn-north-4) or --endpoint"
            return None, failed("endpoint", "no region or endpoint set", fix)
        endpoint = check_endpoint(given, is_insecure_http_allowed=effective.values.insecure_http)
    except ConfigurationError as error:
        return None, failed_by("endpoint", error, "write for example https://host[:port]")
    name = "endpoint" if given == effective.values.endpoint else "region"
    return endpoint, passed("endpoint", f"{endpoint} (from {name}, {effective.source_of(name)})")


async def check_service(effective: EffectiveSettings, access: Access, clocks: Clocks) -> list[Check]:
    """Ask the service for one job of its list, or without credentials for any answer; never a write."""
    if access.endpoint is None:
        return [skipped(name, "endpoint") for name in ("service", "clock", "tls")]
    if access.credentials is not None and access.has_project:
        service = service_settings(effective, os.environ)
        told, failure, time = await _list_one_job(service, clocks)
    else:
        told, failure, time = await _knock(access.endpoint, clocks)
    is_secure = access.endpoint.startswith("https:")
    service_check = (
        passed("service", told)
        if failure is None
        else failed_by("service", failure, "run doctor again later")
    )
    return [service_check, _clock(time), _tls(failure, is_secure=is_secure, is_answered=time.is_heard)]


async def _list_one_job(
    service: ServiceSettings, clocks: Clocks
) -> tuple[str, OrchestratorError | None, ServiceTime]:
    once = replace(service, api_policy=RetryPolicy(attempts=1, cap_seconds=1.0), api_timeout=_TIMEOUT_SECONDS)
    time = ServiceTime(clocks.clock)
    started = clocks.monotonic()
    try:
        async with connect(once, clocks, reader_threads=1) as connection:
            time = connection.service_time
            await connection.client.list_jobs(JobQuery(limit=1))
    except OrchestratorError as error:
        return "", error, time
    return f"lists jobs; answered in {clocks.monotonic() - started:.2f} s", None, time


async def _knock(url: str, clocks: Clocks) -> tuple[str, OrchestratorError | None, ServiceTime]:
    """Ask *url*, which has no secret in it, for its head; any answer will do."""
    time = ServiceTime(clocks.clock)
    try:
        async with open_http_session(connect_timeout=_TIMEOUT_SECONDS) as session:
            answer = await exchange(
                session, "HEAD", URL(url), headers={}, body=b"", timeout_seconds=_TIMEOUT_SECONDS
            )
    except OrchestratorError as error:
        return "", error, time
    time.hear(answer.headers.get("Date"))
    return f"answers (HTTP {answer.status}); its list needs credentials and a project", None, time


def _clock(time: ServiceTime) -> Check:
    if not time.is_heard:
        return warned(
            "clock", "not compared: no answer of the service had a date", "see service, then run again"
        )
    ahead = time.ahead_seconds
    if not ahead:
        return passed("clock", f"within {SKEW_SECONDS:.0f} s of the service's")
    detail = f"{abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} the service's"
    if abs(ahead) < _REFUSED_SKEW_SECONDS:
        return warned("clock", detail, _CLOCK_FIX)
    return failed("clock", f"{detail}: signatures are refused", _CLOCK_FIX)


def _tls(failure: OrchestratorError | None, *, is_secure: bool, is_answered: bool) -> Check:
    if not is_secure:
        return passed("tls", "not used: the endpoint is http")
    paths = ssl.get_default_verify_paths()
    trusted = os.environ.get("SSL_CERT_FILE") or paths.cafile or paths.capath or "none found"
    if failure is None or is_answered:
        return passed("tls", f"the certificate is trusted (authorities: {trusted})")
    if isinstance(failure, ConfigurationError):
        return failed("tls", f"{failure.message} (authorities: {trusted})", failure.hint or _CLOCK_FIX)
    return warned("tls", f"not checked: no connection (authorities: {trusted})", "see service")


async def check_store(url: PresignedUrl | None, clocks: Clocks) -> Check:
    """Ask the store's host, without any upload URL's secret, whether it answers."""
    if url is None:
        return passed("store", "not known before the first upload URL")
    told, failure, _ = await _knock(f"{url.scheme}://{url.host}/", clocks)
    if failure is not None:
        return failed_by("store", failure, "run doctor again later")
    return passed("store", f"{url.host} {told.partition(';')[0]}")
