"""The service as a run talks to it: one session, one client, one set of credentials."""

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

#: How long after an answer its connection may carry a call that changes something. Servers keep idle connections
#: for many seconds: so soon one is hardly ever closed under a call, and a new one would cost handshakes.
_FRESH_SECONDS = 1.0
#: Of the time after which such a call is given up. Next the service is asked whether it was done: by then the system
#: must have dropped what did not get through.
_SILENT_SHARE = 0.9


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceSettings:
    """Where the service is and how to talk to it; times in seconds."""

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
    """Time and chance, passed in so that tests can hold them."""

    clock: Callable[[], float]
    monotonic: Callable[[], float]
    sleep: Callable[[float], Awaitable[object]]
    draw: Draw
    nonce: Callable[[], str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """An open session with the client that speaks through it."""

    session: aiohttp.ClientSession
    client: MetaStudioClient
    readers: ThreadPoolExecutor
    endpoint: str
    project_id: str
    service_time: ServiceTime


#: Makes what paces the calls to an endpoint's project, the first two arguments, and waits by the third: several
#: processes may share a rate.
MakePacer = Callable[[str, str, Callable[[float], Awaitable[object]]], Pacer]


def _own_pacer(settings: ServiceSettings, clocks: Clocks) -> MakePacer:
    """Have the rate of the settings for this connection alone."""
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
    """Open a session to the service, whose calls go through *gate*; the first call is the first to reach it.

    Without *make_pacer* the connection has the rate of the settings to itself.
    Raises ConfigurationError when endpoint or project are missing or wrong, CredentialsError when IAM refuses.
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
    """The way to prove who calls that fits the credentials that were found."""
    secret = settings.credentials.secret
    if isinstance(secret, Credentials):
        return AkSkAuth(secret, clock=clock)
    if isinstance(secret, UserToken):
        return StaticTokenAuth(secret.token)
    # Loaded for those whom IAM gives a token only, as below.
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
    """The project id as far as it is known without asking anybody."""
    return settings.project_id or settings.credentials.project_id


async def _project_id(settings: ServiceSettings, auth: Authenticator) -> str:
    known = known_project_id(settings)
    if known:
        return known
    from orchestrator.metastudio.iam import IamPasswordAuth  # noqa: PLC0415

    if isinstance(auth, IamPasswordAuth):
        return await auth.project_id()
    raise ConfigurationError("no project ID set", hint="set --project-id or HUAWEICLOUD_SDK_PROJECT_ID")
