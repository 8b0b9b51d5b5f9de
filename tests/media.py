"""Odd media for tests, made with PyAV and numpy when a test asks: gaps, offsets, rotation, variable rate, broken ends."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from msgspec import Struct

CODECS = {
    "wav": "pcm_s16le", "flac": "flac", "mp3": "libmp3lame", "ogg": "libopus", "m4a": "aac", "mp4": "aac", "mov": "aac", "mkv": "aac",
    "webm": "libopus", "avi": "pcm_s16le", "wmv": "wmav2", "ts": "aac",
}
MARK = (40, 40, 230)  # red in BGR: painted into the upper left corner of an upright picture


class Sound(Struct):
    """`pcm` s16 (channels, n); `start_s` is the stamp of the first sample; each gap is (at sample, seconds missing)."""

    pcm: np.ndarray
    rate: int
    codec: str | None = None
    start_s: float = 0.0
    gaps: Sequence[tuple[int, float]] = ()


class Pictures(Struct):
    """One picture per stamp in seconds, gray level rising by `step`, the mark in the upper left corner as stored."""

    stamps: Sequence[float]
    size: tuple[int, int] = (64, 48)
    codec: str = "libx264"
    rotation: int = 0
    hflip: bool = False
    step: int = 4
    aspect: Fraction | None = None


def babble(seconds: float, rate: int, seed: int = 0, level: float = 0.2) -> np.ndarray:
    """Noise in syllables with pauses, as speech has them: s16 (n,). Two seeds are uncorrelated."""
    rng = np.random.default_rng(seed)
    count = int(seconds * rate)
    turns = np.repeat(rng.random(count // (rate // 5) + 1) < 0.5, rate // 5)[:count]
    noise = np.convolve(rng.standard_normal(count), np.ones(8) / 8, "same")
    return as_s16(noise * turns * level)


def tone(seconds: float, rate: int, hertz: float = 440.0, level: float = 0.3) -> np.ndarray:
    """A sine, s16 (n,)."""
    return as_s16(np.sin(2 * np.pi * hertz * np.arange(int(seconds * rate)) / rate) * level)


def as_s16(samples: np.ndarray) -> np.ndarray:
    return np.asarray(np.clip(np.rint(samples * 32767), -32768, 32767).astype(np.int16))


def write(path: Path, sound: Sound | None = None, pictures: Pictures | None = None, *, cover: bool = False, options: dict[str, str] | None = None) -> Path:
    """Write a recording; the container comes from the name."""
    with av.open(str(path), "w", options=options or {}) as container:
        audio = _audio_stream(container, sound, path.suffix[1:]) if sound else None
        video = _video_stream(container, pictures) if pictures else None
        art = _cover_stream(container) if cover else None
        if art:
            _cover(container, art)
        if audio and sound:
            _encode_audio(container, audio, sound)
        if video and pictures:
            _encode_pictures(container, video, pictures)
    return path


def cut_off(source: Path, target: Path, part: float) -> Path:
    """The first `part` of a file's bytes."""
    content = source.read_bytes()
    target.write_bytes(content[: int(len(content) * part)])
    return target


def _audio_stream(container: Any, sound: Sound, suffix: str) -> Any:
    channels = sound.pcm.shape[0]
    layout = {1: "mono", 2: "stereo", 3: "2.1", 4: "quad", 6: "5.1"}[channels]
    stream = container.add_stream(sound.codec or CODECS[suffix], rate=sound.rate, layout=layout)
    if stream.codec_context.name == "wmav2":
        stream.codec_context.bit_rate = 128_000
    return stream


def _encode_audio(container: Any, stream: Any, sound: Sound) -> None:
    context = stream.codec_context
    layout = context.layout.name
    cuts = [0, *(at for at, _ in sound.gaps), sound.pcm.shape[1]]
    late = sound.start_s
    missing = [0.0, *(seconds for _, seconds in sound.gaps)]
    size = context.frame_size or 1024
    for number, (begin, end) in enumerate(zip(cuts, cuts[1:], strict=False)):
        late += missing[number]
        for at in range(begin, end, size):
            part = np.ascontiguousarray(sound.pcm[:, at : min(at + size, end)])
            container.mux(stream.encode(_frame(part, context, layout, sound.rate, at + round(late * sound.rate))))
    container.mux(stream.encode(None))


def _frame(pcm: np.ndarray, context: Any, layout: str, rate: int, pts: int) -> Any:
    name = context.format.name
    data = pcm.astype(np.float32) / 32768 if name.startswith("flt") else pcm.astype(np.int32) << 16 if name.startswith("s32") else pcm
    if not context.format.is_planar:
        data = np.ascontiguousarray(data.T.reshape(1, -1))
    frame = av.AudioFrame.from_ndarray(data, format=name, layout=layout)
    frame.sample_rate, frame.pts, frame.time_base = rate, pts, Fraction(1, rate)
    return frame


def _video_stream(container: Any, pictures: Pictures) -> Any:
    stream = container.add_stream(pictures.codec, rate=1000)
    stream.width, stream.height = pictures.size
    stream.pix_fmt = "yuv420p"
    stream.codec_context.time_base = Fraction(1, 1000)
    if pictures.codec == "libx264":
        stream.codec_context.options = {"crf": "8", "preset": "ultrafast", "g": "10"}
    if pictures.aspect:
        stream.codec_context.sample_aspect_ratio = pictures.aspect
    if pictures.rotation or pictures.hflip:
        stream.set_display_rotation(pictures.rotation, hflip=pictures.hflip)
    return stream


def _encode_pictures(container: Any, stream: Any, pictures: Pictures) -> None:
    width, height = pictures.size
    for number, stamp in enumerate(pictures.stamps):
        image = np.full((height, width, 3), min(40 + number * pictures.step, 255), np.uint8)
        image[: height // 4, : width // 4] = MARK
        frame = av.VideoFrame.from_ndarray(image, format="bgr24")
        frame.pts, frame.time_base = round(stamp * 1000), Fraction(1, 1000)
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))


def _cover_stream(container: Any) -> Any:
    stream = container.add_stream("png", rate=1)
    stream.width = stream.height = 32
    stream.pix_fmt = "rgb24"
    stream.disposition = av.stream.Disposition.attached_pic
    return stream


def _cover(container: Any, stream: Any) -> None:
    frame = av.VideoFrame.from_ndarray(np.full((32, 32, 3), 128, np.uint8), format="rgb24")
    frame.pts, frame.time_base = 0, Fraction(1, 1)
    container.mux(stream.encode(frame))
    container.mux(stream.encode(None))
