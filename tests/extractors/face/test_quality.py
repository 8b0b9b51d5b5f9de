import cv2
import numpy as np
import pytest

from extractors.face.quality import face_quality

FRAME = (360, 640)
FRONT = (0.0, 0.0, 0.0)
_SHAPE = 130 + 50 * np.cos(np.linspace(-2, 2, 64))[:, None] * np.cos(np.linspace(-2, 2, 64))
SHARP = (_SHAPE + np.random.default_rng(3).normal(0, 10, (64, 64))).clip(0, 255).astype(np.uint8)


def test_a_large_frontal_free_face_is_usable() -> None:
    quality = face_quality((200, 100, 120, 150), FRAME, 20.0, FRONT, SHARP)
    assert quality.usable and quality.reasons == () and quality.score == 1.0 and quality.size_px == 150


@pytest.mark.parametrize(
    ("reason", "box", "presence", "pose", "patch"),
    [
        ("too_small", (200, 100, 20, 24), 20.0, FRONT, SHARP),
        ("turned_away", (200, 100, 120, 150), 20.0, (70.0, 0.0, 0.0), SHARP),
        ("turned_away", (200, 100, 120, 150), 20.0, (0.0, -50.0, 0.0), SHARP),
        ("turned_away", (200, 100, 120, 150), None, None, SHARP),
        ("occluded", (200, 100, 120, 150), 6.0, FRONT, SHARP),
        ("blurred", (200, 100, 120, 150), 20.0, FRONT, cv2.GaussianBlur(SHARP, (0, 0), 4)),
        ("dark", (200, 100, 120, 150), 20.0, FRONT, SHARP // 12),
        ("cut_off", (-60, 100, 120, 150), 20.0, FRONT, SHARP),
    ],
)
def test_each_trouble_is_named(reason, box, presence, pose, patch) -> None:
    quality = face_quality(box, FRAME, presence, pose, patch)
    assert reason in quality.reasons
    assert not quality.usable
    assert quality.score < 1.0


def test_quality_falls_with_every_loss() -> None:
    good = face_quality((200, 100, 120, 150), FRAME, 20.0, FRONT, SHARP).score
    smaller = face_quality((200, 100, 40, 50), FRAME, 20.0, FRONT, SHARP).score
    smaller_and_turned = face_quality((200, 100, 40, 50), FRAME, 20.0, (35.0, 0.0, 0.0), SHARP).score
    assert good > smaller > smaller_and_turned > 0
