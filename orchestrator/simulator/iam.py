"""IAM: tokens for a password, and projects by name (metastudio-protocol sections 4.1 and 4.3)."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from orchestrator.simulator.auth import Credentials
from orchestrator.simulator.gate import Gate, error_response
from orchestrator.simulator.options import SimulatorOptions
from orchestrator.simulator.persistence import Document
from orchestrator.simulator.requests import ApiError
from orchestrator.simulator.stats import Stats


class IamApi:
    """The IAM API for one user of one domain with one project."""

    def __init__(
        self,
        options: SimulatorOptions,
        *,
        credentials: Credentials,
        gate: Gate,
        stats: Stats,
        clock: Callable[[], float],
    ) -> None:
        self._options = options
        self._credentials = credentials
        self._gate = gate
        self._stats = stats
        self._clock = clock

    def routes(self) -> list[web.RouteDef]:
        """Return IAM's routes."""
        return [
            web.post("/v3/auth/tokens", self._issue_token),
            web.get("/v3/projects", self._list_projects, allow_head=False),
        ]

    async def _issue_token(self, request: web.Request) -> web.StreamResponse:
        self._stats.requests["token"] += 1
        try:
            auth: dict[str, Any] = json.loads(await request.read())["auth"]
            given, project = auth["identity"]["password"]["user"], auth["scope"]["project"]
            user = (given["domain"]["name"], given["name"], given["password"])
            scope = project.get("id") or project["name"]
        except (ValueError, KeyError, TypeError, AttributeError):
            return _iam_error(400, "The request body is invalid", "Bad Request")
        if user != (self._options.domain, self._options.user, self._options.password):
            return _iam_error(401, "The username or password is wrong.", "Unauthorized")
        if scope not in (self._options.project_name, self._options.project_id):
            return _iam_error(401, "The project is not found.", "Unauthorized")
        issued_at = self._clock()
        token, expires_at = self._credentials.issue_token(issued_at)
        claims = {
            "methods": ["password"],
            "project": {"id": self._options.project_id, "name": self._options.project_name},
            "user": {"name": self._options.user, "domain": {"name": self._options.domain}},
            "issued_at": _instant(issued_at),
            "expires_at": _instant(expires_at),
        }
        return web.json_response({"token": claims}, status=201, headers={"X-Subject-Token": token})

    async def _list_projects(self, request: web.Request) -> web.StreamResponse:
        try:
            await self._gate.admit(request)
        except ApiError as error:
            return error_response(error)

        async def act() -> Document:
            name = self._options.project_name
            project = {"id": self._options.project_id, "name": name, "enabled": True}
            return {"projects": [project] if request.query.get("name", name) == name else [], "links": {}}

        return await self._gate.answer(request, "projects", act)


def _instant(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _iam_error(status: int, message: str, title: str) -> web.Response:
    return web.json_response({"error": {"code": status, "message": message, "title": title}}, status=status)
