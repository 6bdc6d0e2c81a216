"""Films are looked at in processes of their own, once, whatever is in them."""

from __future__ import annotations

import os
from pathlib import Path

import av
import numpy as np
import pytest

from orchestrator.preflight.cache import Cache
from orchestrator.preflight.look import pool
from orchestrator.preflight.look.measuring import measure_film
from orchestrator.preflight.look.pool import look_at_films

#: Looks run below all else on the machine, which may be busy.
pytestmark = [pytest.mark.timeout(240), pytest.mark.long]


def write_film(path: Path, colour: tuple[int, int, int]) -> None:
    """Two seconds of one colour, small, without sound."""
    with av.open(str(path), "w", format="mp4") as film:
        stream = film.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 320, 180, "yuv420p"
        stream.options = {"preset": "ultrafast"}
        picture = np.full((180, 320, 3), colour, np.uint8)
        for _ in range(50):
            film.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        film.mux(stream.encode())
    os.utime(path, (1, 1))


def test_every_film_is_looked_at_and_the_second_time_none(tmp_path: Path) -> None:
    """A film that several entries share once; one that is no film has its reason."""
    green, grey, none = (tmp_path / name for name in ("green.mp4", "grey.mp4", "none.mp4"))
    write_film(green, (40, 175, 75))
    write_film(grey, (120, 120, 120))
    none.write_bytes(b"this is no film")
    paths = [str(path) for path in (green, grey, green, none)]
    progress: list[tuple[int, int]] = []

    def look() -> dict[str, float | None]:
        found = look_at_films(
            paths,
            jobs=2,
            is_deep=False,
            cache=Cache(tmp_path / "cache"),
            on_progress=lambda *counts: progress.append(counts),
        )
        return {path: None if m.trouble else m.shots[0].green for path, m in found.items()}

    assert look() == {str(green): 1.0, str(grey): 0.0, str(none): None}
    assert progress == [(1, 3), (2, 3), (3, 3)]
    progress.clear()
    assert look() == {str(green): 1.0, str(grey): 0.0, str(none): None}
    assert progress == [(1, 1)]


def _crash(path: str, is_deep: bool) -> object:
    if "bad" in path:
        os._exit(11)
    return measure_film(path, is_deep=is_deep)


def test_a_film_that_kills_the_decoder_costs_only_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others are looked at."""
    monkeypatch.setattr(pool, "_look", _crash)
    write_film(tmp_path / "good.mp4", (40, 175, 75))

    found = look_at_films(
        [str(tmp_path / "bad.mp4"), str(tmp_path / "good.mp4")],
        jobs=1,
        is_deep=False,
        cache=Cache(tmp_path / "cache"),
        on_progress=lambda *_: None,
    )

    assert "crashed" in str(found[str(tmp_path / "bad.mp4")].trouble)
    assert found[str(tmp_path / "good.mp4")].trouble is None


def test_a_deep_look_sees_a_jump(tmp_path: Path) -> None:
    """Every picture of the film is compared with the one before."""
    path = tmp_path / "jump.mp4"
    draw = np.random.default_rng(1)
    noise = [draw.integers(0, 6, (180, 320, 3), np.uint8) for _ in range(7)]
    with av.open(str(path), "w", format="mp4") as film:
        stream = film.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 320, 180, "yuv420p"
        stream.options = {"preset": "ultrafast", "crf": "10"}
        for number in range(200):
            picture = np.full((180, 320, 3), 90, np.uint8) + noise[number % 7]
            picture[40:, (100 if number < 120 else 130) : 200] = (200, 160, 140)
            film.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        film.mux(stream.encode())

    assert measure_film(str(path), is_deep=True).jumps == [pytest.approx(4.8)]
    assert measure_film(str(path)).jumps == []
