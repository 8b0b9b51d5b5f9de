"""Face mesh of 478 points and 52 blendshapes: MediaPipe's Face Landmarker networks on LiteRT, without MediaPipe.

The chain is the published one (Face Mesh V2 and Blendshape V2 model cards): a rotated square around the face, 256×256
RGB in [0, 1], landmarks in pixels of the crop, a presence logit, and blendshapes from 146 of the points.
"""

from __future__ import annotations

import math
import zipfile

import cv2
import numpy as np
from ai_edge_litert.interpreter import Interpreter
from msgspec import Struct
from numpy.typing import NDArray

from extractors import registry
from extractors.face.detect import Detection, Frame

Points = NDArray[np.float32]

SIDE = 256
"""Pixels of the square that the mesh network sees."""

MARGIN = 1.5
"""Side of the square divided by the longer side of the upright face box."""

RIGHT_EYE_OUTER, LEFT_EYE_OUTER = 33, 263

BLENDSHAPE_POINTS = (
    0, 1, 4, 5, 6, 7, 8, 10, 13, 14, 17, 21, 33, 37, 39, 40, 46, 52, 53, 54, 55, 58, 61, 63, 65, 66, 67, 70, 78, 80, 81,
    82, 84, 87, 88, 91, 93, 95, 103, 105, 107, 109, 127, 132, 133, 136, 144, 145, 146, 148, 149, 150, 152, 153, 154,
    155, 157, 158, 159, 160, 161, 162, 163, 168, 172, 173, 176, 178, 181, 185, 191, 195, 197, 234, 246, 249, 251, 263,
    267, 269, 270, 276, 282, 283, 284, 285, 288, 291, 293, 295, 296, 297, 300, 308, 310, 311, 312, 314, 317, 318, 321,
    323, 324, 332, 334, 336, 338, 356, 361, 362, 365, 373, 374, 375, 377, 378, 379, 380, 381, 382, 384, 385, 386, 387,
    388, 389, 390, 397, 398, 400, 402, 405, 409, 415, 454, 466, 468, 469, 470, 471, 472, 473, 474, 475, 476, 477,
)  # fmt: skip
"""Which of the 478 points the blendshape network reads, in its order."""

BLENDSHAPES = (
    "_neutral", "browDownLeft", "browDownRight", "browInnerUp", "browOuterUpLeft", "browOuterUpRight", "cheekPuff",
    "cheekSquintLeft", "cheekSquintRight", "eyeBlinkLeft", "eyeBlinkRight", "eyeLookDownLeft", "eyeLookDownRight",
    "eyeLookInLeft", "eyeLookInRight", "eyeLookOutLeft", "eyeLookOutRight", "eyeLookUpLeft", "eyeLookUpRight",
    "eyeSquintLeft", "eyeSquintRight", "eyeWideLeft", "eyeWideRight", "jawForward", "jawLeft", "jawOpen", "jawRight",
    "mouthClose", "mouthDimpleLeft", "mouthDimpleRight", "mouthFrownLeft", "mouthFrownRight", "mouthFunnel",
    "mouthLeft", "mouthLowerDownLeft", "mouthLowerDownRight", "mouthPressLeft", "mouthPressRight", "mouthPucker",
    "mouthRight", "mouthRollLower", "mouthRollUpper", "mouthShrugLower", "mouthShrugUpper", "mouthSmileLeft",
    "mouthSmileRight", "mouthStretchLeft", "mouthStretchRight", "mouthUpperUpLeft", "mouthUpperUpRight",
    "noseSneerLeft", "noseSneerRight",
)  # fmt: skip
"""Names of the blendshapes in model order."""


class Region(Struct, frozen=True):
    """A rotated square of the frame: centre and side in pixels, `angle` in radians, positive = clockwise in the
    picture (the direction from the right to the left outer eye corner)."""

    x: float
    y: float
    side: float
    angle: float

    def to_frame(self) -> NDArray[np.float64]:
        """2×3 matrix from crop pixels (0…256) to frame pixels."""
        scale = self.side / SIDE
        cos, sin = math.cos(self.angle) * scale, math.sin(self.angle) * scale
        half = SIDE / 2
        return np.array([[cos, -sin, self.x - half * cos + half * sin], [sin, cos, self.y - half * sin - half * cos]])


class Mesh(Struct, frozen=True):
    """`points` 478×3 float32: x, y in frame pixels, z in the same scale (smaller = nearer the camera).
    `presence` is the raw face-presence logit: about 20 for a free frontal face, below 10 behind a hand."""

    points: Points
    presence: float


def region_of_detection(face: Detection) -> Region:
    """The square around a detector box, upright along the eyes."""
    (right_x, right_y), (left_x, left_y) = face.points[:2]
    x, y, width, height = face.box
    return Region(
        x + width / 2, y + height / 2, MARGIN * max(width, height), math.atan2(left_y - right_y, left_x - right_x)
    )


def region_of_points(points: Points) -> Region:
    """The square around the landmarks of an earlier look, upright along the outer eye corners."""
    flat = points[:, :2].astype(np.float64)
    across = flat[LEFT_EYE_OUTER] - flat[RIGHT_EYE_OUTER]
    angle = math.atan2(across[1], across[0])
    cos, sin = math.cos(angle), math.sin(angle)
    turned = flat @ np.array([[cos, -sin], [sin, cos]])
    low, high = turned.min(axis=0), turned.max(axis=0)
    middle = (low + high) / 2
    return Region(
        float(middle[0] * cos - middle[1] * sin),
        float(middle[0] * sin + middle[1] * cos),
        MARGIN * float((high - low).max()),
        angle,
    )


class FaceMesh:
    """The two networks on one thread each. Not for use by two threads at once."""

    def __init__(self) -> None:
        self.name = registry.identity("face-landmarker")
        with zipfile.ZipFile(registry.path("face-landmarker")) as task:
            self._mesh = _interpreter(task.read("face_landmarks_detector.tflite"))
            self._shapes = _interpreter(task.read("face_blendshapes.tflite"))
        self._mesh_in = int(self._mesh.get_input_details()[0]["index"])
        outputs = {detail["name"]: int(detail["index"]) for detail in self._mesh.get_output_details()}
        self._points_out, self._presence_out = outputs["Identity"], outputs["Identity_1"]
        self._shapes_in = int(self._shapes.get_input_details()[0]["index"])
        self._shapes_out = int(self._shapes.get_output_details()[0]["index"])

    def mesh(self, bgr: Frame, region: Region) -> Mesh:
        """Landmarks of the face in a square of the frame (H×W×3 uint8)."""
        to_frame = region.to_frame()
        crop = cv2.warpAffine(
            bgr, to_frame, (SIDE, SIDE), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REPLICATE
        )
        rgb = np.multiply(cv2.cvtColor(crop, cv2.COLOR_BGR2RGB), np.float32(1 / 255), dtype=np.float32)
        self._mesh.set_tensor(self._mesh_in, rgb[None])
        self._mesh.invoke()
        inside = self._mesh.get_tensor(self._points_out).reshape(478, 3).astype(np.float64)
        points = np.empty((478, 3))
        points[:, :2] = inside[:, :2] @ to_frame[:, :2].T + to_frame[:, 2]
        points[:, 2] = inside[:, 2] * (region.side / SIDE)
        presence = float(self._mesh.get_tensor(self._presence_out).reshape(-1)[0])
        return Mesh(points.astype(np.float32), presence)

    def blendshapes(self, points: Points) -> NDArray[np.float32]:
        """The 52 coefficients in [0, 1] in the order of `BLENDSHAPES`, from points in pixels."""
        self._shapes.set_tensor(self._shapes_in, np.ascontiguousarray(points[None, BLENDSHAPE_POINTS, :2]))
        self._shapes.invoke()
        return np.array(self._shapes.get_tensor(self._shapes_out), np.float32).reshape(52)


def _interpreter(model: bytes) -> Interpreter:
    interpreter = Interpreter(model_content=model, num_threads=1)
    interpreter.allocate_tensors()
    return interpreter
