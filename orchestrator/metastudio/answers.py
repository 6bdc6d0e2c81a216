"""One request to the service, its answer, and the errors for refusals (metastudio-protocol section 3)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from http.client import responses
from typing import Any

import aiohttp
from yarl import URL

from orchestrator.domain.errors import (
    ConfigurationError,
    CredentialsError,
    InterruptedTransferError,
    OrchestratorError,
    RequestRejectedError,
    ThrottledError,
)
from orchestrator.domain.retry import http_date_seconds, retry_after_seconds
from orchestrator.domain.untrusted_text import plain_name, quotable, repaired_json
from orchestrator.network.errors import CONNECTION_ERRORS, connection_error
from orchestrator.network.http_session import forget_addresses

#: Far more than any answer of the service, counted after inflating (design section 2.1).
MAX_ANSWER_BYTES = 8 * 1024**2
#: More than any refusal: its status decides, and the bytes after this limit are not read.
MAX_REFUSAL_BYTES = 256 * 1024
#: The limit of values and members in a JSON text; each one takes far more memory than its bytes.
MAX_JSON_ITEMS = 200_000

INVALID_TOKEN = "MSS.00010008"  # noqa: S105 -- an error code
INTERNAL_ERROR = "MSS.00000004"
_OTHER_PROJECT = "MSS.00010009"
_TASK_LIMIT = "41000012"
_WORTH_TELLING_SKEW_SECONDS = 300.0
_CODE = re.compile(r"[A-Za-z0-9_.-]{1,40}")

_HINTS = {
    "0302": "the IAM user has no permission for MetaStudio: grant it, then run again",
    "0306": "the account may not call this API: check its permissions for MetaStudio",
    "0310": "the project is not available: check --project-id and whether the account is in arrears",
    "41000023": "the account has no resource left for this: buy or free one, then run again",
}

#: Codes for an API that does not exist, of the gateway and of the service (metastudio-protocol section 3).
_NO_API = frozenset({"0101", "00010003"})

_PROXY_HINT = "give user and password in HTTPS_PROXY (http://user:password@host:port), or check NO_PROXY"
_REDIRECT_HINT = "redirects are not followed: check --endpoint and whether a proxy stands in between"
_ENDPOINT_HINT = "check --endpoint and --region; an endpoint is https://host and nothing else"


class OversizedAnswerError(InterruptedTransferError):
    """The answer exceeds the size limit; the request may have been carried out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An HTTP answer; headers and body may hold secrets and are left out of its repr."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)

    @property
    def is_success(self) -> bool:
        """True when the status is a success."""
        return 200 <= self.status < 300

    @property
    def request_id(self) -> str | None:
        """The service's id for this call, for its support."""
        return plain_name(self.headers.get("X-Request-Id"))

    def json(self) -> dict[str, object]:
        """Return the body as a JSON object; raise InterruptedTransferError when it is none."""
        decoded = read_object(self.body)
        if decoded is None:
            raise InterruptedTransferError(
                "the service's answer broke off, is not JSON, or has no end to its items",
                request_id=self.request_id,
                status=self.status,
            )
        return decoded


def read_object(body: bytes) -> dict[str, object] | None:
    """Return the JSON object in *body*, with lone surrogates in texts repaired; None when there is none.

    An object that is nested too deeply, or has more than MAX_JSON_ITEMS items, counts as none.
    """
    # Each item takes at least a byte, and nearly every answer is far shorter than the limit.
    if len(body) > MAX_JSON_ITEMS and sum(map(body.count, (b",", b"[", b"{"))) > MAX_JSON_ITEMS:
        return None
    try:
        text = body.decode(json.detect_encoding(body), errors="replace")
        decoded = json.loads(repaired_json(text.removeprefix("\ufeff")))
    except (ValueError, RecursionError):
        return None
    return decoded if isinstance(decoded, dict) else None


async def exchange(
    session: aiohttp.ClientSession,
    method: str,
    url: URL,
    *,
    headers: Mapping[str, str],
    body: bytes,
    timeout_seconds: float,
) -> Answer:
    """Send one request and return the answer, whatever its status; redirects are not followed.

    Raises NotSentError when no connection was made, InterruptedTransferError when the request may have arrived
    (OversizedAnswerError when the answer is too long), and ConfigurationError when the server's certificate is not
    trusted.
    """
    # Compression gains nothing for a few kilobytes, and a megabyte can inflate to a thousand.
    headers = {**headers, "Accept-Encoding": "identity"}
    timeout = _timeout(timeout_seconds)
    try:
        async with session.request(
            method, url, data=body or None, headers=headers, timeout=timeout, allow_redirects=False
        ) as response:
            return Answer(status=response.status, headers=response.headers, body=await _read(response))
    except CONNECTION_ERRORS as error:
        forget_addresses(session)
        host = url.host_port_subcomponent or "the service"
        failure = connection_error(error, host, timeout_seconds=timeout_seconds)
    # Raised outside the handler so that aiohttp's exception, whose text may hold the URL, is not even the context.
    raise failure


@lru_cache(maxsize=4)  # every call of a client has the same
def _timeout(seconds: float) -> aiohttp.ClientTimeout:
    """Return the timeout; connecting gets half, which distinguishes a silent network from a silent service."""
    return aiohttp.ClientTimeout(total=seconds, connect=seconds / 2)


async def _read(response: aiohttp.ClientResponse) -> bytes:
    """Read the body in chunks, as it is inflated, up to the limit for its status."""
    is_success = 200 <= response.status < 300
    limit = MAX_ANSWER_BYTES if is_success else MAX_REFUSAL_BYTES
    if (response.content_length or limit) < limit and "Content-Encoding" not in response.headers:
        # The declared length is the real one, as nothing is inflated; nearly every answer takes this path.
        return await response.read()
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > limit:
            if is_success:
                raise OversizedAnswerError(
                    f"the answer of {response.url.host_port_subcomponent} is longer than {limit // 1024**2} MiB",
                    code="AnswerTooLarge",
                    status=response.status,
                    request_id=plain_name(response.headers.get("X-Request-Id")),
                )
            break
    return bytes(body[:limit])


class CommandFailedError(RequestRejectedError):
    """The answer to a command was HTTP 200 with a result other than EXCUTE_SUCCESS."""

    kind = "command_failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """An unsuccessful answer, with its code and message as far as they can be read."""

    answer: Answer
    operation: str
    code: str | None
    message: str

    @classmethod
    def read(cls, answer: Answer, operation: str, *, hidden: Iterable[str] = ()) -> Refusal:
        """Find the code and message in a body of the service, its gateway or IAM.

        The texts in *hidden* are masked in the message.
        """
        body = read_object(answer.body) or {}
        nested = body.get("error")
        problem = nested if isinstance(nested, dict) else body
        code = problem.get("error_code") or problem.get("code")
        phrase = f"HTTP {answer.status} {responses.get(answer.status, '')}".rstrip()
        message = problem.get("error_msg") or problem.get("message") or phrase
        return cls(
            answer=answer,
            operation=operation,
            code=service_code(code),
            message=quotable(str(message), hidden=hidden),
        )

    @property
    def is_credentials_refused(self) -> bool:
        """True for a 401, and for a 400 with one of the two codes of the same meaning."""
        return self.answer.status == 401 or (
            self.answer.status == 400 and self.code in {INVALID_TOKEN, _OTHER_PROJECT}
        )

    def error(self, *, advice: str, now: float) -> OrchestratorError:
        """Return the error to raise; *advice* is its hint about the credentials, *now* is in epoch seconds."""
        if self.is_credentials_refused:
            if self.code == _OTHER_PROJECT:
                advice = (
                    "the credentials are another project's: check --project-id or HUAWEICLOUD_SDK_PROJECT_ID"
                )
            served_at = http_date_seconds(self.answer.headers.get("Date"))
            # A wrong clock makes every signature and token look expired, so the hint mentions it.
            if served_at is not None and abs(now - served_at) >= _WORTH_TELLING_SKEW_SECONDS:
                direction = "ahead of" if now > served_at else "behind"
                skew = f"{abs(now - served_at):.0f} s"
                advice += f"; this machine's clock is {skew} {direction} the service's: set it right"
            return CredentialsError(
                f"the service does not accept the credentials: {self.message}", hint=advice, **self._facts
            )
        wrong = self._wrong_setting()
        if wrong is not None:
            what, hint = wrong
            return ConfigurationError(
                f"{what}: {self.message} (HTTP {self.answer.status} to the {self.operation} call)",
                hint=hint,
                **self._facts,
            )
        status = self.answer.status
        retry_after = retry_after_seconds(self.answer.headers.get("Retry-After"), now)
        if status == 429 or (status == 403 and self._code_number == _TASK_LIMIT):
            return ThrottledError(
                f"the service asks to wait with the {self.operation} call: {self.message}",
                retry_after=retry_after,
                **self._facts,
            )
        if status == 408 or status >= 500:
            return InterruptedTransferError(
                f"the service failed in the {self.operation} call: {self.message}",
                retry_after=retry_after,
                **self._facts,
            )
        return RequestRejectedError(
            f"the service refused the {self.operation} call: {self.message}",
            hint=_HINTS.get(self._code_number),
            **self._facts,
        )

    def _wrong_setting(self) -> tuple[str, str] | None:
        """Return the problem and a hint when a wrong setting makes every entry fail; None otherwise."""
        status = self.answer.status
        if status == 407:
            return "the proxy asks for credentials", _PROXY_HINT
        # A 404 without JSON to a call that names no job: the server at the endpoint is not the service.
        names_no_job = status == 404 and self.operation in {"create", "list"}
        is_other_server = names_no_job and read_object(self.answer.body) is None
        if status in {400, 404} and (self._code_number in _NO_API or is_other_server):
            return "the endpoint does not offer this API", _ENDPOINT_HINT
        if status < 400:
            return "the endpoint answers with a redirect", _REDIRECT_HINT
        return None

    @property
    def _facts(self) -> dict[str, Any]:
        """The fields of the answer that every error repeats."""
        return {"code": self.code, "request_id": self.answer.request_id, "status": self.answer.status}

    @property
    def _code_number(self) -> str:
        """The code without its prefix, because the gateway uses both APIG. and APIGW."""
        return (self.code or "").rpartition(".")[2]


def is_job_gone(error: RequestRejectedError) -> bool:
    """True when the service itself answered 404; a gateway's 404 has its own codes, an intermediary's has none."""
    return error.status == 404 and error.code is not None and not error.code.startswith("APIG")


def service_code(value: object) -> str | None:
    """Return *value* as a text if it has the form of an error code of the service, else None."""
    return str(value) if value is not None and _CODE.fullmatch(str(value)) else None
