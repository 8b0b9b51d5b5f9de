from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest

from extractors.cues import FaceObservation
from extractors.errors import InputError
from extractors.face.analyse import FaceAnalyser

from .conftest import Timed, frames_of

pytestmark = [pytest.mark.models, pytest.mark.usefixtures("bundled_models")]


def follow(frames: Timed, **settings: int) -> list[tuple[FaceObservation, ...]]:
    analyser = FaceAnalyser(**settings)
    return [analyser.process(picture, ms, analyse=False) for ms, picture in frames]


def ids(seen: list[tuple[FaceObservation, ...]]) -> list[list[int]]:
    return [[face.track for face in faces] for faces in seen]


def test_one_person_keeps_one_id_behind_a_hand(woman: Timed) -> None:
    assert ids(follow(woman[:120])) == [[1]] * 120


def test_a_person_who_leaves_for_a_moment_keeps_the_id_and_after_long_gets_a_new_one(laugh: np.ndarray) -> None:
    empty = np.full_like(laugh, 120)
    away = lambda ms: ms < 1000 or 2000 <= ms < 3000 or ms >= 12_000  # noqa: E731
    seen = follow([(ms, laugh if away(ms) else empty) for ms in range(0, 13_000, 100)], absence_ms=4000)
    assert seen[5][0].track == seen[25][0].track == 1
    assert seen[15] == ()
    assert seen[-1][0].track == 2


def test_two_people_on_a_split_picture_are_not_swapped_by_a_cut(woman: Timed) -> None:
    """She sits on the left; after a cut somebody else (mirrored, tinted) sits at the same place."""
    other = [
        (ms, np.clip(cv2.flip(picture, 1)[:, :, ::-1] * 0.6 + (0, 40, 80), 0, 255).astype(np.uint8))
        for ms, picture in woman
    ]
    shown = [woman[k] if k < 20 else (woman[k][0], other[k][1]) for k in range(40)]
    tracks = ids(follow(shown))
    assert tracks[:20] == [[1]] * 20
    assert tracks[20:] == [[2]] * 20


def test_a_flash_does_not_change_the_person(laugh: np.ndarray) -> None:
    white = np.full_like(laugh, 255)
    tracks = ids(follow([(k * 40, white if k == 10 else laugh) for k in range(25)]))
    assert tracks[:10] == [[1]] * 10 and tracks[11:] == [[1]] * 14


def test_a_second_person_is_noticed_soon_and_numbered_in_order(woman: Timed) -> None:
    def shown(index: int) -> np.ndarray:
        left = cv2.resize(woman[150 + index][1], (320, 180))
        right = cv2.resize(woman[index][1], (320, 180)) if index >= 10 else np.full((180, 320, 3), 60, np.uint8)
        return np.hstack([left, right])

    tracks = ids(follow([(k * 83, shown(k)) for k in range(30)]))
    assert tracks[9] == [1]
    assert tracks[14] == [1, 2]
    assert tracks[-1] == [1, 2]


def test_no_more_faces_than_allowed(laugh: np.ndarray) -> None:
    small = cv2.resize(laugh, (320, 180))
    crowd = np.vstack([np.hstack([small, small]), np.hstack([small, small])])
    assert len(follow([(0, crowd)])[0]) == 4
    assert len(follow([(0, crowd)], max_faces=2)[0]) == 2


def test_a_change_of_resolution_keeps_the_person(laugh: np.ndarray) -> None:
    double = cv2.resize(laugh, None, fx=2, fy=2)
    assert ids(follow([(0, laugh), (40, laugh), (80, double), (120, double)])) == [[1]] * 4


def test_time_that_does_not_go_on_is_refused(laugh: np.ndarray) -> None:
    analyser = FaceAnalyser()
    analyser.process(laugh, 100, analyse=False)
    with pytest.raises(InputError, match="pass frames in media order"):
        analyser.process(laugh, 100, analyse=False)


@pytest.mark.corpus
def test_three_people_who_jump_about_keep_three_ids(corpus: Path) -> None:
    seen = follow(frames_of(corpus / "visual" / "videos" / "openface_multi_face.avi", 4))
    assert {face.track for faces in seen for face in faces} == {1, 2, 3}
    assert sum(len(faces) == 3 for faces in seen) >= 0.95 * len(seen)


@pytest.mark.corpus
def test_a_cartoon_has_no_faces(corpus: Path) -> None:
    assert not any(follow(frames_of(corpus / "visual" / "videos" / "pyfeat_no_face_cartoon.mp4")))


@pytest.mark.corpus
def test_the_first_face_after_a_title_comes_with_its_frame(corpus: Path) -> None:
    frames = frames_of(corpus / "visual" / "videos" / "pyfeat_noface_face_vfr.mov")
    seen = follow(frames)
    first = next(ms for (ms, _), faces in zip(frames, seen, strict=True) if faces)
    assert abs(first - 3945) <= 42


@pytest.mark.corpus
def test_cuts_on_stage_do_not_carry_ids_into_other_shots(corpus: Path) -> None:
    """Shots begin at frames 20, 82 and 211; the shots show other people, or the same ones elsewhere."""
    frames = frames_of(corpus / "visual" / "videos" / "whitehouse_stage_clip.mp4", 2)
    tracks = ids(follow(frames))
    shots = [{track for faces in tracks[a:b] for track in faces} for a, b in ((0, 10), (10, 41), (41, 106), (106, 138))]
    assert sum(len(shot) for shot in shots) == len(set.union(*shots))
    assert len(shots[2]) == 1
    counts = Counter(map(len, tracks))
    assert min(counts) >= 1 and max(counts) <= 8
