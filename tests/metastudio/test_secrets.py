"""Nothing that must stay secret comes out of a failing call: no text, chain, traceback or log has it."""

from __future__ import annotations

import json
import logging
import traceback

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.errors import OrchestratorError
from orchestrator.domain.untrusted_text import quotable
from orchestrator.metastudio.answers import service_code
from orchestrator.metastudio.credentials import Credentials
from orchestrator.metastudio.signing import StaticTokenAuth
from orchestrator.metastudio.wire import Command, JobDetail, JobPage, JobQuery, job_urls
from tests.metastudio.scripted import breaks_off, hangs_up, refuses, says, says_nothing

PHONE, MAIL, TOKEN = "13800138000", "ann@studio.example", "MIIabc" * 20
URL = "https://obs.example/b/o?AccessKeyId=AKIDEXAMPLEEXAMPLE02&Signature=s3cr3tSignature"
ECHO = f"bad contact {PHONE} or {MAIL} for {URL} with {TOKEN} of AKIDEXAMPLEEXAMPLE01"
SECRETS = (PHONE, MAIL, TOKEN, "s3cr3tSignature", "AKIDEXAMPLE", "secret-key-of-the-test", "Authorization")
BODY = {"name": "Anna", "contact": PHONE, "tags": ["orch:x"]}


def _everything_said(error: BaseException) -> str:
    chain: list[BaseException] = []
    step: BaseException | None = error
    while step is not None:
        chain.append(step)
        step = step.__cause__ or step.__context__
    shown = [f"{link!s} {link!r} {vars(link)}" for link in chain]
    return "\n".join([*shown, *traceback.format_exception(error)])


@pytest.mark.parametrize(
    "reply",
    [
        refuses(400, "MSS.00000003", ECHO),
        refuses(401, "APIGW.0301", ECHO),
        refuses(403, "APIGW.0302", ECHO),
        refuses(429, "APIGW.0308", ECHO),
        refuses(500, "MSS.00000004", ECHO),
        refuses(400, ECHO, ECHO),
        says(302, {}, Location=URL),
        says(200, {"job_id": "j", "cover_upload_url": "https://[broken" + URL, "contact": PHONE}),
        says(200, {"job_id": "j", "cover_upload_url": [URL, {"x": URL}]}),
        says(
            200, {"job_id": {"x": URL}, "jobs": [{"contact": PHONE, "x": URL}], "name": [URL], "state": PHONE}
        ),
        says(
            200,
            {
                "commond_result": "EXCUTE_FAILED",
                "excute_failed_msg": ECHO,
                "error_info": {"error_code": ECHO},
            },
        ),
        hangs_up,
        breaks_off,
        says_nothing,
    ],
)
@pytest.mark.parametrize("auth", [None, StaticTokenAuth(TOKEN)], ids=["keys", "token"])
async def test_a_failing_call_says_nothing_secret(make_client, service, caplog, reply, auth):
    """Neither exception, chain, traceback nor any log at the lowest level."""
    caplog.set_level(logging.DEBUG)
    service.script = [reply]
    client = make_client(
        auth=auth, attempts_allowed=2, timeout_seconds=0.05 if reply is says_nothing else 5.0
    )
    said = []

    for call in (
        client.create_job(BODY),
        client.list_jobs(JobQuery(name="Anna")),
        client.command("j", Command.CONFIRM_MULTIPART_UPLOADED),
    ):
        try:
            await call
        except OrchestratorError as error:
            said.append(_everything_said(error))

    text = "\n".join([*said, caplog.text, repr(client)])
    assert said
    assert [secret for secret in SECRETS if secret in text] == []


async def test_the_contact_is_masked_however_it_is_written(make_client, service):
    """An echo of the value that was sent is recognised, whatever it looks like."""
    service.script = [refuses(400, "MSS.00000003", "contact 'call Ann +86 (138)' is invalid")]

    with pytest.raises(OrchestratorError, match=r"contact '\*\*\*' is invalid"):
        await make_client().create_job({"contact": "call Ann +86 (138)"})


@pytest.mark.parametrize(
    "text",
    [
        "phone 13800138000",
        "phone +86 138-0013-8000",
        "mail ann.b+c@studio.example",
        "key AKIDEXAMPLEEXAMPLE01",
    ],
)
def test_what_looks_like_a_secret_is_quotable(text):
    """Its first word tells what it was."""
    assert quotable(text) == f"{text.split()[0]} ***"


@pytest.mark.parametrize(
    "text",
    ["Invalid parameter", "limit:20,time:1 second", "name must be 1 to 256 characters", "V3.2 at 1080p"],
)
def test_ordinary_words_stay(text):
    """The operator needs them."""
    assert quotable(text) == text


@given(st.text())
def test_a_message_is_one_short_line(text):
    """Whatever the service sends."""
    shown = quotable(text)

    assert len(shown) <= 500
    assert len(shown.splitlines()) <= 1


@pytest.mark.parametrize(
    ("value", "code"),
    [("MSS.00000003", "MSS.00000003"), (401, "401"), (None, None), ("a b", None), ({}, None)],
)
def test_a_code_is_kept_only_when_it_looks_like_one(value, code):
    """It goes into reports unmasked."""
    assert service_code(value) == code


def test_models_and_urls_show_no_secret():
    """Their text form is for logs."""
    urls = job_urls({"job_id": "j", "training_video_upload_url": [URL], "cover_upload_url": URL})
    summary = {"job_id": "j", "name": "n", "state": "s", "contact": PHONE, "cover_download_url": URL}
    shown = repr([urls, JobDetail.model_validate(summary), JobPage.model_validate({"jobs": [summary]})])

    assert [secret for secret in SECRETS if secret in shown] == []
    assert "obs.example/o" in shown


def test_a_validation_error_shows_no_value():
    """Not even when it is printed by somebody else."""
    for answer in ({"jobs": [{"job_id": [URL], "contact": PHONE}]}, {"jobs": URL}):
        with pytest.raises(ValueError, match="validation error") as caught:
            JobPage.model_validate(answer)
        assert URL not in str(caught.value)
        assert PHONE not in str(caught.value)


def test_credentials_are_equal_by_value_and_silent():
    """So that tests can compare what logs must not show."""
    assert Credentials("a", "b") == Credentials("a", "b")
    assert json.dumps(repr(Credentials("ak-x", "sk-x"))) == '"Credentials()"'
