"""AK/SK signatures, SDK-HMAC-SHA256, as pure functions (metastudio-protocol section 4.2)."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl, quote, unquote

ALGORITHM = "SDK-HMAC-SHA256"
DATE_HEADER = "X-Sdk-Date"
DATE_FORMAT = "%Y%m%dT%H%M%SZ"
_CONTENT_HASH_HEADER = "x-sdk-content-sha256"
#: A path that is the same when it is encoded anew, as those of this API are.
_PLAIN_PATH = re.compile(r"[A-Za-z0-9._~/-]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class SignableRequest:
    """A request as the signature sees it.

    `path` is the one on the wire, `query` holds decoded pairs. Every header is signed, so none of them may
    change afterwards; `Host` and `X-Sdk-Date` must be among them.
    """

    method: str
    path: str
    query: tuple[tuple[str, str], ...]
    headers: Mapping[str, str]
    body: bytes


def authorization(request: SignableRequest, ak: str, sk: str) -> str:
    """The value of the Authorization header; raises KeyError when `X-Sdk-Date` is not among the headers."""
    headers = _signed_headers(request)
    signature = hmac.digest(sk.encode(), _string_to_sign(request, headers).encode(), "sha256").hex()
    return f"{ALGORITHM} Access={ak}, SignedHeaders={';'.join(headers)}, Signature={signature}"


def string_to_sign(request: SignableRequest) -> str:
    """Algorithm, date and the hash of the canonical request."""
    return _string_to_sign(request, _signed_headers(request))


def canonical_request(request: SignableRequest) -> str:
    """The six lines that are hashed, of which the headers take several."""
    return _canonical_request(request, _signed_headers(request))


def canonical_query(query: Iterable[tuple[str, str]]) -> str:
    """The query sorted and encoded as it is signed; send exactly this."""
    return "&".join(f"{_encode(key)}={_encode(value)}" for key, value in sorted(query))


def query_pairs(raw_query: str) -> tuple[tuple[str, str], ...]:
    """The decoded pairs of a query that `canonical_query` wrote."""
    return tuple(parse_qsl(raw_query, keep_blank_values=True)) if raw_query else ()


def _string_to_sign(request: SignableRequest, headers: Mapping[str, str]) -> str:
    digest = hashlib.sha256(_canonical_request(request, headers).encode()).hexdigest()
    return f"{ALGORITHM}\n{headers[DATE_HEADER.lower()]}\n{digest}"


def _canonical_request(request: SignableRequest, headers: Mapping[str, str]) -> str:
    is_plain = _PLAIN_PATH.fullmatch(request.path) is not None
    path = request.path if is_plain else "/".join(map(_encode, unquote(request.path).split("/")))
    # The vendor's signer takes a hash that a header states, but not for an empty body.
    stated = headers.get(_CONTENT_HASH_HEADER) if request.body else None
    lines = [
        request.method.upper(),
        # Always with a slash at the end, which the wire does not need.
        path if path.endswith("/") else path + "/",
        canonical_query(request.query),
        "".join(f"{name}:{value}\n" for name, value in headers.items()),
        ";".join(headers),
        stated or hashlib.sha256(request.body).hexdigest(),
    ]
    return "\n".join(lines)


def _signed_headers(request: SignableRequest) -> dict[str, str]:
    lowered = {name.lower(): value.strip() for name, value in request.headers.items() if "_" not in name}
    return dict(sorted(lowered.items()))


def _encode(text: str) -> str:
    return quote(text, safe="~")
