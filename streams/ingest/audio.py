"""Samples of an audio track: s16 at the track's own rate, placed by container stamps, cut into chunks per source."""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from msgspec import Struct

from streams.ingest.channels import AudioSource
from streams.ingest.clock import SampleClock
from streams.ingest.demux import Problems, Window, clock_text, frames, report
from streams.records import AudioChunk, SourceEnd

_MIX_LEVELS = {"FC": 1.0, "FL": 0.7071, "FR": 0.7071, "LFE": 0.0, "LFE2": 0.0}
_OTHER_LEVEL = 0.5
_AUDIBLE_POWER = 1000.0  # about -60 dBFS of s16


class AudioTrack(Struct, frozen=True):
    """An audio track. `index` is its stream number in the container; `start_ms` on the media clock."""

    index: int
    codec: str
    rate: int
    channels: int
    layout: str
    start_ms: int


class Chunker:
    """Cuts runs of samples at multiples of the chunk length in media time, whatever the runs; a gap ends a chunk."""

    def __init__(self, rate: int, chunk_ms: int) -> None:
        self._rate, self._chunk_ms = rate, chunk_ms
        self._runs: list[np.ndarray] = []
        self._begin = self.end = 0

    def add(self, start: int, pcm: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
        """(start, samples) of the chunks that are complete with this run of (channels, n) at `start`."""
        if not pcm.shape[1]:
            return
        if start != self.end:
            yield from self.flush()
        if not self._runs:
            self._begin = start
        self._runs.append(pcm)
        self.end = start + pcm.shape[1]
        if self._edge_after(self._begin) <= self.end:
            joined, at = np.concatenate(self._runs, axis=1), self._begin
            while (edge := self._edge_after(at)) <= self.end:
                yield at, joined[:, at - self._begin : edge - self._begin]
                at = edge
            self._runs = [joined[:, at - self._begin :]] if at < self.end else []
            self._begin = at

    def flush(self) -> Iterator[tuple[int, np.ndarray]]:
        """What is left, as a shorter chunk."""
        if self._runs:
            yield self._begin, np.concatenate(self._runs, axis=1)
        self._runs = []

    def _edge_after(self, sample: int) -> int:
        number = sample * 1000 // (self._rate * self._chunk_ms)
        while (edge := number * self._chunk_ms * self._rate // 1000) <= sample:
            number += 1
        return edge


class AudioReader:
    """One reading of an audio track: chunks of its sources, then the end of each. `compare` says that two equal
    channels were taken as one, so that a difference further on is reported."""

    def __init__(
        self,
        file: Path,
        track: AudioTrack,
        sources: tuple[AudioSource, ...],
        *,
        session: str,
        origin_us: int,
        window: Window,
        chunk_ms: int,
        problems: Problems,
        compare: bool = False,
    ) -> None:
        self._file, self._track, self._sources, self._session = file, track, sources, session
        self._origin_us, self._window, self._chunk_ms, self._problems = origin_us, window, chunk_ms, problems
        self._compare, self._different = compare, 0
        self._weights: np.ndarray | None = None
        self._resamplers: dict[tuple[str, str, int], av.AudioResampler] = {}
        self._seq = 0

    def records(self) -> Generator[AudioChunk | SourceEnd, None, None]:
        rate = self._track.rate
        first = math.ceil(self._window.start_ms * rate / 1000)
        last = None if self._window.end_ms is None else math.ceil(self._window.end_ms * rate / 1000)
        clock, chunker = SampleClock(rate), Chunker(rate, self._chunk_ms)
        for stamp, pcm in self._runs():
            placed = clock.place(stamp, pcm.shape[1])
            report(self._problems, "audio", clock.notes, 1000 / rate)
            skip = placed.drop + max(0, first - placed.start)
            start = placed.start + skip - placed.drop
            stop = pcm.shape[1] if last is None else max(skip, placed.drop + last - placed.start)
            for at, part in chunker.add(start, pcm[:, skip:stop]):
                yield from self._records(at, part)
            if last is not None and clock.next is not None and clock.next >= last:
                break
        for at, part in chunker.flush():
            yield from self._records(at, part)
        for source in self._sources:
            yield SourceEnd(self._session, source.name, self._seq, chunker.end * 1000 // rate)

    def _records(self, at: int, pcm: np.ndarray) -> Iterator[AudioChunk]:
        for source in self._sources:
            payload = self._samples(source, pcm).astype("<i2").tobytes()
            yield AudioChunk(self._session, source.name, self._seq, at, self._track.rate, payload)
        self._seq += 1
        if self._compare:
            self._watch(pcm, at)

    def _samples(self, source: AudioSource, pcm: np.ndarray) -> np.ndarray:
        if source.channel is not None:
            return np.asarray(pcm[source.channel])
        if pcm.shape[0] == 1 or self._weights is None:
            return np.asarray(pcm[0])
        return np.asarray(np.rint(self._weights @ pcm.astype(np.float64)).astype(np.int16))

    def _watch(self, pcm: np.ndarray, at: int) -> None:
        left, right = pcm.astype(np.float64)
        power = (left @ left + right @ right) / 2
        if power > _AUDIBLE_POWER * pcm.shape[1] and (left - right) @ (left - right) > 0.01 * power:
            self._different += pcm.shape[1]
        if self._different > self._track.rate:
            place = clock_text(at * 1000 / self._track.rate)
            what = f"audio: the channels, at first the same, differ from about {place} on and only the left is heard"
            self._problems.add("audio channels", f"{what}: declare --channels left=…,right=…")
            self._compare = False

    def _runs(self) -> Iterator[tuple[int | None, np.ndarray]]:
        """(stamp in samples or None, s16 (channels, n)) in the rate and layout of the track."""
        origin = Fraction(self._origin_us, 1_000_000)
        for frame in frames(self._file, self._track.index, self._origin_us, self._window, self._problems):
            stamp = None if frame.pts is None else round((frame.pts * frame.time_base - origin) * self._track.rate)
            for part in self._alike(frame):
                if self._weights is None:
                    levels = [_MIX_LEVELS.get(channel.name, _OTHER_LEVEL) for channel in part.layout.channels]
                    self._weights = np.array(levels) / (sum(levels) or 1.0)
                yield stamp, pcm_s16(part)
                stamp = None

    def _alike(self, frame: Any) -> list[Any]:
        """`frame` itself, or converted where a track changes its rate or layout on the way."""
        channels = len(frame.layout.channels)
        if frame.sample_rate == self._track.rate and channels == self._track.channels:
            return [frame]
        key = (frame.format.name, frame.layout.name, frame.sample_rate)
        if key not in self._resamplers:
            what = f"audio: the format changes on the way to {frame.sample_rate} Hz, {channels} channels"
            into = f"converted to {self._track.rate} Hz, {self._track.channels} channels"
            self._problems.add("audio format", f"{what}: {into}")
            self._resamplers[key] = av.AudioResampler(format="s16p", layout=self._track.layout, rate=self._track.rate)
        frame.pts = None
        return self._resamplers[key].resample(frame)


def pcm_s16(frame: av.AudioFrame) -> np.ndarray:
    """Samples of a decoded audio frame as s16 (channels, n); wider formats are rounded, never dithered."""
    samples: np.ndarray = frame.to_ndarray()
    if not frame.format.is_planar:
        samples = samples.reshape(-1, len(frame.layout.channels)).T
    if samples.dtype.kind == "f":
        return np.asarray(np.clip(np.rint(np.nan_to_num(samples) * 32768.0), -32768, 32767).astype(np.int16))
    if samples.dtype == np.uint8:
        return ((samples.astype(np.int16) - 128) << 8).astype(np.int16)
    if samples.dtype == np.int16:
        return samples
    bits = 8 * samples.dtype.itemsize - 16
    return np.asarray(np.minimum((samples.astype(np.int64) >> (bits - 1)) + 1 >> 1, 32767).astype(np.int16))
