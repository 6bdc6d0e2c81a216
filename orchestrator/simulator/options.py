"""What a simulator is told at its start."""

from collections.abc import Mapping
from dataclasses import dataclass, field


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
    one_time_urls: bool = True
    """A URL that stored something refuses the next PUT (403); otherwise the last write wins."""
    expired_status: int = 403
    """What an expired URL is answered with: OBS says 403, some stores say 400."""
    min_part_bytes: int = 102400
    store_bytes_per_second: float | None = None
    """One cap shared by all PUT bodies."""
    stall_seconds: float = 600.0
    """After this long a stalled or unanswered exchange is cut by the simulator."""

    speed: float = 1.0
    """How many seconds of review and training pass per second of the clock."""
    cap_urls: int | None = None
    """The definitions cap URL arrays at 50; None gives all."""
    cap_listed_parts: int | None = None
    """They cap multipart_data at 50 as well."""
    is_url_order_shuffled: bool = False
    can_omit_urls: bool = False
    """Leave action and audio URLs out of answers to jobs that did not ask for them."""
    can_update_while_uploading: bool = False
    """The guide lets update renew the URLs of a WAIT_FILE_UPLOAD job, the API page does not."""
    has_letter_command: bool = True
    """Whether CONFIRM_AUTHORIZATION_LETTER exists here."""
    action_parts: str = "list"
    """GET_ACTION_VIDEO_MULTIPART_UPLOADED is ambiguous: "list", "empty" or "refuse"."""
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
        _check_choice("action_parts", self.action_parts, ("list", "empty", "refuse"))
        _check_choice("retry_after", self.retry_after, ("none", "seconds", "date"))
        if self.speed <= 0:
            raise ValueError("speed must be greater than 0")


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}, not {value!r}")
