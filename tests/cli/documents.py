"""The published JSON Schemas, closed: here a field they do not tell of is an error."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

SCHEMAS = Path(__file__).parents[2] / "docs/schemas"


def published(name: str) -> dict[str, Any]:
    """The schema as users have it."""
    return json.loads((SCHEMAS / f"{name}.schema.json").read_text(encoding="utf-8"))  # type: ignore[no-any-return]


def check_document(name: str, document: Any) -> None:
    """Raise ValidationError unless *document* is what the schema *name* says, and nothing more."""
    Draft202012Validator(_closed(published(name))).validate(document)


def _closed(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_closed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {name: _closed(value) for name, value in schema.items()}
    if schema.get("type") == "object" and "properties" in schema:
        closed.setdefault("additionalProperties", False)
    return closed
