"""Look: pictures in, face cues out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

import cv2
import msgspec
import numpy as np
from msgspec import Struct

from extractors.errors import InputError
from extractors.face.analyse import FaceAnalyser
from streams.counters import count
from streams.policy import UNJOINED_FACES
from streams.records import Decision, FaceCueRecord, Output, SessionEnd, SessionStart, SourceEnd, VideoFrame, Watermark
from streams.stages.segment import WATERMARK_STEP_MS

Depth = Literal["express", "observe"]
"""How far a face is read: up to its expression, or action units and pose without any emotion label."""


_THINNED = ((1000, 2), (3000, 4), (10_000, 8))
"""From so many milliseconds behind on, one picture in so many is looked at: pictures give way first."""


class _SourceState(Struct):
    last_seq: int
    watermark_ms: int
    ended: bool
    analyser: bytes


class _Source:
    def __init__(self, depth: Depth | None) -> None:
        self.depth = depth
        self.analyser: FaceAnalyser | None = None
        self.last_seq = -1
        self.watermark_ms = 0
        self.last_ms = 0
        self.ended = False


class LookStage:
    """Analyses the faces of each video source of a session.

    Policy comes first: no picture of a source whose owner may not be analysed is looked at, and on a shared picture
    nobody is unless the decision for unjoined faces allows it; only the watermarks of such a source are passed on.
    """

    def __init__(self, start: SessionStart, *, max_faces: int = 4) -> None:
        self._session = start.session
        self._max_faces = max_faces
        owners = {person.video: person.id for person in start.participants if person.video}
        self._sources: dict[str, _Source] = {}
        self._keep_one_in = 1
        for source in start.video_sources:
            decision = start.decisions.get(owners.get(source, UNJOINED_FACES))
            self._sources[source] = _Source(_depth(decision))

    def feed(self, record: Output) -> Iterable[Output]:
        if isinstance(record, VideoFrame) and record.source in self._sources:
            return self._frame(record, self._sources[record.source])
        if isinstance(record, SourceEnd) and record.source in self._sources:
            return self._end(record.source, self._sources[record.source], record.media_ms)
        if isinstance(record, SessionEnd):
            return self.flush()
        return ()

    def feed_many(self, records: Sequence[Output]) -> Iterable[Output]:
        return [output for record in records for output in self.feed(record)]

    def tick(self, now_ms: int) -> Iterable[Output]:
        return ()

    def flush(self) -> Iterable[Output]:
        return [output for name, source in self._sources.items() for output in self._end(name, source, source.last_ms)]

    def pressed(self, lag_ms: int) -> None:
        """How long the oldest picture in hand has waited (see `streams.stages.protocol.Sheds`)."""
        self._keep_one_in = max((one_in for limit, one_in in _THINNED if lag_ms >= limit), default=1)

    def snapshot(self) -> bytes:
        states = {
            name: _SourceState(
                source.last_seq,
                source.watermark_ms,
                source.ended,
                source.analyser.snapshot() if source.analyser else b"",
            )
            for name, source in self._sources.items()
        }
        return msgspec.msgpack.encode(states)

    def restore(self, state: bytes) -> None:
        for name, saved in msgspec.msgpack.decode(state, type=dict[str, _SourceState]).items():
            source = self._sources[name]
            source.last_seq, source.watermark_ms, source.ended = saved.last_seq, saved.watermark_ms, saved.ended
            if saved.analyser:
                source.analyser = FaceAnalyser(max_faces=self._max_faces)
                source.analyser.restore(saved.analyser)

    def _frame(self, frame: VideoFrame, source: _Source) -> list[Output]:
        if frame.seq <= source.last_seq or source.ended:
            return []
        source.last_seq, source.last_ms = frame.seq, frame.media_ms
        outputs: list[Output] = []
        if source.depth is not None and frame.seq % self._keep_one_in:
            count("pictures_thinned_total")
            outputs.append(Watermark(self._session, frame.source, "look", source.watermark_ms))  # one record for a picture, always
        elif source.depth is not None:
            if source.analyser is None:
                source.analyser = FaceAnalyser(max_faces=self._max_faces)
            faces = source.analyser.process(picture(frame), frame.media_ms, source.depth)
            outputs.append(
                FaceCueRecord(frame.session, frame.source, frame.seq, frame.media_ms, frame.width, frame.height, faces)
            )
        reached = frame.media_ms // WATERMARK_STEP_MS * WATERMARK_STEP_MS
        if reached > source.watermark_ms:
            source.watermark_ms = reached
            outputs.append(Watermark(self._session, frame.source, "look", reached))
        return outputs

    def _end(self, name: str, source: _Source, media_ms: int) -> list[Output]:
        if source.ended:
            return []
        source.ended = True
        return [Watermark(self._session, name, "look", max(media_ms, source.watermark_ms), final=True)]


def _depth(decision: Decision | None) -> Depth | None:
    if decision is None:
        return None
    return "express" if decision.emotion else "observe" if decision.observables_only else None


def picture(frame: VideoFrame) -> np.ndarray:
    """Pixels of a frame, uint8 (height, width, 3) in BGR. Raises `InputError` for bytes that are no picture."""
    if frame.codec == "jpeg":
        decoded = cv2.imdecode(np.frombuffer(frame.payload, np.uint8), cv2.IMREAD_COLOR)
        if decoded is None:
            raise InputError(
                "video frame is not a JPEG picture",
                where=f"{frame.source} frame {frame.seq}",
                cure="send JPEG or bgr24",
            )
        return decoded
    if len(frame.payload) != frame.width * frame.height * 3:
        raise InputError(
            "video frame has the wrong size",
            where=f"{frame.source} frame {frame.seq}",
            cure="send height*width*3 bytes of bgr24",
        )
    return np.frombuffer(frame.payload, np.uint8).reshape(frame.height, frame.width, 3)
