"""Opening a film, measuring it, and extracting a strip of pictures.

This runs in a separate process, because a decoder may crash on its input.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import groupby, pairwise
from typing import Any

import av
import numpy as np
from av.container import InputContainer
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream
from numpy.typing import NDArray

from orchestrator.preflight.look.measures import Measures, Shot, Sound, is_installed
from orchestrator.preflight.look.pictures import (
    PICTURES,
    Picture,
    PicturePosition,
    Sample,
    border_blocks,
    changed_share,
    measure_picture,
    moves_of,
    positions_in,
)
from orchestrator.preflight.rules.rule import Extra

#: Pictures are measured at this size along their longer side.
LONGER_SIDE = 640
_CURVE_COLUMNS = 300
#: A film may fade in after black or white; during this time a change is not a new scene.
_FADE_SECONDS = 2.5
#: The number, size and quality of the pictures in a strip for display.
STRIP_PICTURES = 8
_STRIP_SIDE = 176
_STRIP_QUALITY = 9  # of 2, the best, to 31
#: The size of an avatar's picture, its place in the film, and the qualities that are tried in order.
_PICTURE_SIDE = 176
_PICTURE_PLACE = 0.2
_PICTURE_QUALITIES = (6, 10, 16, 31)
#: Sound is measured in pieces of this length, which is shorter than a syllable.
PIECE_SECONDS = 0.02
_SILENCE = -90.0
#: Sound is voice down to this many dB below the level of the voice.
_VOICE_BELOW = 25.0
_ABOVE_FLOOR = 8.0
#: The levels of pure noise are within this many dB.
_NOISE_ALONE = 5.0
#: Voice is sustained when this share of this time is voice: a word or more, with its gaps.
_SUSTAINED_SECONDS, _SUSTAINED_SHARE = 0.6, 0.5
#: The amplitude at which a sample is at full scale, and the number of such samples in a row that shows clipping.
_FULL_SCALE, _CLIPPED_RUN = 0.985, 3


def measure_film(path: str, *, is_deep: bool = False) -> Measures:
    """Measure about 24 pictures and all sound of the film at *path*; with *is_deep* also every picture, for P17."""
    try:
        with av.open(path) as film:
            shots = list(_shots(film))
            seconds = _seconds(film)
        with av.open(path) as film:
            meter = sound_of(film)
        freezes, jumps = moves_of(path) if is_deep else ([], [])
    except (av.error.FFmpegError, ValueError, IndexError, OSError) as error:
        said = str(error).splitlines()
        words = getattr(error, "strerror", None) or (said[0] if said else "it cannot be decoded")
        return Measures(trouble=words)
    if not shots:
        return Measures(trouble="no picture of it can be decoded")
    return Measures(
        seconds=seconds,
        shots=shots,
        sound=meter.result() if meter else None,
        curve=loudness_curve(meter.levels(), _CURVE_COLUMNS) if meter else [],
        freezes=freezes,
        jumps=jumps,
    )


def _shots(film: InputContainer) -> Iterator[Shot]:
    faces: Callable[[Picture], list[float]] | None = None
    if is_installed(Extra.FACES):
        from orchestrator.preflight.faces.detection import FaceFinder  # noqa: PLC0415 - needs a separate extra

        faces = FaceFinder().heights
    before, blank_until = None, 0.0
    for seconds, picture in pictures_at(film, positions_of(film)):
        shot = Shot(seconds=seconds, faces=faces(picture) if faces else None, **measure_picture(picture))
        if shot.is_blank:
            blank_until = seconds + _FADE_SECONDS
        else:
            blocks = border_blocks(picture)
            if before is not None and seconds > blank_until:
                changed, change = changed_share(before, blocks)
                shot = replace(shot, changed=changed, change=change)
            before = blocks
        yield shot


def positions_of(film: InputContainer) -> list[PicturePosition]:
    """Return the positions of the pictures of *film* to measure."""
    stream, seconds = film.streams.video[0], _seconds(film)
    samples = samples_of(stream)
    if not samples or samples[-1].seconds < seconds / 2:
        # The index of a fragmented film is only known up to the part that was read.
        return [
            PicturePosition(second, second)
            for second in np.linspace(0, seconds, PICTURES, endpoint=False).tolist()
        ]
    return positions_in(samples, stream.width * stream.height)


def _seconds(film: InputContainer) -> float:
    return float(film.duration or 0) / av.time_base


def samples_of(stream: VideoStream) -> list[Sample]:
    """Return the pictures in the index; no picture is read."""
    base = float(stream.time_base or 0)
    return [
        Sample(entry.timestamp * base, entry.size, bool(entry.is_keyframe)) for entry in stream.index_entries
    ]


def pictures_at(
    film: InputContainer, positions: Sequence[PicturePosition]
) -> Iterator[tuple[float, Picture]]:
    """Yield the second and the pixels (RGB) of the pictures at *positions*, scaled to the size for measuring."""
    stream = film.streams.video[0]
    reformatter = VideoReformatter()
    for frame in frames_at(film, stream, positions):
        if frame.pts is not None and stream.time_base is not None:
            width, height = _size_within(frame, LONGER_SIDE)
            shrunk = reformatter.reformat(
                frame, width=width, height=height, format="rgb24", interpolation="AREA"
            )
            yield float(frame.pts * stream.time_base), np.asarray(shrunk.to_ndarray(), dtype=np.uint8)


def frames_at(
    film: InputContainer, stream: VideoStream, positions: Sequence[PicturePosition]
) -> Iterator[av.VideoFrame]:
    """Yield the pictures at *positions*, which are in the order of the film."""
    base = stream.time_base
    if base is None:
        return
    stream.codec_context.thread_count = 1  # the pool already has a process for every core
    for key, group in groupby(positions, key=lambda position: position.key):
        wanted = [position.seconds for position in group]
        # A single keyframe can be decoded without the other pictures, so skip them.
        stream.codec_context.skip_frame = "NONKEY" if wanted == [key] else "DEFAULT"
        film.seek(round(key / base), stream=stream)
        for frame in film.decode(stream):
            if wanted == [key] or float((frame.pts or 0) * base) >= wanted[0] - 0.001:
                yield frame
                wanted.pop(0)
            if not wanted:
                break


def sound_of(film: InputContainer) -> SoundMeter | None:
    """Measure all of the sound, without reading pictures; None for a film without sound."""
    if not film.streams.audio:
        return None
    stream = film.streams.audio[0]
    for video in film.streams.video:
        video.discard = av.stream.Discard.all
    meter: SoundMeter | None = None
    resampler = av.AudioResampler(format="fltp", layout="mono")
    for frame in film.decode(stream):
        meter = meter or SoundMeter(frame.sample_rate)
        for mono in resampler.resample(frame):
            meter.take(mono.to_ndarray()[0])
    return meter


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """One picture as base64 of a JPEG, and its second."""

    seconds: float
    jpeg: str
    width: int
    height: int


def strip_of(path: str) -> Sequence[Thumbnail]:
    """Return eight pictures spread over the film at *path*, or fewer; none when it cannot be decoded."""
    reformatter = VideoReformatter()
    strip = []
    try:
        with av.open(path) as film:
            positions = positions_of(film)
            spread = np.linspace(0, len(positions) - 1, min(STRIP_PICTURES, len(positions)))
            chosen = list(dict.fromkeys(positions[round(number)] for number in spread))
            for frame in frames_at(film, film.streams.video[0], chosen):
                width, height = _size_within(frame, _STRIP_SIDE)
                content = _jpeg_of(reformatter, frame, _STRIP_SIDE, _STRIP_QUALITY)
                jpeg = base64.b64encode(content).decode("ascii")
                strip.append(Thumbnail(frame.time or 0.0, jpeg, width, height))
    except (av.error.FFmpegError, ValueError, IndexError, OSError):
        return []
    return strip


def picture_of(path: str, most_bytes: int) -> bytes | None:
    """Return a small JPEG of at most *most_bytes* of the picture or film at *path*; None if there is none."""
    reformatter = VideoReformatter()
    try:
        with av.open(path) as opened:
            stream = opened.streams.video[0]
            stream.codec_context.thread_count = 1
            if (seconds := _seconds(opened)) >= 1:
                # For a film, skip the start, which may be black or unsteady.
                stream.codec_context.skip_frame = "NONKEY"
                opened.seek(round(seconds * _PICTURE_PLACE * av.time_base))
            frame = next(opened.decode(stream))
            for quality in _PICTURE_QUALITIES:
                content = _jpeg_of(reformatter, frame, _PICTURE_SIDE, quality)
                if len(content) <= most_bytes:
                    return content
    except (av.error.FFmpegError, ValueError, IndexError, OSError, StopIteration):
        return None
    return None


def _jpeg_of(reformatter: VideoReformatter, frame: av.VideoFrame, longer: int, quality: int) -> bytes:
    width, height = _size_within(frame, longer)
    small = reformatter.reformat(frame, width=width, height=height, format="yuvj420p", interpolation="AREA")
    encoder = av.CodecContext.create("mjpeg", "w")
    encoder.width, encoder.height, encoder.pix_fmt = width, height, "yuvj420p"
    encoder.time_base = Fraction(1, 25)
    encoder.qmin = encoder.qmax = quality
    return b"".join(bytes(packet) for packet in (*encoder.encode(small), *encoder.encode(None)))


def _size_within(frame: av.VideoFrame, longer: int) -> tuple[int, int]:
    """Return width and height of *frame* scaled to a longer side of *longer* pixels; even, as chroma requires."""
    scale = longer / max(frame.width, frame.height)
    return max(2, round(frame.width * scale / 2) * 2), max(2, round(frame.height * scale / 2) * 2)


class SoundMeter:
    """Meter for decoded mono sound with samples from -1 to 1."""

    def __init__(self, rate: int) -> None:
        self._piece = max(1, round(rate * PIECE_SECONDS))
        self._rate = rate
        self._levels: list[NDArray[Any]] = []
        self._rest = np.zeros(0, np.float32)
        self._clipped = self._count = 0

    def take(self, samples: NDArray[Any]) -> None:
        """Measure the next *samples*."""
        self._count += len(samples)
        full = np.abs(samples) >= _FULL_SCALE
        if full.any():
            # A single sample at full scale may be music; several in a row were clipped.
            run = np.convolve(full, np.ones(_CLIPPED_RUN), "same") >= _CLIPPED_RUN
            self._clipped += int(run.sum())
        whole = np.concatenate((self._rest, samples))
        used = len(whole) // self._piece * self._piece
        pieces = whole[:used].reshape(-1, self._piece).astype(np.float64)
        levels = np.sqrt((pieces**2).mean(axis=1))
        self._levels.append(np.maximum(20 * np.log10(np.maximum(levels, 1e-9)), _SILENCE))
        self._rest = whole[used:]

    def result(self) -> Sound:
        """Return the levels of voice and room, and the start of the first sustained voice."""
        levels = np.concatenate(self._levels) if self._levels else np.zeros(0)
        if not len(levels):
            return Sound(voice=_SILENCE, floor=_SILENCE, clipped=0.0, voice_starts=None)
        voice, floor = (float(np.percentile(levels, share)) for share in (95, 8))
        return Sound(
            voice=voice,
            floor=floor,
            clipped=self._clipped / self._count,
            voice_starts=start_of_voice(levels, voice, floor),
        )

    def levels(self) -> NDArray[Any]:
        """Return all levels, for drawing."""
        return np.concatenate(self._levels) if self._levels else np.zeros(0)


def start_of_voice(levels: NDArray[Any], voice: float, floor: float) -> float | None:
    """Return the second at which the first sustained voice starts; None without one."""
    threshold = max(voice - _VOICE_BELOW, min(floor + _ABOVE_FLOOR, voice - 3))
    window = round(_SUSTAINED_SECONDS / PIECE_SECONDS)
    is_voice = levels > threshold
    if voice - floor < _NOISE_ALONE or len(is_voice) < window:
        return None
    shares = np.convolve(is_voice, np.ones(window) / window, "valid")
    found = np.flatnonzero(shares >= _SUSTAINED_SHARE)
    if not len(found):
        return None
    first = int(found[0])
    return (first + int(np.argmax(is_voice[first : first + window]))) * PIECE_SECONDS


def loudness_curve(levels: Iterable[float], columns: int) -> list[float]:
    """Return *columns* heights from 0 to 1: the loudest piece of each column, on a scale of 60 dB."""
    values = np.asarray(list(levels), dtype=float)
    if not len(values):
        return [0.0] * columns
    edges = np.linspace(0, len(values), columns + 1).astype(int)
    loudest = [values[start : max(end, start + 1)].max() for start, end in pairwise(edges)]
    return [float(np.clip(1 + level / 60, 0, 1)) for level in loudest]
