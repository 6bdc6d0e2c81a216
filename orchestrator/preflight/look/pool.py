"""Many films at once: a process for each that is looked at, below everything else the machine does."""

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
#: `on_progress(done, total)`, after each film.
Progress = Callable[[int, int], None]
_NO_WARNING = "ignore:resource_tracker:UserWarning"
_CRASHED = "the decoder crashed on it"


def look_at_films(
    paths: Iterable[str], *, jobs: int, is_deep: bool, cache: Cache, on_progress: Progress
) -> dict[str, Measures]:
    """Measures by path. What *cache* knows is not looked at again; what is found goes there at once.

    An interruption ends the processes and is raised again; what was found until then is kept.
    """
    kind = kind_of_look(is_deep=is_deep)
    found: dict[str, Measures] = {}
    unknown: list[str] = []
    for path in dict.fromkeys(paths):
        try:
            known = cache.get(kind, os.stat(path))  # noqa: PTH116 - the status as the films' reader has it
            if known:
                found[path] = Measures.from_dict(known)
        except (OSError, TypeError, KeyError, ValueError):
            known = None  # away, or written by another version of the program
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
    """Small pictures of each film for the page, by path; they are kept nowhere."""
    nothing: Sequence[Thumbnail] = ()
    return dict(_worked(list(dict.fromkeys(paths)), jobs, _strip, nothing))


def pictures_of_files(
    paths: Iterable[str], *, jobs: int, most_bytes: int, on_progress: Progress
) -> dict[str, bytes]:
    """A small JPEG of each picture or film that can be decoded, by path; they are kept nowhere."""
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
    """Do *work* on *paths*; where a process dies, those that were under way are tried again one by one."""
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
    """Empty *waiting*; when a process dies, leave the rest there and put into *suspects* what was under way."""
    # What multiprocessing says of semaphores that a stopped program left, while it cleans them up, helps no user.
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
        # Whatever they do: after an interruption nothing waits for a decoder.
        processes = list((pool._processes or {}).values())  # noqa: SLF001 - the executor has no way to end them
        pool.shutdown(wait=False, cancel_futures=True)
        for process in processes:
            process.terminate()
        for process in processes:
            process.join()


def _begin() -> None:
    """In each process: below other work, and deaf to Ctrl-C, which is the first process' to hear."""
    os.nice(19)
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def end_with_parent() -> None:
        # A program that was stopped, or killed, leaves no decoder behind.
        if (parent := parent_process()) is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()
    # What a decoder prints about a film is not for the terminal.
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
