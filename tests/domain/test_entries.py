"""Ids and tags of entries."""

from __future__ import annotations

import re
import unicodedata
import uuid

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.avatar import TAG_PREFIX, Avatar
from orchestrator.domain.entries import BatchKey, Entry, Place, create_tag, entry_digests, parse_tag, slug

TEXTS = st.text(max_size=300)
KEYS = st.builds(BatchKey, TEXTS, TEXTS, TEXTS)
MAX_TAG_CHARS = 128  # metastudio-protocol section 1.1


@given(KEYS, TEXTS, st.uuids())
def test_a_tag_fits_the_service_whatever_the_ids(key: BatchKey, entry_id: str, nonce: uuid.UUID) -> None:
    """Any script, any length of endpoint, batch name and entry id."""
    tag = create_tag(key, entry_id, nonce.hex)

    assert len(tag) <= MAX_TAG_CHARS
    assert re.fullmatch(r"orch:[0-9a-f]{12}:[0-9a-f]{12}:[0-9a-f]{32}", tag)
    assert tag.startswith(TAG_PREFIX)


Tagged = tuple[BatchKey, str, str]
TAGGED = st.tuples(KEYS, TEXTS, st.uuids().map(lambda nonce: nonce.hex))


@given(TAGGED, TAGGED)
def test_tags_are_alike_only_for_the_same_batch_entry_and_attempt(one: Tagged, other: Tagged) -> None:
    """A lost create is never taken for somebody else's."""
    assert (create_tag(*one) == create_tag(*other)) == (one == other)


def test_each_part_of_a_tag_tells_it_from_others() -> None:
    """Batch, entry and attempt each make another tag."""
    key = BatchKey("https://host", "project", "batch")
    tags = {
        create_tag(key, "anna", "1"),
        create_tag(key, "anna", "2"),
        create_tag(key, "bert", "1"),
        create_tag(BatchKey("https://host", "project", "other"), "anna", "1"),
        create_tag(BatchKey("https://host", "other", "batch"), "anna", "1"),
        create_tag(BatchKey("https://other", "project", "batch"), "anna", "1"),
    }

    assert len(tags) == 6


def test_the_digest_of_a_batch_is_the_same_in_every_release() -> None:
    """Journals, lock files and tags of earlier runs are found by it."""
    assert BatchKey("https://host", "project", "batch").digest == "ab470ca6348e"


def test_letters_that_are_composed_in_another_way_make_the_same_key_and_tag() -> None:
    """A name from a Mac's disk is the one that was typed; digests of older programs are known."""
    typed, stored = "été", unicodedata.normalize("NFD", "été")
    one, other = BatchKey("https://host", "project", typed), BatchKey("https://host", "project", stored)

    assert one.digest == other.digest
    assert one.digests == other.digests
    assert len(one.digests) == 2
    assert create_tag(one, typed, "1") == create_tag(other, stored, "1")
    assert entry_digests(typed) == entry_digests(stored)
    assert BatchKey("https://host", "project", typed, known_digest="abcdefabcdef").digest == "abcdefabcdef"


def test_a_tag_is_taken_apart_into_what_it_was_made_of() -> None:
    """Only this program's tags, whoever wrote them."""
    key = BatchKey("https://host", "project", "batch")
    tag = parse_tag(create_tag(key, "anna", "7"))

    assert tag is not None
    assert (tag.batch, tag.nonce) == (key.digest, "7")
    assert tag.entry in entry_digests("anna")
    assert [parse_tag(text) for text in ("", "orch:", "orch:a:b", "orch:a:b:c:d", "xorch:a:b:c")] == [
        None
    ] * 5


def test_neighbouring_fields_of_a_key_do_not_run_together() -> None:
    """Where one field ends is part of the key."""
    assert BatchKey("ab", "c", "d").digest != BatchKey("a", "bc", "d").digest


@given(st.text(max_size=400))
def test_a_slug_is_short_plain_and_its_own_slug(name: str) -> None:
    """Letters and digits of any script, joined by single hyphens."""
    made = slug(name)

    assert len(made) <= 128
    assert re.fullmatch(r"[^\W_]+(-[^\W_]+)*-?|", made)


def test_slugs_of_names_people_use() -> None:
    """Case, punctuation and width do not matter."""
    assert slug("Anna  Müller (2nd)") == "anna-müller-2nd"
    assert slug("王 小明") == "王-小明"
    assert slug("\uff21\uff2e\uff2e\uff21") == "anna"
    assert slug(" -- ") == ""


def test_a_spec_keeps_what_was_given_and_nothing_else() -> None:
    """Defaults of the service stay the service's."""
    avatar = Avatar(name="Anna", training_video="/a.mp4", tags=("x",))

    spec = Entry("anna", avatar, line=3).spec

    assert Avatar.model_validate_json(spec) == avatar
    assert "contact" not in spec


def test_a_field_without_a_place_is_where_the_entry_begins() -> None:
    """A message always has a line."""
    avatar = Avatar(name="Anna", training_video="/a.mp4")
    entry = Entry("anna", avatar, line=3, places={"name": Place(4, 11)})

    assert entry.place_of("name") == Place(4, 11)
    assert entry.place_of("cover") == Place(3)
