"""The options of a simulator, and its world: the choices that MetaStudio's documents leave open.

See metastudio-protocol section 12.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args, get_type_hints
from urllib.parse import urlsplit

from orchestrator.simulator.faults import FAULTS


@dataclass(frozen=True, kw_only=True)
class World:
    """One combination of the possible behaviors; the defaults are the first value of each dimension.

    Raises ValueError for a value that its dimension does not have.
    """

    list_filters: Literal["honoured", "ignored"] = "honoured"
    """Whether list selects by `tag` and `batch_name`."""
    list_tags: Literal["shown", "hidden"] = "shown"
    show_tags: Literal["shown", "hidden"] = "shown"
    download_urls: Literal["joined", "after-review", "never"] = "joined"
    """When list and show start to return download URLs: once the object exists, after a review, or never."""
    part_list_after_join: Literal["refused", "empty", "full"] = "refused"
    """The answer to a part list once the parts are joined; full: the parts as they were joined."""
    action_part_list: Literal["works", "refused", "empty"] = "works"
    """The behavior of GET_ACTION_VIDEO_MULTIPART_UPLOADED."""
    second_confirm: Literal["refused", "accepted"] = "refused"
    second_submit: Literal["refused", "accepted"] = "refused"
    put_again: Literal["refused", "overwrite"] = "refused"
    """The effect of a second PUT to a URL; overwrite: the last body wins."""
    update_allowed: Literal["failed-review", "always", "never"] = "failed-review"
    """The states in which an update is accepted; always: also in WAIT_FILE_UPLOAD."""
    update_keeps: Literal["everything", "parts", "nothing"] = "everything"
    """What an update keeps; parts: those of unfinished uploads, but no objects."""
    url_order: Literal["sorted", "shuffled"] = "sorted"
    etag: Literal["md5", "opaque", "absent"] = "md5"
    """The ETags of the store; opaque: never an MD5; absent: missing from the answer to a PUT."""
    request_id: Literal["present", "absent"] = "present"
    """Whether answers of the service and the store carry a request id."""
    delete_allowed: Literal["documented", "waiting-only"] = "documented"
    confirm_letter: Literal["accepted", "refused"] = "accepted"
    """Whether the service knows CONFIRM_AUTHORIZATION_LETTER."""

    def __post_init__(self) -> None:
        """Raise ValueError for a value that its dimension does not have."""
        for name, value in self.values.items():
            _check_value(name, value)

    @property
    def values(self) -> dict[str, str]:
        """The value of every dimension, by its name on the command line."""
        return {_dashed(field.name): getattr(self, field.name) for field in dataclasses.fields(self)}

    def __str__(self) -> str:
        """Return the argument of `--world` for this world: the values that are not defaults, or ""."""
        return ",".join(
            f"{name}={value}" for name, value in self.values.items() if value != DIMENSIONS[name][0]
        )


def _dashed(name: str) -> str:
    return name.replace("_", "-")


DIMENSIONS: Mapping[str, tuple[str, ...]] = {
    _dashed(name): get_args(hint) for name, hint in get_type_hints(World).items()
}
"""The values of each dimension by its name on the command line, the default first."""


def parse_world(text: str) -> World:
    """Return the world for "name=value,name=value", with defaults for the rest.

    Raises ValueError that lists the known dimensions or values, and for two values of one dimension.
    """
    values: dict[str, Any] = {}
    for item in filter(None, (item.strip() for item in text.split(","))):
        name, _, value = (part.strip() for part in item.partition("="))
        _check_value(name, value)
        if values.setdefault(name, value) != value:
            raise ValueError(f"{name} cannot be both {values[name]} and {value}.")
    return World(**{name.replace("-", "_"): value for name, value in values.items()})


def _check_value(name: str, value: str) -> None:
    if name not in DIMENSIONS:
        known = ", ".join(f"{known}={'|'.join(values)}" for known, values in DIMENSIONS.items())
        raise ValueError(f"There is no {name!r} in a world; known are {known}.")
    if value not in DIMENSIONS[name]:
        raise ValueError(f"{name} must be {' or '.join(DIMENSIONS[name])}, not {value!r}.")


_MAX_V4_SECONDS = 604800


@dataclass(frozen=True, kw_only=True)
class ObjectStoreOptions:
    """A bucket of a real S3-compatible server, used instead of the built-in store.

    Raises ValueError for a *url* that is not exactly http(s)://HOST[:PORT], or for an unknown *signature*.
    """

    url: str
    bucket: str
    ak: str
    sk: str = field(repr=False)
    signature: str = "v4"
    """The signature of presigned URLs: "v2", which signs the Content-Type as MetaStudio does, or "v4"."""
    region: str = "us-east-1"
    """The region that the server expects in V4 signatures."""

    def __post_init__(self) -> None:
        """Raise ValueError for options that would otherwise only cause confusing responses later."""
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
    """The status for an expired URL: OBS answers 403, some stores 400."""
    min_part_bytes: int = 102400
    store_bytes_per_second: float | None = None
    """One cap shared by all PUT bodies."""
    stall_seconds: float = 600.0
    """After this long a stalled or unanswered exchange is cut by the simulator."""

    object_store: ObjectStoreOptions | None = None
    """The store to use instead of the built-in one, to which the options above from `bucket` on apply, except for
    `url_lifetime_seconds`."""

    world: World = field(default_factory=World)
    """The world: one choice for each question that the documents leave open."""
    speed: float = 1.0
    """Seconds of review and training per second of the clock."""
    cap_urls: int | None = None
    """The maximum length of URL arrays, which the definitions cap at 50; None returns all URLs."""
    cap_listed_parts: int | None = None
    """The maximum length of multipart_data, which the definitions cap at 50 too."""
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
    """The Retry-After header of a throttled answer: "none", "seconds" or "date"."""

    fault_rates: Mapping[str, float] = field(default_factory=dict)
    seed: int = 0

    def __post_init__(self) -> None:
        """Raise ValueError for options that would otherwise only cause confusing responses later."""
        _check_choice("retry_after", self.retry_after, ("none", "seconds", "date"))
        if self.speed <= 0:
            raise ValueError("speed must be greater than 0")
        if self.object_store is not None:
            self._check_remote(self.object_store.signature)

    def _check_remote(self, signature: str) -> None:
        """Raise ValueError for options that only the built-in store supports."""
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
