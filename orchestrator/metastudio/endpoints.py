"""Where the service is, and which addresses a secret may be sent to."""

from __future__ import annotations

import re
from difflib import get_close_matches
from typing import Final

from yarl import URL

from orchestrator.domain.errors import ConfigurationError
from orchestrator.domain.presigned import is_loopback

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
