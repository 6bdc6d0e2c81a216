"""What a simulator is told at its start."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from orchestrator.simulator.faults import FAULTS
from orchestrator.simulator.world import World

_MAX_V4_SECONDS = 604800


@dataclass(frozen=True, kw_only=True)
class ObjectStoreOptions:
    """A bucket of a real S3-compatible server that takes the place of the built-in store.

    Raises ValueError for a *url* that is more or less than http(s)://HOST[:PORT], or another *signature*.
    """

    url: str
    bucket: str
    ak: str
    sk: str = field(repr=False)
    signature: str = "v4"
    """Of the URLs that clients get: "v2" has the Content-Type signed as MetaStudio's have, or "v4"."""
    region: str = "us-east-1"
    """The one that the server expects in V4 signatures."""

    def __post_init__(self) -> None:
        """Refuse what would only show later as a confusing answer."""
        _check_choice("signature", self.signature, ("v2", "v4"))
        if not _is_origin(self.url):
            raise ValueError(
                "The object store's URL must be a scheme and a host, like http://127.0.0.1:8333."
            )
        for name in ("bucket", "ak", "sk"):
            if not getattr(self, name):
                raise ValueError(f"The object store's {name} is missing.")


@dataclass(frozen=True, kw_only=True)
class SimulatorOptions:
    """The credentials, limits, deviations and faults of one simulator."""

    ak: str = "SIMULATORACCESSKEY01"
    sk: str = field(default="simulator-secret-key-of-the-tenant-0001", repr=False)
    security_token: str | None = field(default=None, repr=False)
    """When set, AK/SK requests must carry it in X-Security-Token, as temporary keys do."""
    token: str = field(default="simulator-static-token", repr=False)
    """An X-Auth-Token that never expires; IAM issues others."""
    token_lifetime_seconds: float = 86400.0
    project_id: str = "0d697589d98091f12f92c0073501cd79"
    project_name: str = "cn-north-4"
    domain: str = "simulator-domain"
    user: str = "simulator-user"
    password: str = field(default="simulator-password", repr=False)
    max_clock_skew_seconds: float | None = None
    """How far X-Sdk-Date may be off; not documented for the service, so not checked by default."""

    bucket: str = "digitalhuman"
    store_ak: str = "SIMULATORSTOREKEY001"
    store_sk: str = field(default="simulator-secret-key-of-the-store-0001", repr=False)
    url_lifetime_seconds: float = 86400.0
    expired_status: int = 403
    """What an expired URL is answered with: OBS says 403, some stores say 400."""
    min_part_bytes: int = 102400
    store_bytes_per_second: float | None = None
    """One cap shared by all PUT bodies."""
    stall_seconds: float = 600.0
    """After this long a stalled or unanswered exchange is cut by the simulator."""

    object_store: ObjectStoreOptions | None = None
    """Who keeps the objects instead; the options above from `bucket` on are the built-in store's but for
    `url_lifetime_seconds`."""

    world: World = field(default_factory=World)
    """What the documents leave open."""
    speed: float = 1.0
    """How many seconds of review and training pass per second of the clock."""
    cap_urls: int | None = None
    """The definitions cap URL arrays at 50; None gives all."""
    cap_listed_parts: int | None = None
    """They cap multipart_data at 50 as well."""
    can_omit_urls: bool = False
    """Leave action and audio URLs out of answers to jobs that did not ask for them."""
    needs_id_documents: bool = False
    """Review fails jobs without both ID pictures and the letter."""
    review_failure_marker: str = "review-fail"
    """A job whose name contains it fails its first automatic review, and passes once amended."""
    is_footage_reviewed: bool = True
    """Review fails a training video whose resolution is not one of the four allowed."""

    writes_per_second: float | None = None
    reads_per_second: float | None = None
    retry_after: str = "none"
    """What a throttled answer tells: "none", "seconds" or "date"."""

    fault_rates: Mapping[str, float] = field(default_factory=dict)
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what would only show later as a confusing answer."""
        _check_choice("retry_after", self.retry_after, ("none", "seconds", "date"))
        if self.speed <= 0:
            raise ValueError("speed must be greater than 0")
        if self.object_store is not None:
            self._check_remote(self.object_store.signature)

    def _check_remote(self, signature: str) -> None:
        """Refuse what a simulator cannot make a store do that is not its own."""
        impossible = [
            name for name in self.fault_rates if name in FAULTS and "put" in FAULTS[name].operations
        ]
        if impossible:
            raise ValueError(f"The built-in store alone can have the faults {', '.join(impossible)}.")
        if self.world.etag != "md5":
            raise ValueError("The built-in store alone can have other ETags.")
        if self.store_bytes_per_second is not None:
            raise ValueError("The built-in store alone can be slowed down.")
        if signature == "v4" and not 1 <= self.url_lifetime_seconds <= _MAX_V4_SECONDS:
            raise ValueError(f"V4 URLs live from 1 to {_MAX_V4_SECONDS} seconds.")


def _is_origin(url: str) -> bool:
    try:
        split = urlsplit(url)
        port = "" if split.port is None else f":{split.port}"
    except ValueError:
        return False
    host = split.netloc.removesuffix(port)
    return (
        bool(host) and "@" not in host and url in {f"{scheme}://{host}{port}" for scheme in ("http", "https")}
    )


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}, not {value!r}")
