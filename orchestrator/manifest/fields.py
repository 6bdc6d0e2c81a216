"""What the avatar model says of each field, in the form the readers need."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from orchestrator.domain.assets import AssetKind
from orchestrator.domain.avatar import Avatar
from orchestrator.manifest.problems import quoted, suggestion

#: The columns `results` adds to a manifest; a results file is a manifest too, so they are passed over.
RESULT_COLUMNS = (
    "state",
    "job_id",
    "bytes",
    "seconds",
    "started_at",
    "finished_at",
    "attempts",
    "error_kind",
    "error_code",
    "error_message",
    "request_id",
    "review_reason",
    "review_code",
    "review_rule",
    "delivered",
)
PATH_FIELDS = tuple(kind.value for kind in AssetKind)
#: What is never shown, whatever is wrong with it.
PERSONAL_FIELDS = frozenset({"contact"})


class Shape(StrEnum):
    """How a field is written."""

    TEXT = "text"
    LIST = "list"
    GROUP = "group"


@dataclass(frozen=True, slots=True)
class FieldRule:
    """A field of the avatar: how it is written, the words it takes, the fields inside it."""

    shape: Shape
    choices: tuple[str, ...] = ()
    members: Mapping[str, FieldRule] = field(default_factory=dict)


def _resolved(schema: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    name = schema.get("$ref", "").rpartition("/")[2]
    return definitions[name] if name else schema


def _rule(schema: dict[str, Any], definitions: dict[str, Any]) -> FieldRule:
    variants = [_resolved(variant, definitions) for variant in schema.get("anyOf", [schema])]
    for variant in variants:
        if "properties" in variant:
            return FieldRule(Shape.GROUP, members=_rules(variant, definitions))
        if "items" in variant:
            return FieldRule(Shape.LIST, tuple(_resolved(variant["items"], definitions).get("enum", ())))
    return FieldRule(Shape.TEXT, tuple(word for variant in variants for word in variant.get("enum", ())))


def _rules(schema: dict[str, Any], definitions: dict[str, Any]) -> dict[str, FieldRule]:
    return {name: _rule(part, definitions) for name, part in schema["properties"].items()}


_SCHEMA = Avatar.model_json_schema()
#: The avatar's fields by name.
FIELDS: Mapping[str, FieldRule] = _rules(_SCHEMA, _SCHEMA["$defs"])


def _dotted(rules: Mapping[str, FieldRule], prefix: str = "") -> dict[str, FieldRule]:
    rows: dict[str, FieldRule] = {}
    for name, rule in rules.items():
        if rule.shape is Shape.GROUP:
            rows |= _dotted(rule.members, f"{prefix}{name}.")
        else:
            rows[prefix + name] = rule
    return rows


#: The same as a table has them: `voice_properties.sex` instead of a group.
COLUMNS: Mapping[str, FieldRule] = _dotted(FIELDS)

#: What a table may say of the whole batch.
BATCH_COLUMNS = frozenset({"batch_name", "submit", "submit_requires"})
KNOWN_COLUMNS = frozenset({*COLUMNS, *RESULT_COLUMNS, *BATCH_COLUMNS})


def unknown_field(name: str, known: Iterable[str] = (*FIELDS, *COLUMNS)) -> str:
    """Say that there is no field *name* and which one may have been meant."""
    return f"unknown field {quoted(name)}{suggestion(name, known)}"
