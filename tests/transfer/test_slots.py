"""PUT slots: how many run at once, and whose they are."""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack

import anyio
import anyio.abc
import pytest

from orchestrator.domain.quantities import parse_timetable
from orchestrator.transfer.bandwidth import BandwidthLimit, PutSlots

#: Under a limit slots are divided.
LIMITED = BandwidthLimit(parse_timetable("20M"))
UNLIMITED = BandwidthLimit()


class Putters:
    """PUTs that take a slot and keep it until they are told to end."""

    def __init__(self, slots: PutSlots, group: anyio.abc.TaskGroup) -> None:
        self.slots = slots
        self.held = Counter[str]()
        self._group = group
        self._ends: dict[str, list[anyio.Event]] = {}

    async def begin(self, name: str, count: int) -> None:
        """Let *count* PUTs ask for a slot, and wait until nothing moves."""
        for _ in range(count):
            self._group.start_soon(self._put, name)
        await anyio.wait_all_tasks_blocked()

    async def end(self, name: str) -> None:
        """End the first PUT that holds a slot."""
        self._ends[name].pop(0).set()
        await anyio.wait_all_tasks_blocked()

    async def _put(self, name: str) -> None:
        async with self.slots.slot(name):
            end = anyio.Event()
            self._ends.setdefault(name, []).append(end)
            self.held[name] += 1
            try:
                await end.wait()
            finally:
                self.held[name] -= 1


async def test_who_comes_first_leaves_room_for_those_who_take_part() -> None:
    """Even though they have nothing to send yet."""
    slots = PutSlots(16, LIMITED)
    async with anyio.create_task_group() as group:
        putters = Putters(slots, group)
        with slots.member("early"), slots.member("late"):
            await putters.begin("early", 20)
            before = dict(putters.held)
            await putters.begin("late", 20)
            after = dict(putters.held)
        group.cancel_scope.cancel()

    assert before == {"early": 8}
    assert after == {"early": 8, "late": 8}


@pytest.mark.parametrize(("total", "participants", "most"), [(16, 5, 4), (4, 5, 1), (7, 1, 7)])
async def test_all_slots_are_used(total: int, participants: int, most: int) -> None:
    """Parts are rounded up, and there are never more than allowed."""
    slots = PutSlots(total, LIMITED)
    async with anyio.create_task_group() as group:
        putters = Putters(slots, group)
        with ExitStack() as parts:
            for number in range(participants):
                parts.enter_context(slots.member(str(number)))
            for number in range(participants):
                await putters.begin(str(number), 20)
            held = dict(putters.held)
        group.cancel_scope.cancel()

    assert sum(held.values()) == total
    assert max(held.values()) == most


async def test_the_part_of_one_who_leaves_goes_to_the_others() -> None:
    """At once, without a PUT having to end first."""
    slots = PutSlots(6, LIMITED)
    async with anyio.create_task_group() as group:
        putters = Putters(slots, group)
        with slots.member("stays"):
            with slots.member("leaves"):
                await putters.begin("stays", 10)
                assert putters.held["stays"] == 3
            await anyio.wait_all_tasks_blocked()
            assert putters.held["stays"] == 6
        group.cancel_scope.cancel()


async def test_undivided_slots_are_all_anybodys_but_the_next_goes_to_who_has_fewest() -> None:
    """Nobody waits while a slot is free, and nobody is starved by who has many segments."""
    slots = PutSlots(4, UNLIMITED)
    async with anyio.create_task_group() as group:
        putters = Putters(slots, group)
        with slots.member("many"), slots.member("one"):
            await putters.begin("many", 10)
            await putters.begin("one", 1)
            assert putters.held == {"many": 4}
            await putters.end("many")
            assert putters.held == {"many": 3, "one": 1}
        group.cancel_scope.cancel()


async def test_the_number_can_be_changed_while_puts_run() -> None:
    """More begin at once; fewer are reached as PUTs end."""
    slots = PutSlots(2, UNLIMITED)
    async with anyio.create_task_group() as group:
        putters = Putters(slots, group)
        await putters.begin("entry", 10)
        slots.total = 5
        await anyio.wait_all_tasks_blocked()
        assert putters.held["entry"] == 5
        slots.total = 4
        assert slots.free == -1
        await putters.end("entry")
        await putters.end("entry")
        assert putters.held["entry"] == 4
        group.cancel_scope.cancel()


async def test_a_cancelled_put_gives_its_slot_or_its_place_back() -> None:
    """Also when it was given the slot in the moment it was cancelled."""
    slots = PutSlots(1, UNLIMITED)
    async with anyio.create_task_group() as group:
        putters = Putters(slots, group)
        await putters.begin("holder", 1)
        async with anyio.create_task_group() as cancelled:
            await Putters(slots, cancelled).begin("waiting", 3)
            await putters.end("holder")  # one of them has the slot now
            cancelled.cancel_scope.cancel()
        await putters.begin("next", 1)
        assert putters.held["next"] == 1
        group.cancel_scope.cancel()

    assert slots.free == 1


async def test_the_state_of_the_slots_can_be_read_in_a_debugger() -> None:
    """How many are held, who waits, who takes part."""
    slots = PutSlots(1, UNLIMITED)
    with slots.member("anna"), slots.member("bob"):
        async with slots.slot("anna"), anyio.create_task_group() as group:
            waiting = slots.slot("bob")
            group.start_soon(waiting.__aenter__)
            await anyio.lowlevel.checkpoint()
            text = repr(slots)
            group.cancel_scope.cancel()

    assert text == "<PutSlots: 1 of 1 held, 1 waiting, 2 members>"
