"""Segment: audio chunks in, utterances and watermarks out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec
import numpy as np
from msgspec import Struct

from extractors.speech.resample import StreamingResampler, as_int16
from extractors.speech.segment import Segment, Segmenter, SegmentOptions
from streams.records import AudioChunk, Output, SessionEnd, SessionStart, SourceEnd, Utterance, Watermark

RATE = 16_000
WATERMARK_STEP_MS = 500
"""Watermarks leave on a fixed grid of media time, so that their number does not depend on the size of chunks."""


class _Source:
    """State of one audio channel."""

    def __init__(self, participant: str, options: SegmentOptions) -> None:
        self.participant = participant
        self.segmenter = Segmenter(options)
        self.resampler: StreamingResampler | None = None
        self.rate = 0
        self.next_sample = 0
        self.base_ms = 0
        self.last_seq = -1
        self.index = 0
        self.watermark_ms = 0
        self.ended = False


class _SourceState(Struct):
    """Snapshot of one channel: where to read again (`resume_sample` at 16 kHz, in the channel's own time)."""

    last_seq: int
    index: int
    watermark_ms: int
    ended: bool
    rate: int
    next_sample: int
    base_ms: int
    segmenter: bytes
    resampler: bytes


class SegmentStage:
    """Cuts each channel of a session into utterances (see `streams.stages.protocol.Stage`).

    Chunks of a source must come in order of `seq`; seen numbers are ignored. A jump of `start_sample` is a gap and is
    filled with silence, so that media time stays the clock. The result does not depend on the size of the chunks.
    """

    def __init__(self, start: SessionStart, options: SegmentOptions | None = None) -> None:
        self._session = start.session
        options = options or SegmentOptions()
        owners = {person.channel: person.id for person in start.participants if person.channel}
        self._sources = {source: _Source(owners.get(source, source), options) for source in start.audio_sources}

    def feed(self, record: Output) -> Iterable[Output]:
        if isinstance(record, AudioChunk) and record.source in self._sources:
            return self._chunk(record, self._sources[record.source])
        if isinstance(record, SourceEnd) and record.source in self._sources:
            return self._end(record.source, self._sources[record.source])
        if isinstance(record, SessionEnd):
            return self.flush()
        return ()

    def feed_many(self, records: Sequence[Output]) -> Iterable[Output]:
        return [output for record in records for output in self.feed(record)]

    def tick(self, now_ms: int) -> Iterable[Output]:
        return ()

    def flush(self) -> Iterable[Output]:
        return [output for source, state in self._sources.items() for output in self._end(source, state)]

    def snapshot(self) -> bytes:
        states = {
            name: _SourceState(
                s.last_seq,
                s.index,
                s.watermark_ms,
                s.ended,
                s.rate,
                s.next_sample,
                s.base_ms,
                s.segmenter.snapshot(),
                s.resampler.snapshot() if s.resampler else b"",
            )
            for name, s in self._sources.items()
        }
        return msgspec.msgpack.encode(states)

    def restore(self, state: bytes) -> None:
        for name, saved in msgspec.msgpack.decode(state, type=dict[str, _SourceState]).items():
            source = self._sources[name]
            source.last_seq, source.index, source.watermark_ms = saved.last_seq, saved.index, saved.watermark_ms
            source.ended, source.rate, source.next_sample, source.base_ms = (
                saved.ended,
                saved.rate,
                saved.next_sample,
                saved.base_ms,
            )
            source.segmenter.restore(saved.segmenter)
            if saved.rate:
                source.resampler = StreamingResampler(saved.rate, RATE)
                source.resampler.restore(saved.resampler)

    def _chunk(self, chunk: AudioChunk, source: _Source) -> list[Output]:
        if chunk.seq <= source.last_seq or source.ended:
            return []
        source.last_seq = chunk.seq
        if source.resampler is None:
            source.resampler, source.rate = StreamingResampler(chunk.rate, RATE), chunk.rate
            # A recording read from its middle, or a track that begins late: analysis begins there, on a whole millisecond.
            source.base_ms = chunk.start_sample * 1000 // chunk.rate
            source.next_sample = source.base_ms * chunk.rate // 1000
            source.watermark_ms = source.base_ms // WATERMARK_STEP_MS * WATERMARK_STEP_MS
        outputs: list[Output] = []
        while chunk.start_sample > source.next_sample:  # silence of a gap goes in by the second: it may last for hours
            silence = np.zeros(min(chunk.start_sample - source.next_sample, chunk.rate), np.int16)
            outputs += self._take(chunk.source, source, silence)
        pcm = np.frombuffer(chunk.payload, dtype="<i2").astype(np.int16, copy=False)
        return outputs + self._take(chunk.source, source, pcm[source.next_sample - chunk.start_sample :])

    def _take(self, name: str, source: _Source, pcm: np.ndarray) -> list[Output]:
        assert source.resampler is not None
        source.next_sample += len(pcm)
        return self._push(name, source, source.resampler.push(pcm))

    def _push(self, name: str, source: _Source, samples: np.ndarray) -> list[Output]:
        outputs: list[Output] = [
            self._utterance(name, source, piece) for piece in source.segmenter.push(as_int16(samples))
        ]
        reached = (source.base_ms + source.segmenter.read_ms) // WATERMARK_STEP_MS * WATERMARK_STEP_MS
        if reached > source.watermark_ms:
            source.watermark_ms = reached
            outputs.append(Watermark(self._session, name, "segment", reached))
        return outputs

    def _end(self, name: str, source: _Source) -> list[Output]:
        if source.ended:
            return []
        outputs: list[Output] = []
        if source.resampler is not None:
            outputs += self._push(name, source, source.resampler.flush())
        outputs += [self._utterance(name, source, piece) for piece in source.segmenter.flush()]
        source.ended = True
        end_ms = max(source.next_sample * 1000 // source.rate if source.rate else 0, source.watermark_ms)
        outputs.append(Watermark(self._session, name, "segment", end_ms, final=True))
        return outputs

    def _utterance(self, name: str, source: _Source, piece: Segment) -> Utterance:
        utterance = Utterance(
            self._session,
            source.participant,
            name,
            source.index,
            source.base_ms + piece.start_ms,
            source.base_ms + piece.end_ms,
            piece.pcm.astype("<i2").tobytes(),
            piece.partial,
            piece.cut,
            round(piece.speech_probability, 4),
        )
        if not piece.partial:
            source.index += 1
        return utterance
