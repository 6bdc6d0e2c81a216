"""Fixtures: the scripted service, the virtual clock, and clients of both."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator

import aiohttp
import pytest
from aiohttp import web
from blockbuster import blockbuster_ctx

from orchestrator.domain.retry import RetryPolicy
from orchestrator.metastudio.client import MetaStudioClient
from orchestrator.metastudio.credentials import Credentials
from orchestrator.metastudio.rate_limit import ApiAttempt, RateLimiter
from orchestrator.metastudio.signing import AkSkAuth, Authenticator, SignableRequest
from tests.metastudio.scripted import PROJECT_ID, ScriptedService, VirtualClock


@pytest.fixture(autouse=True)
def _blocking_calls_are_errors() -> Iterator[None]:
    with blockbuster_ctx():
        yield


@pytest.fixture
async def service() -> AsyncIterator[ScriptedService]:
    scripted = ScriptedService()
    server = web.Application()
    server.router.add_route("*", "/{tail:.*}", scripted.answer)
    runner = web.AppRunner(server, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    scripted.endpoint = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield scripted
    await runner.cleanup()


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as open_session:
        yield open_session


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def attempts() -> list[ApiAttempt]:
    return []


MakeClient = Callable[..., MetaStudioClient]


@pytest.fixture
def make_client(
    session: aiohttp.ClientSession, service: ScriptedService, clock: VirtualClock, attempts: list[ApiAttempt]
) -> MakeClient:
    """Build a client of the scripted service, or of another endpoint, that waits on the virtual clock."""

    def make(
        endpoint: str | None = None,
        *,
        session: aiohttp.ClientSession = session,
        auth: Authenticator | None = None,
        limiter: RateLimiter | None = None,
        attempts_allowed: int = 4,
        timeout_seconds: float = 5.0,
        project_id: str = PROJECT_ID,
    ) -> MetaStudioClient:
        return MetaStudioClient(
            session,
            endpoint=endpoint or service.endpoint,
            project_id=project_id,
            auth=auth or AkSkAuth(Credentials("AKIDEXAMPLEEXAMPLE01", "secret-key-of-the-test"), clock=clock),
            limiter=limiter or RateLimiter(0, 0, clock=clock, sleep=clock.sleep),
            policy=RetryPolicy(attempts=attempts_allowed),
            sleep=clock.sleep,
            draw=lambda: 0.5,
            clock=clock,
            on_attempt=attempts.append,
            timeout_seconds=timeout_seconds,
        )

    return make


VendorAuthorization = Callable[[SignableRequest, str, str], tuple[str, str]]


@pytest.fixture(scope="session")
def vendor_authorization(tmp_path_factory: pytest.TempPathFactory) -> VendorAuthorization:
    """Sign with the vendor's own client: the Authorization header and the path with its query."""
    with pytest.MonkeyPatch.context() as patch:
        # Importing it writes an id to HOME.
        patch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
        from huaweicloudsdkcore.auth.credentials import BasicCredentials
        from huaweicloudsdkcore.sdk_request import SdkRequest
        from huaweicloudsdkcore.signer.signer import Signer

    def sign(request: SignableRequest, ak: str, sk: str) -> tuple[str, str]:
        vendor_request = SdkRequest(
            method=request.method,
            resource_path=request.path,
            query_params=list(request.query),
            header_params=dict(request.headers),
            body=request.body,
        )
        signed = Signer(BasicCredentials(ak, sk)).sign(vendor_request)
        return signed.header_params["Authorization"], signed.uri

    return sign
