"""Which failures are tried again, which are not, and what the caller is told in the end."""

from __future__ import annotations

import asyncio
import datetime as dt
import socket
import ssl
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver

from orchestrator.domain.errors import (
    ConfigurationError,
    CredentialsError,
    InterruptedTransferError,
    RequestRejectedError,
    ServiceUnreachableError,
    ThrottledError,
)
from orchestrator.metastudio.signing import StaticTokenAuth
from orchestrator.metastudio.wire import Command, JobQuery
from tests.metastudio.scripted import (
    NOW,
    breaks_off,
    hangs_up,
    refuses,
    says,
    says_nothing,
)

JOB = {"job_id": "j", "name": "n", "state": "s"}
CREATED = {"job_id": "j"}
DONE = {"commond_result": "EXCUTE_SUCCESS"}
UNREADABLE = says(200, "a string")
AMBIGUOUS = [hangs_up, breaks_off, UNREADABLE, refuses(500, "MSS.00000004"), refuses(504, "APIGW.0201")]
AMBIGUOUS_NAMES = ["hangs up", "breaks off", "unreadable", "500", "504"]


@pytest.mark.parametrize("reply", AMBIGUOUS, ids=AMBIGUOUS_NAMES)
async def test_a_create_that_may_have_been_carried_out_is_not_sent_again(make_client, service, clock, reply):
    """The caller must look for the job; a second POST could make a second one."""
    service.script = [reply]

    with pytest.raises(InterruptedTransferError):
        await make_client().create_job({"name": "Anna"})

    assert len(service.requests) == 1
    assert clock.sleeps == []


@pytest.mark.parametrize(
    "command",
    [
        Command.CONFIRM_MULTIPART_UPLOADED,
        Command.CONFIRM_ACTION_VIDEO_MULTIPART_UPLOADED,
        Command.SUBMITVERIFYING,
        Command.DELETE_JOB_VIDEO,
    ],
)
@pytest.mark.parametrize("reply", AMBIGUOUS, ids=AMBIGUOUS_NAMES)
async def test_a_command_that_may_have_been_carried_out_is_not_sent_again(
    make_client, service, reply, command
):
    """Confirming and submitting twice is the caller's decision."""
    service.script = [reply]

    with pytest.raises(InterruptedTransferError):
        await make_client().command("j", command)

    assert len(service.requests) == 1


@pytest.mark.parametrize("reply", AMBIGUOUS, ids=AMBIGUOUS_NAMES)
@pytest.mark.parametrize(
    ("call", "answer"),
    [
        (lambda client: client.list_jobs(JobQuery()), {"count": 0}),
        (lambda client: client.show_job("j"), JOB),
        (lambda client: client.update_job("j", {}), CREATED),
        (lambda client: client.command("j", Command.GET_MULTIPART_UPLOADED), DONE),
        (lambda client: client.command("j", Command.GET_ACTION_VIDEO_MULTIPART_UPLOADED), DONE),
    ],
    ids=["list", "show", "update", "parts", "action parts"],
)
async def test_a_call_that_may_be_repeated_is(make_client, service, reply, call, answer):
    """Reads and updates go on after any passing failure."""
    service.script = [reply, reply, says(200, answer)]

    await call(make_client())

    assert len(service.requests) == 3


@pytest.mark.parametrize("reply", [hangs_up, refuses(502, "APIGW.0201")], ids=["hangs up", "502"])
async def test_a_delete_whose_answer_was_lost_finds_the_job_gone(make_client, service, reply):
    """The repeated call is answered 404, which says that the first one worked."""
    # The HTTP client itself repeats an idempotent request once on a fresh connection.
    service.script = [reply, refuses(404, "MSS.41000003")]

    assert await make_client().delete_job("j") is False


async def test_no_answer_in_time_leaves_a_create_open(make_client, service):
    """The request went out, so a timeout says nothing about what became of it."""
    service.script = [says_nothing]

    with pytest.raises(InterruptedTransferError, match=r"no answer from 127.0.0.1:\d+ within 0.5 s"):
        await make_client(timeout_seconds=0.5).create_job({})

    assert len(service.requests) == 1


async def test_a_read_that_is_never_answered_ends_as_unreachable(make_client, service):
    """Every attempt is used, then the whole run is told."""
    service.script = [says_nothing]

    with pytest.raises(ServiceUnreachableError, match=r"no answer from .* \(3 attempts\)"):
        await make_client(timeout_seconds=0.05, attempts_allowed=3).show_job("j")

    assert len(service.requests) == 3


@pytest.fixture
def closed_endpoint() -> str:
    """An address nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


async def test_a_closed_port_ends_as_unreachable_after_all_attempts_even_for_a_create(
    make_client, clock, closed_endpoint, attempts
):
    """Nothing was sent, so a create too is tried again; the text names the host and helps."""
    with pytest.raises(
        ServiceUnreachableError, match=r"no connection to 127.0.0.1:.*connection refused"
    ) as caught:
        await make_client(closed_endpoint).create_job({"name": "Anna"})

    assert "--endpoint" in (caught.value.hint or "")
    assert [attempt.outcome for attempt in attempts] == ["unreachable"] * 4
    assert clock.sleeps == [0.25, 0.5, 1.0]


class _NoNames(AbstractResolver):
    """A name service that knows no name, or never says so."""

    def __init__(self, *, is_silent: bool = False) -> None:
        self.is_silent = is_silent

    async def resolve(self, host, port=0, family=socket.AF_INET):
        if self.is_silent:
            await asyncio.Event().wait()
        raise OSError(None, f"no address for {host}")

    async def close(self):
        """Nothing to close."""


@pytest.mark.parametrize(
    ("is_silent", "reason"), [(False, "the name cannot be resolved"), (True, "it took too long")]
)
async def test_a_name_that_cannot_be_resolved_means_that_a_create_was_not_sent(
    make_client, is_silent, reason
):
    """A mistyped region shows as a name, and a connection that never comes about is tried again."""
    resolver = _NoNames(is_silent=is_silent)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(resolver=resolver)) as session:
        client = make_client(
            "https://metastudio.invalid", session=session, attempts_allowed=2, timeout_seconds=0.1
        )
        with pytest.raises(ServiceUnreachableError, match=rf"metastudio\.invalid: {reason} \(2 attempts\)"):
            await client.create_job({})


async def test_plain_http_where_tls_is_expected_is_a_failed_connection(make_client, service):
    """The handshake fails before the request leaves."""
    endpoint = service.endpoint.replace("http://", "https://")

    with pytest.raises(ServiceUnreachableError, match="TLS failed"):
        await make_client(endpoint, attempts_allowed=1).create_job({})


async def test_a_server_that_breaks_every_connection_ends_as_unreachable_for_a_read(make_client, service):
    """After the last attempt the run is told, with a sentence that helps."""
    service.script = [hangs_up]

    with pytest.raises(ServiceUnreachableError, match="before the answer was complete"):
        await make_client().show_job("j")


async def test_an_error_the_service_keeps_giving_is_raised_with_its_code(make_client, service):
    """A 500 that stays is no matter of the connection."""
    service.script = [refuses(500, "MSS.00000004", "Internal Error")]

    with pytest.raises(InterruptedTransferError, match="Internal Error") as caught:
        await make_client().show_job("j")

    assert (caught.value.status, caught.value.code, caught.value.request_id) == (500, "MSS.00000004", "req-1")
    assert len(service.requests) == 4


async def test_an_idle_connection_the_server_closed_does_not_fail_a_read(make_client, service):
    """The next call finds the connection gone and makes another."""
    service.script = [says(200, JOB), hangs_up, says(200, JOB)]
    client = make_client()

    await client.show_job("j")

    assert (await client.show_job("j")).job_id == "j"


_DATE = dt.datetime.fromtimestamp(NOW + 7, dt.UTC).strftime("%a, %d %b %Y %H:%M:%S GMT")


@pytest.mark.parametrize(("header", "seconds"), [("3", 3.0), (_DATE, 7.0)], ids=["seconds", "date"])
async def test_a_create_that_was_throttled_is_sent_again_when_it_may_be(
    make_client, service, clock, header, seconds
):
    """429 says that nothing was done; Retry-After is kept, with jitter on top."""
    service.script = [refuses(429, "APIGW.0308", Retry_After=header), says(200, CREATED)]

    await make_client().create_job({})

    assert clock.sleeps == [seconds + 0.25]
    assert len(service.requests) == 2


async def test_a_throttled_call_without_a_hint_waits_a_second_and_more(make_client, service, clock):
    """The gateway sends no Retry-After with 0308."""
    service.script = [refuses(429, "APIGW.0308"), says(200, CREATED)]

    await make_client().create_job({})

    assert clock.sleeps == [1.25]


@pytest.mark.parametrize(
    "reply", [refuses(429, "APIGW.0308", Retry_After="9"), refuses(403, "MSS.41000012")], ids=["429", "403"]
)
async def test_throttling_that_does_not_end_is_told_as_such(make_client, service, reply):
    """The caller can come back later."""
    service.script = [reply]

    with pytest.raises(ThrottledError) as caught:
        await make_client(attempts_allowed=2).create_job({})

    assert caught.value.request_id == "req-1"
    assert len(service.requests) == 2


@pytest.mark.parametrize(
    ("status", "code"),
    [(401, "APIGW.0301"), (401, "APIGW.0307"), (400, "MSS.00010008"), (400, "MSS.00010009")],
)
async def test_refused_credentials_stop_the_run_at_once(make_client, service, status, code):
    """Code and request id are kept, nothing is repeated, for an access key as for a static token."""
    service.script = [refuses(status, code, "verify aksk signature fail")]

    for auth in (None, StaticTokenAuth("token-of-the-test")):
        with pytest.raises(CredentialsError, match="does not accept the credentials") as caught:
            await make_client(auth=auth).show_job("j")
        assert (caught.value.code, caught.value.request_id) == (code, "req-1")
        assert any(
            name in (caught.value.hint or "") for name in ("HUAWEICLOUD_SDK_", "ORCHESTRATOR_AUTH_TOKEN")
        )

    assert len(service.requests) == 2


async def test_a_wrong_clock_is_named_when_credentials_are_refused(make_client, service):
    """The answer's Date tells by how much."""
    reply = refuses(401, "APIGW.0301", Date="Sun, 22 Nov 2026 07:00:00 GMT")
    service.script = [reply]

    with pytest.raises(CredentialsError) as caught:
        await make_client().show_job("j")

    assert "clock is 3600 s ahead of the service's" in (caught.value.hint or "")


@pytest.mark.parametrize("code", ["APIGW.0302", "APIGW.0306", "APIGW.0310", "MSS.41000023"])
async def test_a_refusal_for_good_is_rejected_with_status_and_code(make_client, service, code):
    """What the engine's breaker counts: status 403 and the code, with a hint for the operator."""
    service.script = [refuses(403, code)]

    with pytest.raises(RequestRejectedError) as caught:
        await make_client().create_job({})

    assert (caught.value.status, caught.value.code) == (403, code)
    assert caught.value.hint
    assert len(service.requests) == 1


async def test_a_bad_request_is_rejected_with_code_message_and_request_id(make_client, service):
    """The service's words reach the operator."""
    service.script = [refuses(400, "MSS.00000003", "Invalid parameter")]

    with pytest.raises(RequestRejectedError, match="refused the create call: Invalid parameter") as caught:
        await make_client().create_job({})

    assert (caught.value.code, caught.value.request_id, caught.value.status) == ("MSS.00000003", "req-1", 400)


async def test_an_answer_that_is_no_json_is_told_by_its_status(make_client, service):
    """A proxy's page is not quoted."""

    async def page(_request):
        return web.Response(status=405, text="<html>secret page</html>", content_type="text/html")

    service.script = [page]

    with pytest.raises(RequestRejectedError, match="HTTP 405 Method Not Allowed"):
        await make_client().show_job("j")


async def test_a_redirect_is_not_followed(make_client, service):
    """The signed request goes to no other host."""
    service.script = [says(302, {}, Location="http://127.0.0.1:1/elsewhere?token=x")]

    with pytest.raises(ConfigurationError, match="redirect"):
        await make_client().show_job("j")

    assert len(service.requests) == 1


@pytest.fixture
async def tls_endpoint():
    """A server whose certificate nobody signed."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(Path(__file__).with_name("untrusted.pem"))
    runner = web.AppRunner(web.Application())
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    yield f"https://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


async def test_an_untrusted_certificate_is_a_configuration_error(make_client, tls_endpoint):
    """Trying again would not help, and the hint names what to check."""
    with pytest.raises(ConfigurationError, match=r"certificate of 127.0.0.1:.* is not trusted"):
        await make_client(tls_endpoint).show_job("j")
