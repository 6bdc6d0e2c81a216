"""Every avatar can be written as YAML and as a row, and is the same when it is read again."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import yaml
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from orchestrator.domain import avatar as model
from orchestrator.domain.assets import AssetKind
from orchestrator.domain.avatar import Avatar
from orchestrator.manifest import COLUMNS, csv_cells, open_manifest
from orchestrator.manifest.cells import is_suspect, join_list, split_list

ONE_LINE = st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp"))


def text(longest: int) -> st.SearchStrategy[str]:
    return st.text(ONE_LINE, min_size=1, max_size=longest).map(str.strip).filter(bool)


def maybe(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | strategy


PATHS = st.text(st.sampled_from("ab陈 .$~;,'\"\\{}#"), max_size=8).map(lambda tail: f"/m/{tail}x")
COUNTS = st.just("auto") | st.integers(1, 1000)
VOICES = st.builds(
    model.VoiceProperties,
    job_tag=st.sampled_from(model.VoiceJobTag),
    sex=st.sampled_from(model.Sex),
    language=st.sampled_from(model.Language),
)
TAGS = text(20).filter(lambda tag: not tag.startswith("orch:"))


@st.composite
def avatars(draw: st.DrawFn) -> Avatar:
    """Any avatar without a contradiction."""
    audio = draw(maybe(PATHS))
    flags = [name for name in Avatar.model_fields if name.startswith("is_")]
    return Avatar(
        id=draw(text(20)),
        name=draw(text(40)),
        audio=audio,
        audio_source_type=draw(st.just("AUDIO") if audio else maybe(st.just("VIDEO"))),
        contact=draw(maybe(text(20))),
        command_message=draw(maybe(st.sampled_from(model.CommandMessage))),
        video_multipart_count=draw(COUNTS),
        action_video_multipart_count=draw(maybe(COUNTS)),
        tags=draw(maybe(st.lists(TAGS, min_size=1, max_size=9).map(tuple))),
        model_version=draw(maybe(st.sampled_from(model.ModelVersion))),
        voice_properties=draw(maybe(VOICES)),
        supported_service=draw(
            maybe(st.lists(st.sampled_from(model.Service), min_size=1, max_size=3).map(tuple))
        ),
        app_user_id=draw(
            maybe(st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=9))
        ),
        **{name: draw(maybe(st.booleans())) for name in flags},
        **{
            kind.value: draw(PATHS if kind is AssetKind.TRAINING_VIDEO else maybe(PATHS))
            for kind in AssetKind
            if kind is not AssetKind.AUDIO
        },
    )


def read_one(path: Path, content: str) -> Avatar:
    path.write_bytes(content.encode())
    manifest = open_manifest(path)
    (entry,) = manifest.entries()
    assert not manifest.has_errors
    return entry.avatar


SETTINGS = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    deadline=None,
    max_examples=60,
)


@SETTINGS
@given(avatar=avatars())
def test_an_avatar_survives_a_table(tmp_path: Path, avatar: Avatar) -> None:
    """`results` writes such rows, and `run` reads them again."""
    table = io.StringIO()
    writer = csv.DictWriter(table, fieldnames=list(COLUMNS))
    writer.writeheader()
    writer.writerow(csv_cells(avatar))

    assert read_one(tmp_path / "m.csv", table.getvalue()) == avatar


@SETTINGS
@given(avatar=avatars())
def test_an_avatar_survives_yaml(tmp_path: Path, avatar: Avatar) -> None:
    """Whatever YAML could take its texts for; an id that looks damaged by a spreadsheet is repaired there (M11)."""
    assume(avatar.app_user_id is None or not is_suspect("app_user_id", avatar.app_user_id))
    fields = avatar.model_dump(mode="json", exclude_none=True)
    for kind in avatar.files():
        fields[kind.value] = fields[kind.value].replace("$", "$$")
    content = yaml.safe_dump({"avatars": [fields]}, allow_unicode=True)

    assert read_one(tmp_path / "m.yaml", content) == avatar


@given(st.lists(TAGS, min_size=1))
def test_a_list_survives_its_cell(items: list[str]) -> None:
    """Whatever semicolons and backslashes are in it."""
    assert split_list(join_list(tuple(items))) == items
