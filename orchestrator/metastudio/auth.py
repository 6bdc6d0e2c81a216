"""Proving who calls: AK/SK signatures and tokens (metastudio-protocol section 4)."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Protocol

from yarl import URL

from orchestrator.metastudio.credentials import Credentials
from orchestrator.metastudio.signing import (
    DATE_FORMAT,
    DATE_HEADER,
    SignableRequest,
    authorization,
    query_pairs,
)

TOKEN_HEADER = "X-Auth-Token"  # noqa: S105 -- the header's name


class Authenticator(Protocol):
    """Adds to a request what proves who sends it."""

    @property
    def advice(self) -> str:
        """What to check when the service does not accept the credentials."""
        ...

    @property
    def secrets(self) -> tuple[str, ...]:
        """What no message may repeat, though the service does."""
        ...

    async def headers(self, method: str, url: URL, headers: Mapping[str, str], body: bytes) -> dict[str, str]:
        """Every header to send: *headers* and the proof."""
        ...

    def forget(self, sent: Mapping[str, str]) -> bool:
        """Drop what was *sent* and refused; True when a new proof can be had and the request sent again."""
        ...


class AkSkAuth:
    """Signs each request with an access key pair.

    *clock* dates the signatures, in epoch seconds.
    """

    def __init__(self, credentials: Credentials, *, clock: Callable[[], float] = time.time) -> None:
        self._credentials = credentials
        self._clock = clock

    @property
    def advice(self) -> str:
        """Name the three variables, and the clock, which dates the signature."""
        return (
            "check HUAWEICLOUD_SDK_AK and HUAWEICLOUD_SDK_SK (or the credentials file), "
            "HUAWEICLOUD_SDK_SECURITY_TOKEN for temporary keys, and this machine's clock"
        )

    @property
    def secrets(self) -> tuple[str, ...]:
        """Both keys, and the token of temporary ones."""
        return self._credentials.texts

    async def headers(self, method: str, url: URL, headers: Mapping[str, str], body: bytes) -> dict[str, str]:
        """Add Host, X-Sdk-Date and, for temporary keys, X-Security-Token, and sign them all."""
        signed = {
            **headers,
            "Host": url.host_port_subcomponent or "",
            DATE_HEADER: time.strftime(DATE_FORMAT, time.gmtime(self._clock())),
        }
        if self._credentials.security_token:
            signed["X-Security-Token"] = self._credentials.security_token
        # From the encoded URL: what is signed must be what goes over the wire, byte for byte.
        request = SignableRequest(
            method=method,
            path=url.raw_path,
            query=query_pairs(url.raw_query_string),
            headers=signed,
            body=body,
        )
        return {
            **signed,
            "Authorization": authorization(request, self._credentials.ak, self._credentials.sk),
        }

    def forget(self, sent: Mapping[str, str]) -> bool:
        """Keys stay as they are: a refused signature would be refused again."""
        return False


class StaticTokenAuth:
    """Sends a token that somebody else fetched."""

    def __init__(self, token: str) -> None:
        self._token = token

    @property
    def advice(self) -> str:
        """Say that tokens end."""
        return "check ORCHESTRATOR_AUTH_TOKEN: a token lives 24 hours and belongs to one project"

    @property
    def secrets(self) -> tuple[str, ...]:
        """The token."""
        return (self._token,)

    async def headers(self, method: str, url: URL, headers: Mapping[str, str], body: bytes) -> dict[str, str]:
        """Add X-Auth-Token."""
        return {**headers, TOKEN_HEADER: self._token}

    def forget(self, sent: Mapping[str, str]) -> bool:
        """Nobody here can fetch another token."""
        return False
