import threading
from pathlib import Path

import cv2
import numpy as np
import pytest

from extractors.cues import LABELS, FaceObservation
from extractors.face.analyse import FaceAnalyser, models_of_thread
from extractors.face.mesh import region_of_detection, region_of_points

from .conftest import Timed, frames_of

pytestmark = [pytest.mark.models, pytest.mark.usefixtures("bundled_models")]


@pytest.fixture(scope="module")
def story(woman: Timed) -> list[FaceObservation]:
    """Her whole clip, one observation a frame."""
    analyser = FaceAnalyser()
    seen = [analyser.process(picture, ms) for ms, picture in woman]
    assert all(len(faces) == 1 for faces in seen)
    return [faces[0] for faces in seen]


def mean(story: list[FaceObservation], unit: str, first: int, last: int) -> float:
    """Mean intensity over frames of the original clip, where the unit was reported."""
    values = [face.action_units[unit] for face in story[first // 2 : last // 2] if unit in face.action_units]
    return float(np.mean(values))


def test_crying_and_laughing_are_told_apart(story: list[FaceObservation]) -> None:
    """Both pull the lip corners (mouthSmile 0.87 and 0.91); brows and upper lip make the difference."""
    crying, laughing = (20, 160), (380, 472)
    assert mean(story, "AU4", *crying) > 1.0 > 0.3 > mean(story, "AU4", *laughing)
    assert mean(story, "AU10", *laughing) > 4 > 0.5 > mean(story, "AU10", *crying)
    assert mean(story, "AU25", *laughing) > 1.5 > 1 > mean(story, "AU25", *crying)
    assert mean(story, "AU12", 20, 60) > 2  # the grimace that a smile detector would take for joy
    sad = [face.expression.probabilities["sadness"] for face in story[10:30] if face.expression]
    glad = [face.expression.probabilities["happiness"] for face in story[190:] if face.expression]
    assert np.mean(sad) > 0.7 and np.mean(glad) > 0.95


def test_a_hand_over_the_mouth_is_said_and_nothing_concluded_from_it(story: list[FaceObservation]) -> None:
    hidden = [face for face in story if "occluded" in face.quality.reasons]
    assert len(hidden) > 10
    for face in hidden:
        assert face.expression is None and "AU12" not in face.action_units and "AU4" in face.action_units


def test_values_are_rounded_and_complete(story: list[FaceObservation]) -> None:
    face = story[200]
    assert len(face.blendshapes) == 52 and all(value == round(value, 3) for value in face.blendshapes)
    assert all(value == round(value, 2) for value in face.action_units.values())
    assert face.pose and all(value == round(value, 1) for value in face.pose)
    assert face.expression and tuple(face.expression.probabilities) == LABELS
    assert face.expression.model.startswith("mini-xception@")


def test_nothing_else_that_runs_changes_the_result(woman: Timed, story: list[FaceObservation]) -> None:
    """The same frames in another thread, while a second source goes through the same process."""
    again: list[FaceObservation] = []

    def run() -> None:
        hers, other = FaceAnalyser(), FaceAnalyser()
        for ms, picture in woman[:50]:
            other.process(cv2.flip(picture, 1), ms)
            again.extend(hers.process(picture, ms))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert again == story[:50]


def test_a_restart_in_the_middle_changes_nothing(woman: Timed, story: list[FaceObservation]) -> None:
    first = FaceAnalyser()
    for ms, picture in woman[:30]:
        first.process(picture, ms)
    saved = first.snapshot()
    second = FaceAnalyser()
    second.restore(saved)
    assert [second.process(picture, ms)[0] for ms, picture in woman[30:55]] == story[30:55]
    assert len(saved) < 20_000


def test_state_does_not_grow(woman: Timed) -> None:
    analyser = FaceAnalyser()
    sizes = []
    for ms, picture in woman[:60]:
        analyser.process(picture, ms)
        sizes.append(len(analyser.snapshot()))
    assert max(sizes[30:]) - min(sizes[30:]) < 200


def test_whom_policy_forbids_is_followed_and_not_read(laugh: np.ndarray) -> None:
    asked: list[int] = []

    def nobody(track: int, box: tuple[float, float, float, float]) -> bool:
        asked.append(track)
        return False

    (face,) = FaceAnalyser().process(laugh, 0, analyse=nobody)
    assert asked == [1]
    assert face.quality.usable and face.mouth_open is not None
    assert face.expression is None and face.action_units == {} and face.blendshapes == () and face.pose is None


def test_observables_come_without_an_emotion(laugh: np.ndarray) -> None:
    (face,) = FaceAnalyser().process(laugh, 0, analyse="observe")
    assert face.expression is None and face.action_units["AU12"] > 3 and face.pose is not None


def test_grey_and_transparent_pictures_are_read(laugh: np.ndarray) -> None:
    grey, alpha = cv2.cvtColor(laugh, cv2.COLOR_BGR2GRAY), cv2.cvtColor(laugh, cv2.COLOR_BGR2BGRA)
    (plain,), (from_alpha,), (from_grey,) = (FaceAnalyser().process(picture, 0) for picture in (laugh, alpha, grey))
    assert from_alpha == plain
    assert from_grey.expression and from_grey.expression.probabilities["happiness"] > 0.8


def test_a_small_face_is_an_answer_with_a_reason(laugh: np.ndarray) -> None:
    small = cv2.resize(laugh, (70, 39), interpolation=cv2.INTER_AREA)
    scene = np.full((360, 640, 3), 90, np.uint8)
    scene[100:139, 200:270] = small
    (face,) = FaceAnalyser().process(scene, 0)
    assert "too_small" in face.quality.reasons and face.expression is None and face.action_units == {}


def test_turning_the_picture_turns_the_roll(laugh: np.ndarray) -> None:
    (plain,) = FaceAnalyser().process(laugh, 0)
    turn = cv2.getRotationMatrix2D((320, 180), -15, 0.8)  # clockwise
    (turned,) = FaceAnalyser().process(cv2.warpAffine(laugh, turn, (640, 360)), 0)
    assert plain.pose and turned.pose
    assert turned.pose[2] - plain.pose[2] == pytest.approx(15, abs=2)


def test_mirroring_the_picture_mirrors_yaw_and_roll(woman: Timed) -> None:
    picture = woman[110][1]
    (plain,) = FaceAnalyser().process(picture, 0)
    (mirrored,) = FaceAnalyser().process(cv2.flip(picture, 1), 0)
    assert plain.pose and mirrored.pose
    assert mirrored.pose[0] == pytest.approx(-plain.pose[0], abs=4)
    assert mirrored.pose[2] == pytest.approx(-plain.pose[2], abs=3)


def test_the_mesh_settles_wherever_the_search_begins(laugh: np.ndarray) -> None:
    models = models_of_thread()
    (found,) = models.detector.detect(laugh)
    first = models.mesh.mesh(laugh, region_of_detection(found))
    second = models.mesh.mesh(laugh, region_of_points(first.points))
    third = models.mesh.mesh(laugh, region_of_points(second.points))
    eyes = np.linalg.norm(second.points[33, :2] - second.points[263, :2])
    assert np.abs(third.points - second.points)[:, :2].mean() < 0.01 * eyes
    scaled = models.mesh.blendshapes((second.points * 3 + 7).astype(np.float32))
    assert np.abs(scaled - models.mesh.blendshapes(second.points)).max() < 1e-3


@pytest.mark.corpus
def test_a_calm_speaker_in_changing_light_reads_as_calm(corpus: Path) -> None:
    analyser = FaceAnalyser()
    frames = frames_of(corpus / "visual" / "videos" / "openface_change_lighting.wmv")
    faces = [analyser.process(picture, ms)[0] for ms, picture in frames]
    assert np.mean([face.expression.probabilities["neutral"] for face in faces if face.expression]) > 0.8
    assert all(face.quality.usable for face in faces)
    for unit in faces[0].action_units:
        assert np.mean([face.action_units[unit] for face in faces]) < 1.2
