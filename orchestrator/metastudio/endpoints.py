"""Where the service is, and which addresses a secret may be sent to."""

from __future__ import annotations

import re

from yarl import URL

from orchestrator.domain.errors import ConfigurationError
from orchestrator.domain.hosts import is_loopback

DEFAULT_IAM_ENDPOINT = "https://iam.myhuaweicloud.com"
_REGION = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


def region_endpoint(region: str) -> str:
    """The service's endpoint in *region* (metastudio-protocol section 4.3); raises ConfigurationError."""
    if not _REGION.fullmatch(region):
        raise ConfigurationError(f"{region!r} is not a region; write for example cn-north-4")
    return f"https://metastudio.{region}.myhuaweicloud.com"


def check_endpoint(url: str, *, is_insecure_http_allowed: bool = False) -> str:
    """Return *url* without a slash at its end; raises ConfigurationError unless secrets may travel there.

    That is https anywhere, and http on loopback or when the operator allows it.
    """
    endpoint = _parse(url)
    if endpoint.scheme not in {"http", "https"} or not endpoint.host:
        raise ConfigurationError(
            "the endpoint is not an https URL", hint="write for example https://host[:port]"
        )
    if endpoint.raw_user or endpoint.raw_password or endpoint.raw_query_string or endpoint.raw_fragment:
        raise ConfigurationError("the endpoint may have no user, password, query or fragment in it")
    if endpoint.scheme == "http" and not (is_insecure_http_allowed or is_loopback(endpoint.host)):
        raise ConfigurationError(
            f"the endpoint {endpoint.host} uses http, which would send the credentials unprotected",
            hint="use https, or --insecure-http if you know the network",
        )
    return str(endpoint).rstrip("/")


def _parse(url: str) -> URL:
    try:
        return URL(url.strip())
    except ValueError:
        raise ConfigurationError("the endpoint is not a URL", hint="write for example https://host") from None
