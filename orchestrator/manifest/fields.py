"""The fields of an avatar, derived from its model, and drafts of avatars: the text of each field in the file."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, cast

from orchestrator.domain.assets import AssetKind
from orchestrator.domain.avatar import Avatar
from orchestrator.domain.entries import Place
from orchestrator.manifest.problems import Problem, Severity, quoted, suggestion

#: The columns that `results` adds to a manifest. A results file is also a manifest, so reading skips them.
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
_SHOWN_CHARACTERS = 64
#: None removes a default.
Value = str | list[str] | dict[str, str | None] | None
#: Fields whose values no message repeats.
PERSONAL_FIELDS = frozenset({"contact"})


class Shape(StrEnum):
    """The form in which a field is written."""

    TEXT = "text"
    LIST = "list"
    GROUP = "group"


@dataclass(frozen=True, slots=True)
class FieldRule:
    """A field of the avatar: its shape, its allowed words, and the fields inside it."""

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


def _columns(rules: Mapping[str, FieldRule], prefix: str = "") -> dict[str, FieldRule]:
    rows: dict[str, FieldRule] = {}
    for name, rule in rules.items():
        if rule.shape is Shape.GROUP:
            rows |= _columns(rule.members, f"{prefix}{name}.")
        else:
            rows[prefix + name] = rule
    return rows


GROUPS = {name for name, rule in FIELDS.items() if rule.shape is Shape.GROUP}
#: The fields as columns of a table: `voice_properties.sex` instead of a group.
COLUMNS: Mapping[str, FieldRule] = _columns(FIELDS)

#: The columns of a table that apply to the whole batch.
BATCH_COLUMNS = frozenset({"batch_name", "submit", "submit_requires"})
KNOWN_COLUMNS = frozenset({*COLUMNS, *RESULT_COLUMNS, *BATCH_COLUMNS})


def unknown_field(name: str, known: Iterable[str] = (*FIELDS, *COLUMNS)) -> str:
    """Return a message that there is no field *name*, with the field that may have been meant."""
    return f"unknown field {quoted(name)}{suggestion(name, known)}"


@dataclass(slots=True, kw_only=True)
class Draft:
    """One avatar, or the defaults, before validation.

    The keys of `places` are field names, dotted inside groups (`voice_properties.sex`) and numbered inside lists
    (`tags.0`). So are the items of `faulty`, the fields with a reported problem. A draft that `is_broken` is not
    checked further. `job_id` is the job of a row of a results file.
    """

    file: str
    start: Place
    values: dict[str, Value] = field(default_factory=dict)
    places: Mapping[str, Place] = field(default_factory=dict)
    faulty: set[str] = field(default_factory=set)
    problems: list[Problem] = field(default_factory=list)
    is_broken: bool = False
    job_id: str | None = None

    def place_of(self, *names: str | int) -> Place:
        """Return the place of the field, else of the field that contains it, else of the draft."""
        while names:
            if place := self.places.get(_dotted(names)):
                return place
            names = names[:-1]
        return self.start

    def report(self, message: str, *names: str | int, rule: str, place: Place | None = None) -> None:
        """Add a problem about the field *names*, found by *rule*, and mark the field as faulty."""
        line, column = place or self.place_of(*names)
        name = ".".join(name for name in names if isinstance(name, str)) or None
        shown = name and name[:_SHOWN_CHARACTERS]
        problem = Problem(file=self.file, line=line, column=column, field=shown, message=message, rule=rule)
        self.problems.append(problem)
        if names:
            self.faulty.add(_dotted(names))

    def warn(self, message: str, *names: str | int, rule: str) -> None:
        """Add a warning about the field *names*, found by *rule*; its value remains valid."""
        is_known = bool(names) and self.is_faulty(*names)
        self.report(message, *names, rule=rule)
        self.problems[-1] = self.problems[-1]._replace(severity=Severity.WARNING)
        if names and not is_known:
            self.faulty.discard(_dotted(names))

    def is_faulty(self, *names: str | int) -> bool:
        """Return True when a problem was reported for the field *names*, or for the whole field that contains it."""
        return str(names[0]) in self.faulty or _dotted(names) in self.faulty

    def over(self, defaults: Draft) -> Draft:
        """Return this draft with *defaults* for the fields that it does not set; groups are merged."""
        if not (defaults.values or defaults.faulty):
            return self
        values = {**defaults.values, **self.values}
        for name in self.values.keys() & defaults.values.keys() & GROUPS:
            default, own = defaults.values[name], self.values[name]
            if isinstance(default, dict) and isinstance(own, dict):
                values[name] = {**default, **own}
        replaced = self.values.keys() - GROUPS
        return Draft(
            file=self.file,
            start=self.start,
            values=values,
            places=ChainMap(cast(dict[str, Place], self.places), cast(dict[str, Place], defaults.places)),
            faulty=self.faulty | {name for name in defaults.faulty if name.partition(".")[0] not in replaced},
            problems=self.problems,
            job_id=self.job_id,
        )


def _dotted(names: tuple[str | int, ...]) -> str:
    return ".".join(map(str, names))
