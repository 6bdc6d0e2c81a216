"""Aids for writing a manifest: the JSON Schema that editors use for completion and checks, and starter files."""

from __future__ import annotations

from importlib import resources
from typing import Any, Literal

from orchestrator.domain.avatar import Avatar
from orchestrator.manifest.validation import Head

DIALECT = "https://json-schema.org/draft/2020-12/schema"
_OWN_FIELDS = ("id", "name")


def manifest_schema() -> dict[str, Any]:
    """Return the JSON Schema 2020-12 of the YAML manifest, derived from the models that validate it."""
    model = _without_noise(Avatar.model_json_schema())
    definitions = model.pop("$defs")
    # The defaults may provide any of the three.
    definitions["VoiceProperties"].pop("required")
    fields = model["properties"]
    shared = {name: part for name, part in fields.items() if name not in _OWN_FIELDS}
    definitions["Avatar"] = _mapping("One avatar: a training job.", fields) | {"required": ["name"]}
    definitions["Defaults"] = _mapping("Values for all avatars that do not set their own.", shared)
    head: dict[str, Any] = _without_noise(Head.model_json_schema())["properties"]
    defaults = {
        "description": "Any field of an avatar except id and name; an avatar's own value overrides it.",
        "anyOf": [{"$ref": "#/$defs/Defaults"}, {"type": "null"}],
    }
    avatars = {
        "description": "The avatars, in the order in which they are sent.",
        "type": "array",
        "minItems": 1,
        "items": {"$ref": "#/$defs/Avatar"},
    }
    top = {**head, "defaults": defaults, "avatars": avatars}
    return {
        "$schema": DIALECT,
        "title": "MetaStudio orchestrator manifest",
        **_mapping("A batch of avatars to train.", top),
        "patternProperties": {"^x-": {"description": "For YAML anchors of your own; ignored."}},
        "required": ["avatars"],
        "anyOf": _TRAINING_VIDEO_EVERYWHERE,
        "$defs": definitions,
    }


#: Every avatar has a training video, either its own or the default.
_TRAINING_VIDEO_EVERYWHERE = [
    {"properties": {"avatars": {"items": {"required": ["training_video"]}}}},
    {"properties": {"defaults": {"required": ["training_video"]}}, "required": ["defaults"]},
]


def _mapping(description: str, properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "description": description,
        "type": "object",
        "properties": properties,
        "additionalProperties": False,
    }


def _without_noise(schema: Any) -> Any:
    """Drop the titles and null defaults added by pydantic, which editors would show for every field."""
    if isinstance(schema, list):
        return [_without_noise(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {}
    for key, part in schema.items():
        is_title = key == "title" and isinstance(part, str)  # not a field with the name "title"
        if not is_title and not (key == "default" and part is None):
            kept[key] = _without_noise(part)
    return kept


def starter_manifest(format: Literal["yaml", "csv"]) -> str:  # noqa: A002 - the name on the command line
    """Return a manifest that explains every field (YAML), or a table with the usual columns (CSV)."""
    return resources.files(__package__).joinpath(f"starter/manifest.{format}").read_text(encoding="utf-8")
