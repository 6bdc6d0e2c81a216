"""Which request goes wrong, and how: seeded rates and exact scripts."""

from collections import Counter, deque
from collections.abc import Iterable, Mapping
from random import Random

PUT_FAULTS = frozenset(
    {
        "slow-down",  # 503 SlowDown after the body
        "early-slow-down",  # 503 SlowDown while the body still arrives, then close
        "error-500",  # 500 InternalError
        "too-many-requests",  # 429 TooManyRequests
        "conflict-409",  # 409 OperationAborted
        "timeout-408",  # 408 RequestTimeout in the middle of the body
        "incomplete-body",  # 400 IncompleteBody
        "reset",  # connection reset in the middle of the body
        "lost-answer",  # stored, then the connection drops without an answer
        "truncated-answer",  # stored, then the connection drops in the middle of the answer
        "stall",  # the body is not read
        "never-answer",  # the body is read, no answer comes
        "early-403",  # 403 while the body still arrives, then close
        "wrong-etag",  # stored as sent, but the answer tells another ETag
        "corrupt",  # stored with one bit changed; the ETag is true to what is stored
        "close-keepalive",  # stored and answered, then the connection closes unannounced
        "redirect",  # 307 to another host
    }
)
_API_OPERATIONS = frozenset(
    {
        "create",
        "list",
        "show",
        "update",
        "delete",
        "confirm",
        "confirm-action",
        "list-parts",
        "list-action-parts",
        "submit",
    }
    | {"confirm-letter", "delete-video", "command"}
)
_COMMANDS = _API_OPERATIONS - {"create", "list", "show", "update", "delete"}
OPERATIONS = _API_OPERATIONS | {"put", "get", "head", "token", "projects", "review"}
"""What faults are scripted by; "review" is the review of a submitted job."""

FAULTS: Mapping[str, frozenset[str]] = {
    **dict.fromkeys(PUT_FAULTS, frozenset({"put"})),
    "lost-create": frozenset({"create"}),  # done, no answer
    "lost-confirm": frozenset({"confirm", "confirm-action"}),
    "lost-submit": frozenset({"submit"}),
    "lost-update": frozenset({"update"}),
    "lost-delete": frozenset({"delete"}),
    "lost-answer-api": _API_OPERATIONS,
    "reset-api": _API_OPERATIONS,  # not done, connection reset
    "error-500-api": _API_OPERATIONS,  # not done, 500 MSS.00000004
    "throttle-429": _API_OPERATIONS,  # not done; Retry-After as the options say
    "throttle-429-seconds": _API_OPERATIONS,
    "throttle-429-date": _API_OPERATIONS,
    "ok-with-error-body": _COMMANDS,  # not done, HTTP 200 with EXCUTE_FAILED
    "false-refusal": _COMMANDS,  # done, HTTP 200 with EXCUTE_FAILED
    "truncated-json": _API_OPERATIONS,  # done, half of the body
    "stall-api": _API_OPERATIONS,  # not done, no answer comes
    "review-fail": frozenset({"review"}),
    "manual-review-fail": frozenset({"review"}),
}


def parse_faults(text: str) -> dict[str, float]:
    """Return rates from "name=rate,name=rate" or raise ValueError naming the known faults."""
    rates = {}
    for item in filter(None, (item.strip() for item in text.split(","))):
        name, _, rate = item.partition("=")
        rates[name.strip()] = _rate(name.strip(), rate.strip())
    return rates


def _rate(name: str, text: str) -> float:
    _check_name(name)
    try:
        rate = float(text)
    except ValueError:
        raise ValueError(f"The rate of fault {name!r} must be a number from 0 to 1, not {text!r}.") from None
    _check_rate(name, rate)
    return rate


def _check_name(name: str) -> None:
    if name not in FAULTS:
        raise ValueError(f"There is no fault {name!r}; known are {', '.join(sorted(FAULTS))}.")


def _check_rate(name: str, rate: float) -> None:
    if not 0 <= rate <= 1:
        raise ValueError(f"The rate of fault {name!r} must be a number from 0 to 1, not {rate}.")


class Faults:
    """Draws a fault per request: from the operation's script while it lasts, then by the rates."""

    def __init__(self, rates: Mapping[str, float], seed: int) -> None:
        for name, rate in rates.items():
            _check_name(name)
            _check_rate(name, rate)
        self.rates = dict(rates)
        self.counts: Counter[str] = Counter()
        self._random = Random(seed)
        self._scripts: dict[str, deque[str | None]] = {}

    def script(self, operation: str, faults: Iterable[str | None]) -> None:
        """Decide the next requests of *operation*, None for a good one; ValueError for what cannot happen."""
        if operation not in OPERATIONS:
            raise ValueError(
                f"There is no operation {operation!r}; known are {', '.join(sorted(OPERATIONS))}."
            )
        planned = list(faults)
        for name in filter(None, planned):
            _check_name(name)
            if operation not in FAULTS[name]:
                raise ValueError(f"Fault {name!r} does not happen to {operation!r}.")
        self._scripts.setdefault(operation, deque()).extend(planned)

    def draw(self, operation: str) -> str | None:
        """Return the fault of this request of *operation*, or None, and count it."""
        script = self._scripts.get(operation)
        fault = script.popleft() if script else self._by_rate(operation)
        if fault is not None:
            self.counts[fault] += 1
        return fault

    def _by_rate(self, operation: str) -> str | None:
        possible = [(name, rate) for name, rate in self.rates.items() if operation in FAULTS[name]]
        if not possible:
            return None
        point = self._random.random()
        for name, rate in possible:
            if point < rate:
                return name
            point -= rate
        return None
