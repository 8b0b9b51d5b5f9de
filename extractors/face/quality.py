"""Whether a face can be read at all, and how well, with the reasons in the field's words.

Thresholds were set by degrading real clips: below 32 pixels blendshapes correlate with those of the full picture at
less than 0.9, below a sharpness of 0.02 (blur of 4 % of the face height) they are off by 0.05 and more on average, and
a hand over the mouth takes the presence logit from about 20 to 4–11.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from extractors.cues import FaceQuality
from extractors.face.detect import Box

SMALL_PX, FULL_PX = 32, 80
"""Longer side of the face box: unusable below the first, full trust from the second."""

TURNED_YAW, TURNED_PITCH = 45.0, 35.0
"""Degrees beyond which the far side of the face is guessed by the mesh."""

PRESENCE_FREE, PRESENCE_FULL = 10.0, 16.0
"""Presence logit: occluded below the first, full trust from the second."""

SHARP_LEAST, SHARP_FULL = 0.02, 0.1
"""Variance of the Laplacian divided by the variance of the 64×64 face."""

LIGHT_LEAST, LIGHT_FULL = 18.0, 40.0
"""Mean grey level of the face."""

CONTRAST_LEAST = 6.0
"""Standard deviation of grey levels below which nothing is to be seen."""

INSIDE_LEAST = 0.85
"""Share of the face box that must lie in the picture."""


def face_quality(
    box: Box,
    frame: tuple[int, int],
    presence: float | None,
    pose: tuple[float, float, float] | None,
    patch: NDArray[np.uint8],
) -> FaceQuality:
    """Quality of one face.

    `box` in pixels of a frame of (height, width) `frame`; `presence` is the mesh's logit and `pose` degrees, None where
    the mesh did not take: then a face that is large, sharp and light enough is turned away. `patch` is the 64×64 grey
    face. The score is the product of the single trusts.
    """
    size = max(box[2], box[3])
    inside = _share_inside(box, frame)
    reasons: list[str] = []
    trust = _ramp(size, SMALL_PX / 2, FULL_PX) * _ramp(inside, 0.5, 1.0)
    if size < SMALL_PX:
        reasons.append("too_small")
    if pose is None or presence is None:
        trust = 0.0
    else:
        yaw, pitch = abs(pose[0]), abs(pose[1])
        if yaw > TURNED_YAW or pitch > TURNED_PITCH:
            reasons.append("turned_away")
        if presence < PRESENCE_FREE:
            reasons.append("occluded")
        trust *= _ramp(-yaw, -60.0, -20.0) * _ramp(-pitch, -50.0, -20.0) * _ramp(presence, 0.0, PRESENCE_FULL)
    grey = patch.astype(np.float32)
    spread = float(grey.std())
    sharpness = float(cv2.Laplacian(grey, cv2.CV_32F).var()) / (spread**2 + 1.0)
    light = float(grey.mean())
    if sharpness < SHARP_LEAST:
        reasons.append("blurred")
    if light < LIGHT_LEAST or spread < CONTRAST_LEAST:
        reasons.append("dark")
    trust *= _ramp(sharpness, 0.0, SHARP_FULL) * _ramp(light, 0.0, LIGHT_FULL) * _ramp(spread, 0.0, 2 * CONTRAST_LEAST)
    if inside < INSIDE_LEAST:
        reasons.append("cut_off")
    if pose is None and not reasons:
        reasons.append("turned_away")
    return FaceQuality(
        usable=not reasons,
        score=round(trust, 4),
        size_px=round(size),
        presence_logit=round(presence, 2) if presence is not None else 0.0,
        reasons=tuple(reasons),
    )


def _ramp(value: float, low: float, high: float) -> float:
    return min(1.0, max(0.0, (value - low) / (high - low)))


def _share_inside(box: Box, frame: tuple[int, int]) -> float:
    x, y, width, height = box
    across = min(x + width, frame[1]) - max(x, 0.0)
    down = min(y + height, frame[0]) - max(y, 0.0)
    return max(0.0, across) * max(0.0, down) / max(width * height, 1e-6)
