"""Authentication of requests: tokens and AK/SK signatures, SDK-HMAC-SHA256 (metastudio-protocol section 4)."""

from __future__ import annotations

import hashlib
import hmac
import re
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol
from urllib.parse import parse_qsl, quote, unquote

from yarl import URL

from orchestrator.metastudio.credentials import Credentials

TOKEN_HEADER = "X-Auth-Token"  # noqa: S105 -- the header's name
ALGORITHM = "SDK-HMAC-SHA256"
DATE_HEADER = "X-Sdk-Date"
_CONTENT_HASH_HEADER = "x-sdk-content-sha256"
#: A path that encoding leaves unchanged, like all paths of this API.
_PLAIN_PATH = re.compile(r"[A-Za-z0-9._~/-]*")


class Authenticator(Protocol):
    """Adds proof of identity to requests."""

    @property
    def advice(self) -> str:
        """What to check when the service does not accept the credentials."""
        ...

    @property
    def secrets(self) -> tuple[str, ...]:
        """The texts that no message may repeat, even where the service does."""
        ...

    async def headers(self, method: str, url: URL, headers: Mapping[str, str], body: bytes) -> dict[str, str]:
        """Return all headers to send: *headers* and the proof of identity."""
        ...

    def forget(self, sent: Mapping[str, str]) -> bool:
        """Drop the refused proof in *sent*; return True when a new one can be made and the request sent again."""
        ...


class AkSkAuth:
    """Signs each request with an access key pair.

    *clock*, in epoch seconds, dates the signatures.
    """

    def __init__(self, credentials: Credentials, *, clock: Callable[[], float] = time.time) -> None:
        self._credentials = credentials
        self._clock = clock

    @property
    def advice(self) -> str:
        """The three variables to check, and the clock, which dates the signature."""
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
            DATE_HEADER: _date(int(self._clock())),
        }
        if self._credentials.security_token:
            signed["X-Security-Token"] = self._credentials.security_token
        # Built from the encoded URL: the signature must cover exactly what is sent, byte for byte.
        request = SignableRequest(
            method=method,
            path=url.raw_path,
            query=query_pairs(url.raw_query_string),
            headers=signed,
            body=body,
        )
        signed["Authorization"] = authorization(request, self._credentials.ak, self._credentials.sk)
        return signed

    def forget(self, sent: Mapping[str, str]) -> bool:
        """Return False: a new signature with the same keys would be refused again."""
        return False


class StaticTokenAuth:
    """Sends a token that was fetched outside this program."""

    def __init__(self, token: str) -> None:
        self._token = token

    @property
    def advice(self) -> str:
        """The variable to check; tokens expire."""
        return "check ORCHESTRATOR_AUTH_TOKEN: a token lives 24 hours and belongs to one project"

    @property
    def secrets(self) -> tuple[str, ...]:
        """The token."""
        return (self._token,)

    async def headers(self, method: str, url: URL, headers: Mapping[str, str], body: bytes) -> dict[str, str]:
        """Add X-Auth-Token."""
        return {**headers, TOKEN_HEADER: self._token}

    def forget(self, sent: Mapping[str, str]) -> bool:
        """Return False: this program cannot fetch another token."""
        return False


@lru_cache(maxsize=2)  # many calls within a second share the value
def _date(second: int) -> str:
    """Return the value of `X-Sdk-Date` for *second*, in epoch seconds."""
    return time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(second))


@dataclass(frozen=True, slots=True, kw_only=True)
class SignableRequest:
    """The parts of a request that the signature covers.

    `path` is the one on the wire; `query` holds decoded pairs. Every header whose name has no underscore is signed,
    so none of them may change afterwards; `Host` and `X-Sdk-Date` must be among them.
    """

    method: str
    path: str
    query: tuple[tuple[str, str], ...]
    headers: Mapping[str, str]
    body: bytes


def authorization(request: SignableRequest, ak: str, sk: str) -> str:
    """Return the value of the Authorization header; raise KeyError when `X-Sdk-Date` is not among the headers."""
    headers = signed_headers(request)
    digest = hashlib.sha256(canonical_request(request, headers).encode()).hexdigest()
    text = f"{ALGORITHM}\n{headers[DATE_HEADER.lower()]}\n{digest}"
    signature = hmac.digest(sk.encode(), text.encode(), "sha256").hex()
    return f"{ALGORITHM} Access={ak}, SignedHeaders={';'.join(headers)}, Signature={signature}"


def signed_headers(request: SignableRequest) -> dict[str, str]:
    """Return the headers as they are signed: sorted, names in lower case, without those that have an underscore."""
    lowered = {name.lower(): value.strip() for name, value in request.headers.items() if "_" not in name}
    return dict(sorted(lowered.items()))


def canonical_request(request: SignableRequest, headers: Mapping[str, str]) -> str:
    """Return the canonical request that is hashed; *headers* come from `signed_headers`."""
    is_plain = _PLAIN_PATH.fullmatch(request.path) is not None
    path = request.path if is_plain else "/".join(map(_encode, unquote(request.path).split("/")))
    # The vendor's signer uses a content hash stated in a header, except for an empty body.
    stated = headers.get(_CONTENT_HASH_HEADER) if request.body else None
    lines = [
        request.method.upper(),
        # The canonical path always ends with a slash, even if the path on the wire does not.
        path if path.endswith("/") else path + "/",
        canonical_query(request.query),
        "".join([f"{name}:{value}\n" for name, value in headers.items()]),
        ";".join(headers),
        stated or hashlib.sha256(request.body).hexdigest(),
    ]
    return "\n".join(lines)


def canonical_query(query: Iterable[tuple[str, str]]) -> str:
    """Return the query sorted and encoded as it is signed; send exactly this."""
    return "&".join([f"{_encode(key)}={_encode(value)}" for key, value in sorted(query)])


def query_pairs(raw_query: str) -> tuple[tuple[str, str], ...]:
    """Return the decoded pairs of a query that `canonical_query` encoded."""
    return tuple(parse_qsl(raw_query, keep_blank_values=True)) if raw_query else ()


def _encode(text: str) -> str:
    return quote(text, safe="~")
