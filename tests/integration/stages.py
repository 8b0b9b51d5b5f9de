"""Small real stages for the runtime's own tests: same shape as the product's graph, no models.

`words` cuts audio into runs of non-zero samples (its state holds the samples of the open run), `count` numbers them per
participant and keeps a running total, `faces` reports the mean of each picture, `join` waits for both watermarks and
writes one event per utterance with the pictures that fall into it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Sequence

import msgspec
import numpy as np

from extractors.cues import AudioQuality, FaceObservation, FaceQuality, SpeechCues, Transcript
from fusion.events import FINAL_REVISION, EmotionEvent, event_id
from streams.records import (
    AudioChunk,
    FaceCueRecord,
    Output,
    SessionEnd,
    SessionStart,
    SourceEnd,
    SpeechCueRecord,
    Utterance,
    VideoFrame,
    Watermark,
)
from streams.stages.protocol import Stage

POISON = b"\x13\x37"


class _Base:
    def __init__(self, start: SessionStart) -> None:
        self.start = start

    def feed_many(self, records: Sequence[Output]) -> Iterable[Output]:
        return [output for record in records for output in self.feed(record)]

    def feed(self, record: Output) -> Iterable[Output]:
        raise NotImplementedError

    def tick(self, now_ms: int) -> Iterable[Output]:
        return ()

    def flush(self) -> Iterable[Output]:
        return ()


class WordStage(_Base):
    """Runs of non-zero samples of each channel. A chunk that begins with POISON is refused half-way through."""

    def __init__(self, start: SessionStart) -> None:
        super().__init__(start)
        self.state: dict[str, list] = {source: [-1, 0, 0, b"", 0] for source in start.audio_sources}  # seq, index, onset, pcm, read

    def feed(self, record: Output) -> Iterable[Output]:
        if isinstance(record, AudioChunk):
            return self._chunk(record)
        if isinstance(record, SessionEnd):
            return [output for source in self.state for output in [*self._close(source), self._mark(source, final=True)]]
        return ()

    def _chunk(self, chunk: AudioChunk) -> list[Output]:
        state = self.state[chunk.source]
        if chunk.seq <= state[0]:
            return []
        state[0] = chunk.seq
        state[2] += chunk.payload.startswith(POISON)  # what a stage that breaks half-way leaves behind
        if chunk.payload.startswith(POISON):
            raise ValueError("poison")
        outputs: list[Output] = []
        for start in range(0, len(chunk.payload), 320):
            piece = chunk.payload[start : start + 320]
            if any(piece):
                if not state[3]:
                    state[2] = state[4]
                state[3] += piece
            else:
                outputs += self._close(chunk.source)
            state[4] += len(piece) // 2
        return [*outputs, self._mark(chunk.source)]

    def _close(self, source: str) -> list[Output]:
        state = self.state[source]
        if not state[3]:
            return []
        word = Utterance(self.start.session, source, source, state[1], state[2] // 16, (state[2] + len(state[3]) // 2) // 16, bytes(state[3]))
        state[1], state[3] = state[1] + 1, b""
        return [word]

    def _mark(self, source: str, final: bool = False) -> Watermark:
        state = self.state[source]
        return Watermark(self.start.session, source, "segment", (state[2] if state[3] else state[4]) // 16, final)

    def snapshot(self) -> bytes:
        return msgspec.msgpack.encode(self.state)

    def restore(self, state: bytes) -> None:
        self.state = msgspec.msgpack.decode(state)


class CountStage(_Base):
    """Numbers the words of each channel and adds up their samples: a state that counts twice shows at once."""

    def __init__(self, start: SessionStart) -> None:
        super().__init__(start)
        self.totals: dict[str, list[int]] = {}
        self.delay = float(os.environ.get("TEST_STAGE_DELAY", "0"))

    def feed(self, record: Output) -> Iterable[Output]:
        if isinstance(record, Watermark):
            return [msgspec.structs.replace(record, origin="hear")]
        if not isinstance(record, Utterance):
            return []
        time.sleep(self.delay)
        total = self.totals.setdefault(record.source, [0, 0])
        total[0] += 1
        total[1] += int(np.frombuffer(record.payload, "<i2").astype(np.int64).sum())
        text = Transcript(f"word {total[0]} sum {total[1]}", "en", 1.0)
        cues = SpeechCues(record.start_ms, record.end_ms, AudioQuality(1.0), text)
        return [SpeechCueRecord(record.session, record.participant, record.source, record.index, cues)]

    def snapshot(self) -> bytes:
        return msgspec.msgpack.encode(self.totals)

    def restore(self, state: bytes) -> None:
        self.totals = msgspec.msgpack.decode(state)


class FaceStage(_Base):
    """One face per picture whose score is the running mean brightness."""

    def __init__(self, start: SessionStart) -> None:
        super().__init__(start)
        self.sums: dict[str, list[int]] = {source: [-1, 0, 0] for source in start.video_sources}

    def feed(self, record: Output) -> Iterable[Output]:
        if isinstance(record, SessionEnd):
            return [Watermark(self.start.session, source, "look", 1 << 40, True) for source in self.sums]
        if not isinstance(record, VideoFrame) or record.seq <= self.sums[record.source][0]:
            return []
        sums = self.sums[record.source]
        sums[0], sums[1], sums[2] = record.seq, sums[1] + 1, sums[2] + record.payload[0]
        face = FaceObservation(1, (0, 0, 8, 8), round(sums[2] / sums[1] / 255, 4), FaceQuality(True, 1.0, 8, 0.0))
        return [
            FaceCueRecord(record.session, record.source, record.seq, record.media_ms, record.width, record.height, (face,)),
            Watermark(record.session, record.source, "look", record.media_ms),
        ]

    def snapshot(self) -> bytes:
        return msgspec.msgpack.encode(self.sums)

    def restore(self, state: bytes) -> None:
        self.sums = msgspec.msgpack.decode(state)


class _JoinState(msgspec.Struct):
    words: list[SpeechCueRecord] = []
    faces: list[tuple[int, float]] = []
    marks: dict[str, int] = {}
    done: int = 0


class JoinStage(_Base):
    """One event per word once all sources have been read past its end; a face counts for the word it falls into."""

    def __init__(self, start: SessionStart) -> None:
        super().__init__(start)
        self.state = _JoinState(marks=dict.fromkeys((*start.audio_sources, *start.video_sources), -1))

    def feed(self, record: Output) -> Iterable[Output]:
        state = self.state
        if isinstance(record, SpeechCueRecord):
            state.words.append(record)
        elif isinstance(record, FaceCueRecord):
            state.faces.append((record.media_ms, record.faces[0].score))
        elif isinstance(record, Watermark):
            state.marks[record.source] = max(state.marks[record.source], 1 << 41 if record.final else record.media_ms)
        return self._ready()

    def _ready(self) -> list[Output]:
        state = self.state
        read = min(state.marks.values())
        ready = sorted((word for word in state.words if word.cues.end_ms < read), key=lambda word: (word.cues.end_ms, word.participant))
        state.words = [word for word in state.words if word.cues.end_ms >= read]
        events: list[Output] = []
        for word in ready:
            seen = sorted({face for face in state.faces if word.cues.start_ms <= face[0] < word.cues.end_ms})
            events.append(
                EmotionEvent(
                    event_id(word.session, word.participant, word.cues.start_ms, "utterance"), FINAL_REVISION, "final", word.session, word.participant,
                    "participant", "utterance", word.cues.start_ms, word.cues.end_ms, "neutral",
                    explanation=f"{word.cues.transcript.text if word.cues.transcript else ''}; faces {seen}",
                )
            )
        return events

    def snapshot(self) -> bytes:
        return msgspec.msgpack.encode(self.state)

    def restore(self, state: bytes) -> None:
        self.state = msgspec.msgpack.decode(state, type=_JoinState)


class Spec(msgspec.Struct, frozen=True):
    name: str
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    factory: Callable[..., Stage]
    batch: int = 1


GRAPH: tuple[Spec, ...] = (
    Spec("segment", ("media.audio",), ("utterances",), lambda start, resources: WordStage(start)),
    Spec("hear", ("utterances",), ("cues.speech",), lambda start, resources: CountStage(start), batch=8),
    Spec("look", ("media.video",), ("cues.face",), lambda start, resources: FaceStage(start)),
    Spec("fuse", ("cues.speech", "cues.face"), ("emotion.events",), lambda start, resources: JoinStage(start)),
)


def run_embedded(start: SessionStart, records: Iterable[Output], graph: Sequence[Spec] = GRAPH) -> list[EmotionEvent]:
    """The same graph without a broker: each record through all stages at once. Poison is skipped."""
    stages = {spec.name: spec.factory(start, None) for spec in graph}
    events: list[EmotionEvent] = []

    def push(name: str, record: Output) -> None:
        try:
            outputs = list(stages[name].feed(record))
        except ValueError:
            return
        for output in outputs:
            if isinstance(output, EmotionEvent):
                events.append(output)
            else:
                push("hear" if name == "segment" else "fuse", output)

    for record in records:
        push("look" if isinstance(record, VideoFrame) else "segment", record)
    end = SessionEnd(start.session)
    if start.audio_sources:
        push("segment", end)
    if start.video_sources:
        push("look", end)
    return events


__all__ = ["GRAPH", "POISON", "SourceEnd", "run_embedded"]
