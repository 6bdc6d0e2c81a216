"""Tokens for passwords: fetched once, renewed in time, replaced when refused."""

from __future__ import annotations

import datetime as dt
import json

import anyio
import pytest
from aiohttp import web
from yarl import URL

from orchestrator.domain.errors import (
    ConfigurationError,
    CredentialsError,
    NotSentError,
    ServiceUnreachableError,
    ThrottledError,
)
from orchestrator.domain.retry import RetryPolicy
from orchestrator.metastudio.credentials import Credentials, IamAccount
from orchestrator.metastudio.iam import IamPasswordAuth
from orchestrator.metastudio.rate_limit import Retrying
from orchestrator.metastudio.signing import AkSkAuth, StaticTokenAuth
from tests.metastudio.scripted import breaks_off, hangs_up, refuses, says, shows_page

URL_ = URL("https://metastudio.example/v1")
HOUR = 3600.0


@pytest.fixture
def make_auth(session, service, clock):
    """Build IAM password authentication against the scripted service."""

    def make(**project) -> IamPasswordAuth:
        return IamPasswordAuth(
            session,
            IamAccount(user="ann", password="pass-word-1", domain="studio", endpoint=service.endpoint),
            retrying=Retrying(policy=RetryPolicy(attempts=3), sleep=clock.sleep, draw=lambda: 0.5),
            clock=clock,
            timeout_seconds=5,
            **(project or {"region": "cn-north-4"}),
        )

    return make


def issues(token: str, *, issued_at: float, life_seconds: float = 24 * HOUR, project_id: str | None = "p1"):
    """IAM's answer with a token."""
    times = [
        dt.datetime.fromtimestamp(at, dt.UTC).isoformat().replace("+00:00", "Z")
        for at in (issued_at, issued_at + life_seconds)
    ]
    body = {"token": {"issued_at": times[0], "expires_at": times[1], "project": {"id": project_id}}}
    return says(201, body, X_Subject_Token=token)


async def _token(auth) -> str:
    return (await auth.headers("GET", URL_, {}, b""))["X-Auth-Token"]


async def test_a_token_is_asked_for_as_iam_documents_it(make_auth, service, clock):
    """Path, body and scope; password users get the project of the region's name."""
    service.script = [issues("t1", issued_at=clock.now)]

    assert await _token(make_auth()) == "t1"

    (request,) = service.requests
    assert request.raw_path == "/v3/auth/tokens?nocatalog=true"
    assert json.loads(request.body) == {
        "auth": {
            "identity": {
                "methods": ["password"],
                "password": {
                    "user": {"domain": {"name": "studio"}, "name": "ann", "password": "pass-word-1"}
                },
            },
            "scope": {"project": {"name": "cn-north-4"}},
        }
    }


async def test_the_token_tells_the_project_when_none_is_given(make_auth, service, clock):
    """`project.id` of the token is the project id to use; retries are part of asking."""
    service.script = [hangs_up, issues("t1", issued_at=clock.now)]

    assert await make_auth().project_id() == "p1"
    assert clock.sleeps == [0.25]


async def test_a_given_project_id_is_the_scope(make_auth, service, clock):
    """The id goes before the region's name."""
    service.script = [issues("t1", issued_at=clock.now)]

    await _token(make_auth(project_id="p9", region="cn-north-4"))

    assert json.loads(service.requests[0].body)["auth"]["scope"] == {"project": {"id": "p9"}}


@pytest.mark.parametrize(("life", "kept_for"), [(24 * HOUR, 24 * HOUR - 600), (10.0, 9.0)])
async def test_a_token_is_kept_until_shortly_before_its_end(make_auth, service, clock, life, kept_for):
    """By IAM's own clock, which may be hours from ours."""
    service.script = [
        issues("t1", issued_at=clock.now + 5 * HOUR, life_seconds=life),
        issues("t2", issued_at=clock.now),
    ]
    auth = make_auth()

    tokens = [await _token(auth)]
    clock.now += kept_for - 0.5
    tokens.append(await _token(auth))
    clock.now += 1
    tokens.append(await _token(auth))

    assert tokens == ["t1", "t1", "t2"]


async def test_many_calls_at_once_fetch_one_token(make_auth, service, clock):
    """The others wait for the first one's answer."""
    service.script = [issues("t1", issued_at=clock.now)]
    auth = make_auth()
    tokens: list[str] = []

    async def ask() -> None:
        tokens.append(await _token(auth))

    async with anyio.create_task_group() as group:
        for _ in range(20):
            group.start_soon(ask)

    assert tokens == ["t1"] * 20
    assert len(service.requests) == 1


async def test_a_refused_token_is_renewed_once_and_the_call_sent_again(
    make_client, make_auth, service, clock
):
    """401 "The token must be updated" is no failure of the call, not even of a create."""
    service.script = [
        issues("t1", issued_at=clock.now),
        refuses(401, "APIGW.0307", "The token must be updated."),
        issues("t2", issued_at=clock.now),
        says(200, {"job_id": "j"}),
    ]

    created = await make_client(auth=make_auth()).create_job({})

    assert created.job_id == "j"
    assert [request.headers.get("x-auth-token") for request in service.requests] == [None, "t1", None, "t2"]
    assert clock.sleeps == []


async def test_a_token_refused_twice_is_a_credentials_error(make_client, make_auth, service, clock):
    """A new token that is refused as well ends the run; there is no loop."""
    service.script = [
        issues("t1", issued_at=clock.now),
        refuses(401, "APIGW.0301"),
        issues("t2", issued_at=clock.now),
        refuses(401, "APIGW.0301"),
    ]

    with pytest.raises(CredentialsError) as caught:
        await make_client(auth=make_auth()).create_job({})

    assert "ORCHESTRATOR_IAM_USER" in (caught.value.hint or "")
    assert len(service.requests) == 4


async def test_a_token_another_call_renewed_meanwhile_is_kept(make_auth, service, clock):
    """Only the token that was refused is dropped."""
    service.script = [issues("t1", issued_at=clock.now), issues("t2", issued_at=clock.now)]
    auth = make_auth()
    old = await auth.headers("GET", URL_, {}, b"")

    auth.forget(old)
    renewed = await _token(auth)
    auth.forget(old)

    assert renewed == await _token(auth) == "t2"
    assert len(service.requests) == 2


@pytest.mark.parametrize("status", [400, 401, 403, 404])
async def test_a_refused_password_is_a_credentials_error_without_the_password(make_auth, service, status):
    """IAM's nested error body is read, and what it echoes is masked."""
    error = {
        "error": {"code": status, "message": "pass-word-1 of 13800138000 is wrong", "title": "Unauthorized"}
    }
    service.script = [says(status, error)]

    with pytest.raises(
        CredentialsError, match=r"IAM does not accept the account: \*\*\* of \*\*\* is"
    ) as caught:
        await make_auth().project_id()

    assert "pass-word-1" not in repr(caught.value)
    assert len(service.requests) == 1


async def test_a_page_that_says_404_is_about_the_endpoint_and_not_the_account(make_auth, service):
    """A wrong password has a code of IAM; a proxy or another server has none."""
    service.script = [shows_page(404)]

    with pytest.raises(ConfigurationError, match="this is not IAM: HTTP 404") as caught:
        await make_auth().project_id()

    assert "ORCHESTRATOR_IAM_ENDPOINT" in (caught.value.hint or "")


@pytest.mark.parametrize("reply", [hangs_up, breaks_off, refuses(503, "x"), says(201)])
async def test_iam_failing_means_that_the_call_was_not_sent(make_auth, service, reply):
    """So the client may try a create again."""
    service.script = [reply]

    with pytest.raises(NotSentError, match="IAM"):
        await _token(make_auth())


async def test_iam_down_for_good_ends_as_unreachable(make_auth, service):
    """After as many attempts as the policy has."""
    service.script = [refuses(503, "x")]

    with pytest.raises(ServiceUnreachableError, match=r"IAM gave no token.*3 attempts"):
        await make_auth().project_id()

    assert len(service.requests) == 3


async def test_iam_throttling_is_told_as_such(make_auth, service):
    """With the wait IAM asks for."""
    service.script = [refuses(429, "x", Retry_After="4")]

    with pytest.raises(ThrottledError) as caught:
        await _token(make_auth())

    assert caught.value.retry_after == 4.0


async def test_a_token_without_a_project_asks_for_the_project_id(make_auth, service, clock):
    """The hint names the option."""
    service.script = [issues("t1", issued_at=clock.now, project_id=None)]

    with pytest.raises(ConfigurationError, match="project") as caught:
        await make_auth().project_id()

    assert "--project-id" in (caught.value.hint or "")


async def test_an_account_without_project_and_region_is_a_configuration_error(make_auth):
    """IAM needs a scope."""
    with pytest.raises(ConfigurationError, match="needs a project"):
        make_auth(project_id=None, region=None)


async def test_temporary_keys_send_and_sign_their_security_token(clock):
    """X-Security-Token is among the signed headers."""
    auth = AkSkAuth(Credentials("AK", "SK", "temporary"), clock=clock)

    headers = await auth.headers("GET", URL_, {}, b"")

    assert headers["X-Security-Token"] == "temporary"
    assert headers["X-Sdk-Date"] == "20261122T080000Z"
    assert "SignedHeaders=host;x-sdk-date;x-security-token," in headers["Authorization"]


@pytest.mark.parametrize(
    ("url", "host"),
    [("https://h.example/", "h.example"), ("https://h.example:443/", "h.example"), ("http://h:81/", "h:81")],
)
async def test_the_signed_host_is_the_one_on_the_wire(clock, url, host):
    """A port that is not the scheme's own belongs to it."""
    headers = await AkSkAuth(Credentials("AK", "SK"), clock=clock).headers("GET", URL(url), {}, b"")

    assert headers["Host"] == host


async def test_a_static_token_is_sent_and_cannot_be_renewed():
    """Somebody else has to fetch a new one."""
    auth = StaticTokenAuth("t")

    assert await auth.headers("GET", URL_, {"A": "b"}, b"") == {"A": "b", "X-Auth-Token": "t"}
    assert auth.forget({"X-Auth-Token": "t"}) is False


async def test_nothing_that_authenticates_shows_its_secret(make_auth, service, clock):
    """Neither the credentials nor what holds them."""
    service.script = [issues("secret-token", issued_at=clock.now)]
    auth = make_auth()
    await _token(auth)
    shown = [
        Credentials("secret-ak", "secret-sk", "secret-st"),
        AkSkAuth(Credentials("secret-ak", "secret-sk")),
        StaticTokenAuth("secret-token"),
        IamAccount(user="u", password="secret-password", domain="d", endpoint="e"),
        auth,
    ]

    assert "secret" not in repr(shown) + "".join(map(str, shown))


async def test_an_answer_of_iam_without_end_is_a_wrong_setting(make_auth, service):
    """What listens at the endpoint is not IAM."""

    async def endless(request):
        response = web.StreamResponse(status=201)
        await response.prepare(request)
        while True:
            await response.write(b" " * 65536)

    service.script = [endless]

    with pytest.raises(ConfigurationError, match="longer than 8 MiB") as caught:
        await _token(make_auth())

    assert "ORCHESTRATOR_IAM_ENDPOINT" in (caught.value.hint or "")


@pytest.mark.parametrize("token", ["caf\u00e9", "a b"])
async def test_a_token_that_no_header_carries_is_none(make_auth, service, token):
    """It would break the request it is for."""
    service.script = [says(201, {"token": {}}, X_Subject_Token=token)]

    with pytest.raises(NotSentError, match="without a token that can be sent"):
        await _token(make_auth())
