"""Measurements of one face in one frame: blendshapes without sides, and distances on the mesh turned to the front.

Distances are taken after the head is turned back to the front (the rotation of `pose`) and divided by the distance of
the outer eye corners, so that pitch does not look like a frown: on a nodding person the distance of brow and eye
follows pitch with r = 0.90 in the picture and 0.16 here.
"""

from __future__ import annotations

from math import cos, sin

import cv2
import numpy as np
from numpy.typing import NDArray

from extractors.face.detect import Frame
from extractors.face.mesh import BLENDSHAPES, LEFT_EYE_OUTER, MARGIN, RIGHT_EYE_OUTER, SIDE, Points, Region

SHAPES = (
    "browDown", "browInnerUp", "browOuterUp", "eyeBlink", "eyeSquint", "eyeWide", "jawOpen", "mouthDimple",
    "mouthFrown", "mouthFunnel", "mouthLowerDown", "mouthPress", "mouthPucker", "mouthRollLower", "mouthRollUpper",
    "mouthShrugLower", "mouthShrugUpper", "mouthSmile", "mouthStretch", "mouthUpperUp",
)  # fmt: skip
"""Blendshapes that move at all in this network, left and right averaged. noseSneer, cheekSquint, cheekPuff and the
sideways jaw stay at zero on real faces whatever they do."""

DISTANCES = (
    "brow_eye", "brow_eye_height", "outer_brow_height", "nasal_root", "lid_gap", "nose_wing_eye", "nose_lip",
    "lip_gap", "mouth_width", "corner_height", "lip_thickness", "chin_height", "nose_width",
)  # fmt: skip
"""In outer-eye distances; heights are signed, up is positive."""

READINGS = SHAPES + DISTANCES + ("glabella",)
"""Names of the vector that `read` returns."""

INDEX = {name: place for place, name in enumerate(READINGS)}

_FIRST, _SECOND = (
    [max(BLENDSHAPES.index(full) for full in (name, name + side) if full in BLENDSHAPES) for name in SHAPES]
    for side in ("Left", "Right")
)

# Which points a distance lies between: (right side, left side), the same twice on the middle line.
_APART = {
    "brow_eye": ((55, 133), (285, 362)),
    "nasal_root": ((8, 6), (8, 6)),
    "lid_gap": ((159, 145), (386, 374)),
    "nose_wing_eye": ((129, 133), (358, 362)),
    "lip_gap": ((13, 14), (13, 14)),
    "mouth_width": ((61, 291), (61, 291)),
    "lip_thickness": ((0, 13), (14, 17)),
    "nose_width": ((129, 358), (129, 358)),
}
_ABOVE = {
    "brow_eye_height": ((55, 133), (285, 362)),
    "outer_brow_height": ((70, 33), (300, 263)),
    "nose_lip": ((2, 0), (2, 0)),
    "corner_height": ((61, 13), (61, 14), (291, 13), (291, 14)),
    "chin_height": ((17, 152), (17, 152)),
}
_STEPS = np.array([pair for name in DISTANCES for pair in (_APART | _ABOVE)[name]])
_ENDS = np.cumsum([len((_APART | _ABOVE)[name]) for name in DISTANCES])
_IS_HEIGHT = np.array([name in _ABOVE for name in DISTANCES for _ in (_APART | _ABOVE)[name]])

GLABELLA_EYES = 100.0
"""Outer-eye distance in pixels to which the patch between the brows is scaled."""

GLABELLA_LEAST = 25.0
"""Outer-eye distance in frame pixels below which the patch holds no wrinkles to see."""


def read(
    points: Points, blendshapes: NDArray[np.float32], rotation: NDArray[np.float64], bgr: Frame
) -> NDArray[np.float64]:
    """Vector of `READINGS`. `points` 478×3 in frame pixels, `blendshapes` 52, `rotation` by `pose.head_rotation`;
    "glabella" is NaN on small faces."""
    shapes = blendshapes.astype(np.float64)
    sides = (shapes[_FIRST] + shapes[_SECOND]) / 2
    return np.concatenate([sides, distances(points, rotation), [glabella_texture(points, bgr)]])


def distances(points: Points, rotation: NDArray[np.float64]) -> NDArray[np.float64]:
    """Vector of `DISTANCES`."""
    frontal = (points.astype(np.float64) * (1.0, -1.0, -1.0)) @ rotation
    steps = frontal[_STEPS[:, 0]] - frontal[_STEPS[:, 1]]
    values = np.where(_IS_HEIGHT, steps[:, 1], np.sqrt((steps**2).sum(axis=1)))
    eyes = float(np.linalg.norm(frontal[LEFT_EYE_OUTER] - frontal[RIGHT_EYE_OUTER]))
    counts = np.diff(_ENDS, prepend=0)
    return np.asarray(np.add.reduceat(values, _ENDS - counts) / counts / max(eyes, 1e-6))


def glabella_texture(points: Points, bgr: Frame) -> float:
    """Vertical wrinkles between the brows: mean absolute horizontal gradient of the evenly lit, eye-aligned patch.

    Rises about twofold when the brows are knitted, where the brow blendshape hardly moves; depends on the person and
    on side light, so only its change is of use.
    """
    right, left = points[RIGHT_EYE_OUTER, :2].astype(np.float64), points[LEFT_EYE_OUTER, :2].astype(np.float64)
    across = left - right
    eyes = float(np.linalg.norm(across))
    if eyes < GLABELLA_LEAST:
        return float("nan")
    width, height = 40, 32
    right_x, right_y = across / GLABELLA_EYES
    middle = (points[8, :2].astype(np.float64) + points[9, :2]) / 2
    to_frame = np.array(
        [
            [right_x, -right_y, middle[0] - right_x * width / 2 + right_y * height / 2],
            [right_y, right_x, middle[1] - right_y * width / 2 - right_x * height / 2],
        ]
    )
    patch = cv2.warpAffine(
        bgr, to_frame, (width, height), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REPLICATE
    )
    grey = cv2.blur(np.asarray(cv2.cvtColor(patch, cv2.COLOR_BGR2GRAY), np.float32), (3, 3))
    gradient = cv2.Sobel(np.asarray(grey / max(float(grey.mean()), 1.0), np.float32), cv2.CV_32F, 1, 0)
    return float(np.abs(gradient).mean())


def face_patch(points_region: Region, bgr: Frame, side: int = 64) -> NDArray[np.uint8]:
    """Upright grey picture of the face, `side`×`side` uint8, cut as the pictures of FER2013 are (median of 18 000):
    1.15 times the longer side of the landmark box, centred 0.05 of it above the middle. `points_region` is
    `mesh.region_of_points` of the landmarks."""
    face = points_region.side / MARGIN
    region = Region(
        points_region.x + sin(points_region.angle) * 0.05 * face,
        points_region.y - cos(points_region.angle) * 0.05 * face,
        1.15 * face,
        points_region.angle,
    )
    # Large faces are reduced in two steps, so that the second averages over pixels.
    fine = side * 2 if region.side > side * 1.5 else side
    to_frame = region.to_frame()
    to_frame[:, :2] *= SIDE / fine
    patch = cv2.warpAffine(
        bgr, to_frame, (fine, fine), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REPLICATE
    )
    grey = cv2.cvtColor(patch, cv2.COLOR_BGR2GRAY)
    if fine != side:
        grey = cv2.resize(grey, (side, side), interpolation=cv2.INTER_AREA)
    return np.asarray(grey, np.uint8)
