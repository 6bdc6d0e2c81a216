"""A page about more avatars than anyone films in a year."""

from __future__ import annotations

from orchestrator.report.document import ReportData, report_data
from orchestrator.report.page import render_page
from tests.report.test_page import NOON, entry, facts


def large_page(rows: int) -> str:
    """The page of a batch of *rows* avatars that never ran, which is as long as any."""
    data: ReportData = report_data(
        facts(*(entry(number) for number in range(rows)), changes=[], segments=[], ticks=[]),
        now=NOON,
        options="",
    )
    return render_page(data, {})
