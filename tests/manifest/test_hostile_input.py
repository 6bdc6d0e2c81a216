"""Whatever bytes a manifest has: problems, never an exception, never a hang."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.manifest import open_manifest

Read = Callable[..., Any]
YAML_FRAGMENTS = [
    "avatars:",
    "defaults:",
    "<<",
    "*a",
    "&a",
    "? ",
    "- ",
    ": ",
    "{",
    "}",
    "[",
    "]",
    "!!x",
    "---",
    "%",
    "@",
]
CSV_FRAGMENTS = [
    '"',
    "'",
    ";",
    ",",
    "\t",
    "\r\n",
    "\r",
    "\n",
    "\n  ",
    "\ufeff",
    "\x85",
    "\u2028",
    "陈",
    "#",
    "~",
    "$X",
]
WORDS = ["name", "training_video", "id", "tags", "voice_properties", "sex", "null", "0x1"]
FRAGMENTS = st.sampled_from(YAML_FRAGMENTS + CSV_FRAGMENTS + WORDS)
ODD_TEXT = st.lists(FRAGMENTS, max_size=40).map(lambda pieces: "".join(pieces).encode())
ANY_BYTES = st.binary(max_size=300) | ODD_TEXT


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=150)
@given(content=ANY_BYTES, suffix=st.sampled_from([".yaml", ".csv"]))
def test_no_bytes_make_a_reader_raise(tmp_path: Path, content: bytes, suffix: str) -> None:
    """A file without one valid avatar always has a problem."""
    path = tmp_path / f"m{suffix}"
    path.write_bytes(content)
    manifest = open_manifest(path)

    assert list(manifest.entries()) or manifest.has_errors


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(body=ODD_TEXT, suffix=st.sampled_from([".yaml", ".csv"]))
def test_odd_text_after_a_good_beginning_does_not_make_a_reader_raise(
    tmp_path: Path, body: bytes, suffix: str
) -> None:
    """The first avatar is right; what follows is anything."""
    good = {
        ".yaml": b"avatars:\n  - &a {name: A, training_video: a}\n  - ",
        ".csv": b"name,training_video,tags\nA,a,\n",
    }
    path = tmp_path / f"m{suffix}"
    path.write_bytes(good[suffix] + body)
    manifest = open_manifest(path)

    assert list(manifest.entries()) or manifest.has_errors


@pytest.mark.parametrize("opening", ["[", "{a: ", "- ", "? "])
def test_deep_nesting_is_refused_at_once(read: Read, opening: str) -> None:
    """The parser below would overflow its stack and take the process with it."""
    outcome = read("m.yaml", "avatars: \n " + opening * 200_000)

    assert "levels deep" in outcome.only.message


def bomb() -> str:
    """Twenty levels of nine aliases each: 9**20 texts if anybody followed them."""
    levels = [f"  a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 21)]
    return "x-bomb:\n  a0: &a0 [x]\n" + "".join(levels)


def merge_bomb() -> str:
    """Forty levels that merge the one before twice: 2**40 merges if each were worked out anew."""
    levels = [
        f"  a{n}: &a{n} {{<<: [*a{n - 1}, *b{n - 1}]}}\n  b{n}: &b{n} {{<<: *a{n}}}\n" for n in range(1, 41)
    ]
    return "x-bomb:\n  a0: &a0 {cover: c}\n  b0: &b0 {cover: d}\n" + "".join(levels)


@pytest.mark.parametrize(
    "text",
    [
        bomb() + "avatars: *a20\n",
        bomb() + "avatars: [{name: *a20, tags: *a20, voice_properties: *a20, training_video: a}]\n",
        merge_bomb() + "avatars: [{name: A, training_video: a, <<: *a20}]\n",
        merge_bomb() + "avatars: [{name: A, training_video: a, <<: *a40}]\n",
        "avatars: &a [*a]\n",
        "avatars: [&a {name: A, training_video: a, <<: *a, voice_properties: &v {<<: *v}}]\n",
        "x-a: &a {" + ", ".join(f"k{n}: 1" for n in range(900)) + "}\navatars:\n" + "  - {<<: *a}\n" * 100,
        "avatars: [" + "x," * 20_000 + "]",
        "avatars: " + "x" * 10_000_000,
        "avatars: [{name: A, training_video: a, ? " + "k" * 1_000_000 + " : v}]\n",
    ],
    ids=[
        "aliases as avatars",
        "aliases as values",
        "merges",
        "too deep merges",
        "list of itself",
        "merge of itself",
        "merged unknown fields",
        "texts for avatars",
        "long line",
        "long key",
    ],
)
def test_a_bomb_costs_no_more_than_its_bytes(read: Read, text: str) -> None:
    """Aliases are not followed where the model does not know what is there."""
    started = time.process_time()

    read("m.yaml", text)

    assert time.process_time() - started < 5


def test_messages_stay_short_whatever_the_input(read: Read) -> None:
    """A name or word of a megabyte is not repeated."""
    long = "k" * 100_000
    texts = (
        (
            "m.yaml",
            f"avatars: [{{name: A, training_video: a, ? {long} : v, model_version: {long}, name: {long}}}]",
        ),
        ("m.csv", f"name,training_video,model_version,{long}\nA,a,{long},\n"),
    )

    for name, text in texts:
        problems = read(name, text).problems
        assert len(problems) >= 2
        assert all(len(str(problem)) < 500 for problem in problems)


def test_a_table_is_read_in_flat_memory(tmp_path: Path) -> None:
    """What is kept of a row is its id and name, to find them again."""
    path = tmp_path / "m.csv"
    rows = (f"avatar-{n},Avatar {n},footage/{n}.mp4,{'x' * 500}\n" for n in range(3000))
    path.write_text("id,name,training_video,tags\n".replace("tags", "error_message") + "".join(rows))
    manifest = open_manifest(path)

    tracemalloc.start()
    count = sum(1 for _ in manifest.entries())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert count == 3000
    assert peak < 1_500_000
