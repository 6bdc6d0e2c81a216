"""Whether a video is joined, ruled in every world that the service's documents leave open."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product

import pytest

from orchestrator.domain.evidence import (
    JoinEvidence,
    Listing,
    Reply,
    Ruling,
    reply_of_refusal,
    rule_on,
)

#: Nothing was asked yet, and the list has every part.
FRESH = JoinEvidence(
    may_be_joined=False,
    is_shown=False,
    listing=Listing.WHOLE,
    was_listed=True,
    is_list_telling=True,
    has_unproved=False,
    reply=Reply.NOT_ASKED,
)


@dataclass(frozen=True)
class World:
    """One service: what it shows and lists of a video, and what it says to a confirm that comes too late."""

    is_training: bool
    is_shown_once_joined: bool
    list_before: Listing
    list_after: Listing
    second: Reply

    def evidence(self, *, is_joined: bool, may_be_joined: bool, reply: Reply) -> JoinEvidence:
        """What a client can learn here."""
        return JoinEvidence(
            may_be_joined=may_be_joined,
            is_shown=is_joined and self.is_shown_once_joined,
            listing=self.list_after if is_joined else self.list_before,
            was_listed=self.list_before is Listing.WHOLE,
            is_list_telling=self.is_training,
            has_unproved=False,
            reply=reply,
        )


def worlds() -> list[World]:
    """Every combination; the list of an action video may never say anything."""
    after = (Listing.REFUSED, Listing.EMPTY, Listing.WHOLE)
    lists = [(True, Listing.WHOLE, now) for now in after] + [(False, Listing.WHOLE, now) for now in after]
    lists += [(False, silent, silent) for silent in (Listing.REFUSED, Listing.EMPTY)]
    return [
        World(is_training, is_shown, before, now, second)
        for (is_training, before, now), is_shown, second in product(
            lists, (True, False), (Reply.REFUSED, Reply.ACCEPTED)
        )
    ]


EVERY_WORLD = pytest.mark.parametrize("world", worlds(), ids=str)


@EVERY_WORLD
def test_a_confirm_that_was_carried_out_unheard_is_found_out(world: World) -> None:
    """Its answer was lost, or the machine was: what is asked and confirmed again proves the join."""
    before = world.evidence(is_joined=True, may_be_joined=True, reply=Reply.NOT_ASKED)
    after_loss = replace(before, reply=Reply.LOST)
    again = replace(before, reply=world.second)

    first = rule_on(before)

    assert rule_on(after_loss) is first
    assert first is (Ruling.JOINED if world.is_shown_once_joined else Ruling.CONFIRM)
    is_told = world.is_shown_once_joined or world.second is Reply.ACCEPTED
    assert rule_on(again) is (Ruling.JOINED if is_told else Ruling.JOINED_BY_EVIDENCE)


@EVERY_WORLD
def test_a_confirm_that_was_not_carried_out_is_sent_again(world: World) -> None:
    """The parts lie where they were: no world calls them joined, or lost, before a confirm was accepted."""
    before = world.evidence(is_joined=False, may_be_joined=True, reply=Reply.NOT_ASKED)

    assert rule_on(before) is Ruling.CONFIRM
    assert rule_on(replace(before, reply=Reply.LOST)) is Ruling.CONFIRM
    assert rule_on(replace(before, reply=Reply.ACCEPTED)) is Ruling.JOINED


@EVERY_WORLD
def test_a_first_confirm_that_is_refused_is_believed_unless_the_parts_left_the_list(world: World) -> None:
    """A refusal that was carried out all the same shows in show or in the list, where they say anything."""
    refused = world.evidence(is_joined=False, may_be_joined=False, reply=Reply.REFUSED)
    carried_out = world.evidence(is_joined=True, may_be_joined=False, reply=Reply.REFUSED)

    has_left = world.list_before is Listing.WHOLE and world.list_after is not Listing.WHOLE
    found_out = Ruling.JOINED_BY_EVIDENCE if has_left else Ruling.NOT_JOINED
    assert rule_on(refused) is Ruling.NOT_JOINED
    assert rule_on(carried_out) is (Ruling.JOINED if world.is_shown_once_joined else found_out)


@EVERY_WORLD
def test_nothing_but_the_job_itself_speaks_for_a_join(world: World) -> None:
    """A missing permission or a gateway that says no leaves the question as open as it was."""
    for is_joined, may_be_joined in product((True, False), repeat=2):
        evidence = world.evidence(is_joined=is_joined, may_be_joined=may_be_joined, reply=Reply.UNRELATED)
        assert rule_on(evidence) is (Ruling.JOINED if evidence.is_shown else Ruling.OPEN)


@pytest.mark.parametrize("may_be_joined", [True, False])
@pytest.mark.parametrize("reply", [Reply.NOT_ASKED, Reply.LOST, Reply.REFUSED, Reply.PARTS_REFUSED])
def test_parts_that_are_missing_are_sent_again(reply: Reply, *, may_be_joined: bool) -> None:
    """A list that has some parts and not others is that of an open upload, whatever was asked."""
    evidence = replace(FRESH, listing=Listing.LACKING, reply=reply, may_be_joined=may_be_joined)

    assert rule_on(evidence) is Ruling.SEND_PARTS


def test_an_empty_list_means_lost_parts_only_where_it_can_mean_that() -> None:
    """Before any confirm, and for the training video, whose list is not ambiguous."""
    empty = replace(FRESH, listing=Listing.EMPTY)

    assert rule_on(empty) is Ruling.SEND_PARTS
    assert rule_on(replace(empty, is_list_telling=False)) is Ruling.CONFIRM
    assert rule_on(replace(empty, may_be_joined=True)) is Ruling.CONFIRM


def test_a_refusal_because_of_parts_is_no_join() -> None:
    """An upload that is joined already would not be searched for parts."""
    refused = replace(FRESH, reply=Reply.PARTS_REFUSED, may_be_joined=True)

    assert rule_on(refused) is Ruling.NOT_JOINED
    assert rule_on(replace(refused, listing=Listing.REFUSED)) is Ruling.NOT_JOINED
    assert rule_on(replace(refused, listing=Listing.EMPTY)) is Ruling.SEND_PARTS


def test_parts_that_nothing_proved_are_sent_again_where_the_service_lacks_one() -> None:
    """Something in between can have answered for the store, and the list may never say anything."""
    lacking = replace(FRESH, listing=Listing.REFUSED, was_listed=False, reply=Reply.PARTS_LACKING)

    assert rule_on(lacking) is Ruling.NOT_JOINED
    assert rule_on(replace(lacking, has_unproved=True)) is Ruling.SEND_PARTS
    assert rule_on(replace(lacking, has_unproved=True, reply=Reply.PARTS_REFUSED)) is Ruling.NOT_JOINED


def test_no_evidence_is_ruled_joined_without_a_confirm_or_a_sight_of_it() -> None:
    """Over all that can be known: a join is declared on acceptance, on sight, or on a refusal after proof."""
    for may_be_joined, is_shown, listing, was_listed, is_telling, reply in product(
        (True, False), (True, False), Listing, (True, False), (True, False), Reply
    ):
        evidence = JoinEvidence(
            may_be_joined=may_be_joined,
            is_shown=is_shown,
            listing=listing,
            was_listed=was_listed,
            is_list_telling=is_telling,
            has_unproved=False,
            reply=reply,
        )
        ruling = rule_on(evidence)
        if ruling is Ruling.JOINED:
            assert is_shown or reply is Reply.ACCEPTED
        if ruling is Ruling.JOINED_BY_EVIDENCE:
            assert reply is Reply.REFUSED
            assert may_be_joined or was_listed
            assert listing is not Listing.LACKING


@pytest.mark.parametrize(
    ("status", "code", "reply"),
    [
        (200, None, Reply.REFUSED),
        (200, "MSS.44000001", Reply.REFUSED),
        (400, "MSS.00000003", Reply.REFUSED),
        (409, "MSS.44000002", Reply.REFUSED),
        (409, None, Reply.UNRELATED),
        (400, None, Reply.UNRELATED),
        (200, "EntityTooSmall", Reply.PARTS_REFUSED),
        (400, "InvalidPart", Reply.PARTS_LACKING),
        (403, "APIGW.0302", Reply.UNRELATED),
        (403, "MSS.41000023", Reply.UNRELATED),
        (404, "APIGW.0101", Reply.UNRELATED),
        (400, "APIGW.0201", Reply.UNRELATED),
        (402, None, Reply.UNRELATED),
        (None, None, Reply.UNRELATED),
    ],
)
def test_a_refusal_counts_for_what_it_is_about(status: int | None, code: str | None, reply: Reply) -> None:
    """The job's state, its parts, or neither."""
    assert reply_of_refusal(status, code) is reply
