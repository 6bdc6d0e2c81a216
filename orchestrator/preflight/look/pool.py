"""A process pool that measures several films at once, at the lowest priority of the machine."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from multiprocessing import get_context, parent_process
from typing import TYPE_CHECKING, TypeVar

from orchestrator.preflight.cache import Cache
from orchestrator.preflight.look.measures import Measures, kind_of_look

if TYPE_CHECKING:
    from orchestrator.preflight.look.measuring import Thumbnail

Found = TypeVar("Found")
#: `on_progress(done, total)` is called after each film.
Progress = Callable[[int, int], None]
_NO_WARNING = "ignore:resource_tracker:UserWarning"
_CRASHED = "the decoder crashed on it"


def look_at_films(
    paths: Iterable[str], *, jobs: int, is_deep: bool, cache: Cache, on_progress: Progress
) -> dict[str, Measures]:
    """Return measures by path. Films in *cache* are not measured again; new measures are added to it at once.

    An interruption ends the processes and is raised again; the measures up to then are in the cache.
    """
    kind = kind_of_look(is_deep=is_deep)
    found: dict[str, Measures] = {}
    unknown: list[str] = []
    for path in dict.fromkeys(paths):
        try:
            known = cache.get(kind, os.stat(path))  # noqa: PTH116 - the same status as in the films' reader
            if known:
                found[path] = Measures.from_dict(known)
        except (OSError, TypeError, KeyError, ValueError):
            known = None  # missing, or written by another version of the program
        if not known:
            unknown.append(path)
    total = len(unknown)
    looked = _worked(unknown, jobs, partial(_look, is_deep=is_deep), Measures(trouble=_CRASHED))
    for done, (path, measures) in enumerate(looked, start=1):
        found[path] = measures
        if not measures.trouble:
            with contextlib.suppress(OSError):
                cache.put(kind, os.stat(path), measures.as_dict())  # noqa: PTH116 - see above
        on_progress(done, total)
    return found


def strips_of_films(paths: Iterable[str], *, jobs: int) -> dict[str, Sequence[Thumbnail]]:
    """Return small pictures of each film for the page, by path; they are not cached."""
    nothing: Sequence[Thumbnail] = ()
    return dict(_worked(list(dict.fromkeys(paths)), jobs, _strip, nothing))


def pictures_of_files(
    paths: Iterable[str], *, jobs: int, most_bytes: int, on_progress: Progress
) -> dict[str, bytes]:
    """Return a small JPEG of each picture or film that can be decoded, by path; they are not cached."""
    unique = list(dict.fromkeys(paths))
    found: dict[str, bytes] = {}
    pictures = _worked(unique, jobs, partial(_picture, most_bytes=most_bytes), None)
    for done, (path, picture) in enumerate(pictures, start=1):
        if picture is not None:
            found[path] = picture
        on_progress(done, len(unique))
    return found


def _worked(
    paths: Sequence[str], jobs: int, work: Callable[[str], Found], crashed: Found
) -> Iterator[tuple[str, Found]]:
    """Run *work* on *paths*; when a process dies, the paths in progress are retried one by one."""
    waiting = deque(paths)
    while waiting:
        suspects: list[str] = []
        yield from _in_pool(waiting, min(jobs, os.cpu_count() or 1), work, suspects)
        for path in suspects:
            again: list[str] = []
            yield from _in_pool(deque([path]), 1, work, again)
            yield from ((film, crashed) for film in again)


def _in_pool(
    waiting: deque[str], jobs: int, work: Callable[[str], Found], suspects: list[str]
) -> Iterator[tuple[str, Found]]:
    """Process *waiting*; when a process dies, move the paths in progress to *suspects* and keep the rest."""
    # The warning of multiprocessing about semaphores of a stopped program, which it cleans up, helps no user.
    if _NO_WARNING not in sys.warnoptions:
        sys.warnoptions.append(_NO_WARNING)
    running: dict[Future[Found], str] = {}
    pool = ProcessPoolExecutor(jobs, mp_context=get_context("spawn"), initializer=_begin)
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                path = waiting.popleft()
                running[pool.submit(work, path)] = path
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                found = future.result()
                yield running.pop(future), found
    except BrokenProcessPool:
        suspects += running.values()
    finally:
        # End the processes in any state: after an interruption nothing must wait for a decoder.
        processes = list((pool._processes or {}).values())  # noqa: SLF001 - the executor has no way to end them
        pool.shutdown(wait=False, cancel_futures=True)
        for process in processes:
            process.terminate()
        for process in processes:
            process.join()


def _begin() -> None:
    """Set up a process of the pool: low priority, and no Ctrl-C, which the main process handles."""
    os.nice(19)
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def end_with_parent() -> None:
        # No decoder may outlive a program that was stopped or killed.
        if (parent := parent_process()) is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()
    # Keep a decoder's messages about a film off the terminal.
    with open(os.devnull, "w") as nowhere:  # noqa: PTH123 - a name, not a path
        os.dup2(nowhere.fileno(), 2)


def _look(path: str, is_deep: bool) -> Measures:
    from orchestrator.preflight.look.measuring import measure_film  # noqa: PLC0415 - needs the extra

    return measure_film(path, is_deep=is_deep)


def _strip(path: str) -> Sequence[Thumbnail]:
    from orchestrator.preflight.look.measuring import strip_of  # noqa: PLC0415 - needs the extra

    return strip_of(path)


def _picture(path: str, most_bytes: int) -> bytes | None:
    from orchestrator.preflight.look.measuring import picture_of  # noqa: PLC0415 - needs the extra

    return picture_of(path, most_bytes)
