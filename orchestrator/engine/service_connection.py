"""The connection of a run to the service: a session, a client and one set of credentials."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from orchestrator.domain.errors import ConfigurationError
from orchestrator.domain.outage import OutagePolicy
from orchestrator.domain.presigned import ServiceTime
from orchestrator.domain.retry import Draw, RetryPolicy
from orchestrator.engine.entry import check_hold
from orchestrator.metastudio.client import MetaStudioClient
from orchestrator.metastudio.credentials import Credentials, FoundCredentials, UserToken, check_endpoint
from orchestrator.metastudio.rate_limit import ApiAttempt, ApiRate, Gate, Pacer, RateLimiter, Retrying, ignore
from orchestrator.metastudio.signing import AkSkAuth, Authenticator, StaticTokenAuth
from orchestrator.network.http_session import open_http_session

if TYPE_CHECKING:
    import ssl

    import aiohttp

#: How long after a response its connection may be reused for a call that changes something. Servers keep idle
#: connections for many seconds, so one this fresh is hardly ever closed during a call; a new one costs handshakes.
_FRESH_SECONDS = 1.0
#: The fraction of the call timeout after which the system drops unacknowledged data of calls that change something.
#: When such a call times out, the service is asked whether it was carried out; by then, data that did not get through
#: must have been dropped.
_SILENT_SHARE = 0.9


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceSettings:
    """The address of the service and the settings for calling it; times in seconds."""

    endpoint: str
    project_id: str | None
    region: str | None = None
    credentials: FoundCredentials
    api_rate: ApiRate
    api_policy: RetryPolicy
    idle_timeout: float
    outage: OutagePolicy
    is_verifying: bool
    is_insecure_http_allowed: bool
    api_timeout: float = 60.0
    tls: ssl.SSLContext | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Clocks:
    """Sources of time and randomness, passed in so that tests can control them."""

    clock: Callable[[], float]
    monotonic: Callable[[], float]
    sleep: Callable[[float], Awaitable[object]]
    draw: Draw
    nonce: Callable[[], str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """An open session with the client that uses it."""

    session: aiohttp.ClientSession
    client: MetaStudioClient
    readers: ThreadPoolExecutor
    endpoint: str
    project_id: str
    service_time: ServiceTime


#: Makes the pacer of calls to an endpoint's project, the first two arguments; it waits with the third. Several
#: processes may share a rate this way.
MakePacer = Callable[[str, str, Callable[[float], Awaitable[object]]], Pacer]


def _own_pacer(settings: ServiceSettings, clocks: Clocks) -> MakePacer:
    """Return a factory of rate limiters that serve this connection alone, with the rates of the settings."""
    rate = settings.api_rate
    return lambda _endpoint, _project_id, sleep: RateLimiter(
        rate.writes_per_second, rate.reads_per_second, clock=clocks.monotonic, sleep=sleep
    )


@asynccontextmanager
async def connect(
    settings: ServiceSettings,
    clocks: Clocks,
    *,
    reader_threads: int,
    on_attempt: Callable[[ApiAttempt], None] = ignore,
    gate: Gate | None = None,
    make_pacer: MakePacer | None = None,
) -> AsyncIterator[Connection]:
    """Open a session to the service, whose calls go through *gate*; nothing is sent to the service itself yet.

    Without *make_pacer* the connection has the whole rate of the settings.
    Raises ConfigurationError when the endpoint or project is missing or wrong, CredentialsError when IAM refuses.
    """
    endpoint = check_endpoint(settings.endpoint, is_insecure_http_allowed=settings.is_insecure_http_allowed)
    retrying = Retrying(policy=settings.api_policy, sleep=clocks.sleep, draw=clocks.draw, gate=gate)
    with ThreadPoolExecutor(max_workers=reader_threads, thread_name_prefix="reader") as readers:
        async with (
            open_http_session(ssl_context=settings.tls) as session,
            open_http_session(
                ssl_context=settings.tls,
                keep_alive_seconds=_FRESH_SECONDS,
                silence_seconds=_SILENT_SHARE * settings.api_timeout,
            ) as fresh,
        ):
            auth = authenticator(session, settings, retrying, clocks.clock)
            project_id = await _project_id(settings, auth)
            service_time = ServiceTime(clocks.clock)
            client = MetaStudioClient(
                session,
                fresh=fresh,
                endpoint=endpoint,
                project_id=project_id,
                auth=auth,
                limiter=(make_pacer or _own_pacer(settings, clocks))(endpoint, project_id, clocks.sleep),
                policy=settings.api_policy,
                sleep=clocks.sleep,
                draw=clocks.draw,
                clock=clocks.clock,
                on_attempt=on_attempt,
                timeout_seconds=settings.api_timeout,
                gate=gate,
                service_time=service_time,
                before_send=check_hold,
            )
            yield Connection(
                session=session,
                client=client,
                readers=readers,
                endpoint=endpoint,
                project_id=project_id,
                service_time=service_time,
            )


def authenticator(
    session: aiohttp.ClientSession,
    settings: ServiceSettings,
    retrying: Retrying,
    clock: Callable[[], float],
) -> Authenticator:
    """Return the authenticator that fits the credentials of *settings*."""
    secret = settings.credentials.secret
    if isinstance(secret, Credentials):
        return AkSkAuth(secret, clock=clock)
    if isinstance(secret, UserToken):
        return StaticTokenAuth(secret.token)
    # Imported here, as below, because only credentials that need a token from IAM use it.
    from orchestrator.metastudio.iam import IamPasswordAuth  # noqa: PLC0415

    iam = check_endpoint(
        secret.endpoint,
        is_insecure_http_allowed=settings.is_insecure_http_allowed,
        setting="ORCHESTRATOR_IAM_ENDPOINT",
    )
    return IamPasswordAuth(
        session,
        replace(secret, endpoint=iam),
        retrying=retrying,
        project_id=known_project_id(settings),
        region=settings.region,
        clock=clock,
    )


def known_project_id(settings: ServiceSettings) -> str | None:
    """Return the project id from the settings or the credentials, without a request; None when neither has it."""
    return settings.project_id or settings.credentials.project_id


async def _project_id(settings: ServiceSettings, auth: Authenticator) -> str:
    known = known_project_id(settings)
    if known:
        return known
    from orchestrator.metastudio.iam import IamPasswordAuth  # noqa: PLC0415

    if isinstance(auth, IamPasswordAuth):
        return await auth.project_id()
    raise ConfigurationError("no project ID set", hint="set --project-id or HUAWEICLOUD_SDK_PROJECT_ID")
