"""What a run asks its journal, and how SQLite looks for it."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing

import pytest

from orchestrator.engine.context import OnExisting
from orchestrator.journal import sqlite
from tests.rig import Rig

#: Tables that grow with the entries of all batches.
LARGE = re.compile(r"SCAN (?:entries|segments|transitions|attempts|creates|mine|other)\b(?! USING)")


@pytest.fixture
def statements(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The texts of what is asked of the journal from now on."""
    asked: set[str] = set()
    opened = sqlite3.connect

    def connect(*arguments: object, **options: object) -> sqlite3.Connection:
        connection = opened(*arguments, **options)  # type: ignore[call-overload]  # as they came
        connection.set_trace_callback(asked.add)
        return connection

    monkeypatch.setattr(sqlite.sqlite3, "connect", connect)
    return asked


async def test_no_question_of_a_run_looks_through_every_entry_of_the_journal(
    rig: Rig, statements: set[str]
) -> None:
    """A journal keeps all batches for years: what is asked of one must not cost the others' entries.

    Two batches with the same entries, so that twins are looked for as well.
    """
    entries = rig.make_entries(2)
    await rig.run()
    rig.write_batch(entries, batch_name="the same again")
    statements.clear()

    await rig.run({"on_existing": OnExisting.CREATE})

    questions = {text for text in statements if text.startswith("SELECT")}
    assert any("AS other" in text for text in questions), "no twins were looked for"
    with closing(sqlite3.connect(rig.state)) as journal:
        plans = {
            text: [row[3] for row in journal.execute(f"EXPLAIN QUERY PLAN {text}")] for text in questions
        }
    assert {text: plan for text, plan in plans.items() if any(map(LARGE.match, plan))} == {}
