"""The schema, the files to start from and the examples say what the reader does."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import jsonschema
import pytest
import yaml

from orchestrator.domain.avatar import Avatar
from orchestrator.manifest import open_manifest
from orchestrator.manifest.schema import manifest_schema, starter_manifest

Read = Callable[..., Any]
MANIFESTS = Path(__file__).parents[2] / "manifests"
VALIDATOR = jsonschema.Draft202012Validator(manifest_schema())


def errors_of(document: Any) -> list[str]:
    return [error.message for error in VALIDATOR.iter_errors(document)]


def test_the_schema_is_a_valid_schema() -> None:
    """Of the dialect it names."""
    assert manifest_schema()["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    jsonschema.Draft202012Validator.check_schema(manifest_schema())


def test_the_schema_file_is_current() -> None:
    """`orchestrator schema > manifests/manifest.schema.json` mends this."""
    assert json.loads((MANIFESTS / "manifest.schema.json").read_text()) == manifest_schema()


def test_every_field_of_the_schema_is_described() -> None:
    """Editors show the description beside the field."""
    schema = manifest_schema()
    groups = [schema, *(schema["$defs"][name] for name in ("Avatar", "Defaults", "VoiceProperties"))]

    for name, part in (item for group in groups for item in group["properties"].items()):
        shown = schema["$defs"][part["$ref"].rpartition("/")[2]] if "$ref" in part else part
        assert shown.get("description"), name


@pytest.mark.parametrize(
    "document",
    [
        {"avatars": []},
        {"avatars": [{"name": "A"}]},
        {"avatars": [{"training_video": "a"}]},
        {"avatars": [{"name": "A", "training_video": "a", "nmae": 1}]},
        {"avatars": [{"name": "A", "training_video": "a", "model_version": "V9"}]},
        {"avatars": [{"name": "A", "training_video": "a", "video_multipart_count": 1001}]},
        {"avatars": [{"name": "A", "training_video": "a", "tags": ["t"] * 10}]},
        {"avatars": [{"name": "A", "training_video": "a", "voice_properties": {"sex": "female"}}]},
        {"defaults": {"id": "x"}, "avatars": [{"name": "A", "training_video": "a"}]},
        {"batch_nam": "x", "avatars": [{"name": "A", "training_video": "a"}]},
    ],
)
def test_schema_and_reader_refuse_the_same(read: Read, document: Any) -> None:
    """An editor shows what `validate` would."""
    assert errors_of(document)
    assert read("m.yaml", yaml.safe_dump(document)).manifest.has_errors


@pytest.mark.parametrize(
    "document",
    [
        {"avatars": [{"name": "A", "training_video": "a", "cover": None, "video_multipart_count": "auto"}]},
        {"defaults": {"training_video": "a"}, "avatars": [{"name": "A"}]},
        {
            "defaults": {"voice_properties": {"job_tag": "NEWS", "language": "CN"}},
            "avatars": [{"name": "A", "training_video": "a", "voice_properties": {"sex": "MALE"}}],
        },
        {"x-mine": [1], "defaults": None, "submit": True, "avatars": [{"name": "A", "training_video": "a"}]},
    ],
)
def test_schema_and_reader_accept_the_same(read: Read, document: Any) -> None:
    """Defaults may hold what is mandatory."""
    assert errors_of(document) == []
    assert read("m.yaml", yaml.safe_dump(document)).problems == []


@pytest.mark.parametrize("kind", ["yaml", "csv"])
def test_a_starter_file_is_valid_but_for_its_files(read: Read, kind: Literal["yaml", "csv"]) -> None:
    """What `init` writes can be validated at once."""
    outcome = read(f"m.{kind}", starter_manifest(kind))

    assert outcome.problems == []
    assert len(outcome.entries) == 2


def test_the_yaml_starter_explains_every_field_and_fits_the_schema() -> None:
    """Commented out or not, with a comment in the line before."""
    lines = starter_manifest("yaml").splitlines()
    stripped = [line.strip().removeprefix("- ").removeprefix("# ") for line in lines]

    for name in Avatar.model_fields:
        assert any(line.startswith(f"{name}:") for line in stripped), name
    assert errors_of(yaml.safe_load(starter_manifest("yaml"))) == []


def test_what_the_yaml_starter_has_commented_out_is_valid_too(read: Read) -> None:
    """A user who takes the # away gets no problem but those of combinations."""
    known = [*Avatar.model_fields, "batch_name"]
    lines = starter_manifest("yaml").splitlines()
    text = "\n".join(
        line.replace("# ", "", 1) if line.strip().startswith(tuple(f"# {name}: " for name in known)) else line
        for line in lines
    )

    assert text.count("#") < starter_manifest("yaml").count("#")
    assert {p.field for p in read("m.yaml", text).problems} == {"audio"}


def test_the_examples_are_valid_and_ask_for_the_same() -> None:
    """YAML and CSV are two ways to say one thing."""
    manifests = [open_manifest(MANIFESTS / f"example.{kind}") for kind in ("yaml", "csv")]
    batches = [[(entry.entry_id, entry.avatar) for entry in manifest.entries()] for manifest in manifests]

    assert [manifest.problems for manifest in manifests] == [[], []]
    assert batches[0] == batches[1]
    assert {manifest.batch_name for manifest in manifests} == {"studio-2026-11"}
    assert errors_of(yaml.safe_load((MANIFESTS / "example.yaml").read_text())) == []
