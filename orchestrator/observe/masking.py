"""The last line of defence: what looks like a secret is blacked out before it is written (design section 8)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

MASK = "***"

_QUERY = re.compile(r"(\bhttps?://[^\s?\"'<>]*)\?[^\s\"'<>]*")
_PAIR = re.compile(
    r"(?i)\b("
    r"signature|x-amz-[a-z-]+|x-obs-security-token|accesskeyid|authorization|x-auth-token|x-subject-token"
    r"|x-security-token|security_?token|auth_?token|secret(?:_?(?:access)?_?key)?|password|ak|sk"
    r")(\"?'?\s*[=:]\s*\"?'?)((?:SDK-HMAC-SHA256|AWS|OBS|Bearer|Basic)\s+[^\r\n\"']*|[^\s&,;\"'}]+)"
)
_PHONE = re.compile(r"(?<![\w.])\+?\d(?:[ ()-]?\d){8,14}(?![\w.]| bytes)")
#: Names whose values are ours or the service's ids, in which digits are no phone number.
_IDS = frozenset({"job_id", "request_id", "run_id", "timestamp", "batch"})


def masked(text: str) -> str:
    """*text* without queries of URLs, values of keys that name a secret, and what reads like a phone number."""
    return _PHONE.sub(MASK, _without_keys(text))


def _without_keys(text: str) -> str:
    return _PAIR.sub(rf"\1\2{MASK}", _QUERY.sub(rf"\1?{MASK}", text))


def masked_event(event: Mapping[str, Any]) -> dict[str, Any]:
    """*event* with every string in it masked, however deep."""
    return {
        name: _without_keys(value) if name in _IDS and isinstance(value, str) else _masked_value(value)
        for name, value in event.items()
    }


def _masked_value(value: Any) -> Any:
    match value:
        case str():
            return masked(value)
        case bool() | int() | float() | None:
            return value
        case Mapping():
            return masked_event(value)
        case list() | tuple() | set() | frozenset():
            return [_masked_value(item) for item in value]
        case _:
            return masked(str(value))
