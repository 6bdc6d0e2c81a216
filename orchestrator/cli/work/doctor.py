"""`doctor`: checks everything a run needs without changing anything."""

from __future__ import annotations

import os
import resource
import ssl
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from shlex import quote
from urllib.request import getproxies_environment

from yarl import URL

from orchestrator.api.checking import ManifestRequest, check_manifest
from orchestrator.api.engine_settings import home_folder, real_clocks, service_settings
from orchestrator.cli.invocation import Invocation
from orchestrator.cli.output import SCHEMA, Output
from orchestrator.cli.process import run_on_network
from orchestrator.domain.errors import ConfigurationError, ExitCode, OrchestratorError, exit_code_of
from orchestrator.domain.presigned import SKEW_SECONDS, PresignedUrl, ServiceTime
from orchestrator.domain.quantities import format_bytes
from orchestrator.domain.retry import RetryPolicy
from orchestrator.engine.service_connection import Clocks, ServiceSettings, connect
from orchestrator.journal.backend import shown
from orchestrator.journal.journal import examine, folder_of
from orchestrator.journal.migrations import NEWEST
from orchestrator.journal.records import DAMAGE_HINT
from orchestrator.metastudio.answers import exchange
from orchestrator.metastudio.credentials import FoundCredentials, IamAccount, check_endpoint, find_credentials
from orchestrator.metastudio.wire import JobQuery
from orchestrator.network.http_session import EnvironmentProxies, open_http_session
from orchestrator.settings.sources import EffectiveSettings, environment_doubts, settings_of_flags
from orchestrator.settings.values import Settings
from orchestrator.transfer.hashing import HASHLIB, Md5, best_md5

_JOURNAL = "journal"
#: A journal of 50,000 entries takes some hundred MiB, and its write-ahead log may grow to the same size.
_ENOUGH_BYTES = 256 * 1024**2
_LEAST_BYTES = 16 * 1024**2
_ENOUGH_FILES = 1000
_LEAST_FILES = 10
#: Descriptors for streams, event loop, journal, locks, logs and the service's sessions.
_OWN_DESCRIPTORS = 40
_MOST_PARALLEL = 256
_TIMEOUT_SECONDS = 15.0
#: The gateway refuses signatures that are older or newer than this (metastudio-protocol section 13).
_REFUSED_SKEW_SECONDS = 900.0
_CLOCK_FIX = "set this machine's clock: timedatectl set-ntp true"


def run_checks(invocation: Invocation, manifest: Path | None, defaults: Mapping[str, str]) -> ExitCode:
    """Run all checks, even if some fail, and print them; raises UsageError for a wrong flag."""
    effective, settings_check = _settings(invocation, manifest)
    access = find_access(effective, os.environ, home_folder())
    journal, upload_url = check_journal(effective.values.state)
    proxy = check_proxy(access.endpoint)
    checks = [settings_check, *access.checks, proxy]
    clocks = real_clocks()
    checks += run_on_network(check_service, effective, access, clocks)
    checks.append(run_on_network(check_store, upload_url, clocks))
    checks += [journal, *_folders(effective), check_open_files(effective.values), check_digest()]
    if manifest is not None:
        # Every file named in the manifest is opened; the content of films is checked by `validate`.
        opened = ManifestRequest(path=manifest, defaults=defaults).open(effective.values)
        count, problems = check_manifest(opened, with_media=False)
        errors = [problem for problem in problems if problem.is_error]
        if errors:
            more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
            fix = f"orchestrator validate {quote(str(manifest))}"
            checks.append(failed("footage", f"{errors[0]}{more}", fix))
        else:
            checks.append(passed("footage", f"{manifest}: the files of {count} entries can be read"))
    code = exit_code_of_checks(checks)
    _print(invocation.output, checks, code)
    return code


def _settings(invocation: Invocation, manifest: Path | None) -> tuple[EffectiveSettings, Check]:
    """Return the effective settings, or those of the command line alone if a file or a variable is wrong."""
    try:
        effective = invocation.settings(beside=manifest)
    except ConfigurationError as error:
        return settings_of_flags(invocation.flags), failed_by(
            "settings", error, "see `orchestrator config show`"
        )
    for warning in environment_doubts(os.environ):
        return effective, warned("settings", warning, "rename or unset it; `orchestrator config show`")
    return effective, passed("settings", f"{len(effective.sources)} set, the others default")


def _folders(effective: EffectiveSettings) -> list[Check]:
    checks = []
    try:
        folder = folder_of(effective.values.state)
        if folder is not None:
            checks.append(check_folder("state", folder))
    except OrchestratorError as error:
        checks.append(failed_by("state", error, "name another place with --state"))
    if effective.values.log_file is not None:
        checks.append(check_folder("log", effective.values.log_file.absolute().parent))
    return checks


def _print(output: Output, checks: Sequence[Check], code: ExitCode) -> None:
    if output.is_json:
        listed = [check.as_dict() for check in checks]
        output.document({"schema": SCHEMA, "exit_code": int(code), "checks": listed})
        return
    widest = max(len(check.name) for check in checks)
    for check in checks:
        write_line = output.complain if output.is_quiet and check.status is CheckStatus.FAIL else output.say
        write_line(f"{check.status:<7}  {check.name:<{widest}}  {check.detail}")
        if check.fix is not None:
            write_line(f"{'':<7}  {'':<{widest}}  fix: {check.fix}")
    counts = Counter(check.status for check in checks)
    output.say(", ".join(f"{counts[status]} {status}" for status in CheckStatus if counts[status]))


class CheckStatus(StrEnum):
    """The status of a check."""

    OK = "ok"
    WARNING = "warning"
    FAIL = "fail"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One line of `doctor`; *fix* is set if the status is not ok.

    A failed check *is_temporary* if it may pass later without a fix, so that a later run is worth trying.
    """

    name: str
    status: CheckStatus
    detail: str
    fix: str | None = None
    is_temporary: bool = False

    def as_dict(self) -> dict[str, str | None]:
        """Return the check as `doctor --json` prints it."""
        return {"name": self.name, "status": self.status.value, "detail": self.detail, "fix": self.fix}


def passed(name: str, detail: str) -> Check:
    """Return a passed check."""
    return Check(name=name, status=CheckStatus.OK, detail=detail)


def warned(name: str, detail: str, fix: str) -> Check:
    """Return the check for a problem that does not stop a run."""
    return Check(name=name, status=CheckStatus.WARNING, detail=detail, fix=fix)


def failed(name: str, detail: str, fix: str, *, is_temporary: bool = False) -> Check:
    """Return the check for a problem that would stop a run."""
    return Check(name=name, status=CheckStatus.FAIL, detail=detail, fix=fix, is_temporary=is_temporary)


def failed_by(name: str, error: OrchestratorError, fix: str) -> Check:
    """Return the failed check for *error*; *fix* is used if the error has no hint."""
    is_temporary = exit_code_of(error) is ExitCode.TEMPORARY
    return failed(name, error.message, error.hint or fix, is_temporary=is_temporary)


def skipped(name: str, because: str) -> Check:
    """Return the check that is skipped until the check *because* passes."""
    return warned(name, f"not checked: {because} failed", f"fix {because} first, then run doctor again")


def exit_code_of_checks(checks: Iterable[Check]) -> ExitCode:
    """Return 4 if something must be fixed before a run, 5 if every failure is temporary, 0 if none failed."""
    failures = [check for check in checks if check.status is CheckStatus.FAIL]
    if any(not check.is_temporary for check in failures):
        return ExitCode.CONFIGURATION
    return ExitCode.TEMPORARY if failures else ExitCode.OK


def check_journal(state: str) -> tuple[Check, PresignedUrl | None]:
    """Check the journal at *state*; also return one of its upload URLs, None if it has none."""
    try:
        health = examine(state)
    except OrchestratorError as error:
        return failed_by(_JOURNAL, error, "name another place with --state"), None
    if health is None:
        return passed(_JOURNAL, f"{shown(state)} does not exist yet; the first run makes it"), None
    if health.damage is not None:
        return failed(_JOURNAL, f"{health.place} is damaged: {health.damage}", DAMAGE_HINT), None
    if health.version > NEWEST:
        detail = f"{health.place} was written by a newer version (schema {health.version}, known {NEWEST})"
        fix = "upgrade metastudio-orchestrator, or name another journal with --state"
        return failed(_JOURNAL, detail, fix), None
    later = "" if health.version == NEWEST else f"; the next command that opens it brings it to {NEWEST}"
    return passed(_JOURNAL, f"{health.place} is whole, schema {health.version}{later}"), health.upload_url


def check_folder(name: str, folder: Path) -> Check:
    """Check that *folder*, or its nearest existing parent, is writable and has free space."""
    place = next((each for each in (folder, *folder.parents) if each.is_dir()), Path("/"))
    try:
        status = os.statvfs(place)
    except OSError as error:
        return failed(name, f"{place} cannot be looked at: {error.strerror}", "name another place")
    if not os.access(place, os.W_OK | os.X_OK):
        return failed(name, f"{place} is not writable", f"make it writable for this user: ls -ld {place}")
    free = status.f_bavail * status.f_frsize
    # Some file systems have no fixed number of inodes and report none at all.
    files = status.f_favail if status.f_files else _ENOUGH_FILES
    counted = f", {files:,} inodes free" if status.f_files else ""
    detail = f"{folder}: {format_bytes(free)} free{counted}"
    fix = f"free some space: `df -h {place}`, `df -i {place}`"
    if free < _LEAST_BYTES or files < _LEAST_FILES:
        return failed(name, detail, fix, is_temporary=True)
    if free < _ENOUGH_BYTES or files < _ENOUGH_FILES:
        return warned(name, detail, fix)
    return passed(name, detail)


def check_open_files(settings: Settings, limit: int | None = None) -> Check:
    """Compare the limit of open files (*limit*, by default this process's) with the maximum that -j and -p need.

    An upload needs a socket and an open file; an entry may have a call in flight on each of two sessions.
    """
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0] if limit is None else limit
    parallel = settings.parallel or _MOST_PARALLEL
    needed = 2 * parallel + 2 * settings.jobs + _OWN_DESCRIPTORS
    if soft == resource.RLIM_INFINITY:
        return passed("open files", "no limit")
    detail = f"the limit is {soft}; -j {settings.jobs} -p {settings.parallel or 'auto'} needs up to {needed}"
    if soft >= needed:
        return passed("open files", detail)
    return failed("open files", detail, f"`ulimit -n {max(needed, 1024)}`, or lower -j and -p")


def check_digest(best: Md5 | None = None) -> Check:
    """Report the MD5 implementation used for uploads."""
    found = best or best_md5()
    if found is not HASHLIB:
        return passed("digest", f"the compiled MD5, {found.lanes} streams at a time")
    return warned(
        "digest",
        "hashlib, which takes several times the CPU of the compiled MD5",
        "install a C compiler, then metastudio-orchestrator again",
    )


def check_proxy(endpoint: str | None) -> Check:
    """Report the proxy for *endpoint*, without its user and password."""
    proxies = getproxies_environment()
    try:
        proxy = EnvironmentProxies(proxies).proxy_for(URL(endpoint)) if endpoint else None
        is_usable = proxy is None or bool(proxy.host)
    except ValueError:
        proxy, is_usable = None, False
    if not is_usable:
        return failed(
            "proxy",
            "the proxy in the environment is not a URL",
            "write HTTPS_PROXY as http://HOST:PORT, or unset it",
        )
    if proxy is not None:
        return passed("proxy", f"{proxy.scheme}://{proxy.host_port_subcomponent}")
    return passed("proxy", "none is used" + (" for this endpoint" if proxies else ""))


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """The credentials and address of the service, found without sending anything; None for missing or wrong ones."""

    credentials: FoundCredentials | None
    endpoint: str | None
    has_project: bool
    checks: tuple[Check, ...]


def find_access(effective: EffectiveSettings, environ: Mapping[str, str], home: Path | None) -> Access:
    """Check credentials, project and endpoint without any network request."""
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
    """Request one job of the service's list, or any response without credentials; never writes."""
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
    return [service_check, _clock(time), _tls(failure, is_secure=is_secure, is_answered=time.is_known)]


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
    """Send a HEAD request to *url*, which must not contain a secret; any response counts as success."""
    time = ServiceTime(clocks.clock)
    try:
        async with open_http_session(connect_timeout=_TIMEOUT_SECONDS) as session:
            answer = await exchange(
                session, "HEAD", URL(url), headers={}, body=b"", timeout_seconds=_TIMEOUT_SECONDS
            )
    except OrchestratorError as error:
        return "", error, time
    time.note(answer.headers.get("Date"))
    return f"answers (HTTP {answer.status}); its list needs credentials and a project", None, time


def _clock(time: ServiceTime) -> Check:
    if not time.is_known:
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
    """Check that the store's host responds, without sending the secrets of an upload URL."""
    if url is None:
        return passed("store", "not known before the first upload URL")
    told, failure, _ = await _knock(f"{url.scheme}://{url.host}/", clocks)
    if failure is not None:
        return failed_by("store", failure, "run doctor again later")
    return passed("store", f"{url.host} {told.partition(';')[0]}")
