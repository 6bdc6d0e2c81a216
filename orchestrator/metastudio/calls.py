"""One call of the API: signed, paced, sent, read, and tried again as far as that is safe."""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import aiohttp
from pydantic import ValidationError
from yarl import URL

from orchestrator import __version__
from orchestrator.domain.errors import (
    ConfigurationError,
    InterruptedTransferError,
    OrchestratorError,
    RequestRejectedError,
    ThrottledError,
)
from orchestrator.domain.presigned import ServiceTime
from orchestrator.metastudio.answers import Answer, OversizedAnswerError, Refusal, exchange
from orchestrator.metastudio.auth import Authenticator, canonical_query
from orchestrator.metastudio.pacing import ApiAttempt, CallKind, Pacer, Retrying

USER_AGENT = f"metastudio-orchestrator/{__version__}"
_PROJECT_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Call(Generic[T]):
    """One call of the API and how its answer is read."""

    operation: str
    method: str
    job_path: str = ""
    query: tuple[tuple[str, str], ...] = ()
    body: Mapping[str, object] | None = field(default=None, repr=False)
    app_user_id: str | None = None
    is_repeatable: bool = True
    decode: Callable[[Answer], T]

    @property
    def kind(self) -> CallKind:
        """The service's limits go by the method, and a command is a POST whatever it says."""
        return CallKind.READ if self.method == "GET" else CallKind.WRITE

    @property
    def hidden(self) -> tuple[str, ...]:
        """What the service may echo and nobody should read."""
        contact = (self.body or {}).get("contact")
        return (contact,) if isinstance(contact, str) and contact else ()


class Caller:
    """Carries calls out for one project.

    Calls that may not be repeated go through the session *fresh*; *service_time* hears the Date of every
    answer. *before_send* is awaited right before each request and stops it by raising an OrchestratorError. Raises
    ConfigurationError when *project_id* cannot be one.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        *,
        fresh: aiohttp.ClientSession,
        endpoint: str,
        project_id: str,
        auth: Authenticator,
        limiter: Pacer,
        retrying: Retrying,
        clock: Callable[[], float],
        on_attempt: Callable[[ApiAttempt], None],
        timeout_seconds: float,
        service_time: ServiceTime,
        before_send: Callable[[], Awaitable[None]] | None,
    ) -> None:
        if not _PROJECT_ID.fullmatch(project_id):
            raise ConfigurationError("the project id may have letters, digits, _ and -, at most 64")
        self._session = session
        self._fresh = fresh
        self._jobs_url = f"{endpoint.rstrip('/')}/v1/{project_id}/digital-human-training-manage/user/jobs"
        self._project_id = project_id
        self._auth = auth
        self._limiter = limiter
        self._retrying = retrying
        self._clock = clock
        self._on_attempt = on_attempt
        self._timeout_seconds = timeout_seconds
        self._service_time = service_time
        self._before_send = before_send

    async def run(self, call: Call[T]) -> T:
        """Carry *call* out; raises the errors that MetaStudioClient names."""
        try:
            return await self._retrying.run(
                lambda attempt: self._attempt(call, attempt),
                operation=call.operation,
                subject=(call.operation, call.job_path),
                turn=lambda: self._limiter.slot(call.kind),
                is_repeatable=call.is_repeatable,
            )
        except OversizedAnswerError as error:
            if not call.is_repeatable:
                # A call that acts may have been carried out, whatever answered it.
                raise
            kind = RequestRejectedError if call.job_path else ConfigurationError
            raise error.restated(
                kind,
                f"the answer to the {call.operation} call is not the service's: {error.message}",
                hint="check --endpoint and what stands between this machine and the service (HTTPS_PROXY)",
            ) from None

    async def _attempt(self, call: Call[T], attempt: int) -> T:
        started_at = self._clock()
        try:
            answer = await self._ask(call)
            result = _decoded(call, answer)
            self._service_time.hear(answer.headers.get("Date"))
        except OrchestratorError as error:
            error.conceal((*call.hidden, *self._auth.secrets))
            self._report(call, attempt, started_at, error)
            # Every call of the kind waits when the gateway counts too many of them.
            if isinstance(error, ThrottledError) and error.status == 429:
                policy = self._retrying.policy
                wait = policy.throttled_floor_seconds if error.retry_after is None else error.retry_after
                self._limiter.back_off(call.kind, min(wait, policy.retry_after_cap_seconds))
            raise
        self._report(call, attempt, started_at, answer)
        return result

    async def _ask(self, call: Call[Any]) -> Answer:
        """One answer of success; credentials that can be renewed are, once."""
        sent, answer = await self._send(call)
        if answer.is_success:
            return answer
        refusal = Refusal.read(answer, call.operation)
        if refusal.is_credentials_refused and self._auth.forget(sent):
            # The gateway counts this request as well.
            await self._limiter.acquire(call.kind)
            _, answer = await self._send(call)
            if answer.is_success:
                return answer
            refusal = Refusal.read(answer, call.operation)
        if refusal.code is not None:
            # Without one the answer may be of something in between.
            self._service_time.hear(answer.headers.get("Date"))
        raise refusal.error(advice=self._auth.advice, now=self._clock())

    async def _send(self, call: Call[Any]) -> tuple[Mapping[str, str], Answer]:
        body = b"" if call.body is None else json.dumps(call.body).encode()
        query = canonical_query(call.query)
        url = URL(self._jobs_url + call.job_path + (f"?{query}" if query else ""), encoded=True)
        plain = {"User-Agent": USER_AGENT, "X-Project-Id": self._project_id}
        if call.body is not None:
            plain["Content-Type"] = "application/json"
        if call.app_user_id is not None:
            # A manifest may hold any text, and a line break in a header would start another one.
            if not (call.app_user_id.isascii() and call.app_user_id.isprintable()):
                raise RequestRejectedError(
                    "app_user_id is sent as a header and may have printable ASCII characters only"
                )
            plain["X-App-UserId"] = call.app_user_id
        headers = await self._auth.headers(call.method, url, plain, body)
        # A request on a kept connection that the other side just closes is lost; a read is simply sent again.
        session = self._session if call.is_repeatable else self._fresh
        # After all that may take time: the turn among other calls, a token for it.
        if self._before_send is not None:
            await self._before_send()
        answer = await exchange(
            session, call.method, url, headers=headers, body=body, timeout_seconds=self._timeout_seconds
        )
        return headers, answer

    def _report(
        self, call: Call[Any], attempt: int, started_at: float, told: Answer | OrchestratorError
    ) -> None:
        error = told if isinstance(told, OrchestratorError) else None
        self._on_attempt(
            ApiAttempt(
                operation=call.operation,
                attempt=attempt,
                outcome=error.kind if error else "ok",
                status=told.status,
                code=error.code if error else None,
                request_id=told.request_id,
                seconds=max(self._clock() - started_at, 0.0),
            )
        )


def _decoded(call: Call[T], answer: Answer) -> T:
    """The answer as *call* reads it; an answer that cannot be read leaves open what was done."""
    try:
        return call.decode(answer)
    except ValidationError as error:
        # Where the answer is wrong, never what is in it.
        places = {".".join(map(str, problem["loc"])) for problem in error.errors(include_input=False)}
        reason = f"{', '.join(sorted(places)[:5])} not as documented"
    except ValueError as error:
        reason = str(error)
    raise InterruptedTransferError(
        f"the answer to the {call.operation} call cannot be used: {reason}",
        request_id=answer.request_id,
        status=answer.status,
    )
