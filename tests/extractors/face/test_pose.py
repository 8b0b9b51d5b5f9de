import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from extractors.face.pose import HEAD, POSE_POINTS, head_pose, head_rotation


def seen_from(yaw: float, pitch: float, roll: float, scale: float = 20.0) -> np.ndarray:
    """A mesh of the canonical head, turned as asked, in picture coordinates."""
    y, p, r = np.radians([yaw, -pitch, -roll])
    about_y = np.array([[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]])
    about_x = np.array([[1, 0, 0], [0, np.cos(p), -np.sin(p)], [0, np.sin(p), np.cos(p)]])
    about_z = np.array([[np.cos(r), -np.sin(r), 0], [np.sin(r), np.cos(r), 0], [0, 0, 1]])
    points = np.zeros((478, 3))
    points[list(POSE_POINTS)] = HEAD @ (about_y @ about_x @ about_z).T * (1, -1, -1) * scale + (300, 200, 0)
    return points.astype(np.float32)


angle = st.floats(-60, 60)


@given(angle, angle, st.floats(-170, 170), st.floats(2, 80))
def test_a_turned_head_gives_its_angles_whatever_its_size(yaw: float, pitch: float, roll: float, scale: float) -> None:
    found = head_pose(head_rotation(seen_from(yaw, pitch, roll, scale)))
    assert found == pytest.approx((yaw, pitch, roll), abs=0.05)


def test_signs_follow_the_subject() -> None:
    """Turned to the subject's left, the nose moves right; up moves it up; clockwise sinks the left eye."""
    front, left, up, clockwise = (seen_from(*pose) for pose in ((0, 0, 0), (30, 0, 0), (0, 30, 0), (0, 0, 30)))
    nose, left_eye = 4, 263
    assert left[nose, 0] > front[nose, 0]
    assert up[nose, 1] < front[nose, 1]
    assert clockwise[left_eye, 1] > front[left_eye, 1]
    assert head_pose(head_rotation(left))[0] > 0
    assert head_pose(head_rotation(up))[1] > 0
    assert head_pose(head_rotation(clockwise))[2] > 0
