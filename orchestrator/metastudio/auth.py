"""Who calls, and where to: addresses that a secret may be sent to, where credentials are found, and proofs.

Proofs are tokens, and AK/SK signatures, SDK-HMAC-SHA256 (metastudio-protocol section 4). Of credentials the vendor's
names and file come first (section 4.3).
"""

from __future__ import annotations

import errno
import hashlib
import hmac
import os
import re
import stat
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path
from typing import Final, Protocol
from urllib.parse import parse_qsl, quote, unquote

from yarl import URL

from orchestrator.domain.errors import ConfigurationError
from orchestrator.domain.presigned import is_loopback

TOKEN_HEADER = "X-Auth-Token"  # noqa: S105 -- the header's name
ALGORITHM = "SDK-HMAC-SHA256"
DATE_HEADER = "X-Sdk-Date"
_CONTENT_HASH_HEADER = "x-sdk-content-sha256"
#: A path that is the same when it is encoded again, as those of this API are.
_PLAIN_PATH = re.compile(r"[A-Za-z0-9._~/-]*")
_AK, _SK = "HUAWEICLOUD_SDK_AK", "HUAWEICLOUD_SDK_SK"
_SECURITY_TOKEN = "HUAWEICLOUD_SDK_SECURITY_TOKEN"  # noqa: S105 -- the variable's name
PROJECT_VARIABLE = "HUAWEICLOUD_SDK_PROJECT_ID"
_FILE = "HUAWEICLOUD_SDK_CREDENTIALS_FILE"
_TOKEN = "ORCHESTRATOR_AUTH_TOKEN"  # noqa: S105 -- the variable's name
_USER, _PASSWORD, _DOMAIN = "ORCHESTRATOR_IAM_USER", "ORCHESTRATOR_IAM_PASSWORD", "ORCHESTRATOR_IAM_DOMAIN"
_IAM_ENDPOINT, _VENDOR_IAM_ENDPOINT = "ORCHESTRATOR_IAM_ENDPOINT", "HUAWEICLOUD_SDK_IAM_ENDPOINT"

_HOW_TO_GIVE = (
    f"set {_AK} and {_SK}, or write them to ~/.huaweicloud/credentials, or set {_TOKEN}, "
    f"or {_USER}, {_PASSWORD} and {_DOMAIN}"
)
DEFAULT_IAM_ENDPOINT = "https://iam.myhuaweicloud.com"
#: Where the service is offered (metastudio-protocol section 4.3).
REGIONS: Final = ("cn-north-4", "cn-east-3", "ap-southeast-3")
_REGION = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


def region_endpoint(region: str) -> str:
    """The service's endpoint in *region* (metastudio-protocol section 4.3).

    Raises ConfigurationError for a region that is not known: its host would never be found, and a run would wait
    for it in vain.
    """
    if not _REGION.fullmatch(region):
        raise ConfigurationError(f"{region!r} is not a region; write for example cn-north-4")
    if region not in REGIONS:
        # A region may have opened after this version was made.
        meant = get_close_matches(region, REGIONS, n=1)
        other = (
            f"for a region that is new, give its --endpoint: https://metastudio.{region}.myhuaweicloud.com"
        )
        raise ConfigurationError(
            f"the region {region} is not known; MetaStudio is in {', '.join(REGIONS)}",
            hint=f"did you mean --region {meant[0]}? Or {other}" if meant else other,
        )
    return f"https://metastudio.{region}.myhuaweicloud.com"


def check_endpoint(url: str, *, is_insecure_http_allowed: bool = False, setting: str = "--endpoint") -> str:
    """Return *url*, given by *setting*, without a slash at its end.

    Raises ConfigurationError unless secrets may travel there.

    That is https anywhere, and http on loopback or when the operator allows it. A path is refused: the client adds
    the API's own, so that `/v1` twice would be no API.
    """
    try:
        endpoint = URL(url.strip())
    except ValueError:
        raise ConfigurationError("the endpoint is not a URL", hint="write for example https://host") from None
    if endpoint.scheme not in {"http", "https"} or not endpoint.host:
        raise ConfigurationError(
            "the endpoint is not an https URL", hint="write for example https://host[:port]"
        )
    if endpoint.raw_user or endpoint.raw_password or endpoint.raw_query_string or endpoint.raw_fragment:
        raise ConfigurationError("the endpoint may have no user, password, query or fragment in it")
    if endpoint.path.strip("/"):
        raise ConfigurationError(
            "the endpoint has a path; the path of the API is added to it",
            hint=f"write {setting} {endpoint.origin()}",
        )
    if endpoint.scheme == "http" and not (is_insecure_http_allowed or is_loopback(endpoint.host)):
        raise ConfigurationError(
            f"the endpoint {endpoint.host} uses http, which would send the credentials unprotected",
            hint="use https, or --insecure-http if you know the network",
        )
    return str(endpoint.origin())


@dataclass(frozen=True, slots=True)
class Credentials:
    """An access key pair; temporary ones come with a security token."""

    ak: str = field(repr=False)
    sk: str = field(repr=False)
    security_token: str | None = field(default=None, repr=False)

    @property
    def texts(self) -> tuple[str, ...]:
        """What appears in no output: both keys, and the token of temporary ones."""
        return tuple(filter(None, (self.ak, self.sk, self.security_token)))


@dataclass(frozen=True, slots=True)
class UserToken:
    """A token somebody fetched for us; it lives 24 hours and cannot be renewed."""

    token: str = field(repr=False)

    @property
    def texts(self) -> tuple[str, ...]:
        """What appears in no output."""
        return (self.token,)


@dataclass(frozen=True, slots=True, kw_only=True)
class IamAccount:
    """An IAM user whose password buys tokens at *endpoint*."""

    user: str
    password: str = field(repr=False)
    domain: str
    endpoint: str

    @property
    def texts(self) -> tuple[str, ...]:
        """What appears in no output: user and account have names that a person may need to read."""
        return (self.password,)


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundCredentials:
    """What to authenticate with, where it came from, and what the operator should know about it."""

    secret: Credentials | UserToken | IamAccount
    source: str
    project_id: str | None
    warnings: tuple[str, ...] = ()


def find_credentials(environ: Mapping[str, str], home: Path | None) -> FoundCredentials:
    """Look for a key pair, the vendor's credentials file, a token and an IAM user, in this order.

    Raises ConfigurationError when there is none, or half a pair.
    """
    found = _key_pair(environ) or _vendor_file(environ, home) or _token(environ) or _iam_account(environ)
    if found is None:
        raise ConfigurationError("no credentials for the service were found", hint=_HOW_TO_GIVE)
    return found


def _key_pair(environ: Mapping[str, str]) -> FoundCredentials | None:
    ak, sk = _header_value(environ, _AK), _header_value(environ, _SK)
    if not ak and not sk:
        return None
    secret = Credentials(
        _required(ak, _AK, because=_SK),
        _required(sk, _SK, because=_AK),
        _header_value(environ, _SECURITY_TOKEN),
    )
    return FoundCredentials(
        secret=secret, source=f"{_AK} and {_SK}", project_id=_header_value(environ, PROJECT_VARIABLE)
    )


def _vendor_file(environ: Mapping[str, str], home: Path | None) -> FoundCredentials | None:
    named = environ.get(_FILE, "").strip()
    # pathlib raises where os.path leaves a ~ without a home alone, and where a folder may not be looked into.
    usual = None if home is None else home / ".huaweicloud" / "credentials"
    if named:
        path: Path | None = Path(os.path.expanduser(named))  # noqa: PTH111 - see above
    else:
        path = usual if usual is not None and os.path.exists(usual) else None  # noqa: PTH110 - see above
    if path is None:
        return None
    basic = _read_basic_section(path)
    if basic is None:
        if named:
            raise ConfigurationError(f"{path} (from {_FILE}) has no section [basic] with ak and sk")
        return None
    ak, sk = _header_value(basic, "ak"), _header_value(basic, "sk")
    if not ak and not sk:
        return None
    secret = Credentials(
        _required(ak, f"ak in {path}", because="sk"),
        _required(sk, f"sk in {path}", because="ak"),
        _header_value(basic, "security_token"),
    )
    project_id = _header_value(environ, PROJECT_VARIABLE) or _header_value(basic, "project_id")
    is_readable = path.stat().st_mode & 0o077
    warnings = (f"{path} can be read by others; run: chmod 600 {path}",) if is_readable else ()
    return FoundCredentials(secret=secret, source=str(path), project_id=project_id, warnings=warnings)


def _read_basic_section(path: Path) -> Mapping[str, str] | None:
    """The section [basic]; the parser's own errors quote the line, so they are not passed on."""
    import configparser  # noqa: PLC0415 - mostly the environment has the credentials

    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string(_text_of(path))
    except OSError as error:
        raise ConfigurationError(f"the credentials file {path} cannot be read: {error.strerror}") from None
    except (configparser.Error, UnicodeDecodeError):
        raise ConfigurationError(
            f"the credentials file {path} is not an INI file",
            hint="a section [basic] with lines ak = and sk =",
        ) from None
    return parser["basic"] if parser.has_section("basic") else None


def _text_of(path: Path) -> str:
    """The content of a regular file; raises OSError, and for a pipe too, which might be waited for without end."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError(errno.EINVAL, "it is not a regular file")
    return path.read_text(encoding="utf-8-sig")


def _token(environ: Mapping[str, str]) -> FoundCredentials | None:
    token = _header_value(environ, _TOKEN)
    if not token:
        return None
    return FoundCredentials(
        secret=UserToken(token), source=_TOKEN, project_id=_header_value(environ, PROJECT_VARIABLE)
    )


def _iam_account(environ: Mapping[str, str]) -> FoundCredentials | None:
    user, password, domain = environ.get(_USER), environ.get(_PASSWORD), environ.get(_DOMAIN)
    if not user and not password:
        return None
    account = IamAccount(
        user=_required(user, _USER, because=_PASSWORD),
        password=_required(password, _PASSWORD, because=_USER),
        domain=_required(domain, _DOMAIN, because=_USER),
        endpoint=environ.get(_IAM_ENDPOINT) or environ.get(_VENDOR_IAM_ENDPOINT) or DEFAULT_IAM_ENDPOINT,
    )
    return FoundCredentials(secret=account, source=_USER, project_id=_header_value(environ, PROJECT_VARIABLE))


def _required(value: str | None, name: str, *, because: str) -> str:
    if not value:
        raise ConfigurationError(f"{because} is given but {name} is not", hint=_HOW_TO_GIVE)
    return value


def _header_value(values: Mapping[str, str], name: str) -> str | None:
    """The value without blanks around it, None when nothing is left; raises when no header could carry it."""
    value = values.get(name, "").strip()
    if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'":
        raise ConfigurationError(
            f"{name} has quotation marks around it, which are no part of it",
            hint=f"write {name}=VALUE without them; a file of variables for docker has none either",
        )
    if not (value.isascii() and value.isprintable() and " " not in value):
        raise ConfigurationError(f"{name} contains a blank, a line break or a character that is not ASCII")
    return value or None


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
            DATE_HEADER: _date(int(self._clock())),
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
        signed["Authorization"] = authorization(request, self._credentials.ak, self._credentials.sk)
        return signed

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


@lru_cache(maxsize=2)  # many calls a second have the same
def _date(second: int) -> str:
    """The value of `X-Sdk-Date` for a *second* of the epoch."""
    return time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(second))


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
    headers = signed_headers(request)
    digest = hashlib.sha256(canonical_request(request, headers).encode()).hexdigest()
    text = f"{ALGORITHM}\n{headers[DATE_HEADER.lower()]}\n{digest}"
    signature = hmac.digest(sk.encode(), text.encode(), "sha256").hex()
    return f"{ALGORITHM} Access={ak}, SignedHeaders={';'.join(headers)}, Signature={signature}"


def signed_headers(request: SignableRequest) -> dict[str, str]:
    """The headers as they are signed: sorted, names in lower case, those with an underscore left out."""
    lowered = {name.lower(): value.strip() for name, value in request.headers.items() if "_" not in name}
    return dict(sorted(lowered.items()))


def canonical_request(request: SignableRequest, headers: Mapping[str, str]) -> str:
    """The six lines that are hashed, of which the headers take several; *headers* as `signed_headers` has them."""
    is_plain = _PLAIN_PATH.fullmatch(request.path) is not None
    path = request.path if is_plain else "/".join(map(_encode, unquote(request.path).split("/")))
    # The vendor's signer takes a hash that a header states, but not for an empty body.
    stated = headers.get(_CONTENT_HASH_HEADER) if request.body else None
    lines = [
        request.method.upper(),
        # Always with a slash at the end, which the wire does not need.
        path if path.endswith("/") else path + "/",
        canonical_query(request.query),
        "".join([f"{name}:{value}\n" for name, value in headers.items()]),
        ";".join(headers),
        stated or hashlib.sha256(request.body).hexdigest(),
    ]
    return "\n".join(lines)


def canonical_query(query: Iterable[tuple[str, str]]) -> str:
    """The query sorted and encoded as it is signed; send exactly this."""
    return "&".join([f"{_encode(key)}={_encode(value)}" for key, value in sorted(query)])


def query_pairs(raw_query: str) -> tuple[tuple[str, str], ...]:
    """The decoded pairs of a query that `canonical_query` wrote."""
    return tuple(parse_qsl(raw_query, keep_blank_values=True)) if raw_query else ()


def _encode(text: str) -> str:
    return quote(text, safe="~")
