"""Faces seen lately, by video source and media time."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence

import msgspec
from msgspec import Struct

from extractors.cues import FaceObservation
from fusion.spans import FaceSpan, summarize


class Frame(Struct, frozen=True):
    """Faces of one analysed frame."""

    media_ms: int
    faces: tuple[FaceObservation, ...]


class FaceBuffer(Struct):
    """Frames per source in order of time. Spans are half open: a frame at `end_ms` belongs to the next span."""

    frames: dict[str, list[Frame]] = {}

    def add(self, source: str, media_ms: int, faces: Sequence[FaceObservation]) -> None:
        # The raw blendshapes have done their work: the state stays small without them.
        kept = tuple(msgspec.structs.replace(face, blendshapes=()) for face in faces)
        if kept:
            self.frames.setdefault(source, []).append(Frame(media_ms, kept))

    def tracks(self, source: str, start_ms: int, end_ms: int) -> dict[int, list[FaceObservation]]:
        """Observations of each track in a span, in order of time."""
        tracks: dict[int, list[FaceObservation]] = {}
        for frame in self._between(source, start_ms, end_ms):
            for face in frame.faces:
                tracks.setdefault(face.track, []).append(face)
        return tracks

    def mouths(self, source: str, start_ms: int, end_ms: int) -> dict[int, list[tuple[int, float]]]:
        """(media_ms, mouth_open) of each track in a span, where the face can be trusted."""
        mouths: dict[int, list[tuple[int, float]]] = {}
        for frame in self._between(source, start_ms, end_ms):
            for face in frame.faces:
                if face.quality.usable and face.mouth_open is not None:
                    mouths.setdefault(face.track, []).append((frame.media_ms, face.mouth_open))
        return mouths

    def main_face(self, source: str, start_ms: int, end_ms: int) -> FaceSpan | None:
        """Summary of the most visible track of a span."""
        tracks = self.tracks(source, start_ms, end_ms)
        if not tracks:
            return None
        track = most_visible(tracks)
        return summarize(source, track, tracks[track])

    def forget(self, source: str, before_ms: int) -> None:
        """Drop frames older than `before_ms`."""
        frames = self.frames.get(source)
        if frames and frames[0].media_ms < before_ms:
            del frames[: bisect_left(frames, before_ms, key=_time)]

    def _between(self, source: str, start_ms: int, end_ms: int) -> list[Frame]:
        frames = self.frames.get(source, [])
        return frames[bisect_left(frames, start_ms, key=_time) : bisect_left(frames, end_ms, key=_time)]


def _time(frame: Frame) -> int:
    return frame.media_ms


def visible(faces: Sequence[FaceObservation]) -> int:
    """Area times time: how much of the picture a face took for how long (square pixels times frames)."""
    return sum(face.box[2] * face.box[3] for face in faces)


def most_visible(tracks: Mapping[int, Sequence[FaceObservation]]) -> int:
    """The largest and longest track; of equals the oldest."""
    return min(tracks, key=lambda track: (-visible(tracks[track]), track))
