"""The search for credentials, and the addresses that they may be sent to.

The vendor's variables and file come first (metastudio-protocol section 4.3).
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Final

from yarl import URL

from orchestrator.domain.errors import ConfigurationError
from orchestrator.domain.presigned import is_loopback

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
#: The regions in which the service is offered (metastudio-protocol section 4.3).
REGIONS: Final = ("cn-north-4", "cn-east-3", "ap-southeast-3")
_REGION = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


def region_endpoint(region: str) -> str:
    """Return the service's endpoint in *region* (metastudio-protocol section 4.3).

    Raises ConfigurationError for an unknown region: its host would never resolve, and a run would wait for it in
    vain.
    """
    if not _REGION.fullmatch(region):
        raise ConfigurationError(f"{region!r} is not a region; write for example cn-north-4")
    if region not in REGIONS:
        # A region may have opened after this version was released.
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
    """Return *url*, given by *setting*, without a trailing slash.

    Raises ConfigurationError unless secrets may be sent to it: https is always allowed, http only for loopback or
    when the operator allows it. A path is refused, because the client adds the API's own path and a second `/v1`
    would not be the API.
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
        """The texts to keep out of all output: both keys, and the token of temporary ones."""
        return tuple(filter(None, (self.ak, self.sk, self.security_token)))


@dataclass(frozen=True, slots=True)
class UserToken:
    """A token that was fetched outside this program; it is valid for 24 hours and cannot be renewed."""

    token: str = field(repr=False)

    @property
    def texts(self) -> tuple[str, ...]:
        """The texts to keep out of all output."""
        return (self.token,)


@dataclass(frozen=True, slots=True, kw_only=True)
class IamAccount:
    """An IAM user whose password is exchanged for tokens at *endpoint*."""

    user: str
    password: str = field(repr=False)
    domain: str
    endpoint: str

    @property
    def texts(self) -> tuple[str, ...]:
        """The texts to keep out of all output; the names of user and account may be shown."""
        return (self.password,)


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundCredentials:
    """The credentials that were found, their source, and warnings about them."""

    secret: Credentials | UserToken | IamAccount
    source: str
    project_id: str | None
    warnings: tuple[str, ...] = ()


def find_credentials(environ: Mapping[str, str], home: Path | None) -> FoundCredentials:
    """Look for a key pair, the vendor's credentials file, a token and an IAM user, in this order.

    Raises ConfigurationError when there are none, or only half of a pair.
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
    # pathlib raises for a ~ without a home directory, and for a directory without permission; os.path does not.
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
    """Return the section [basic]; the parser's own errors quote the line, so they are not passed on."""
    import configparser  # noqa: PLC0415 - credentials mostly come from the environment

    parser = configparser.ConfigParser(interpolation=None)
    try:
        # Reading a pipe might never end.
        if not stat.S_ISREG(path.stat().st_mode):
            raise OSError(errno.EINVAL, "it is not a regular file")  # noqa: TRY301 - as if reading had failed
        parser.read_string(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ConfigurationError(f"the credentials file {path} cannot be read: {error.strerror}") from None
    except (configparser.Error, UnicodeDecodeError):
        raise ConfigurationError(
            f"the credentials file {path} is not an INI file",
            hint="a section [basic] with lines ak = and sk =",
        ) from None
    return parser["basic"] if parser.has_section("basic") else None


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
    """Return the stripped value, None when empty; raise ConfigurationError when it cannot be sent in a header."""
    value = values.get(name, "").strip()
    if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'":
        raise ConfigurationError(
            f"{name} has quotation marks around it, which are no part of it",
            hint=f"write {name}=VALUE without them; a file of variables for docker has none either",
        )
    if not (value.isascii() and value.isprintable() and " " not in value):
        raise ConfigurationError(f"{name} contains a blank, a line break or a character that is not ASCII")
    return value or None
