"""Face detection with YuNet (W. Wu et al., Machine Intelligence Research 2023) through OpenCV's `FaceDetectorYN`."""

from __future__ import annotations

import cv2
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from extractors import registry
from extractors.errors import InputError

Frame = NDArray[np.uint8]
Box = tuple[float, float, float, float]

LOOK = 320
"""Longer side in pixels of an ordinary look: finds faces from about 1/30 of the longer side of the picture."""

CLOSE_LOOK = 640
"""Longer side of a close look, about 3.5 times the work: finds faces from about 1/60 of the longer side."""


class Detection(Struct, frozen=True):
    """A face in pixels of the frame: `box` is x, y, width, height (may reach over the border), `points` are the
    subject's right eye, left eye, nose tip, right and left mouth corner as (x, y)."""

    box: Box
    points: tuple[tuple[float, float], ...]
    score: float


def checked(bgr: Frame) -> Frame:
    """The frame as contiguous H×W×3 uint8; grey and BGRA pictures are converted, anything else is an `InputError`."""
    if bgr.dtype != np.uint8 or bgr.size == 0:
        raise InputError(
            f"a frame is an array of {bgr.dtype} with shape {bgr.shape}",
            cure="pass 8-bit BGR pixels, height x width x 3",
        )
    if bgr.ndim == 2 or (bgr.ndim == 3 and bgr.shape[2] == 1):
        return np.ascontiguousarray(np.repeat(bgr.reshape(*bgr.shape[:2], 1), 3, axis=2))
    if bgr.ndim == 3 and bgr.shape[2] in (3, 4):
        return np.ascontiguousarray(bgr[:, :, :3])
    raise InputError(f"a frame has shape {bgr.shape}", cure="pass 8-bit BGR pixels, height x width x 3")


class FaceDetector:
    """Boxes and five points of all faces of a picture. Not for use by two threads at once.

    OpenCV's thread pool is process-wide; it is set to one thread here, because a session is served by one core.
    """

    def __init__(self, score: float = 0.6, overlap: float = 0.3) -> None:
        cv2.setNumThreads(1)
        self.name = registry.identity("yunet")
        self._net = cv2.FaceDetectorYN.create(str(registry.path("yunet")), "", (LOOK, LOOK), score, overlap, 200)

    def detect(self, bgr: Frame, long_side: int = LOOK) -> tuple[Detection, ...]:
        """All faces, best score first. `bgr`: H×W×3 uint8; a picture larger than `long_side` is reduced to it."""
        bgr = checked(bgr)
        height, width = bgr.shape[:2]
        scale = min(1.0, long_side / max(height, width))
        if scale < 1:
            size = (max(1, round(width * scale)), max(1, round(height * scale)))
            bgr = np.asarray(cv2.resize(bgr, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
        self._net.setInputSize((bgr.shape[1], bgr.shape[0]))
        rows = self._net.detect(bgr)[1]
        if rows is None:
            return ()
        found = [_detection(row, width / bgr.shape[1], height / bgr.shape[0]) for row in np.asarray(rows, np.float64)]
        return tuple(sorted(found, key=lambda face: (-face.score, face.box)))


def _detection(row: NDArray[np.float64], across: float, down: float) -> Detection:
    x, y, width, height = (float(value) for value in row[:4])
    points = tuple((float(row[4 + 2 * i]) * across, float(row[5 + 2 * i]) * down) for i in range(5))
    return Detection((x * across, y * down, width * across, height * down), points, round(float(row[14]), 4))


def overlap(first: Box, second: Box) -> float:
    """Intersection over union of two boxes (x, y, width, height)."""
    width = min(first[0] + first[2], second[0] + second[2]) - max(first[0], second[0])
    height = min(first[1] + first[3], second[1] + second[3]) - max(first[1], second[1])
    if width <= 0 or height <= 0:
        return 0.0
    common = width * height
    return common / (first[2] * first[3] + second[2] * second[3] - common)
