"""Batches whose objects lie in a real object store."""

from __future__ import annotations

import time
from collections import Counter

import pytest

from orchestrator.domain.errors import ExitCode
from orchestrator.domain.states import EntryState
from orchestrator.engine.events import UrlsExpired
from orchestrator.simulator import World
from orchestrator.simulator.footage import write_audio_zip, write_footage
from tests.object_store.conftest import VIDEO_BYTES, MakeRig
from tests.object_store.shown import assert_stored
from tests.rig import Rig, run_settings

DAY_SECONDS = 86400.0
SMALL_KINDS = (
    "cover",
    "id_card_image1",
    "id_card_image2",
    "grant_file",
    "pre_beauty_image",
    "post_beauty_image",
)


def make_entries_of_all_kinds(rig: Rig, count: int) -> list[dict[str, object]]:
    """Avatars with every file a job takes."""
    entries = rig.make_entries(count, size=VIDEO_BYTES, kinds=SMALL_KINDS)
    for seed, entry in enumerate(entries):
        entry |= {"audio": f"{seed}.zip", "audio_source_type": "AUDIO", "action_video": f"{seed}.mp4"}
        write_audio_zip(rig.folder / f"{seed}.zip", seed)
        write_footage(rig.folder / f"{seed}.mp4", size=600_000, seed=seed)
    rig.write_batch(entries)
    return entries


@pytest.mark.parametrize("signature", ["v2", "v4"])
async def test_every_file_of_a_batch_is_in_the_store(make_rig: MakeRig, signature: str) -> None:
    """URLs of both families are accepted, parts joined, and what show gives to download is what was sent."""
    rig = await make_rig(signature)
    entries = make_entries_of_all_kinds(rig, 3)

    report = await rig.run()

    assert report.exit_code == ExitCode.OK
    assert {record.delivered for record in (await rig.entries()).values()} == {"verified"}
    await assert_stored(rig, entries)


@pytest.mark.parametrize("can_update", [True, False])
async def test_urls_the_store_calls_expired_are_replaced(make_rig: MakeRig, *, can_update: bool) -> None:
    """By update or by a new job; the clocks here are late, so nobody but the store knows."""
    rigs: list[Rig] = []

    def late_at_first() -> float:
        asked = rigs[0].simulator.stats.requests if rigs else Counter[str]()
        return time.time() - (2 * DAY_SECONDS if asked["create"] + asked["update"] < 2 else 0.0)

    rig = await make_rig(
        clock=late_at_first,
        url_lifetime_seconds=DAY_SECONDS,
        world=World(update_allowed="always" if can_update else "failed-review"),
    )
    rigs.append(rig)
    entries = rig.make_entries(1, kinds=("cover",))

    report = await rig.run()

    assert report.exit_code == ExitCode.OK
    assert [event.remedy for event in rig.events_of(UrlsExpired)] == ["update" if can_update else "recreate"]
    await assert_stored(rig, entries)


async def test_parts_the_store_does_not_join_fail_their_entry_alone(make_rig: MakeRig) -> None:
    """The store's EntityTooSmall comes out of confirm as the service's refusal."""
    rig = await make_rig()
    rig.settings = run_settings(part_bytes=400_000)
    rig.write_batch(
        [rig.make_entry("small", size=600_000), rig.make_entry("whole", size=390_000)],
    )

    report = await rig.run()

    assert report.exit_code == ExitCode.SOME_FAILED
    records = await rig.entries()
    assert records["small"].state == EntryState.FAILED
    assert records["small"].error is not None
    assert records["small"].error.code == "EntityTooSmall"
    assert records["whole"].state == EntryState.CONFIRMED
