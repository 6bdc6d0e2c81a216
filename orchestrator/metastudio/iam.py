"""Authentication with tokens fetched by an IAM user's password (metastudio-protocol section 4.1)."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

import aiohttp
import anyio
from yarl import URL

from orchestrator.domain.errors import (
    ConfigurationError,
    CredentialsError,
    InterruptedTransferError,
    NotSentError,
    OrchestratorError,
    ThrottledError,
)
from orchestrator.metastudio.answers import Answer, OversizedAnswerError, Refusal, exchange, read_object
from orchestrator.metastudio.credentials import IamAccount
from orchestrator.metastudio.rate_limit import Retrying
from orchestrator.metastudio.signing import TOKEN_HEADER

_PATH = "/v3/auth/tokens?nocatalog=true"
_LIFETIME_SECONDS = 24 * 3600.0
_MARGIN_SECONDS = 600.0
#: The characters that a header can carry; the length is from metastudio-protocol section 1.
_TOKEN = re.compile(r"[\x21-\x7e]{1,16384}")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Token:
    """A token in use; `renew_at`, in epoch seconds, is before its expiry."""

    value: str = field(repr=False)
    project_id: str | None
    renew_at: float


class IamPasswordAuth:
    """Fetches a token with a password, keeps it, and renews it before it expires or when it is refused.

    Tokens are for the project *project_id*, else for the project with the name *region*. *clock* is in epoch seconds.
    Raises ConfigurationError when neither is given.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        account: IamAccount,
        *,
        retrying: Retrying,
        project_id: str | None = None,
        region: str | None = None,
        clock: Callable[[], float] = time.time,
        timeout_seconds: float = 60,
    ) -> None:
        if not project_id and not region:
            raise ConfigurationError("an IAM user needs a project", hint="give --project-id or --region")
        self._session = session
        self._account = account
        self._project = {"id": project_id} if project_id else {"name": region}
        self._retrying = retrying
        self._clock = clock
        self._timeout_seconds = timeout_seconds
        self._token: _Token | None = None
        self._renewing = anyio.Lock()

    @property
    def advice(self) -> str:
        """The variables of the account to check."""
        return (
            "check ORCHESTRATOR_IAM_USER, ORCHESTRATOR_IAM_PASSWORD and ORCHESTRATOR_IAM_DOMAIN "
            "(the account's name), and that the project belongs to the account"
        )

    @property
    def secrets(self) -> tuple[str, ...]:
        """The password, and the token in use."""
        return (*self._account.texts, *([self._token.value] if self._token else ()))

    async def project_id(self) -> str:
        """Return the id of the project that the token is for.

        Raises CredentialsError, ServiceUnreachableError, or ConfigurationError when IAM names no project.
        """
        token = await self._retrying.run(lambda _attempt: self._current(), operation="IAM token")
        if token.project_id is None:
            raise ConfigurationError("IAM did not name the token's project", hint="give --project-id")
        return token.project_id

    async def headers(self, method: str, url: URL, headers: Mapping[str, str], body: bytes) -> dict[str, str]:
        """Add X-Auth-Token, after fetching a token if needed.

        Raises NotSentError when IAM cannot issue one now, so that the caller may try again.
        """
        return {**headers, TOKEN_HEADER: (await self._current()).value}

    def forget(self, sent: Mapping[str, str]) -> bool:
        """Drop the refused token unless it has already been replaced; a new one can always be requested."""
        # Another call may have replaced it since; the new token must not be dropped for the old one's refusal.
        if self._token is not None and self._token.value == sent.get(TOKEN_HEADER):
            self._token = None
        return True

    async def _current(self) -> _Token:
        """Return the token in use; one caller fetches it while the others wait."""
        # A token expires for all calls at the same time; only the first of them fetches the next.
        async with self._renewing:
            if self._token is None or self._clock() >= self._token.renew_at:
                self._token = self._read(await self._ask())
            return self._token

    async def _ask(self) -> Answer:
        user = {
            "domain": {"name": self._account.domain},
            "name": self._account.user,
            "password": self._account.password,
        }
        identity = {"methods": ["password"], "password": {"user": user}}
        body = json.dumps({"auth": {"identity": identity, "scope": {"project": self._project}}}).encode()
        try:
            answer = await exchange(
                self._session,
                "POST",
                URL(self._account.endpoint.rstrip("/") + _PATH, encoded=True),
                headers={"Content-Type": "application/json"},
                body=body,
                timeout_seconds=self._timeout_seconds,
            )
        except OversizedAnswerError as error:
            raise ConfigurationError(
                f"this is not IAM: {error.message}", hint="check ORCHESTRATOR_IAM_ENDPOINT, and any proxy"
            ) from None
        except InterruptedTransferError as error:
            # The call that needs the token has not been sent, whatever the outcome of this request.
            raise NotSentError(f"IAM gave no token: {error.message}") from None
        if answer.status == 201:
            return answer
        raise self._refused(answer)

    def _refused(self, answer: Answer) -> OrchestratorError:
        refusal = Refusal.read(answer, "IAM token", hidden=(self._account.password,))
        if answer.status == 404 and refusal.code is None:
            # IAM's own answers have a code; a page without one says nothing about the account.
            return ConfigurationError(
                f"this is not IAM: {refusal.message}", hint="check ORCHESTRATOR_IAM_ENDPOINT, and any proxy"
            )
        if answer.status in {400, 401, 403, 404}:
            return CredentialsError(
                f"IAM does not accept the account: {refusal.message}",
                code=refusal.code,
                hint=self.advice,
                status=answer.status,
                request_id=answer.request_id,
            )
        error = refusal.error(advice=self.advice, now=self._clock())
        if isinstance(error, ThrottledError | ConfigurationError):
            return error
        return NotSentError(
            f"IAM gave no token: {refusal.message}",
            code=refusal.code,
            status=answer.status,
            request_id=answer.request_id,
        )

    def _read(self, answer: Answer) -> _Token:
        value = answer.headers.get("X-Subject-Token")
        if not (value and _TOKEN.fullmatch(value)):
            raise NotSentError("IAM answered without a token that can be sent", request_id=answer.request_id)
        token = _mapping((read_object(answer.body) or {}).get("token"))
        project_id = _mapping(token.get("project")).get("id")
        issued_at = _epoch_seconds(token.get("issued_at"))
        expires_at = _epoch_seconds(token.get("expires_at"))
        # The lifetime by IAM's clock; renewal is ten minutes before its end, or a tenth of a short lifetime.
        life = _LIFETIME_SECONDS
        if issued_at is not None and expires_at is not None:
            life = expires_at - issued_at
        return _Token(
            value=value,
            project_id=project_id if isinstance(project_id, str) else None,
            renew_at=self._clock() + life - min(_MARGIN_SECONDS, life / 10),
        )


def _epoch_seconds(value: object) -> float | None:
    try:
        moment = datetime.fromisoformat(str(value))
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, Mapping) else {}
