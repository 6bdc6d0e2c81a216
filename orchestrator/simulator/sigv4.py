"""URLs with AWS Signature Version 4 for S3 (metastudio-protocol section 5.1)."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from urllib.parse import quote

from orchestrator.simulator.bucket import Validity

_ALGORITHM = "AWS4-HMAC-SHA256"
_UNSIGNED = "UNSIGNED-PAYLOAD"


@dataclass(frozen=True)
class SigningKeys:
    """An account of an S3-compatible server, and the region it signs for."""

    ak: str
    sk: str = field(repr=False)
    region: str

    def scope(self, date: str) -> str:
        """Return what a signature of that day (YYYYMMDD) is good for."""
        return f"{date}/{self.region}/s3/aws4_request"

    def signature(self, timestamp: str, canonical_request: str) -> str:
        """Return the hex signature of a request made at *timestamp* (YYYYMMDDTHHMMSSZ)."""
        date = timestamp[:8]
        digest = hashlib.sha256(canonical_request.encode()).hexdigest()
        key = f"AWS4{self.sk}".encode()
        for word in (date, self.region, "s3", "aws4_request"):
            key = hmac.digest(key, word.encode(), "sha256")
        text = f"{_ALGORITHM}\n{timestamp}\n{self.scope(date)}\n{digest}"
        return hmac.digest(key, text.encode(), "sha256").hex()


@dataclass(frozen=True)
class Target:
    """What a request is about; path and query are encoded as they are sent."""

    method: str
    host: str
    path: str
    query: str = ""

    def canonical(self, headers: Mapping[str, str], payload_sha256: str) -> str:
        """Return what is hashed and signed; *headers* are in lower case and sorted."""
        lines = "".join(f"{name}:{value}\n" for name, value in headers.items())
        names = ";".join(headers)
        return "\n".join((self.method, self.path, self.query, lines, names, payload_sha256))


def encoded_path(bucket: str, key: str = "") -> str:
    """Return the path-style address of an object, or of the bucket."""
    return "/" + quote(f"{bucket}/{key}" if key else bucket, safe="/-._~")


def encoded_query(parameters: Mapping[str, str]) -> str:
    """Return the parameters in the order and the encoding that is signed."""
    pairs = sorted((quote(name, safe=""), quote(value, safe="")) for name, value in parameters.items())
    return "&".join(f"{name}={value}" for name, value in pairs)


class V4Signer:
    """Presigns URLs of one bucket at one server; only the host header is signed."""

    def __init__(self, keys: SigningKeys, *, url: str, host: str, bucket: str) -> None:
        self._keys = keys
        self._url = url
        self._host = host
        self._bucket = bucket

    def sign(
        self,
        method: str,
        key: str,
        validity: Validity,
        *,
        content_type: str = "",
        parameters: Mapping[str, str] | None = None,
    ) -> str:
        """Return a URL that is good for any body and any Content-Type."""
        path = encoded_path(self._bucket, key)
        timestamp = datetime.fromtimestamp(validity.since, UTC).strftime("%Y%m%dT%H%M%SZ")
        signed = {
            "X-Amz-Algorithm": _ALGORITHM,
            "X-Amz-Credential": f"{self._keys.ak}/{self._keys.scope(timestamp[:8])}",
            "X-Amz-Date": timestamp,
            "X-Amz-Expires": str(int(validity.seconds)),
            "X-Amz-SignedHeaders": "host",
        }
        query = encoded_query({**signed, **(parameters or {})})
        request = Target(method, self._host, path, query).canonical({"host": self._host}, _UNSIGNED)
        return f"{self._url}{path}?{query}&X-Amz-Signature={self._keys.signature(timestamp, request)}"
