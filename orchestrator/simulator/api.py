"""The training-job API over HTTP (metastudio-protocol section 1)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aiohttp import web

from orchestrator.simulator.gate import Act, Gate, error_response, refused
from orchestrator.simulator.options import SimulatorOptions
from orchestrator.simulator.persistence import Document
from orchestrator.simulator.requests import (
    ApiError,
    CommandBody,
    CommandRefusedError,
    CreateBody,
    ListQuery,
    UpdateBody,
    parse_body,
    validate,
)
from orchestrator.simulator.service import TrainingService

_COMMAND_OPERATIONS = {
    "GET_MULTIPART_UPLOADED": "list-parts",
    "CONFIRM_MULTIPART_UPLOADED": "confirm",
    "GET_ACTION_VIDEO_MULTIPART_UPLOADED": "list-action-parts",
    "CONFIRM_ACTION_VIDEO_MULTIPART_UPLOADED": "confirm-action",
    "SUBMITVERIFYING": "submit",
    "CONFIRM_AUTHORIZATION_LETTER": "confirm-letter",
    "DELETE_JOB_VIDEO": "delete-video",
}
_JOBS = "/v1/{project_id}/digital-human-training-manage/user/jobs"
Decide = Callable[[web.Request, bytes], tuple[str, Act]]


class TrainingJobApi:
    """The HTTP handlers that turn requests into calls of the service, and its results into JSON."""

    def __init__(self, options: SimulatorOptions, service: TrainingService, gate: Gate) -> None:
        self._options = options
        self._service = service
        self._gate = gate

    def routes(self) -> list[web.RouteDef]:
        """Return the API's routes."""
        return [
            web.post(_JOBS, self._handler(self._create)),
            web.get(_JOBS, self._handler(self._list), allow_head=False),
            web.get(_JOBS + "/{job_id}", self._handler(self._show), allow_head=False),
            web.put(_JOBS + "/{job_id}", self._handler(self._update)),
            web.delete(_JOBS + "/{job_id}", self._handler(self._delete)),
            web.post(_JOBS + "/{job_id}/command", self._handler(self._command)),
        ]

    def _handler(self, decide: Decide) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def handle(request: web.Request) -> web.StreamResponse:
            try:
                call = await self._gate.admit(request)
                self._check_project(request)
                operation, act = decide(request, call.body)
            except ApiError as error:
                return error_response(error)
            return await self._gate.answer(request, operation, act)

        return handle

    def _check_project(self, request: web.Request) -> None:
        named = {
            request.match_info["project_id"],
            request.headers.get("X-Project-Id", self._options.project_id),
        }
        if named != {self._options.project_id}:
            raise ApiError(400, "MSS.00010009", "urlTenantId is not equal tokenTenantId")

    def _create(self, request: web.Request, body: bytes) -> tuple[str, Act]:
        async def act() -> Document:
            user = request.headers.get("X-App-UserId")
            if user is not None and not (1 <= len(user) <= 256 and user.isascii()):
                raise ApiError(400, "MSS.00000003", "Invalid parameter: X-App-UserId")
            return await self._service.create(parse_body(CreateBody, body), user)

        return "create", act

    def _list(self, request: web.Request, _: bytes) -> tuple[str, Act]:
        async def act() -> Document:
            return await self._service.list_jobs(validate(ListQuery, dict(request.query)))

        return "list", act

    def _show(self, request: web.Request, _: bytes) -> tuple[str, Act]:
        async def act() -> Document:
            return await self._service.show(request.match_info["job_id"])

        return "show", act

    def _update(self, request: web.Request, body: bytes) -> tuple[str, Act]:
        async def act() -> Document:
            return await self._service.update(request.match_info["job_id"], parse_body(UpdateBody, body))

        return "update", act

    def _delete(self, request: web.Request, _: bytes) -> tuple[str, Act]:
        async def act() -> Document:
            await self._service.delete(request.match_info["job_id"])
            return {}

        return "delete", act

    def _command(self, request: web.Request, body: bytes) -> tuple[str, Act]:
        command = parse_body(CommandBody, body)

        async def act() -> Document:
            try:
                answer = await self._service.command(request.match_info["job_id"], command)
            except CommandRefusedError as error:
                return refused(error.code, error.message)
            # The service misspells both words.
            return {"commond_result": "EXCUTE_SUCCESS", **answer}

        return _COMMAND_OPERATIONS.get(command.command, "command"), act
