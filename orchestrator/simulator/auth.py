"""Authentication of callers: recomputed SDK-HMAC-SHA256 signatures, and tokens (metastudio-protocol section 4)."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from orchestrator.simulator.requests import ApiError

ALGORITHM = "SDK-HMAC-SHA256"
_AUTHORIZATION = re.compile(rf"{ALGORITHM} Access=([^,]+), SignedHeaders=([^,]+), Signature=([0-9a-f]{{64}})")
_MUST_SIGN = frozenset({"host", "x-sdk-date"})


@dataclass(frozen=True)
class Call:
    """A request as received on the wire, with the parts that are signed; header names are in lower case."""

    method: str
    raw_url: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)


def canonical_request(call: Call, signed_headers: list[str]) -> str:
    """Return the text whose hash is signed (metastudio-protocol section 4.2, steps 4 to 8)."""
    split = urlsplit(call.raw_url)
    path = "/".join(quote(segment, safe="~") for segment in unquote(split.path).split("/"))
    parameters = sorted(parse_qsl(split.query, keep_blank_values=True))
    lines = "".join(f"{name}:{call.headers[name].strip()}\n" for name in signed_headers)
    payload = call.headers.get("x-sdk-content-sha256") or hashlib.sha256(call.body).hexdigest()
    return "\n".join(
        [
            call.method,
            path if path.endswith("/") else path + "/",
            "&".join(f"{quote(name, safe='~')}={quote(value, safe='~')}" for name, value in parameters),
            lines,
            ";".join(signed_headers),
            payload,
        ]
    )


def sign(sk: str, sdk_date: str, canonical: str) -> str:
    """Return the hex signature; the SK itself is the key, without derivation."""
    string_to_sign = f"{ALGORITHM}\n{sdk_date}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    return hmac.new(sk.encode(), string_to_sign.encode(), hashlib.sha256).hexdigest()


def unauthorized(reason: str, code: str = "APIGW.0301") -> ApiError:
    """Return the gateway's 401."""
    return ApiError(401, code, f"Incorrect IAM authentication information: {reason}")


@dataclass(frozen=True, kw_only=True)
class Credentials:
    """The credentials that the gateway accepts."""

    ak: str
    sk: str = field(repr=False)
    security_token: str | None = field(repr=False)
    static_token: str = field(repr=False)
    token_lifetime_seconds: float
    max_clock_skew_seconds: float | None

    def check(self, call: Call, now: float) -> None:
        """Check a call's credentials; raise the gateway's 401 if they are wrong."""
        if "authorization" in call.headers:
            self._check_signature(call, now)
        elif "x-auth-token" in call.headers:
            self._check_token(call.headers["x-auth-token"], now)
        else:
            raise unauthorized("x-auth-token not found")

    def _check_signature(self, call: Call, now: float) -> None:
        match = _AUTHORIZATION.fullmatch(call.headers["authorization"])
        names = match.group(2).split(";") if match else []
        if match is None or names != sorted(names) or not set(names) >= _MUST_SIGN:
            raise unauthorized("authorization format is incorrect")
        if any(name not in call.headers for name in names):
            raise unauthorized("a signed header is missing")
        declared = call.headers.get("x-sdk-content-sha256", "UNSIGNED-PAYLOAD")
        if declared not in ("UNSIGNED-PAYLOAD", hashlib.sha256(call.body).hexdigest()):
            raise unauthorized("verify aksk signature fail, body hash differs")
        self._check_date(call.headers["x-sdk-date"], now)
        if self.security_token is not None and call.headers.get("x-security-token") != self.security_token:
            raise unauthorized("security token is invalid")
        expected = sign(self.sk, call.headers["x-sdk-date"], canonical_request(call, names))
        if match.group(1) != self.ak or not hmac.compare_digest(expected, match.group(3)):
            raise unauthorized("verify aksk signature fail")

    def _check_date(self, sdk_date: str, now: float) -> None:
        try:
            signed_at = datetime.strptime(sdk_date, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()
        except ValueError:
            raise unauthorized("x-sdk-date format is incorrect") from None
        if self.max_clock_skew_seconds is not None and abs(now - signed_at) > self.max_clock_skew_seconds:
            raise unauthorized("signature expired")

    def _check_token(self, token: str, now: float) -> None:
        if hmac.compare_digest(token.encode(), self.static_token.encode()):
            return
        payload, _, seal = token.partition(".")
        if not hmac.compare_digest(seal.encode(), self._seal(payload).encode()):
            raise unauthorized("decrypt token fail")
        if now >= float(json.loads(base64.urlsafe_b64decode(payload))["expires_at"]):
            raise ApiError(401, "APIGW.0307", "The token must be updated.")

    def issue_token(self, now: float) -> tuple[str, float]:
        """Return a token and its expiry (epoch seconds); it is sealed, not recorded."""
        expires_at = now + self.token_lifetime_seconds
        claims = json.dumps({"expires_at": expires_at, "nonce": secrets.token_hex(8)}).encode()
        payload = base64.urlsafe_b64encode(claims).decode()
        return f"{payload}.{self._seal(payload)}", expires_at

    def _seal(self, payload: str) -> str:
        return hmac.new(self.sk.encode(), payload.encode(), hashlib.sha256).hexdigest()
