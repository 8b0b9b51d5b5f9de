"""Small pictures of faces at moments of change, cut from the recording for the report.

Faces are remembered while the session runs (`FaceLog`, a few bytes a face), chosen when the events are known (`moments`)
and cut from the medium in a second reading of it (`crops`). Nobody whom policy does not let analyse is ever cut out: a
picture is kept only of a face that an analysed event was made from.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from msgspec import Struct

from extractors.errors import InputError
from fusion.events import EmotionEvent
from fusion.settle import settled
from streams.ingest.demux import Problems, Window, frames, stamp_us
from streams.ingest.media import MediaInfo, probe
from streams.ingest.video import upright
from streams.policy import UNJOINED_FACES
from streams.records import Decision, FaceCueRecord, Participant

SIDE_PX = 72
MARGIN = 0.25
"""Part of the face's box that is added on each side."""
_STEP_MS = 500


class CropRequest(Struct, frozen=True):
    """A face to cut: `box` is (x, y, width, height) in pixels of the upright picture of `frame` (width, height)."""

    key: str
    media_ms: int
    box: tuple[int, int, int, int]
    frame: tuple[int, int]
    source: str = "video/0"


class _Seen(Struct, frozen=True):
    media_ms: int
    box: tuple[int, int, int, int]
    frame: tuple[int, int]
    score: float


class FaceLog:
    """Remembers for each face track its best view of every half second: memory grows with time, not with pictures."""

    def __init__(self) -> None:
        self._best: dict[tuple[str, int], dict[int, _Seen]] = {}

    def feed(self, record: object) -> None:
        """Takes any record; only `FaceCueRecord`s with usable faces matter."""
        if not isinstance(record, FaceCueRecord):
            return
        for face in record.faces:
            if not face.quality.usable:
                continue
            bins = self._best.setdefault((record.source, face.track), {})
            held = bins.get(record.media_ms // _STEP_MS)
            if held is None or face.quality.score > held.score:
                size = (record.width, record.height)
                bins[record.media_ms // _STEP_MS] = _Seen(record.media_ms, face.box, size, face.quality.score)

    def best(self, source: str, track: int | None, start_ms: int, end_ms: int) -> CropRequest | None:
        """The best view between two times, of one track or of the only one there is."""
        tracks = [t for s, t in self._best if s == source]
        if track is None:
            if len(tracks) != 1:
                return None
            track = tracks[0]
        bins = self._best.get((source, track), {})
        inside = [
            seen for step in range(start_ms // _STEP_MS, end_ms // _STEP_MS + 1)
            if (seen := bins.get(step)) is not None and start_ms <= seen.media_ms <= end_ms
        ]
        if not inside:
            return None
        seen = max(inside, key=lambda s: (s.score, -s.media_ms))
        return CropRequest("", seen.media_ms, seen.box, seen.frame, source)


def moments(
    events: Iterable[EmotionEvent], log: FaceLog, participants: Sequence[Participant], decisions: Mapping[str, Decision],
    *, limit: int = 48,
) -> list[CropRequest]:
    """What to cut: for each analysed participant with a face in the decision, the first event and every change of label.

    Keys are event ids. More than `limit` moments are thinned to those of the strongest confidence.
    """
    video = {p.id: p.video for p in participants if p.video}
    shown: dict[str, str | None] = {}
    found: list[tuple[float, CropRequest]] = []
    for event in settled(events):
        use = event.modalities.get("face")
        if event.label in (None, "unknown") or use is None or not use.present or not allowed(event, decisions):
            continue
        if shown.get(event.participant) == event.label:
            continue
        join = event.context.association
        source = join.source if join is not None and join.source else video.get(event.participant, "video/0")
        certain = join is not None and (join.accepted or join.method == "none")
        track = join.track if join is not None and certain else None
        seen = log.best(source, track, event.start_ms, event.end_ms)
        if seen is None and join is not None and join.method == "declared":
            seen = log.best(source, None, event.start_ms, event.end_ms)
        if seen is None:
            continue
        shown[event.participant] = event.label
        found.append((event.confidence or 0.0, CropRequest(event.id, seen.media_ms, seen.box, seen.frame, seen.source)))
    strongest = sorted(found, key=lambda item: (-item[0], item[1].media_ms))[:limit]
    return sorted((request for _, request in strongest), key=lambda r: (r.media_ms, r.key))


def allowed(event: EmotionEvent, decisions: Mapping[str, Decision]) -> bool:
    """Whether policy lets the face of this event be shown."""
    unjoined = event.participant.startswith("face-")
    decision = decisions.get(event.participant) or (decisions.get(UNJOINED_FACES) if unjoined else None)
    return event.status != "withheld" and decision is not None and decision.emotion


def crops(
    media: str | os.PathLike[str], requests: Iterable[CropRequest], *, info: MediaInfo | None = None, side: int = SIDE_PX, quality: int = 80,
) -> dict[str, bytes]:
    """JPEG bytes by request key, `side` x `side` pixels. A request whose picture cannot be read again is left out.

    Raises InputError where the medium cannot be opened.
    """
    wanted = sorted(requests, key=lambda r: (r.media_ms, r.key))
    if not wanted:
        return {}
    found = info or probe(media, digest=False)
    if found.video is None:
        raise InputError("the recording has no picture", where=str(media), cure="leave the faces out")
    aspect = Fraction(*found.video.pixel_aspect)
    cut: dict[str, bytes] = {}
    for group in _near(wanted):
        for frame, request in _pictures(Path(found.path), found, group):
            picture = _cut(upright(frame, aspect), request, side)
            done, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])
            if done:
                cut[request.key] = data.tobytes()
    return cut


def _near(requests: Sequence[CropRequest], gap_ms: int = 10_000) -> Iterator[list[CropRequest]]:
    """Requests close enough that reading on is cheaper than seeking."""
    group: list[CropRequest] = []
    for request in requests:
        if group and request.media_ms - group[-1].media_ms > gap_ms:
            yield group
            group = []
        group.append(request)
    if group:
        yield group


def _pictures(file: Path, info: MediaInfo, requests: Sequence[CropRequest]) -> Iterator[tuple[Any, CropRequest]]:
    """(decoded picture, request): the first picture at or after each request's time."""
    assert info.video is not None
    waiting = list(requests)
    window = Window(start_ms=max(waiting[0].media_ms, 0))
    for frame in frames(file, info.video.index, info.origin_us, window, Problems()):
        if frame.pts is None:
            continue
        media_ms = (stamp_us(frame) - info.origin_us) // 1000
        while waiting and media_ms >= waiting[0].media_ms:
            yield frame, waiting.pop(0)
        if not waiting:
            return


def _cut(picture: np.ndarray, request: CropRequest, side: int) -> np.ndarray:
    """The square around the face with its margin, kept inside the picture, scaled to `side`."""
    height, width = picture.shape[:2]
    scale = width / max(request.frame[0], 1)
    x, y, w, h = (value * scale for value in request.box)
    half = max(w, h) * (1 + 2 * MARGIN) / 2
    half = min(half, width / 2, height / 2)
    middle_x = min(max(x + w / 2, half), width - half)
    middle_y = min(max(y + h / 2, half), height - half)
    left, top, size = math.floor(middle_x - half), math.floor(middle_y - half), max(int(2 * half), 1)
    square = picture[top : top + size, left : left + size]
    scaled: np.ndarray = cv2.resize(square, (side, side), interpolation=cv2.INTER_AREA)
    return scaled
