"""Validation of drafts into avatars: ranges, words and combinations, with the place of each problem."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from orchestrator.domain.avatar import COMBINED_FIELDS, HEADER_SAFE, ONE_LINE, Avatar, RuleIds
from orchestrator.manifest.cells import is_damaged
from orchestrator.manifest.fields import FIELDS, GROUPS, PATH_FIELDS, PERSONAL_FIELDS, Draft, Shape
from orchestrator.manifest.paths import PathError, absolute_path
from orchestrator.manifest.problems import Problem, Severity, quoted, suggestion
from orchestrator.preflight.rulebook import RULES

Model = TypeVar("Model", bound=BaseModel)
_LISTS = tuple(name for name, rule in FIELDS.items() if rule.shape is Shape.LIST)
#: Characters that people type between the items of a list instead of `;`.
_SEPARATOR = re.compile("[,|\uff0c\uff1b\u3001]")
#: Values for required fields that defaults may omit, so that defaults can be validated like an avatar.
_PLACEHOLDERS = {"name": "-", "training_video": "-"}


class Head(BaseModel):
    """The fields of a manifest that apply to the whole batch."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    batch_name: (
        Annotated[
            str, StringConstraints(strip_whitespace=True, min_length=1, max_length=256, pattern=ONE_LINE)
        ]
        | None
    ) = Field(default=None, description="What the batch is called; default: the manifest's file name.")
    submit: bool = Field(
        default=False, description="True sends each uploaded job to review, after which it cannot be deleted."
    )
    submit_requires: Literal["look"] | None = Field(
        default=None,
        description="look submits only entries whose films were looked at (`validate --look quick`).",
    )
    ignore: RuleIds | None = Field(
        default=None, description="Rules whose warnings are not shown for any avatar, for example [P15]."
    )


def resolve_paths(draft: Draft, folder: str) -> None:
    """Make the paths of *draft* absolute, relative to the manifest's *folder*."""
    values, is_plain_folder = draft.values, folder.isascii()
    for name in PATH_FIELDS:
        text = values.get(name)
        if not isinstance(text, str):
            continue
        # A fast path for nearly all of hundreds of thousands of paths, with the same result as `absolute_path`.
        if is_plain_folder and text.isascii() and text[:1].isalnum() and "$" not in text:
            values[name] = f"{folder}/{text}"
        elif text.strip():
            try:
                values[name] = absolute_path(text, folder, os.environ)
            except PathError as error:
                draft.report(str(error), name, rule="M05")
        else:
            # An empty name means no file, not the manifest's folder. Like null, it removes a default.
            values[name] = None


def check_lists(draft: Draft) -> None:
    """Report single list items that were meant as several, and items that a spreadsheet has damaged."""
    for name in _LISTS:
        items = draft.values.get(name)
        if not items or not isinstance(items, list):
            continue
        for item in items:
            if len(items) > 1 and is_damaged(item) and not draft.is_faulty(name):
                message = f"has the item {item[:8]}, which a spreadsheet writes for no value"
                draft.report(message, name, rule="M11")
        joined = next((item for item in items if _SEPARATOR.search(item)), None)
        is_yaml = isinstance(draft.place_of(name).column, int)  # YAML lists have no separator character
        if joined is None or is_yaml or draft.is_faulty(name):
            continue
        parts = [part.strip() for part in _SEPARATOR.split(joined) if part.strip()]
        if len(parts) > 1:
            written = quoted(";".join(parts))
            draft.warn(f"{quoted(joined)} is one item; for {len(parts)} write {written}", name, rule="M12")


def check_defaults(draft: Draft) -> None:
    """Report the problems of *draft*, which holds defaults and may omit required fields."""
    for name in ("id", "name"):
        if name in draft.values:
            draft.report("each avatar needs its own; it cannot have a default", name, rule="M04")
    check_lists(draft)
    _instance(Avatar, draft, placeholders=_PLACEHOLDERS, is_partial=True)


def check_avatar(draft: Draft) -> Avatar | None:
    """Return the avatar of *draft*, or None when it has errors, which are added to the draft."""
    avatar = _instance(Avatar, draft)
    if avatar is None:
        return None
    is_valid = not avatar.ignore or _check_ignored(draft, avatar.ignore)
    # Few avatars set fields whose combination can be invalid, so most skip this check.
    objections = [] if avatar.model_fields_set.isdisjoint(COMBINED_FIELDS) else list(avatar.objections())
    if not objections:
        return avatar if is_valid else None
    for objection in objections:
        draft.report(objection.message, objection.field, rule="M10")
        if not objection.is_certain:
            draft.problems[-1] = draft.problems[-1]._replace(severity=Severity.WARNING)
    return None if any(objection.is_certain for objection in objections) or not is_valid else avatar


def check_head(draft: Draft) -> Head | None:
    """Return the batch fields of *draft*, or None when they are invalid."""
    head = _instance(Head, draft)
    return head if head is None or _check_ignored(draft, head.ignore or ()) else None


def _check_ignored(draft: Draft, ids: Sequence[str]) -> bool:
    """Report unknown rule ids, and rules that cannot be ignored; return False when an id is unknown."""
    for rule_id in ids:
        rule = RULES.get(rule_id)
        if rule is None:
            hint = f"{suggestion(rule_id, RULES)}; `orchestrator explain --all` lists the rules"
            draft.report(f"there is no rule {quoted(rule_id)}{hint}", "ignore", rule="M14")
        elif not rule.can_be_ignored:
            draft.report(f"{rule_id} cannot be ignored: all that it finds are errors", "ignore", rule="M14")
            draft.problems[-1] = draft.problems[-1]._replace(severity=Severity.WARNING)
    return all(rule_id in RULES for rule_id in ids)


def _instance(
    model: type[Model],
    draft: Draft,
    *,
    placeholders: Mapping[str, str] | None = None,
    is_partial: bool = False,
) -> Model | None:
    values: dict[str, object] = {**draft.values}
    if not all(values.values()):
        values = {name: value for name, value in values.items() if value}
    for name in GROUPS:
        if isinstance(group := values.get(name), dict):
            # Fields without a value are left out of the group.
            values[name] = {part: text for part, text in group.items() if text}
    is_whole = not draft.faulty
    for name in draft.faulty:
        values.pop(name, None)
    try:
        # The same as `model_validate`, which takes a fifth longer to handle its options.
        instance = model.__pydantic_validator__.validate_python(
            {**placeholders, **values} if placeholders else values
        )
    except ValidationError as error:
        said = [each for each in error.errors(include_url=False) if not draft.is_faulty(*each["loc"])]
        for each in said:
            if not (is_partial and each["type"] == "missing"):
                draft.report(sentence_of(each), *each["loc"], rule="M03")
        return None
    return instance if is_whole else None


def sentence_of(error: Mapping[str, Any]) -> str:
    """Return pydantic's *error* as a sentence for the author of the manifest, without values of personal fields."""
    location, given, context = error["loc"], error["input"], error.get("ctx", {})
    if error["type"] == "enum":
        rule = FIELDS[str(location[0])]
        choices = rule.members[str(location[1])].choices if rule.shape is Shape.GROUP else rule.choices
        return f"{quoted(given)} is not one of {', '.join(choices)}{suggestion(str(given), choices)}"
    sentence = _SENTENCES.get(error["type"])
    if sentence is None:
        return str(error["msg"])
    return sentence("the value" if location[0] in PERSONAL_FIELDS else quoted(given), context)


_SENTENCES: Mapping[str, Callable[[str, Mapping[str, Any]], str]] = {
    "missing": lambda _given, _context: "is missing",
    "bool_parsing": lambda given, _context: f"{given} is neither true nor false",
    "string_too_short": lambda _given, _context: "is empty",
    "string_too_long": lambda given, context: f"{given} is longer than {context['max_length']} characters",
    "string_pattern_mismatch": lambda _given, context: (
        "may only have printable ASCII characters: it is sent as an HTTP header"
        if context["pattern"] == HEADER_SAFE
        else "may not have line breaks or control characters"
    ),
    "too_long": lambda _given, context: (
        f"has {context['actual_length']} items; {context['max_length']} are allowed"
    ),
}


def in_order(problems: Sequence[Problem], entry_id: str | None) -> list[Problem]:
    """Return the problems of one entry in the order of the file, with its *entry_id* added."""
    if not problems:
        return []
    named = (problem._replace(entry=entry_id) for problem in problems)
    return sorted(named, key=lambda problem: (problem.line or 0, str(problem.column or "").rjust(9)))
