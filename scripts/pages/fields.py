"""docs/fields.md: the fields of a manifest, from its JSON Schema."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from orchestrator.manifest.schema import manifest_schema

_HEAD = """\
# Fields of a manifest

Made from the JSON Schema that `orchestrator schema` prints, by `scripts/write-pages`; a test keeps it so.
How a manifest is written: [manifest.md](manifest.md). A table has the same names as columns, nested ones
dotted: `voice_properties.sex`.
"""
_TABLE = "\n| field | value | |\n|---|---|---|\n"
#: The fields that name a file.
_FILES = frozenset(
    {
        *(
            "training_video",
            "action_video",
            "audio",
            "cover",
            "id_card_image1",
            "id_card_image2",
            "grant_file",
        ),
        *("pre_beauty_image", "post_beauty_image"),
    }
)


def fields_page() -> str:
    """The page, ending in a line break."""
    schema = manifest_schema()
    definitions = schema["$defs"]
    avatar = definitions["Avatar"]
    return "".join(
        [
            _HEAD,
            "\n## Of the batch (YAML only)\n",
            _TABLE,
            *_rows(schema, definitions),
            "\n## Of an avatar, or for all under `defaults`\n",
            _TABLE,
            *_rows(avatar, definitions),
        ]
    )


def _rows(holder: dict[str, Any], definitions: dict[str, Any], above: str = "") -> Iterator[str]:
    for name, field in holder["properties"].items():
        inner = _definition(field, definitions)
        if inner is not None and "properties" in inner and name not in ("defaults", "avatars"):
            yield from _rows(inner, definitions, above=f"{name}.")
            continue
        is_required = name in holder.get("required", ()) and not above
        required = "**required** " if is_required else ""
        value = "path of a file" if name in _FILES else _value(field, definitions)
        yield f"| `{above}{name}` | {value} | {required}{_description(field, inner)} |\n"


def _description(field: dict[str, Any], inner: dict[str, Any] | None) -> str:
    text = field.get("description") or (inner or {}).get("description", "")
    return " ".join(text.split()).replace("|", "\\|")


def _value(field: dict[str, Any], definitions: dict[str, Any]) -> str:
    """What may be written, in words: the alternatives of the schema without null, which only means not given."""
    match field:
        case {"$ref": reference}:
            words = _value(definitions[reference.rpartition("/")[2]], definitions)
        case {"anyOf": choices}:
            words = " or ".join(
                _value(choice, definitions) for choice in choices if choice != {"type": "null"}
            )
        case {"enum": choices}:
            words = ", ".join(f"`{choice}`" for choice in choices)
        case {"const": value}:
            words = f"`{value}`"
        case {"items": item}:
            words = "list of " + _value(item, definitions)
        case {"minimum": least, "maximum": most}:
            words = f"{least} to {most}"
        case {"maxLength": most}:
            words = f"text, at most {most} characters"
        case {"type": kind}:
            words = {"boolean": "true or false", "object": "fields", "string": "text"}[kind]
        case _:
            raise ValueError(f"no words for {field}")
    return words


def _definition(field: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any] | None:
    """The object that the field holds, where it is one."""
    for choice in (field, *field.get("anyOf", ())):
        if "$ref" in choice:
            found: dict[str, Any] = definitions[choice["$ref"].rpartition("/")[2]]
            return found
    return None
