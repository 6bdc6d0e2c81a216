"""What an answer that says no means for the caller (metastudio-protocol section 3)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from http import HTTPStatus

from orchestrator.domain.errors import (
    ConfigurationError,
    CredentialsError,
    InterruptedTransferError,
    OrchestratorError,
    RequestRejectedError,
    ThrottledError,
)
from orchestrator.domain.foreign import quotable
from orchestrator.domain.retry import http_date_seconds, retry_after_seconds
from orchestrator.metastudio.exchange import Answer, read_object

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

#: The API does not exist there: by the gateway's number, and by the service's own (metastudio-protocol section 3).
_NO_API = frozenset({"0101", "00010003"})

_PROXY_HINT = "give user and password in HTTPS_PROXY (http://user:password@host:port), or check NO_PROXY"
_ENDPOINT_HINT = "check --endpoint and --region; an endpoint is https://host and nothing else"


class CommandFailedError(RequestRejectedError):
    """A command was answered with HTTP 200 and a body that does not say EXCUTE_SUCCESS."""

    kind = "command_failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """An answer with a status other than success, read as far as it can be."""

    answer: Answer
    operation: str
    code: str | None
    message: str

    @classmethod
    def read(cls, answer: Answer, operation: str, *, hidden: Iterable[str] = ()) -> Refusal:
        """Find code and message in any of the bodies the service, its gateway and IAM send.

        The texts in *hidden* are masked in the message.
        """
        body = read_object(answer.body) or {}
        nested = body.get("error")
        problem = nested if isinstance(nested, dict) else body
        code = problem.get("error_code") or problem.get("code")
        message = problem.get("error_msg") or problem.get("message") or _phrase(answer.status)
        return cls(
            answer=answer,
            operation=operation,
            code=service_code(code),
            message=quotable(str(message), hidden=hidden),
        )

    @property
    def is_credentials_refused(self) -> bool:
        """True for a 401, and for the two codes that say the same with a 400."""
        return self.answer.status == 401 or (
            self.answer.status == 400 and self.code in {INVALID_TOKEN, _OTHER_PROJECT}
        )

    def error(self, *, advice: str, now: float) -> OrchestratorError:
        """The error to raise; *advice* says where the credentials come from, *now* is in epoch seconds."""
        if self.is_credentials_refused:
            return self._credentials_error(advice, now)
        return self._configuration_error() or self._error_by_status(now)

    def _error_by_status(self, now: float) -> OrchestratorError:
        match self.answer.status:
            case 429:
                return self._throttled(now)
            case 403 if self._code_number == _TASK_LIMIT:
                return self._throttled(now)
            case status if status == 408 or status >= 500:
                return self._interrupted(now)
            case _:
                return self._rejected()

    def _configuration_error(self) -> ConfigurationError | None:
        """What is wrong for every entry alike, and stays so until a setting is changed."""
        # A 404 without JSON to a call that names no job: what listens there is not the service.
        names_no_job = self.answer.status == 404 and self.operation in {"create", "list"}
        is_other_server = names_no_job and read_object(self.answer.body) is None
        match self.answer.status:
            case 407:
                return self._misconfigured("the proxy asks for credentials", _PROXY_HINT)
            case 400 | 404 if self._code_number in _NO_API or is_other_server:
                return self._misconfigured("the endpoint does not offer this API", _ENDPOINT_HINT)
            case status if status < 400:
                return self._misconfigured(
                    "the endpoint answers with a redirect",
                    "redirects are not followed: check --endpoint and whether a proxy stands in between",
                )
            case _:
                return None

    @property
    def _code_number(self) -> str:
        """The code without its prefix: the gateway writes both APIG. and APIGW."""
        return (self.code or "").rpartition(".")[2]

    def _credentials_error(self, advice: str, now: float) -> CredentialsError:
        hint = advice
        if self.code == _OTHER_PROJECT:
            hint = "the credentials are another project's: check --project-id or HUAWEICLOUD_SDK_PROJECT_ID"
        return CredentialsError(
            f"the service does not accept the credentials: {self.message}",
            hint=hint + _skew_note(self.answer.headers.get("Date"), now),
            code=self.code,
            request_id=self.answer.request_id,
            status=self.answer.status,
        )

    def _throttled(self, now: float) -> ThrottledError:
        return ThrottledError(
            f"the service asks to wait with the {self.operation} call: {self.message}",
            retry_after=retry_after_seconds(self.answer.headers.get("Retry-After"), now),
            code=self.code,
            request_id=self.answer.request_id,
            status=self.answer.status,
        )

    def _interrupted(self, now: float) -> InterruptedTransferError:
        return InterruptedTransferError(
            f"the service failed in the {self.operation} call: {self.message}",
            retry_after=retry_after_seconds(self.answer.headers.get("Retry-After"), now),
            code=self.code,
            request_id=self.answer.request_id,
            status=self.answer.status,
        )

    def _misconfigured(self, what: str, hint: str) -> ConfigurationError:
        return ConfigurationError(
            f"{what}: {self.message} (HTTP {self.answer.status} to the {self.operation} call)",
            hint=hint,
            code=self.code,
            request_id=self.answer.request_id,
            status=self.answer.status,
        )

    def _rejected(self) -> RequestRejectedError:
        return RequestRejectedError(
            f"the service refused the {self.operation} call: {self.message}",
            hint=_HINTS.get(self._code_number),
            code=self.code,
            request_id=self.answer.request_id,
            status=self.answer.status,
        )


def is_job_gone(error: RequestRejectedError) -> bool:
    """True when the service itself answered 404: its gateway has codes of its own, and a page in between has none."""
    return error.status == 404 and error.code is not None and not error.code.startswith("APIG")


def service_code(value: object) -> str | None:
    """An error code as the service writes them; None when *value* is something else."""
    return str(value) if value is not None and _CODE.fullmatch(str(value)) else None


def _phrase(status: int) -> str:
    try:
        return f"HTTP {status} {HTTPStatus(status).phrase}"
    except ValueError:
        return f"HTTP {status}"


def _skew_note(date: str | None, now: float) -> str:
    """A wrong clock makes every signature and token look expired, so it is said when it is seen."""
    served_at = http_date_seconds(date)
    if served_at is None or abs(now - served_at) < _WORTH_TELLING_SKEW_SECONDS:
        return ""
    direction = "ahead of" if now > served_at else "behind"
    return f"; this machine's clock is {abs(now - served_at):.0f} s {direction} the service's: set it right"
