"""Makes the labelled films; needs the extra `preflight`, and a few minutes of CPU for all.

Each is drawn from a seed: a presenter with the face of a portrait before a screen or in an office, sensor noise,
synthetic speech. The folder gets the films and `films.json`, which says of each what it is for and which rules should
find something. They show that the rules find what they are for; they prove no threshold on real footage.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import TypeAlias

import av
import numpy as np
from numpy.typing import NDArray

from films.recipes import Recipe, recipes

SOUND_RATE = 48000
HAIR, JACKET = (60, 40, 30), (40, 45, 80)
#: NASA's portrait of Eileen Collins, in the public domain, and where the head is in it: left, top, right, bottom.
PORTRAIT = Path(__file__).parents[2] / "tests/preflight/face.jpg"
HEAD = (20, 5, 175, 191)
#: The head's height as a share of the picture's; the face is two thirds of it.
HEAD_HEIGHT = 0.36

Picture: TypeAlias = NDArray[np.uint8]


def ellipse(
    picture: Picture, middle: tuple[float, float], size: tuple[float, float], colour: tuple[int, ...]
) -> None:
    """Fill an ellipse; middle and half sizes are shares of the picture's height, across from its middle."""
    (x, y), (wide, high) = middle, size
    height, width = picture.shape[:2]
    rows, columns = np.ogrid[:height, :width]
    inside = ((columns - width / 2) / height - x) ** 2 / wide**2 + (rows / height - y) ** 2 / high**2 < 1
    picture[inside] = colour


def background(recipe: Recipe, draw: np.random.Generator, scene: str) -> Picture:
    """The screen or the room, as RGB."""
    height, width = recipe.height, recipe.width
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    across, down = columns / width - 0.5, rows / height - 0.5
    if scene == "office":
        return office(height, width, draw)
    light = 1 - 0.06 * (across**2 + down**2) * 4
    if scene == "uneven":
        light = 1.05 - 1.3 * (across**2 + down**2)
    elif scene == "shadow":
        light = light - 0.5 * np.clip(1 - (across + 0.42) ** 2 / 0.02, 0, 1)
    elif scene == "half":
        light = light - 0.45 / (1 + np.exp(-30 * across))
    green = np.array((40, 175, 75), np.float32) + draw.normal(0, 4, 3)
    picture = np.clip(green * light[..., None], 0, 255).astype(np.uint8)
    if scene == "partial":
        room = office(height, width, draw)
        outside = np.abs(across) > draw.uniform(0.32, 0.4)
        picture[outside] = room[outside]
    return picture


def office(height: int, width: int, draw: np.random.Generator) -> Picture:
    """A wall with shelves, pictures and a window, none of it green."""
    picture = np.full((height, width, 3), draw.integers(140, 200, 3) * (1, 0.93, 0.85), np.uint8)
    for _ in range(40):
        y, x = int(draw.uniform(0, 0.9) * height), int(draw.uniform(0, 0.95) * width)
        high, wide = int(draw.uniform(0.04, 0.25) * height), int(draw.uniform(0.02, 0.12) * width)
        colour = draw.integers(30, 230, 3)
        colour[1] = min(colour[1], max(colour[0], colour[2]))
        picture[y : y + high, x : x + wide] = colour
    return picture


def presenter(picture: Picture, recipe: Recipe, shift: float = 0.0) -> None:
    """Heads and shoulders of all people."""
    height, width = picture.shape[:2]
    aspect = width / height
    scale = recipe.size * min(1.0, aspect / 0.7)
    high = HEAD_HEIGHT * scale
    for place in (recipe.place, *recipe.others):
        x = (place - 0.5) * aspect + shift
        # The head stays where it is in the picture, and the body goes down from it.
        ellipse(picture, (x, 0.38 + 0.68 * scale), (0.36 * scale, 0.48 * scale), JACKET)
        if recipe.size < 1:
            ellipse(picture, (x, 1.05), (0.2 * scale, 0.6), JACKET)
        if recipe.is_turned_away:
            ellipse(picture, (x, 0.38), (high * 0.42, high / 2), HAIR)
        else:
            paste_head(picture, round(width / 2 + x * height), round(0.38 * height), round(high * height))


def paste_head(picture: Picture, x: int, y: int, high: int) -> None:
    """Put the portrait's head, *high* pixels of it, with its middle at *x* and *y*."""
    with av.open(str(PORTRAIT)) as file:
        frame = next(file.decode(video=0))
    left, top, right, bottom = HEAD
    wide = max(2, high * (right - left) // (bottom - top))
    whole = frame.reformat(
        width=frame.width * wide // (right - left),
        height=frame.height * high // (bottom - top),
        format="rgb24",
    ).to_ndarray()
    across, down = left * wide // (right - left), top * high // (bottom - top)
    head = whole[down : down + high, across : across + wide]
    rows, columns = np.ogrid[: head.shape[0], : head.shape[1]]
    inside = (columns / head.shape[1] * 2 - 1) ** 2 + (rows / head.shape[0] * 2 - 1) ** 2 < 1
    area = picture[y - high // 2 :, x - wide // 2 :][: head.shape[0], : head.shape[1]]
    area[inside] = head[inside]


@dataclass
class Stage:
    """The still parts of a film, and what moves."""

    recipe: Recipe
    draw: np.random.Generator
    bases: dict[str, tuple[Picture, Picture]] = field(default_factory=dict)
    noisy: dict[tuple[str, int], Picture] = field(default_factory=dict)

    def base(self, what: str) -> tuple[Picture, Picture]:
        """Luma and chroma of a scene, drawn once."""
        if what not in self.bases:
            recipe = self.recipe
            scene = "office" if what == "scene" else recipe.scene
            picture = background(
                recipe, np.random.default_rng(recipe.seed + (99 if what == "scene" else 0)), scene
            )
            if what == "moved":
                picture = np.roll(picture, recipe.width // 12, axis=1)
            if recipe.is_lying:
                upright = np.ascontiguousarray(np.rot90(picture))
                presenter(upright, recipe)
                picture = np.rot90(upright, -1)
            else:
                presenter(picture, recipe, shift=0.07 if what == "jump" else 0.0)
            picture = np.clip(picture * recipe.gain * (0.55 if what == "dim" else 1), 0, 255).astype(np.uint8)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format="yuv420p")
            planes = frame.to_ndarray()
            self.bases[what] = planes[: recipe.height], planes[recipe.height :]
        return self.bases[what]

    def picture(self, second: float, number: int, mouth: float) -> av.VideoFrame:
        """One picture: the scene of the moment, mouth and hands, and the sensor's noise."""
        recipe = self.recipe
        what = {name for name, start, end in recipe.events if start <= second < end}
        scene = next((name for name in ("scene", "dim", "moved", "jump") if name in what), "plain")
        chroma = self.base(scene)[1]
        frozen = next(
            (start for name, start, end in recipe.events if name == "freeze" and start <= second < end), None
        )
        moment = second if frozen is None else frozen
        luma = self.luma(scene, 0 if frozen is not None else number)
        self.move(luma, moment, mouth if frozen is None else 0.5, "jump" in what)
        if what & {"black", "white"}:
            luma[:], chroma = (16 if "black" in what else 235), np.full_like(chroma, 128)
        if "fade" in what:
            share = max(0.0, (second - 0.8) / 1.2)
            luma = (16 + (luma.astype(np.float32) - 16) * share).astype(np.uint8)
            chroma = (128 + (chroma.astype(np.float32) - 128) * share).astype(np.uint8)
        frame = av.VideoFrame.from_ndarray(np.concatenate((luma, chroma)), format="yuv420p")
        return frame if recipe.pixels == "yuv420p" else frame.reformat(format=recipe.pixels)

    def luma(self, scene: str, number: int) -> Picture:
        """The scene's luma with the noise of one of five pictures."""
        key = scene, number % 5 if self.recipe.noise else 0
        if key not in self.noisy:
            luma = self.base(scene)[0].astype(np.float32)
            noise = self.draw.standard_normal(luma.shape, np.float32) * self.recipe.noise
            self.noisy[key] = np.clip(luma + noise, 0, 255).astype(np.uint8)
        return self.noisy[key].copy()

    def move(self, luma: Picture, second: float, mouth: float, is_shifted: bool) -> None:
        """Open the mouth with the voice, and move hands in a slow sway."""
        height, width = luma.shape
        middle = self.recipe.place * width + (0.07 * height if is_shifted else 0)
        sway = 0.004 * height * np.sin(2 * np.pi * 0.23 * second)
        y, x = int(0.48 * height + sway), int(middle + sway)
        luma[y : y + max(1, int(0.03 * height * mouth)), x - int(0.03 * height) : x + int(0.03 * height)] = 60
        if self.recipe.has_moving_hands:
            lift = 0.1 * np.sin(2 * np.pi * 0.4 * second)
            top = int((0.82 + lift) * height)
            for side in (-1, 1):
                left = int(middle + side * 0.34 * height * min(1.0, width / height))
                luma[top : top + int(0.09 * height), max(0, left - 40) : left + 40] = 165


def voice(recipe: Recipe, draw: np.random.Generator) -> tuple[Picture, Picture]:
    """The sound, -1 to 1, and how open the mouth is at each of its samples."""
    count = round(recipe.seconds * SOUND_RATE)
    time = np.arange(count) / SOUND_RATE
    syllables = np.clip(np.sin(2 * np.pi * 3.6 * time + 0.8 * np.sin(2 * np.pi * 0.7 * time)), 0, 1) ** 0.7
    phrases = (np.mod(time - recipe.lead_in, 2.6) < 2.1).astype(np.float64)
    mouth = syllables * phrases * (time >= recipe.lead_in)
    pitch = 2 * np.pi * np.cumsum(125 + 15 * np.sin(2 * np.pi * 0.9 * time)) / SOUND_RATE
    tone = sum(np.sin(harmonic * pitch) / harmonic for harmonic in range(1, 12)) + 0.2 * draw.normal(
        0, 1, count
    )
    tone = tone / np.sqrt((tone**2).mean())
    sound = draw.normal(0, 10 ** (recipe.floor_db / 20), count) if recipe.floor_db > -90 else np.zeros(count)
    if recipe.voice_db is not None:
        sound = sound + tone * mouth * 10 ** (recipe.voice_db / 20)
    return np.clip(sound, -1, 1).astype(np.float32), mouth if recipe.voice_db is not None else np.zeros(count)


def steps(recipe: Recipe, draw: np.random.Generator) -> Iterator[tuple[int, float]]:
    """Time stamp, in milliseconds, and second of each picture."""
    for number in range(round(recipe.seconds * recipe.rate)):
        second = number / recipe.rate
        if recipe.vfr == "drops" and draw.random() < 0.25 and number:
            continue
        if recipe.vfr == "pauses" and 5 < second < 9 and number % 5:
            continue
        jitter = draw.uniform(-2, 2) if recipe.vfr == "jitter" and number else 0
        yield round(1000 * second + jitter), second


def write(recipe: Recipe, path: Path) -> None:
    """Encode the film."""
    draw = np.random.default_rng(recipe.seed)
    sound, mouth = voice(recipe, draw)
    stage = Stage(recipe, draw)
    with av.open(
        str(path), "w", format="mp4", options={"movflags": "+faststart"} if recipe.cut != "index-last" else {}
    ) as film:
        video = film.add_stream(recipe.codec, rate=recipe.rate)
        video.width, video.height, video.pix_fmt = recipe.width, recipe.height, recipe.pixels
        video.time_base = video.codec_context.time_base = (
            Fraction(1, 1000) if recipe.vfr else Fraction(1, recipe.rate)
        )
        video.gop_size = recipe.gop
        video.codec_context.sample_aspect_ratio = Fraction(*recipe.shape)
        video.options = {"crf": "24", "preset": "ultrafast", **recipe.options}
        if recipe.codec == "libx265":
            video.codec_context.codec_tag = "hvc1"
        audio = film.add_stream("aac", rate=SOUND_RATE, layout="mono") if recipe.has_sound else None
        for number, (milliseconds, second) in enumerate(steps(recipe, draw)):
            frame = stage.picture(second, number, float(mouth[min(int(second * SOUND_RATE), len(mouth) - 1)]))
            frame.time_base = video.codec_context.time_base
            frame.pts = milliseconds if recipe.vfr else number
            film.mux(video.encode(frame))
        film.mux(video.encode())
        for start in range(0, len(sound) if audio else 0, 1024):
            piece = av.AudioFrame.from_ndarray(
                sound[None, start : start + 1024], format="fltp", layout="mono"
            )
            piece.sample_rate, piece.pts = SOUND_RATE, start
            film.mux(audio.encode(piece))
        if audio:
            film.mux(audio.encode())
    finish(recipe, path)


def finish(recipe: Recipe, path: Path) -> None:
    """Turn it, or cut it."""
    content = bytearray(path.read_bytes())
    if recipe.turned:
        one, minus = (1 << 16).to_bytes(4, "big"), ((1 << 32) - (1 << 16)).to_bytes(4, "big")
        zero = bytes(4)
        across, back = (one, minus) if recipe.turned == 90 else (minus, one)
        matrix = content.index(b"tkhd") + 4 + 40
        content[matrix : matrix + 20] = zero + across + zero + back + zero
    end = len(content)
    index, media = content.find(b"moov") - 4, content.find(b"mdat") - 4
    ends = {
        "index-last": index - 1000,
        "index-first": end * 8 // 10,
        "header-only": media + 8,
        "one-byte": end - 1,
    }
    if recipe.cut == "zeros":
        content[end // 2 :] = bytes(end - end // 2)
    path.write_bytes(content[: ends.get(recipe.cut, end)])


def main() -> None:
    """Make what is not there yet; names, if any are given, are of the films to make."""
    os.nice(19)
    folder, names = Path(sys.argv[1]), set(sys.argv[2:])
    folder.mkdir(parents=True, exist_ok=True)
    films = recipes()
    (folder / "films.json").write_text(json.dumps([asdict(recipe) for recipe in films], indent=1))
    for recipe in films:
        path = folder / f"{recipe.name}.mp4"
        if (not names or recipe.name in names) and not path.exists():
            write(recipe, path.with_suffix(".part"))
            path.with_suffix(".part").rename(path)
            print(f"{path.name}: {path.stat().st_size} bytes", flush=True)


if __name__ == "__main__":
    main()
