"""What is in the page, whatever avatars are called and services say, and what never is."""

from __future__ import annotations

import html
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from markupsafe import escape

from orchestrator.domain.assets import Asset, AssetKind, Fingerprint
from orchestrator.domain.avatar import Avatar
from orchestrator.domain.states import EntryState
from orchestrator.journal.history import Cause, IncidentRecord, RunRecord, StateChange, StoredSegment
from orchestrator.journal.records import BatchRecord, EntryRecord, ErrorRecord, files_json
from orchestrator.preflight.look.measures import is_installed
from orchestrator.preflight.rules.rule import Extra
from orchestrator.report import pictures as pictures_module
from orchestrator.report.document import ROW_FIELDS, ReportData, report_data
from orchestrator.report.page import render_cards, render_page
from orchestrator.report.pictures import MOST_BYTES, pictures_of
from orchestrator.report.reading import BatchFacts

NOON = 1_795_435_200.0
HOSTILE = "</script><img src=x onerror=alert(1)>'\"&\u202e\u2028"
VENDOR = Path(pictures_module.__file__).parent / "vendor"


def entry(number: int, state: EntryState = EntryState.CONFIRMED, **fields: Any) -> EntryRecord:
    """An entry called as no avatar should be."""
    film = f"/footage/{number}.mp4"
    avatar = Avatar(
        name=fields.pop("name", f"Anna {number}"), training_video=film, id_card_image1="/ids/front.png"
    )
    values = dict.fromkeys(EntryRecord._fields)
    values |= {
        "batch": "d1",
        "entry_id": f"e{number}",
        "position": number,
        "spec": avatar.model_dump_json(exclude_none=True),
        "files": files_json([Asset(AssetKind.TRAINING_VIDEO, film, Fingerprint(1000, 1, 1))]),
        "epoch": 1,
        "attempts": 0,
        "updated_at": NOON,
        "state": state,
        "is_submit_wanted": False,
    }
    return EntryRecord(**(values | fields))


def facts(*entries: EntryRecord, **changes: Any) -> BatchFacts:
    """A batch after one run with an outage."""
    values: dict[str, Any] = {
        "batch": BatchRecord("d1", "https://m", "p", HOSTILE, "/m y.yaml", False, NOON, "r1", NOON, 8),
        "holder": None,
        "entries": entries,
        "stored_bytes": {one.entry_id: 1000 for one in entries},
        "runs": [RunRecord("r1", NOON, NOON + 60, 8, None, "1", "studio", 7)],
        "changes": [StateChange(one.entry_id, NOON + 1, "uploading") for one in entries],
        "avatar_changes": [],
        "segments": [
            StoredSegment(one.entry_id, "training_video", 1, 1000, NOON + 9, 2, 1.0, 5.0) for one in entries
        ],
        "causes": [Cause("put", "interrupted", HOSTILE, 3)],
        "ticks": [("e0", NOON + 5, "interrupted")],
        "incidents": [IncidentRecord("r1", NOON + 2, NOON + 4, "outage", "service", HOSTILE)],
        "reviews": [],
    }
    return BatchFacts(**(values | changes))


def page_of(given: BatchFacts, options: str = "") -> str:
    return render_page(report_data(given, now=NOON + 99, options=options), {})


class Reader(HTMLParser):
    """The elements of a page with their attributes, the texts of its data, and all other text."""

    def __init__(self) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.data: dict[str, str] = {}
        self.text = ""
        self._open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag in {"script", "style"}:
            self._open.append(dict(attrs).get("id") or "")

    def handle_endtag(self, tag: str) -> None:
        if tag in {"script", "style"}:
            self._open.pop()

    def handle_data(self, data: str) -> None:
        if self._open:
            self.data[self._open[-1]] = self.data.get(self._open[-1], "") + data
        else:
            self.text += data


def read(page: str) -> Reader:
    reader = Reader()
    reader.feed(page)
    return reader


def test_names_and_words_of_others_stay_text() -> None:
    """In the cards, which are markup, and in the data, which is a script's."""
    page = page_of(
        facts(
            entry(0, name=HOSTILE[:60].replace("\u2028", "")),
            entry(1, EntryState.FAILED, error=ErrorRecord("rejected", "MSS.1", HOSTILE, "q", HOSTILE)),
        )
    )

    reader = read(page)

    assert "<img src=x" not in page
    assert [tag for tag, _ in reader.elements if tag == "script"] == ["script"] * 6
    assert not [name for _, attributes in reader.elements for name in attributes if name.startswith("on")]
    rows = json.loads(reader.data["data"])["rows"]
    assert rows[0][ROW_FIELDS.index("name")] == HOSTILE[:60].replace("\u2028", "")
    assert html.unescape(HOSTILE.split("\u202e", maxsplit=1)[0]) in reader.text


def test_nothing_is_fetched_from_anywhere() -> None:
    """No element names another place, and the policy forbids what a script would try."""
    page = page_of(facts(entry(0)))
    reader = read(page)

    (policy,) = (a["content"] for t, a in reader.elements if t == "meta" and a.get("http-equiv"))
    assert policy is not None
    assert policy.startswith("default-src 'none';")
    assert "connect-src" not in policy
    for _, attributes in reader.elements:
        for name in ("src", "href", "action", "data", "srcset"):
            assert re.match(r"data:|#|$", attributes.get(name) or ""), attributes
    styles = "".join(re.findall(r"<style>(.*?)</style>", page, re.DOTALL))
    assert not re.search(r"@import|url\(\s*['\"]?(?!data:)", styles)


def test_a_live_page_may_ask_its_own_server_and_nobody_else() -> None:
    """For its stream."""
    data = report_data(facts(entry(0)), now=NOON, options="")

    reader = read(render_page(data, {}, stream="stream"))

    (policy,) = (a["content"] for t, a in reader.elements if t == "meta" and a.get("http-equiv"))
    assert policy is not None
    assert policy.endswith("connect-src 'self'")
    assert json.loads(reader.data["data"])["stream"] == "stream"


def test_every_entry_is_in_the_page_and_no_id_card() -> None:
    """Nor any other path of a file."""
    page = page_of(facts(*(entry(number) for number in range(1200))))

    rows = json.loads(read(page).data["data"])["rows"]
    assert [row[0] for row in rows] == [f"e{number}" for number in range(1200)]
    assert "/ids/front.png" not in page
    assert "/footage/" not in page


def test_what_needs_a_person_comes_with_a_command_that_can_be_pasted() -> None:
    """Decisions, failures, failed reviews, and what waits in the console; quoted for the shell."""
    given = facts(
        entry(0, EntryState.REVIEW_FAILED, review_reason="background not green", review_code="1"),
        entry(1, EntryState.FAILED, error=ErrorRecord("temporary", None, "gave up", None, "run again")),
        entry(2),
        entry(3, EntryState.TRAINING, service_state="WAIT_USER_CONFIRM"),
        entry(4),
        incidents=[
            IncidentRecord("r0", NOON, None, "decision", "e4", "of an earlier run"),
            IncidentRecord("r1", NOON, None, "decision", "e2", "the film changed"),
        ],
    )

    data = report_data(given, now=NOON, options=" --state '/a b/journal.db'")

    told = [(item["entry_id"], item["kind"], item["reason"]) for item in data.attention]
    assert told == [
        ("e2", "needs a decision", "the film changed"),
        ("e1", "failed", "gave up"),
        ("e0", "review failed", "background not green (1)"),
        ("e3", "waits in the console", "the trained avatar waits for your approval in the console"),
    ]
    assert data.attention[0]["command"] == "orchestrator plan '/m y.yaml' --state '/a b/journal.db'"
    assert data.attention[1]["command"].endswith(" --entry e1 --state '/a b/journal.db'")
    assert escape(data.attention[1]["command"]) in render_cards(data)


def test_the_numbers_are_those_of_the_batch() -> None:
    """Delivered as a run counts it: an entry whose review failed is not."""
    given = facts(
        entry(0),
        entry(1, EntryState.REVIEW_FAILED),
        entry(2, EntryState.PENDING),
        entry(3, EntryState.TRAINED),
    )

    summary = report_data(given, now=NOON, options="").summary

    assert (summary["entries"], summary["delivered"], summary["waiting"]) == (4, 2, 1)
    assert (summary["bytes"], summary["stored"]) == (4000, 4000)
    assert summary["working_seconds"] == 60.0
    assert summary["run"]["state"] == "ended"


def test_the_days_from_film_to_avatar_are_those_from_the_first_job_to_the_first_avatar() -> None:
    """A refused film is part of the wait; what is not trained, or no job of this journal, counts for nothing."""
    day = 86400.0
    given = facts(
        *(entry(number, EntryState.TRAINED) for number in range(4)),
        entry(4, EntryState.TRAINING),
        avatar_changes=[
            *(StateChange(f"e{number}", NOON, "creating") for number in (0, 1, 2, 4)),
            StateChange("e1", NOON + day, "creating"),
            StateChange("e0", NOON + 2 * day, "trained"),
            StateChange("e3", NOON + 2 * day, "trained"),
            StateChange("e4", NOON + 2 * day, "trained"),
            StateChange("e2", NOON + 3 * day, "trained"),
            StateChange("e1", NOON + 9 * day, "trained"),
            StateChange("e0", NOON + 20 * day, "trained"),
        ],
    )

    avatars = report_data(given, now=NOON, options="").summary["avatars"]

    assert avatars == {
        "avatars": 3,
        "median_seconds": 3 * day,
        "slowest_seconds": 9 * day,
        "slowest_entry": "e1",
    }
    assert report_data(facts(entry(0)), now=NOON, options="").summary["avatars"] is None


def test_an_outage_that_a_kill_cut_short_ends_with_its_run() -> None:
    """Nothing says how long it went on."""
    given = facts(entry(0), incidents=[IncidentRecord("r1", NOON + 20, None, "outage", "service", "refused")])

    (outage,) = report_data(given, now=NOON + 999, options="").night["outages"]

    assert (outage["start"], outage["end"]) == (NOON + 20, NOON + 60)


def test_what_is_vendored_is_what_is_pinned_with_its_licence() -> None:
    """`scripts/vendor-assets` writes it."""
    packages = json.loads((VENDOR / "assets.json").read_text(encoding="utf-8"))
    named = {name for package in packages for name in package["files"]}

    assert named | {"assets.json"} == {path.name for path in VENDOR.iterdir()}
    for package in packages:
        assert any("LICENSE" in name for name in package["files"])
        scripts = [VENDOR / name for name in package["files"] if name.endswith(".js")]
        assert all(package["version"] in script.read_text(encoding="utf-8") for script in scripts)
        assert not any("</script" in script.read_text(encoding="utf-8").lower() for script in scripts)


needs_pictures = pytest.mark.skipif(not is_installed(Extra.PREFLIGHT), reason="needs the extra preflight")


def written(folder: Path, number: int, *kinds: AssetKind) -> EntryRecord:
    """An entry with the sample film and pictures as its files."""
    from orchestrator.simulator.footage import sample_footage, write_picture

    values = {"name": f"Anna {number}"}
    for kind in kinds:
        path = folder / f"{number}-{kind.value}"
        if kind is AssetKind.TRAINING_VIDEO:
            path.write_bytes(sample_footage())
        else:
            write_picture(path, number)
        values[kind.value] = str(path)
    values.setdefault("training_video", str(folder / "away.mp4"))
    return entry(number)._replace(spec=Avatar(**values).model_dump_json(exclude_none=True))  # type: ignore[arg-type]


@needs_pictures
def test_pictures_are_covers_or_from_films_and_never_id_cards(tmp_path: Path) -> None:
    """An avatar whose files are away has none."""
    entries = [
        written(tmp_path, 0, AssetKind.COVER, AssetKind.ID_CARD_IMAGE1),
        written(tmp_path, 1, AssetKind.TRAINING_VIDEO),
        written(tmp_path, 2, AssetKind.ID_CARD_IMAGE1, AssetKind.ID_CARD_IMAGE2),
    ]

    found = pictures_of(entries, (), jobs=1, on_progress=lambda _done, _total: None)

    assert found.keys() == {"e0", "e1"}
    assert all(picture.startswith("/9j/") for picture in found.values())


@needs_pictures
def test_pictures_stay_within_their_bytes_and_those_who_wait_come_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thousand avatars make no page of a hundred megabytes."""
    asked: list[tuple[list[str], int]] = []

    def remember(paths: Any, *, most_bytes: int, **_: Any) -> dict[str, bytes]:
        asked.append((list(paths), most_bytes))
        return {}

    monkeypatch.setattr(pictures_module, "pictures_of_files", remember)
    many = [entry(number) for number in range(20_000)]

    pictures_of(many, {"e19999"}, jobs=1, on_progress=lambda _done, _total: None)

    ((paths, most_bytes),) = asked
    assert paths[0] == "/footage/19999.mp4"
    assert len(paths) * most_bytes * 4 / 3 <= MOST_BYTES


def test_the_data_is_the_same_whenever_it_is_read() -> None:
    """So that a live page is only told of what changed."""
    given = facts(entry(0), entry(1))

    first, second = (report_data(given, now=now, options="") for now in (NOON + 1, NOON + 2))

    assert isinstance(first, ReportData)
    assert (first.rows, first.night, first.attention) == (second.rows, second.night, second.attention)
