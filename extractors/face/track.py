"""Following faces through a video: one id per person, from position, overlap and landmarks, never from identity.

Between looks of the detector a face is followed by its own mesh: the landmarks of one frame give the square of the
next. The detector looks closely every `RELOOK_MS` of media time and after a shot cut, and in passing whenever a face
was lost, the picture changed outside the faces, or nobody is there. A face that reappears within `absence_ms` takes
its old id if place or colours (a histogram of head and clothes, which identifies nobody) say so; when in doubt it
gets a new id, because a wrong join is worse than none.

State depends on earlier frames only; work and memory per frame are bounded by `max_faces`.
"""

from __future__ import annotations

import math

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from extractors.errors import InputError
from extractors.face.detect import CLOSE_LOOK, LOOK, Box, Detection, FaceDetector, Frame, overlap
from extractors.face.mesh import FaceMesh, Mesh, Region, region_of_detection, region_of_points
from extractors.face.scene import change_mask, colours, is_cut, likeness, thumbnail

RELOOK_MS = 2000
"""Media time between close looks of the detector."""

MOTION_LOOK_MS = 400
"""Least media time between two looks that movement in the picture asks for."""

RETRY_MS = 200
"""Media time after which the mesh is tried again on a face that only the detector sees."""

MOVED = 0.02
"""Share of the picture outside all faces that must change for such a look."""

SAME_PLACE = 0.3
"""Overlap (IoU) from which a detection belongs to a face that is followed."""

SAME_FACE = 0.5
"""Overlap from which two followed faces are one and the younger id ends."""

SAME_COLOURS = 0.45
"""Colour likeness at which a lost face may be taken up again near its last place. On three people who jump about,
the same person measured 0.4 to 0.8 over five seconds (with the background that he covers), another person 0.2 to 0.6:
enough to refuse, not enough to recognise, so place decides."""

SAME_PICTURE = 0.75
"""Colour likeness for taking up a face at the same place after a cut (a flash, a frozen picture, a cut back)."""

MOMENT_MS, STEP_FACES = 300, 1.2
"""Who was lost so lately and appears so near (in heights of the face) is the same person by place alone."""

WALK_FACES = 4.0
"""Farthest that somebody lost within a shot is looked for, in heights of the face."""

SURELY = 10.0
"""Presence logit that a quarter turn must reach: faces that lie on their side are rare."""

CLEARLY = 0.3
"""Distance, in faces, between the best and the next candidate that makes the choice clear."""


class Track(Struct):
    """State of one followed person. `region` is None while the mesh does not take (profile, very small): the face is
    then followed by the detector alone."""

    id: int
    box: Box
    score: float
    region: Region | None
    seen_ms: int
    colours: bytes
    present: bool = True
    before_cut: bool = False
    unconfirmed: int = 0
    tried_ms: int = 0


class TrackerState(Struct):
    """Everything the tracker remembers between frames."""

    next_id: int = 1
    last_ms: int = -1
    look_ms: int = -1
    close_look_ms: int = -1
    shape: tuple[int, int] = (0, 0)
    thumbnail: bytes = b""
    looked_at: bytes = b""
    tracks: list[Track] = []


class Sighting(Struct, frozen=True):
    """A face in the present frame; `mesh` is None where only the detector sees it."""

    track: int
    box: Box
    score: float
    mesh: Mesh | None


class FaceTracker:
    """Faces of one video source. The networks come with each frame, so that a thread may lend its own."""

    def __init__(self, *, max_faces: int = 8, absence_ms: int = 5000) -> None:
        self._max_faces, self._absence_ms = max_faces, absence_ms
        self._detector: FaceDetector
        self._mesh: FaceMesh
        self.state = TrackerState()

    def update(self, bgr: Frame, ms: int, detector: FaceDetector, mesh: FaceMesh) -> list[Sighting]:
        """Faces of the frame (H×W×3 uint8) shown at media time `ms` (must increase), ordered by track id."""
        self._detector, self._mesh = detector, mesh
        state = self.state
        if ms <= state.last_ms:
            raise InputError(f"a frame at {ms} ms follows one at {state.last_ms} ms", cure="pass frames in media order")
        small = thumbnail(bgr)
        cut = self._cut(bgr, small)
        meshes: dict[int, Mesh] = {} if cut else self._follow(bgr)
        if close := self._look_due(small, ms, cut):
            self._look(bgr, ms, close, meshes)
            state.look_ms, state.looked_at = ms, small.tobytes()
            if close == CLOSE_LOOK:
                state.close_look_ms = ms
        self._forget(ms)
        state.last_ms, state.thumbnail, state.shape = ms, small.tobytes(), (bgr.shape[0], bgr.shape[1])
        seen = []
        for track in state.tracks:
            if track.present:
                track.seen_ms = ms
                seen.append(Sighting(track.id, track.box, track.score, meshes.get(track.id)))
        return seen

    def _cut(self, bgr: Frame, small: NDArray[np.uint8]) -> bool:
        """Whether another shot begins; then nobody is followed by position."""
        state = self.state
        resized = state.shape != (0, 0) and state.shape != bgr.shape[:2]
        if not (resized or (state.thumbnail and is_cut(_pixels(state.thumbnail), small))):
            return False
        across, down = (bgr.shape[1] / state.shape[1], bgr.shape[0] / state.shape[0]) if resized else (1.0, 1.0)
        for track in state.tracks:
            x, y, width, height = track.box
            track.box = (x * across, y * down, width * across, height * down)
            track.present, track.before_cut = False, True
        return True

    def _follow(self, bgr: Frame) -> dict[int, Mesh]:
        meshes: dict[int, Mesh] = {}
        kept: list[Track] = []
        for track in self.state.tracks:
            if not track.present or track.region is None:
                continue
            mesh = self._mesh.mesh(bgr, track.region)
            box = box_of_points(mesh)
            lost = mesh.presence < 0 or not _inside(box, bgr)
            if lost or any(overlap(box, other.box) > SAME_FACE for other in kept):
                track.present = False
                continue
            track.box, track.region = box, region_of_points(mesh.points)
            meshes[track.id] = mesh
            kept.append(track)
        return meshes

    def _look_due(self, small: NDArray[np.uint8], ms: int, cut: bool) -> int:
        """Longer side of the look to take now, 0 for none."""
        state = self.state
        if cut or state.close_look_ms < 0 or ms - state.close_look_ms >= RELOOK_MS:
            return CLOSE_LOOK
        present = [track for track in state.tracks if track.present]
        if any(track.region is None for track in present):
            return LOOK
        just_lost = any(not track.present and track.seen_ms == state.last_ms for track in state.tracks)
        changed = change_mask(_pixels(state.looked_at), small)
        if just_lost or (not present and changed.any()):
            return LOOK
        if ms - state.look_ms >= MOTION_LOOK_MS and len(present) < self._max_faces:
            height, width = state.shape
            for track in present:
                _blank(changed, track.box, width, height)
            if changed.mean() > MOVED:
                return LOOK
        return 0

    def _look(self, bgr: Frame, ms: int, long_side: int, meshes: dict[int, Mesh]) -> None:
        found = list(self._detector.detect(bgr, long_side))
        if not found and long_side == CLOSE_LOOK and max(bgr.shape[:2]) > CLOSE_LOOK and not meshes:
            found = list(self._detector.detect(bgr, 2 * CLOSE_LOOK))
        present = [track for track in self.state.tracks if track.present]
        pairs = sorted(
            ((-overlap(track.box, face.box), track.id, index) for track in present for index, face in enumerate(found))
        )
        taken: set[int] = set()
        matched: set[int] = set()
        by_id = {track.id: track for track in present}
        for negative, track_id, index in pairs:
            if -negative < SAME_PLACE or track_id in matched or index in taken:
                continue
            matched.add(track_id)
            taken.add(index)
            self._confirm(by_id[track_id], found[index], bgr, ms, meshes)
        for track in present:
            if track.id not in matched:
                self._doubt(track, meshes, long_side)
        kept = [track.box for track in self.state.tracks if track.present]
        for index, face in enumerate(found):
            if index not in taken and all(overlap(box, face.box) < SAME_PLACE for box in kept):
                if (box := self._welcome(face, bgr, ms, meshes)) is not None:
                    kept.append(box)

    def _confirm(self, track: Track, face: Detection, bgr: Frame, ms: int, meshes: dict[int, Mesh]) -> None:
        track.score, track.unconfirmed = face.score, 0
        track.colours = colours(bgr, face.box)
        if track.region is None:
            track.box = face.box
            if ms - track.tried_ms >= RETRY_MS:
                track.tried_ms = ms
                self._try_mesh(track, face, bgr, meshes, turned=False)

    def _doubt(self, track: Track, meshes: dict[int, Mesh], long_side: int) -> None:
        """The detector does not see a face that is followed: lost at once without a mesh, at the second close look
        with a weak one."""
        if track.region is None:
            track.present = False
        elif long_side == CLOSE_LOOK:
            track.unconfirmed += 1
            if track.unconfirmed >= 2 and meshes[track.id].presence < 10:
                track.present = False
                del meshes[track.id]

    def _welcome(self, face: Detection, bgr: Frame, ms: int, meshes: dict[int, Mesh]) -> Box | None:
        """Take up a lost face again or begin a new track; None where there is no room."""
        state = self.state
        if sum(track.present for track in state.tracks) >= self._max_faces:
            return None
        look = colours(bgr, face.box)
        track = self._lost_one(face, look, ms)
        if track is None:
            track = Track(state.next_id, face.box, face.score, None, ms, look)
            state.next_id += 1
            state.tracks.append(track)
        track.present, track.before_cut, track.unconfirmed = True, False, 0
        track.box, track.score, track.region, track.colours, track.tried_ms = face.box, face.score, None, look, ms
        self._try_mesh(track, face, bgr, meshes, turned=True)
        return track.box

    def _lost_one(self, face: Detection, look: bytes, ms: int) -> Track | None:
        """The lost track that this face continues; None where no one or more than one fits. Who was there a moment ago
        goes before who left earlier, and needs no colours: the background behind him changes as he moves."""
        moment, earlier = [], []
        for track in self.state.tracks:
            if track.present:
                continue
            size = max(track.box[2], track.box[3], 1.0)
            apart = math.dist(_middle(track.box), _middle(face.box)) / size
            if not 0.5 < max(face.box[3], 1.0) / max(track.box[3], 1.0) < 2:
                continue
            alike, away = likeness(track.colours, look), ms - track.seen_ms
            candidate = (apart + 2 * (1 - alike), track.id, track)
            if track.before_cut:
                if overlap(track.box, face.box) >= SAME_PLACE and alike >= SAME_PICTURE:
                    earlier.append(candidate)
            elif away <= MOMENT_MS and apart <= STEP_FACES:
                moment.append(candidate)
            elif apart <= min(WALK_FACES, 1.5 + 3 * away / 1000) and alike >= SAME_COLOURS:
                earlier.append(candidate)
        fits = sorted(moment or earlier, key=lambda fit: fit[:2])
        if not fits or (len(fits) > 1 and fits[1][0] - fits[0][0] < CLEARLY):
            return None
        return fits[0][2]

    def _try_mesh(self, track: Track, face: Detection, bgr: Frame, meshes: dict[int, Mesh], *, turned: bool) -> None:
        """Lay the mesh on a detected face; the second pass, squared by the first, is the one that following gives.
        A face that lies on its side has misleading eyes in the detector: quarter turns are tried (`turned`)."""
        upright = region_of_detection(face)
        regions = [upright]
        if turned:
            regions += [Region(upright.x, upright.y, upright.side, turn) for turn in (-math.pi / 2, math.pi / 2)]
        for region in regions:
            least = 0.0 if region is upright else SURELY
            first = self._mesh.mesh(bgr, region)
            if first.presence < least:
                continue
            mesh = self._mesh.mesh(bgr, region_of_points(first.points))
            box = box_of_points(mesh)
            if mesh.presence >= least and _inside(box, bgr) and overlap(box, face.box) > SAME_PLACE:
                meshes[track.id] = mesh
                track.box, track.region = box, region_of_points(mesh.points)
                return

    def _forget(self, ms: int) -> None:
        """End tracks that were away too long, and the oldest of too many."""
        state = self.state
        kept = [track for track in state.tracks if track.present or ms - track.seen_ms <= self._absence_ms]
        away = sorted((track for track in kept if not track.present), key=lambda track: (-track.seen_ms, track.id))
        dropped = {track.id for track in away[self._max_faces :]}
        state.tracks = [track for track in kept if track.id not in dropped]


def box_of_points(mesh: Mesh) -> Box:
    """Bounding box of the landmarks in pixels."""
    low, high = mesh.points[:, :2].min(axis=0), mesh.points[:, :2].max(axis=0)
    return float(low[0]), float(low[1]), float(high[0] - low[0]), float(high[1] - low[1])


def _middle(box: Box) -> tuple[float, float]:
    return box[0] + box[2] / 2, box[1] + box[3] / 2


def _inside(box: Box, bgr: Frame) -> bool:
    x, y = _middle(box)
    return 0 <= x < bgr.shape[1] and 0 <= y < bgr.shape[0] and min(box[2:]) >= 4


def _pixels(stored: bytes) -> NDArray[np.uint8]:
    side = math.isqrt(len(stored) // 3)
    return np.frombuffer(stored, np.uint8).reshape(side, side, 3)


def _blank(changed: NDArray[np.bool_], box: Box, width: int, height: int) -> None:
    """Strike a face and the body below out of a map of changes: people move all the time."""
    rows, columns = changed.shape
    x, y, wide, high = box
    left, right = (x - 0.75 * wide) / width * columns, (x + 1.75 * wide) / width * columns
    top, bottom = (y - 0.5 * high) / height * rows, (y + 3.0 * high) / height * rows
    changed[max(0, int(top)) : max(0, math.ceil(bottom)), max(0, int(left)) : max(0, math.ceil(right))] = False
