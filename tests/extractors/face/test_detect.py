from pathlib import Path

import cv2
import numpy as np
import pytest

from extractors.errors import InputError
from extractors.face.analyse import FaceAnalyser, models_of_thread
from extractors.face.detect import CLOSE_LOOK, LOOK, checked

pytestmark = pytest.mark.models

COUNTS = {
    "0-f1-su-ph.jpg": 1, "0-f15-hao-ph.jpg": 1, "15-f13-anc-ph.jpg": 1, "45-m7-di-ph.jpg": 1, "single_face.jpg": 1,
    "single_face_rot90.jpg": 1, "single_face_exif6.jpg": 1, "grey_single_channel.png": 1, "rgba_alpha.png": 1,
    "obama_partial_face.jpg": 1, "two_people.jpg": 2, "multi_face.jpg": 5, "no_face_mountain.jpg": 0,
}  # fmt: skip


def test_a_face_is_found_at_both_looks_and_small(bundled_models: None, laugh: np.ndarray) -> None:
    detector = models_of_thread().detector
    for look in (LOOK, CLOSE_LOOK):
        assert len(detector.detect(laugh, look)) == 1
    small = cv2.resize(laugh, None, fx=0.15, fy=0.15, interpolation=cv2.INTER_AREA)  # a face of 40 pixels
    scene = np.full((360, 640, 3), 90, np.uint8)
    scene[100 : 100 + small.shape[0], 200 : 200 + small.shape[1]] = small
    (face,) = detector.detect(scene, CLOSE_LOOK)
    assert 200 <= face.box[0] and face.box[0] + face.box[2] <= 296


def test_what_is_no_picture_is_refused_with_a_cure() -> None:
    for bad in (np.zeros((10, 10, 3), np.float32), np.zeros((0, 10, 3), np.uint8), np.zeros((4, 5, 6, 7), np.uint8)):
        with pytest.raises(InputError, match="pass 8-bit BGR"):
            checked(bad)


@pytest.mark.corpus
@pytest.mark.parametrize("picture", COUNTS)
def test_faces_of_real_pictures_are_counted(picture: str, bundled_models: None, corpus: Path) -> None:
    """Grey, BGRA, turned and cropped pictures among them."""
    file = corpus / "visual" / "face_images" / picture
    flag = cv2.IMREAD_COLOR if "exif" in picture else cv2.IMREAD_UNCHANGED
    assert len(FaceAnalyser().process(cv2.imread(str(file), flag), 0)) == COUNTS[picture]


@pytest.mark.corpus
def test_a_face_on_its_side_is_read_as_the_upright_one(bundled_models: None, corpus: Path) -> None:
    folder = corpus / "visual" / "face_images"
    (upright,), (turned,) = (
        FaceAnalyser().process(cv2.imread(str(folder / name)), 0)
        for name in ("single_face.jpg", "single_face_rot90.jpg")
    )
    assert upright.pose and turned.pose and upright.expression and turned.expression
    assert turned.pose[2] - upright.pose[2] == pytest.approx(90, abs=6)
    assert turned.expression.probabilities["happiness"] > 0.9


@pytest.mark.corpus
@pytest.mark.parametrize(
    ("picture", "yaw"), [("0-f15-hao-ph.jpg", 0), ("15-f13-anc-ph.jpg", 15), ("45-m7-di-ph.jpg", 45)]
)
def test_posed_yaw_is_measured_within_five_degrees(picture: str, yaw: int, bundled_models: None, corpus: Path) -> None:
    (face,) = FaceAnalyser().process(cv2.imread(str(corpus / "visual" / "face_images" / picture)), 0)
    assert face.pose and abs(face.pose[0]) == pytest.approx(yaw, abs=5)
