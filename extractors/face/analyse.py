"""Faces of a video source: frames in, observations out."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Literal

import msgspec
from msgspec import Struct

from extractors.cues import FaceObservation, rounded
from extractors.face.action_units import ActionUnitState, action_units
from extractors.face.baseline import Baseline
from extractors.face.detect import Box, FaceDetector, Frame, checked
from extractors.face.expression import ExpressionModel
from extractors.face.mesh import MARGIN, FaceMesh, Region, region_of_points
from extractors.face.notices import without_notices
from extractors.face.pose import head_pose, head_rotation
from extractors.face.quality import face_quality
from extractors.face.readings import DISTANCES, INDEX, distances, face_patch, read
from extractors.face.track import FaceTracker, Sighting, TrackerState

Depth = Literal["follow", "observe", "express"]
"""How far a person may be analysed: only followed (box, quality, mouth opening); observables (pose, blendshapes,
action units); or everything with the expression."""

Permission = Callable[[int, Box], Depth | bool] | Depth | bool
"""Asked before any inference on a face: (track id, box) -> depth. True is "express", False is "follow"."""


class FaceModels:
    """The loaded networks, about 30 MB. Not for use by two threads at once."""

    def __init__(self) -> None:
        with without_notices():
            self.detector = FaceDetector()
            self.mesh = FaceMesh()
            self.expression = ExpressionModel()

    @property
    def names(self) -> dict[str, str]:
        """Part -> ``name@hash8``."""
        return {"detection": self.detector.name, "mesh": self.mesh.name, "expression": self.expression.name}


class _Loaded(threading.local):
    """One set of networks a thread: all sets give the same results, and none is used by two threads at once."""

    models: FaceModels | None = None


_loaded = _Loaded()


def models_of_thread() -> FaceModels:
    """The networks of the calling thread, loaded on first use (raises `ModelMissing`)."""
    if _loaded.models is None:
        _loaded.models = FaceModels()
    return _loaded.models


class AnalyserState(Struct):
    """Everything that a restart needs."""

    tracker: TrackerState
    people: dict[int, ActionUnitState]


class FaceAnalyser:
    """Follows and reads the faces of one video source; may move between threads, one call at a time.

    The result for a frame depends on this source's earlier frames alone, never on other sources or on timing. Memory
    and time per frame are bounded by `max_faces`; a face costs about 7 ms of one core. `absence_ms`: how long a person
    may be out of sight and keep the track id.
    """

    def __init__(self, *, max_faces: int = 8, absence_ms: int = 5000) -> None:
        models_of_thread()  # a missing model is better told here than at the first frame
        self._tracker = FaceTracker(max_faces=max_faces, absence_ms=absence_ms)
        self._people: dict[int, ActionUnitState] = {}

    def process(self, bgr: Frame, media_ms: int, analyse: Permission = True) -> tuple[FaceObservation, ...]:
        """Faces of one upright frame, ordered by track id.

        `bgr`: height×width×3 uint8 (grey and BGRA are accepted); `media_ms` must increase from call to call, else
        `InputError`. `analyse` says per face what may be inferred and is asked before anything is.
        """
        bgr, models = checked(bgr), models_of_thread()
        found = self._tracker.update(bgr, media_ms, models.detector, models.mesh)
        observations = tuple(self._observe(face, bgr, media_ms, analyse, models) for face in found)
        remembered = {track.id for track in self._tracker.state.tracks}
        self._people = {track: state for track, state in self._people.items() if track in remembered}
        return observations

    def snapshot(self) -> bytes:
        """State in a few kilobytes a person; no pictures of faces, no identity."""
        return msgspec.msgpack.encode(AnalyserState(self._tracker.state, self._people))

    def restore(self, state: bytes) -> None:
        """Go on from a snapshot: the next frame gives what it would have given."""
        restored = msgspec.msgpack.decode(state, type=AnalyserState)
        self._tracker.state, self._people = restored.tracker, restored.people

    def _observe(self, face: Sighting, bgr: Frame, ms: int, analyse: Permission, models: FaceModels) -> FaceObservation:
        allowed = analyse(face.track, face.box) if callable(analyse) else analyse
        depth: Depth = ("express" if allowed else "follow") if isinstance(allowed, bool) else allowed
        x, y, width, height = (round(value) for value in face.box)
        box = (x, y, width, height)
        if face.mesh is None:
            region = Region(x + width / 2, y + height / 2, MARGIN * max(width, height), 0.0)
            quality = face_quality(face.box, (bgr.shape[0], bgr.shape[1]), None, None, face_patch(region, bgr))
            return FaceObservation(track=face.track, box=box, score=face.score, quality=quality)
        points = face.mesh.points
        rotation = head_rotation(points)
        yaw, pitch, roll = head_pose(rotation)
        patch = face_patch(region_of_points(points), bgr)
        quality = face_quality(face.box, (bgr.shape[0], bgr.shape[1]), face.mesh.presence, (yaw, pitch, roll), patch)
        if depth == "follow":
            gap = float(distances(points, rotation)[DISTANCES.index("lip_gap")])
            return FaceObservation(
                track=face.track, box=box, score=face.score, quality=quality, mouth_open=rounded(gap)
            )
        shapes = models.mesh.blendshapes(points)
        readings = read(points, shapes, rotation, bgr)
        units: dict[str, float] = {}
        if quality.usable or quality.reasons == ("occluded",):
            state = self._people.setdefault(face.track, ActionUnitState(Baseline()))
            units = action_units(state, readings, ms, occluded=not quality.usable)
        express = depth == "express" and quality.usable
        return FaceObservation(
            track=face.track,
            box=box,
            score=face.score,
            quality=quality,
            pose=(round(yaw, 1) + 0.0, round(pitch, 1) + 0.0, round(roll, 1) + 0.0),
            blendshapes=tuple(round(float(value), 3) for value in shapes),
            action_units=units,
            mouth_open=rounded(float(readings[INDEX["lip_gap"]])),
            expression=models.expression.posterior(patch, readings, quality.score) if express else None,
        )
