"""Head pose: the rotation that carries a canonical head onto the landmarks.

Weighted rigid fit with scale (Kabsch 1976, Umeyama 1991) of 33 points that hardly move with expression. Points and
weights are those of MediaPipe's canonical face model (Apache-2.0; centimetres, x to the subject's left, y up, z out of
the face). The depth of the mesh comes from one camera and is a network's estimate, so pose is good to a few degrees
and flattens beyond about 50° of yaw.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from extractors.face.mesh import Points

# Half of a head that is symmetric: (point, its twin on the subject's left or 0 on the middle line, weight, x, y, z).
_CANONICAL = (
    (4, 0, 0.0709, 0.000, -0.463, 7.587),
    (6, 0, 0.0321, 0.000, 2.473, 5.789),
    (10, 0, 0.0084, 0.000, 8.262, 4.482),
    (33, 263, 0.0587, -4.446, 2.664, 3.173),
    (54, 284, 0.0077, -6.279, 6.615, 1.426),
    (67, 297, 0.0091, -3.524, 8.006, 3.729),
    (117, 346, 0.0098, -5.259, 0.946, 2.974),
    (119, 348, 0.0146, -3.301, 0.862, 3.873),
    (121, 350, 0.0186, -1.821, 1.468, 4.224),
    (127, 356, 0.0052, -7.743, 2.365, -2.005),
    (129, 358, 0.1206, -1.786, -0.978, 4.850),
    (132, 361, 0.0056, -7.271, -2.891, -2.252),
    (133, 362, 0.0533, -1.856, 2.585, 3.758),
    (136, 365, 0.0669, -5.085, -7.179, 0.715),
    (143, 372, 0.0148, -6.408, 2.236, 1.561),
    (147, 376, 0.0143, -6.235, -1.944, 1.664),
    (198, 420, 0.0255, -1.247, 0.230, 5.681),
    (205, 425, 0.0473, -3.833, -1.537, 4.138),
)

POSE_POINTS = tuple(row[0] for row in _CANONICAL) + tuple(row[1] for row in _CANONICAL if row[1])
"""Which of the 478 points the fit reads."""

HEAD: NDArray[np.float64] = np.array(
    [row[3:] for row in _CANONICAL] + [(-row[3], row[4], row[5]) for row in _CANONICAL if row[1]]
)
"""Their places on the canonical head, centimetres."""

_WEIGHTS: NDArray[np.float64] = np.array([row[2] for row in _CANONICAL] + [row[2] for row in _CANONICAL if row[1]])


def head_rotation(points: Points) -> NDArray[np.float64]:
    """3×3 rotation of the canonical head to the face seen (x to the picture's right, y up, z towards the camera).

    `points`: 478×3 mesh in picture coordinates (y down, z away from the camera).
    """
    seen = points[list(POSE_POINTS)].astype(np.float64) * (1.0, -1.0, -1.0)
    weights = (_WEIGHTS / _WEIGHTS.sum())[:, None]
    head = HEAD - (weights * HEAD).sum(axis=0)
    seen = seen - (weights * seen).sum(axis=0)
    left, _, right = np.linalg.svd((weights * seen).T @ head)
    turn = np.diag((1.0, 1.0, float(np.sign(np.linalg.det(left @ right)))))
    rotation: NDArray[np.float64] = left @ turn @ right
    return rotation


def head_pose(rotation: NDArray[np.float64]) -> tuple[float, float, float]:
    """(yaw, pitch, roll) in degrees of a `head_rotation`: positive to the subject's left, up, and clockwise in the
    picture."""
    forward = rotation[:, 2]
    yaw = math.atan2(forward[0], forward[2])
    pitch = math.asin(max(-1.0, min(1.0, forward[1])))
    # What is left after yaw and pitch turns about the line of sight; counter-clockwise as seen by the camera.
    upright = np.array([-math.sin(yaw) * math.sin(pitch), math.cos(pitch), -math.cos(yaw) * math.sin(pitch)])
    across = np.array([math.cos(yaw), 0.0, -math.sin(yaw)])
    roll = math.atan2(float(rotation[:, 0] @ upright), float(rotation[:, 0] @ across))
    return math.degrees(yaw), math.degrees(pitch), -math.degrees(roll)
