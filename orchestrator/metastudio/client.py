"""The training-job API: create, list, show, update, delete and command (metastudio-protocol section 1).

Each call is paced, signed, sent and decoded, and retried as far as that is safe.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Generic, TypeVar
from urllib.parse import quote

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
from orchestrator.domain.retry import Draw, RetryPolicy
from orchestrator.domain.untrusted_text import quotable
from orchestrator.metastudio.answers import (
    INTERNAL_ERROR,
    Answer,
    CommandFailedError,
    OversizedAnswerError,
    Refusal,
    exchange,
    is_job_gone,
    service_code,
)
from orchestrator.metastudio.rate_limit import ApiAttempt, CallKind, Gate, Pacer, Retrying, ignore
from orchestrator.metastudio.signing import Authenticator, canonical_query
from orchestrator.metastudio.wire import (
    MAX_PAGE_JOBS,
    SUCCESS,
    Command,
    CommandResult,
    JobDetail,
    JobPage,
    JobQuery,
    JobSummary,
    JobUrls,
    command_result,
    job_urls,
)

#: No account has more jobs; a longer list does not come from the service.
MAX_LISTED_JOBS = 200_000
USER_AGENT = f"metastudio-orchestrator/{__version__}"
_PROJECT_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")

T = TypeVar("T")


class MetaStudioClient:
    """A client for the service; every method raises only OrchestratorError.

    CredentialsError, ServiceUnreachableError and ConfigurationError concern the whole run, RequestRejectedError one
    job. ThrottledError and InterruptedTransferError are raised when the attempts are used up; the latter is raised
    at once when a create, a confirmation or a submission may have been carried out.

    *clock* is in epoch seconds; *timeout_seconds* is for one attempt. While *gate* holds calls back, they wait
    without using attempts. *service_time* is updated from the Date of every answer. Calls that change something go
    through *fresh*, whose connections are new or were in use a moment ago, and which delivers nothing late.
    *before_send* is awaited right before each request, and stops it by raising. Raises ConfigurationError for an
    impossible *project_id*.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        *,
        endpoint: str,
        project_id: str,
        auth: Authenticator,
        limiter: Pacer,
        policy: RetryPolicy,
        sleep: Callable[[float], Awaitable[object]],
        draw: Draw,
        clock: Callable[[], float],
        on_attempt: Callable[[ApiAttempt], None] = ignore,
        timeout_seconds: float = 60,
        fresh: aiohttp.ClientSession | None = None,
        gate: Gate | None = None,
        service_time: ServiceTime | None = None,
        before_send: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._caller = Caller(
            session,
            fresh=fresh or session,
            endpoint=endpoint,
            project_id=project_id,
            auth=auth,
            limiter=limiter,
            retrying=Retrying(policy=policy, sleep=sleep, draw=draw, gate=gate),
            clock=clock,
            on_attempt=on_attempt,
            timeout_seconds=timeout_seconds,
            service_time=service_time or ServiceTime(clock),
            before_send=before_send,
        )

    async def create_job(self, body: Mapping[str, object], *, app_user_id: str | None = None) -> JobUrls:
        """Create a job; there is no idempotency key, so after InterruptedTransferError look for its tag."""
        return await self._caller.run(
            Call(
                operation="create",
                method="POST",
                body=body,
                app_user_id=app_user_id,
                is_repeatable=False,
                decode=lambda answer: job_urls(answer.json()),
            )
        )

    async def list_jobs(self, query: JobQuery, *, app_user_id: str | None = None) -> JobPage:
        """List one page of jobs."""
        return await self._caller.run(
            Call(
                operation="list",
                method="GET",
                query=query.pairs(),
                app_user_id=app_user_id,
                decode=lambda answer: JobPage.model_validate(answer.json()),
            )
        )

    async def iterate_jobs(
        self, query: JobQuery, *, app_user_id: str | None = None
    ) -> AsyncIterator[JobSummary]:
        """Yield all jobs once, in pages of 100; jobs deleted during the listing do not hide others."""
        seen: set[str] = set()
        offset, stale_pages = query.offset, 0
        count: int | None = None
        while True:
            page = await self.list_jobs(
                replace(query, offset=offset, limit=MAX_PAGE_JOBS), app_user_id=app_user_id
            )
            fresh = [job for job in page.jobs if job.job_id not in seen]
            if len(seen) + len(fresh) > MAX_LISTED_JOBS:
                raise ConfigurationError(
                    f"the list call continues past {MAX_LISTED_JOBS} jobs",
                    hint="no account has as many: check --endpoint and what answers there",
                )
            for job in fresh:
                seen.add(job.job_id)
                yield job
            # Jobs deleted since the previous page moved the others forward: step back by that number.
            gone = 0 if count is None or page.count is None else count - page.count
            offset = max(offset - gone, 0) if gone > 0 else offset + len(page.jobs)
            count = page.count
            is_past_end = not page.jobs if count is None else offset >= count
            # After stepping back, pages repeat known jobs, but never more pages than the known jobs fill.
            stale_pages = 0 if fresh else stale_pages + 1
            if is_past_end or stale_pages > len(seen) // MAX_PAGE_JOBS + 1:
                return

    async def find_job(self, job_id: str, *, app_user_id: str | None = None) -> JobDetail | None:
        """Show a job; return None when the service has no job with that id."""
        try:
            return await self.show_job(job_id, app_user_id=app_user_id)
        except RequestRejectedError as error:
            if is_job_gone(error):
                return None
            raise

    async def show_job(self, job_id: str, *, app_user_id: str | None = None) -> JobDetail:
        """Show a job; when it does not exist, raise a RequestRejectedError for which `is_job_gone` is true."""
        return await self._caller.run(
            Call(
                operation="show",
                method="GET",
                job_path=_job_path(job_id),
                app_user_id=app_user_id,
                decode=lambda answer: JobDetail.model_validate(answer.json()),
            )
        )

    async def update_job(
        self, job_id: str, body: Mapping[str, object], *, app_user_id: str | None = None
    ) -> JobUrls:
        """Change a job and get fresh URLs for its files."""
        return await self._caller.run(
            Call(
                operation="update",
                method="PUT",
                job_path=_job_path(job_id),
                body=body,
                app_user_id=app_user_id,
                decode=lambda answer: job_urls(answer.json(), job_id=job_id),
            )
        )

    async def delete_job(self, job_id: str, *, app_user_id: str | None = None) -> bool:
        """Delete a job with its files; return False when it did not exist."""
        call = Call(
            operation="delete",
            method="DELETE",
            job_path=_job_path(job_id),
            app_user_id=app_user_id,
            decode=lambda _answer: True,
        )
        try:
            return await self._caller.run(call)
        except RequestRejectedError as error:
            if is_job_gone(error):
                return False
            raise

    async def command(
        self,
        job_id: str,
        command: Command,
        *,
        command_message: str | None = None,
        app_user_id: str | None = None,
    ) -> CommandResult:
        """Send a command for a job; raise CommandFailedError when the service reports that it was not carried out.

        After InterruptedTransferError from a command that changes something, ask for the job's state first.
        """
        message = {"command_message": command_message} if command_message else {}
        return await self._caller.run(
            Call(
                operation=command.value,
                method="POST",
                job_path=_job_path(job_id) + "/command",
                body={"command": command.value, **message},
                app_user_id=app_user_id,
                is_repeatable=command.is_read,
                decode=lambda answer: _command_result(answer, command),
            )
        )


def _command_result(answer: Answer, command: Command) -> CommandResult:
    """Read the result; HTTP 200 alone is not success here (metastudio-protocol section 0, fact 1)."""
    body = answer.json()
    if body.get("commond_result") == SUCCESS:
        return command_result(body)
    info = body.get("error_info")
    details = info if isinstance(info, dict) else {}
    message = body.get("excute_failed_msg") or details.get("error_msg") or "no reason given"
    code = service_code(details.get("error_code"))
    # After an internal error it is unknown what was done, whatever the HTTP status.
    kind = InterruptedTransferError if code == INTERNAL_ERROR else CommandFailedError
    raise kind(
        f"the service did not carry out {command.value}: {quotable(str(message))}",
        code=code,
        request_id=answer.request_id,
        status=answer.status,
    )


def _job_path(job_id: str) -> str:
    return f"/{quote(job_id, safe='')}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Call(Generic[T]):
    """One call of the API, with the decoder of its answer."""

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
        """The kind for rate limits, which go by the HTTP method: every command is a POST and counts as a write."""
        return CallKind.READ if self.method == "GET" else CallKind.WRITE

    @property
    def is_change(self) -> bool:
        """True unless the call only reads, whatever its HTTP method."""
        return not self.is_repeatable or self.method in {"PUT", "DELETE"}

    @property
    def hidden(self) -> tuple[str, ...]:
        """The values of the body that the service may echo and that must not appear in messages."""
        contact = (self.body or {}).get("contact")
        return (contact,) if isinstance(contact, str) and contact else ()


class Caller:
    """Carries out calls for one project.

    Calls that change something go through the session *fresh*. *service_time* is updated from the Date of every
    answer. *before_send* is awaited right before each request and stops it by raising an OrchestratorError. Raises
    ConfigurationError for an impossible *project_id*.
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
        """Carry out *call*; raises the errors listed in MetaStudioClient."""
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
                # A call that changes something may have been carried out, whatever answered it.
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
            self._service_time.note(answer.headers.get("Date"))
        except OrchestratorError as error:
            error.conceal((*call.hidden, *self._auth.secrets))
            self._report(call, attempt, started_at, error)
            # When the gateway counts too many calls of a kind, all calls of that kind wait.
            if isinstance(error, ThrottledError) and error.status == 429:
                policy = self._retrying.policy
                wait = policy.throttled_floor_seconds if error.retry_after is None else error.retry_after
                self._limiter.back_off(call.kind, min(wait, policy.retry_after_cap_seconds))
            raise
        self._report(call, attempt, started_at, answer)
        return result

    async def _ask(self, call: Call[Any]) -> Answer:
        """Return a successful answer; renew refused credentials once if they can be renewed."""
        sent, answer = await self._send(call)
        if answer.is_success:
            return answer
        refusal = Refusal.read(answer, call.operation)
        if refusal.is_credentials_refused and self._auth.forget(sent):
            # The gateway counts the repeated request as well.
            await self._limiter.acquire(call.kind)
            _, answer = await self._send(call)
            if answer.is_success:
                return answer
            refusal = Refusal.read(answer, call.operation)
        if refusal.code is not None:
            # Without a code, the answer may come from an intermediary.
            self._service_time.note(answer.headers.get("Date"))
        raise refusal.error(advice=self._auth.advice, now=self._clock())

    async def _send(self, call: Call[Any]) -> tuple[Mapping[str, str], Answer]:
        body = b"" if call.body is None else json.dumps(call.body).encode()
        query = canonical_query(call.query)
        url = URL(self._jobs_url + call.job_path + (f"?{query}" if query else ""), encoded=True)
        plain = {"User-Agent": USER_AGENT, "X-Project-Id": self._project_id}
        if call.body is not None:
            plain["Content-Type"] = "application/json"
        if call.app_user_id is not None:
            # A manifest may contain any text, and a line break would start another header.
            if not (call.app_user_id.isascii() and call.app_user_id.isprintable()):
                raise RequestRejectedError(
                    "app_user_id is sent as a header and may have printable ASCII characters only"
                )
            plain["X-App-UserId"] = call.app_user_id
        headers = await self._auth.headers(call.method, url, plain, body)
        # A request on a kept connection that the other side is closing is lost; a read is simply sent again. A read
        # that timed out may also arrive late without harm.
        session = self._fresh if call.is_change else self._session
        # After everything that may take time: the rate limiter's slot, a token.
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
    """Decode the answer of *call*; raise InterruptedTransferError, as the outcome is unknown, when it cannot."""
    try:
        return call.decode(answer)
    except ValidationError as error:
        # Only the places where the answer is wrong, never its content.
        places = {".".join(map(str, problem["loc"])) for problem in error.errors(include_input=False)}
        reason = f"{', '.join(sorted(places)[:5])} not as documented"
    except ValueError as error:
        reason = str(error)
    raise InterruptedTransferError(
        f"the answer to the {call.operation} call cannot be used: {reason}",
        request_id=answer.request_id,
        status=answer.status,
    )
