"""Presigned OBS URLs: signing and verification with V2 (metastudio-protocol section 5.1)."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, quote, urlsplit

from orchestrator.simulator.bucket import Validity
from orchestrator.simulator.requests import StoreError

SIGNED_PARAMETERS = frozenset({"partNumber", "uploadId", "uploads", "acl", "x-obs-security-token"})
OBS_ACCESS_KEY = "AccessKeyId"
AWS_ACCESS_KEY = "AWSAccessKeyId"
_VENDOR_PREFIXES = {OBS_ACCESS_KEY: "x-obs-", AWS_ACCESS_KEY: "x-amz-"}


@dataclass(frozen=True)
class StoreKeys:
    """The account that signs for the store, which is not the tenant's."""

    ak: str
    sk: str = field(repr=False)

    def signature(self, string_to_sign: str) -> str:
        """Return Base64(HMAC-SHA1(SK, string_to_sign))."""
        digest = hmac.new(self.sk.encode(), string_to_sign.encode(), hashlib.sha1).digest()
        return base64.b64encode(digest).decode()


def canonical_resource(path: str, parameters: Iterable[tuple[str, str]]) -> str:
    """Return the encoded /bucket/key with the sub-resources that OBS signs, sorted."""
    signed = sorted((name, value) for name, value in parameters if name in SIGNED_PARAMETERS)
    return path + ("?" + "&".join(f"{name}={value}" for name, value in signed) if signed else "")


def string_to_sign(
    method: str,
    resource: str,
    expires: str,
    *,
    content_md5: str = "",
    content_type: str = "",
    vendor: str = "",
) -> str:
    """Return the V2 string; *vendor* holds the sorted "name:value\\n" lines of x-obs- headers."""
    return f"{method}\n{content_md5}\n{content_type}\n{expires}\n{vendor}{resource}"


def presign(
    keys: StoreKeys,
    endpoint: str,
    method: str,
    path: str,
    expires: int,
    *,
    content_type: str = "",
    parameters: Mapping[str, str] | None = None,
    access_key: str = OBS_ACCESS_KEY,
) -> str:
    """Return a URL for one method until *expires* (epoch seconds), in the parameter order of the official examples.

    *access_key* is the name of the parameter for the account.
    """
    extra = dict(parameters or {})
    resource = canonical_resource(path, extra.items())
    signature = keys.signature(string_to_sign(method, resource, str(expires), content_type=content_type))
    query = {access_key: keys.ak, "Expires": str(expires), **extra, "Signature": signature}
    return f"{endpoint}{path}?" + "&".join(f"{name}={quote(value, safe='')}" for name, value in query.items())


class V2Signer:
    """A signer of presigned V2 URLs of one bucket, in OBS's form or, by the parameter's name, AWS's."""

    def __init__(
        self, keys: StoreKeys, endpoint: Callable[[], str], bucket: str, *, access_key: str = OBS_ACCESS_KEY
    ) -> None:
        self._keys = keys
        self._endpoint = endpoint
        self._bucket = bucket
        self._access_key = access_key

    def sign(
        self,
        method: str,
        key: str,
        validity: Validity,
        *,
        content_type: str = "",
        parameters: Mapping[str, str] | None = None,
    ) -> str:
        """Return a URL that is valid only for that Content-Type."""
        return presign(
            self._keys,
            self._endpoint(),
            method,
            f"/{self._bucket}/{key}",
            validity.until,
            content_type=content_type,
            parameters=parameters,
            access_key=self._access_key,
        )


@dataclass(frozen=True)
class SignedTarget:
    """The target of a request with a valid signature, and its expiry."""

    resource: str
    key: str
    expires: float
    signature: str = field(repr=False)
    upload_id: str | None
    part_number: int | None

    @property
    def label(self) -> str:
        """The target's name, without secrets."""
        return self.key if self.part_number is None else f"{self.key}#{self.part_number}@{self.upload_id}"


def verify(
    keys: StoreKeys,
    bucket: str,
    method: str,
    raw_url: str,
    headers: Mapping[str, str],
    *,
    methods: tuple[str, ...] = (),
) -> SignedTarget:
    """Return the target of a presigned request; raise StoreError (403) with the mismatch.

    *methods* are further methods for which a signature is also accepted.
    """
    split = urlsplit(raw_url)
    query = dict(parse_qsl(split.query, keep_blank_values=True))
    access_key = next((name for name in _VENDOR_PREFIXES if name in query), None)
    if access_key is None or "Signature" not in query or not query.get("Expires", "").isdigit():
        raise StoreError(403, "AccessDenied", "The request is not signed")
    if query[access_key] != keys.ak:
        raise StoreError(
            403, "InvalidAccessKeyId", "The access key id you provided does not exist in our records"
        )
    resource = canonical_resource(split.path, query.items())
    prefix = _VENDOR_PREFIXES[access_key]
    signed = ((name.lower(), value.strip()) for name, value in headers.items())
    vendor = "".join(f"{name}:{value}\n" for name, value in sorted(signed) if name.startswith(prefix))
    expected = (
        keys.signature(
            string_to_sign(
                candidate,
                resource,
                query["Expires"],
                content_md5=headers.get("Content-MD5", ""),
                content_type=headers.get("Content-Type", ""),
                vendor=vendor,
            )
        )
        for candidate in (method, *methods)
    )
    if not any(hmac.compare_digest(signature, query["Signature"]) for signature in expected):
        raise StoreError(
            403,
            "SignatureDoesNotMatch",
            "The request signature we calculated does not match the signature you provided",
        )
    return _target(split.path, bucket, resource, query)


def _target(path: str, bucket: str, resource: str, query: Mapping[str, str]) -> SignedTarget:
    number = query.get("partNumber")
    if number is not None and not (number.isdigit() and 1 <= int(number) <= 10000):
        raise StoreError(
            400, "InvalidArgument", "Part number must be an integer between 1 and 10000, inclusive"
        )
    return SignedTarget(
        resource=resource,
        key=path.removeprefix(f"/{bucket}/"),
        expires=float(query["Expires"]),
        signature=query["Signature"],
        upload_id=query.get("uploadId"),
        part_number=None if number is None else int(number),
    )
