"""Only who signs or shows a token gets in."""

import hashlib
from typing import Any

import pytest

from orchestrator.simulator.auth import Call, Credentials, canonical_request, sign
from orchestrator.simulator.requests import ApiError

PROJECT = "0d697589d98091f12f92c0073501cd79"
PATH = f"/v1/{PROJECT}/digital-human-training-manage/user/jobs"
SIGNED_AT = 1_795_334_400.0
CREDENTIALS = Credentials(
    ak="AKIDEXAMPLEEXAMPLE01",
    sk="wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY01",
    security_token=None,
    static_token="static",
    token_lifetime_seconds=3600.0,
    max_clock_skew_seconds=None,
)
HEADERS = {
    "x-sdk-date": "20261122T080000Z",
    "x-project-id": PROJECT,
    "host": "metastudio.cn-north-4.myhuaweicloud.com",
}
CREATE_BODY = (
    b'{"name": "Test Role", "contact": "1**********", "video_multipart_count": 2,'
    b' "is_background_replacement": true}'
)
CREATE = Call(
    "POST", PATH, {**HEADERS, "content-type": "application/json", "user-agent": "ua/1"}, CREATE_BODY
)
SHOW = Call("GET", f"{PATH}/efc5300ecdba4ea48d1ff13a9d907bc0", HEADERS, b"")


def signed(call: Call, names: list[str], signature: str) -> Call:
    """Return the call with an Authorization header."""
    value = f"SDK-HMAC-SHA256 Access={CREDENTIALS.ak}, SignedHeaders={';'.join(names)}, Signature={signature}"
    return Call(call.method, call.raw_url, {**call.headers, "authorization": value}, call.body)


def properly_signed(call: Call, names: list[str] | None = None) -> Call:
    """Return the call signed over *names*, all its headers by default."""
    names = names or sorted(call.headers)
    return signed(
        call, names, sign(CREDENTIALS.sk, call.headers["x-sdk-date"], canonical_request(call, names))
    )


@pytest.mark.parametrize(
    ("call", "request_hash", "signature"),
    [
        (
            CREATE,
            "c0feefea7c946f7926de93a19547e12cb95c3c9c14dc2a6aa91e2cfbee99f73d",
            "0f3e6ede16ccf3a6df20f36e664deb1e7f144a11405064b206d75149333e4baf",
        ),
        (
            SHOW,
            "ea665535c48856c0a754faf6208a00abf675b10fb12e2d991de749e2b6fdd654",
            "f349f6b1fc9dd193094fa55d513a3812b22e2a0461e2717c5d9cae9e2d282370",
        ),
    ],
)
def test_the_documents_vectors_pass(call: Call, request_hash: str, signature: str) -> None:
    """The two signed requests of metastudio-protocol section 4.2 are let in."""
    names = sorted(call.headers)

    CREDENTIALS.check(signed(call, names, signature), SIGNED_AT)

    assert hashlib.sha256(canonical_request(call, names).encode()).hexdigest() == request_hash


def test_the_query_is_signed_sorted_and_encoded() -> None:
    """Reserved characters are encoded once, whatever their form on the wire."""
    call = Call("GET", f"{PATH}?tag=a%2Cb/c&limit=10&name=%E5%A4%A9%20*", HEADERS, b"")

    query = canonical_request(call, sorted(HEADERS)).split("\n")[2]

    assert query == "limit=10&name=%E5%A4%A9%20%2A&tag=a%2Cb%2Fc"


@pytest.mark.parametrize(
    "changed",
    [
        Call("PUT", CREATE.raw_url, CREATE.headers, CREATE.body),
        Call("POST", CREATE.raw_url + "/x", CREATE.headers, CREATE.body),
        Call("POST", CREATE.raw_url + "?a=1", CREATE.headers, CREATE.body),
        Call("POST", CREATE.raw_url, CREATE.headers, b"{}"),
        Call("POST", CREATE.raw_url, {**CREATE.headers, "user-agent": "ua/2"}, CREATE.body),
    ],
)
def test_whatever_changes_after_signing_is_refused(changed: Call) -> None:
    """Method, path, query, body and signed headers are all inside the signature."""
    authorization = properly_signed(CREATE).headers["authorization"]
    headers = {**changed.headers, "authorization": authorization}

    with pytest.raises(ApiError, match="verify aksk signature fail") as refused:
        CREDENTIALS.check(Call(changed.method, changed.raw_url, headers, changed.body), SIGNED_AT)

    assert (refused.value.status, refused.value.code) == (401, "APIGW.0301")


@pytest.mark.parametrize("missing", ["host", "x-sdk-date"])
def test_host_and_date_must_be_signed(missing: str) -> None:
    """A signature that leaves one of them out is no signature."""
    names = [name for name in sorted(SHOW.headers) if name != missing]

    with pytest.raises(ApiError, match="format is incorrect"):
        CREDENTIALS.check(properly_signed(SHOW, names), SIGNED_AT)


def test_a_declared_body_hash_must_be_true_or_unsigned() -> None:
    """X-Sdk-Content-Sha256 is taken for the payload hash, but not on trust."""
    honest = Call("POST", PATH, {**CREATE.headers, "x-sdk-content-sha256": "UNSIGNED-PAYLOAD"}, b"x")
    lying = Call("POST", PATH, {**CREATE.headers, "x-sdk-content-sha256": "0" * 64}, b"x")
    CREDENTIALS.check(properly_signed(honest), SIGNED_AT)

    with pytest.raises(ApiError, match="body hash differs"):
        CREDENTIALS.check(properly_signed(lying), SIGNED_AT)


def test_temporary_keys_need_their_security_token() -> None:
    """With an STS token configured, requests without it are refused."""
    temporary = Credentials(**{**vars(CREDENTIALS), "security_token": "sts"})
    with_token = Call("GET", SHOW.raw_url, {**HEADERS, "x-security-token": "sts"}, b"")
    temporary.check(properly_signed(with_token), SIGNED_AT)

    with pytest.raises(ApiError, match="security token"):
        temporary.check(properly_signed(SHOW), SIGNED_AT)


def test_the_clock_skew_is_checked_only_when_asked_for() -> None:
    """The service's window is not known, so the default lets tests move their clock."""
    strict = Credentials(**{**vars(CREDENTIALS), "max_clock_skew_seconds": 900.0})
    CREDENTIALS.check(properly_signed(SHOW), SIGNED_AT + 86400)
    strict.check(properly_signed(SHOW), SIGNED_AT + 899)

    with pytest.raises(ApiError, match="expired"):
        strict.check(properly_signed(SHOW), SIGNED_AT + 901)


def test_an_issued_token_ends() -> None:
    """It works until its lifetime is over; then the gateway asks for a new one."""
    token, expires_at = CREDENTIALS.issue_token(SIGNED_AT)
    call = Call("GET", PATH, {"x-auth-token": token}, b"")
    CREDENTIALS.check(call, expires_at - 1)

    with pytest.raises(ApiError, match="must be updated") as refused:
        CREDENTIALS.check(call, expires_at)

    assert refused.value.code == "APIGW.0307"


@pytest.mark.parametrize("headers", [{}, {"x-auth-token": "forged"}, {"x-auth-token": "eyJ9.00"}])
def test_no_token_and_forged_tokens_are_refused(headers: dict[str, str]) -> None:
    """Both are a 401 APIGW.0301."""
    with pytest.raises(ApiError) as refused:
        CREDENTIALS.check(Call("GET", PATH, headers, b""), SIGNED_AT)

    assert (refused.value.status, refused.value.code) == (401, "APIGW.0301")


def login(**changes: str) -> dict[str, Any]:
    """Return a password login of the default user, with changes."""
    domain = {"name": "simulator-domain"}
    user = {"name": "simulator-user", "password": "simulator-password", "domain": domain}
    identity = {"methods": ["password"], "password": {"user": {**user, **changes}}}
    return {"auth": {"identity": identity, "scope": {"project": {"name": "cn-north-4"}}}}


async def test_iam_issues_tokens_that_the_api_accepts_until_they_expire(client: Any) -> None:
    """The whole way: password, X-Subject-Token, a call, expiry, 401."""
    url = f"{client.simulator.endpoint}/v3/auth/tokens?nocatalog=true"
    answer = await client.request("POST", url, json=login())
    headers = {"X-Auth-Token": answer.headers["x-subject-token"]}
    good = await client.request("GET", client.jobs_url, headers=headers)

    client.clock.now += 86400
    late = await client.request("GET", client.jobs_url, headers=headers)

    assert (answer.status, answer.document["token"]["project"]["id"], good.status) == (201, PROJECT, 200)
    assert (late.status, late.document["error_code"]) == (401, "APIGW.0307")


async def test_iam_refuses_a_wrong_password_and_nonsense(client: Any) -> None:
    """401 for who is not known, 400 for what is no login."""
    url = f"{client.simulator.endpoint}/v3/auth/tokens"

    wrong = await client.request("POST", url, json=login(password="guess"))
    nonsense = await client.request("POST", url, json={"auth": []})

    assert (wrong.status, nonsense.status) == (401, 400)
    assert client.simulator.stats.requests["token"] == 2


async def test_iam_finds_the_project_of_a_name(client: Any) -> None:
    """The vendor's SDK asks for it when no project id is given."""
    headers = {"X-Auth-Token": client.simulator.options.token}
    url = f"{client.simulator.endpoint}/v3/projects?name="

    found = (await client.request("GET", url + "cn-north-4", headers=headers)).document["projects"]
    none = (await client.request("GET", url + "elsewhere", headers=headers)).document["projects"]
    stranger = await client.request("GET", url + "cn-north-4")

    assert ([project["id"] for project in found], none, stranger.status) == ([PROJECT], [], 401)
