"""The training-job API: create, list, show, update, delete and command (metastudio-protocol section 1)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import replace
from urllib.parse import quote

import aiohttp

from orchestrator.domain.errors import ConfigurationError, InterruptedTransferError, RequestRejectedError
from orchestrator.domain.foreign import quotable
from orchestrator.domain.presigned import ServiceTime
from orchestrator.domain.retry import Draw, RetryPolicy
from orchestrator.metastudio.answers import (
    INTERNAL_ERROR,
    Answer,
    CommandFailedError,
    is_job_gone,
    service_code,
)
from orchestrator.metastudio.auth import Authenticator
from orchestrator.metastudio.calls import Call, Caller
from orchestrator.metastudio.pacing import ApiAttempt, Gate, Pacer, Retrying, ignore
from orchestrator.metastudio.requests import MAX_PAGE_JOBS, Command, JobQuery
from orchestrator.metastudio.wire import (
    SUCCESS,
    CommandResult,
    JobDetail,
    JobPage,
    JobSummary,
    JobUrls,
    command_result,
    job_urls,
)

#: No account has as many; a list that goes on is not the service's.
MAX_LISTED_JOBS = 200_000


class MetaStudioClient:
    """Calls the service; every method raises only OrchestratorError.

    CredentialsError, ServiceUnreachableError and ConfigurationError concern the whole run,
    RequestRejectedError the one job. ThrottledError and InterruptedTransferError come when the attempts are
    used up, and InterruptedTransferError at once when a create, a confirmation or a submission may have been
    carried out.

    *clock* is in epoch seconds, *timeout_seconds* is for one attempt. While *gate* holds calls back they wait,
    and count no attempts. *service_time* hears the Date of every answer. Calls that may not be repeated go
    through *fresh*, whose connections are new or were in use just now. *before_send* is awaited right before each
    request, and stops it by raising. Raises ConfigurationError when
    *project_id* cannot be one.
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
        """Create a job; it has no idempotency key, so InterruptedTransferError means: look for its tag."""
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
        """List all jobs, 100 a page, each once; jobs deleted meanwhile do not make it miss others."""
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
            # Jobs that were deleted since the page before moved the others to the front: go back by as many.
            gone = 0 if count is None or page.count is None else count - page.count
            offset = max(offset - gone, 0) if gone > 0 else offset + len(page.jobs)
            count = page.count
            is_past_end = not page.jobs if count is None else offset >= count
            # Stepping back shows again what was seen, but never more pages than that takes.
            stale_pages = 0 if fresh else stale_pages + 1
            if is_past_end or stale_pages > len(seen) // MAX_PAGE_JOBS + 1:
                return

    async def find_job(self, job_id: str, *, app_user_id: str | None = None) -> JobDetail | None:
        """Show a job; None when the service has none of that id."""
        try:
            return await self.show_job(job_id, app_user_id=app_user_id)
        except RequestRejectedError as error:
            if is_job_gone(error):
                return None
            raise

    async def show_job(self, job_id: str, *, app_user_id: str | None = None) -> JobDetail:
        """Show a job; raises RequestRejectedError, for which `is_job_gone` holds, when there is none."""
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
        """Delete a job with its files; False when it was gone already."""
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
        """Give a job a command; raises CommandFailedError when the service says it was not carried out.

        InterruptedTransferError after a command that is no read means: ask for the job's state first.
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
    """HTTP 200 is not success here (metastudio-protocol section 0, fact 1)."""
    body = answer.json()
    if body.get("commond_result") == SUCCESS:
        return command_result(body)
    info = body.get("error_info")
    details = info if isinstance(info, dict) else {}
    message = body.get("excute_failed_msg") or details.get("error_msg") or "no reason given"
    code = service_code(details.get("error_code"))
    # An internal error leaves open what was done, whatever the status around it.
    kind = InterruptedTransferError if code == INTERNAL_ERROR else CommandFailedError
    raise kind(
        f"the service did not carry out {command.value}: {quotable(str(message))}",
        code=code,
        request_id=answer.request_id,
        status=answer.status,
    )


def _job_path(job_id: str) -> str:
    return f"/{quote(job_id, safe='')}"
