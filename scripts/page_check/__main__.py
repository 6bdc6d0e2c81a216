"""Plays a night of avatars, opens the page about it in Chromium, and measures: `python -m page_check [--avatars N]`.

Exit status 1 when a limit of docs/report.md is missed, 0 with a sentence where there is no Chromium or no npm.
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

from page_check.batch import PROGRAM, make_batch, play_night
from page_check.browser import Tab, find_browser, opened_tab
from page_check.large import large_page
from page_check.live import followed

AXE = "axe-core@4.10.3"
MOST_BYTES, MOST_SECONDS, MOST_SCROLL_SECONDS = 10_000_000, 1.0, 0.2
LARGE_ROWS = 50_000
LIVE_AVATARS = 300
SIZES = ((360, 740), (390, 844), (1280, 900), (1920, 1080), (2560, 1440))

#: Jumps in the table, and waits each time until a row is drawn in the middle of it; seconds.
_SLOWEST_JUMP = """(async () => {
  const holder = document.querySelector("#grid .tabulator-tableholder");
  const frame = () => new Promise((done) => requestAnimationFrame(done));
  const middle = () => {
    const box = holder.getBoundingClientRect();
    return document.elementFromPoint(box.left + 200, box.top + box.height / 2)?.closest(".tabulator-row");
  };
  let slowest = 0;
  for (const share of [0.1, 0.9, 0.3, 0.7, 0.5, 1, 0]) {
    const began = performance.now(), before = middle();
    holder.scrollTop = share * (holder.scrollHeight - holder.clientHeight);
    do await frame(); while ((!middle() || middle() === before) && performance.now() - began < 5000);
    slowest = Math.max(slowest, performance.now() - began);
  }
  return slowest / 1000;
})()"""


@dataclass(frozen=True)
class Measure:
    """One figure beside its limit."""

    name: str
    found: str
    is_good: bool
    is_time: bool = False


def main() -> None:
    """Measure, print the table, and keep screenshots where asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--avatars", type=int, default=1000)
    parser.add_argument("--pictures", type=Path, help="keep the screenshots in this folder")
    parser.add_argument("--folder", type=Path, help="work here, and leave the batch and the page behind")
    parser.add_argument("--no-timing", action="store_true", help="show the times without judging them")
    asked = parser.parse_args()
    browser = find_browser()
    missing = "Chromium" if browser is None else "npm" if shutil.which("npm") is None else None
    if browser is None or missing is not None:
        print(f"check-pages needs {missing}, which is not installed here: nothing was checked")
        return
    with tempfile.TemporaryDirectory(prefix="pages-") as temporary:
        folder = asked.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        page = _made_page(folder, asked.avatars)
        measures = asyncio.run(_measured(browser, folder, page, asked.pictures))
    for measure in measures:
        print(f"{'ok  ' if measure.is_good else 'MISS'}  {measure.name:<62}{measure.found}")
    judged = (measure for measure in measures if not (asked.no_timing and measure.is_time))
    sys.exit(0 if all(measure.is_good for measure in judged) else 1)


def _made_page(folder: Path, avatars: int) -> Path:
    """The page of a batch that is played first, unless an earlier call left it in *folder*."""
    journal = folder / "journal.db"
    if not journal.exists():
        play_night(folder, make_batch(folder, avatars))
    page = folder / "report.html"
    subprocess.run(
        [*PROGRAM, "report", "night", "--state", str(journal), "-o", str(page)],
        check=True,
        stderr=subprocess.DEVNULL,
    )
    return page


async def _measured(browser: str, folder: Path, page: Path, pictures: Path | None) -> list[Measure]:
    axe, size = _axe(folder), page.stat().st_size  # noqa: ASYNC240 - nothing else runs meanwhile
    async with opened_tab(browser) as tab:
        measures = [Measure("size of the page", f"{size / 1e6:.1f} MB", size < MOST_BYTES)]
        await tab.size(1280, 900)
        seconds = [await tab.open(page.as_uri()) for _ in range(3)]
        middle = sorted(seconds)[1]
        measures.append(
            Measure(
                "opens and paints, the middle of three",
                f"{middle:.2f} s",
                middle < MOST_SECONDS,
                is_time=True,
            )
        )
        await _see_all(tab)
        asked = [url for url in tab.requests if not url.startswith(("data:", page.as_uri()))]
        measures.append(Measure("requests", str(asked or 0), not asked))
        measures.append(await _printed(tab, page))
        measures += [measure async for measure in _looked(tab, page, axe, pictures)]
        measures.append(Measure("errors in the console", str(tab.errors or 0), not tab.errors))
        measures += await _scrolled(tab, folder)
        missed = await followed(tab, folder / "live", LIVE_AVATARS)
        measures.append(
            Measure(
                "a live page through kills of the run and of its server",
                str(missed or "followed"),
                not missed,
            )
        )
    return measures


async def _looked(tab: Tab, page: Path, axe: str, pictures: Path | None) -> AsyncIterator[Measure]:
    """What axe-core and a ruler find at every size, light and dark."""
    for width, height in SIZES:
        for scheme in ("light", "dark"):
            await tab.size(width, height)
            await tab.scheme(scheme)
            await tab.open(page.as_uri())
            await _see_all(tab)
            wide = await tab.evaluate("document.documentElement.scrollWidth")
            yield Measure(f"nothing wider than the window, {width} {scheme}", f"{wide} px", wide <= width)
            faults = await _faults(tab, axe)
            yield Measure(f"serious faults by axe-core, {width} {scheme}", str(faults or 0), not faults)
            if pictures is not None:
                await _keep_pictures(tab, pictures, f"{width}-{scheme}")


async def _printed(tab: Tab, page: Path) -> Measure:
    """Whether a page that was never scrolled has its chart and every avatar on paper."""
    await tab.open(page.as_uri())
    await tab.evaluate(
        "dispatchEvent(new Event('beforeprint')); document.getElementById('chart-on-paper').decode()"
    )
    missing = await tab.evaluate(
        "[document.getElementById('chart-on-paper').naturalWidth ? '' : 'the chart',"
        " document.querySelectorAll('.tile').length == rows.size ? '' : 'avatars'].filter(Boolean)"
    )
    await tab.evaluate("dispatchEvent(new Event('afterprint')); 0")
    return Measure("on paper without scrolling", str(missing or "all of it"), not missing)


async def _see_all(tab: Tab) -> None:
    """Scroll through the page, so that all of it is drawn."""
    height = await tab.evaluate("document.documentElement.scrollHeight")
    for place in range(0, int(height), 600):
        await tab.evaluate(
            f"scrollTo({{top: {place}, behavior: 'instant'}}); new Promise((r) => setTimeout(r, 30))"
        )
    await tab.evaluate("scrollTo({top: 0, behavior: 'instant'}); new Promise((r) => setTimeout(r, 300))")


async def _faults(tab: Tab, axe: str) -> list[str]:
    await tab.evaluate(f"{axe}; 0")
    found = await tab.evaluate(
        "axe.run(document, {resultTypes: ['violations']}).then((r) => r.violations"
        ".filter((v) => ['serious', 'critical'].includes(v.impact))"
        ".map((v) => `${v.id}: ${v.nodes.length}, first ${v.nodes[0].target.join(' ')}`))"
    )
    return list(found)


async def _keep_pictures(tab: Tab, folder: Path, name: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)  # noqa: ASYNC240 - nothing else runs meanwhile
    for part in ("top", "night", "numbers"):
        await tab.evaluate(
            f"scrollTo({{top: document.getElementById('{part}').getBoundingClientRect().top + scrollY - 90,"
            " behavior: 'instant'}); new Promise((r) => setTimeout(r, 300))"
        )
        await tab.picture(folder / f"{part}-{name}.jpg")


async def _scrolled(tab: Tab, folder: Path) -> list[Measure]:
    """How long the table of a very large batch takes from a jump to its rows in sight."""
    page = folder / "large.html"
    page.write_text(large_page(LARGE_ROWS), encoding="utf-8")
    await tab.size(1280, 900)
    await tab.open(page.as_uri())
    await tab.evaluate("document.getElementById('table').scrollIntoView({behavior: 'instant'})")
    for _ in range(100):
        if await tab.evaluate("document.querySelectorAll('#grid .tabulator-row').length > 5"):
            break
        await asyncio.sleep(0.1)
    # What was drawn meanwhile has moved it.
    await tab.evaluate(
        "document.getElementById('grid').scrollIntoView({behavior: 'instant', block: 'center'})"
    )
    slowest = await tab.evaluate(_SLOWEST_JUMP)
    name = f"a jump in the table of {LARGE_ROWS:,} avatars, the slowest of seven"
    is_quick = slowest < MOST_SCROLL_SECONDS
    return [Measure(name, f"{slowest:.2f} s", is_quick, is_time=True), *_errors_of(tab)]


def _errors_of(tab: Tab) -> Iterator[Measure]:
    yield Measure("errors in the console of the large page", str(tab.errors or 0), not tab.errors)


def _axe(folder: Path) -> str:
    """The script of axe-core at the pinned version."""
    npm = shutil.which("npm") or "npm"
    subprocess.run([npm, "pack", "--silent", AXE], cwd=folder, check=True, stdout=subprocess.DEVNULL)
    with tarfile.open(folder / f"{AXE.replace('@', '-')}.tgz") as files:
        script = files.extractfile("package/axe.min.js")
        assert script is not None  # noqa: S101 - of the pinned version
        return script.read().decode("utf-8")


if __name__ == "__main__":
    main()
