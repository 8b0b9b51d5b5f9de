"""What changed in the picture as a whole: shot cuts, movement, and the colours around a person."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from extractors.face.detect import Box, Frame

THUMBNAIL = 32
"""Side of the square thumbnail on which whole pictures are compared."""

CUT = 0.55
"""Colour change plus half the loss of correlation that makes a cut. Hard cuts of dark stage footage measured 0.64 and
more, the fastest movement within a shot 0.21 at 30 frames a second and 0.50 at 10."""

_LEVELS = 6  # a colour channel is quartered finer in the dark (square root), where stage and night pictures live


def thumbnail(bgr: Frame) -> NDArray[np.uint8]:
    """32×32×3 uint8 of a picture, whatever its aspect ratio. Every few pixels are enough."""
    step = max(1, min(bgr.shape[:2]) // (4 * THUMBNAIL))
    sparse = np.ascontiguousarray(bgr[::step, ::step])
    return np.asarray(cv2.resize(sparse, (THUMBNAIL, THUMBNAIL), interpolation=cv2.INTER_AREA), np.uint8)


def is_cut(before: NDArray[np.uint8], now: NDArray[np.uint8]) -> bool:
    """Whether two thumbnails belong to different shots."""
    change = 1.0 - _intersection(_histogram(before), _histogram(now))
    a, b = before.astype(np.float64).ravel(), now.astype(np.float64).ravel()
    a, b = a - a.mean(), b - b.mean()
    length = float(np.sqrt((a @ a) * (b @ b)))
    correlation = float(a @ b) / length if length > 0 else 1.0
    return change + (1.0 - correlation) / 2 >= CUT


def change_mask(before: NDArray[np.uint8], now: NDArray[np.uint8], levels: int = 20) -> NDArray[np.bool_]:
    """32×32 map of where two thumbnails differ by more than `levels` of 255 in some channel."""
    difference = np.abs(before.astype(np.int16) - now.astype(np.int16)).max(axis=2)
    return np.asarray(difference > levels)


def colours(bgr: Frame, box: Box) -> bytes:
    """Colours of head with shoulders and of the clothes below a face box: two histograms of 216 counts, uint16."""
    x, y, width, height = box
    parts = [
        _cut_out(bgr, x - 0.5 * width, y - 0.3 * height, x + 1.5 * width, y + 2.0 * height),
        _cut_out(bgr, x - 0.2 * width, y + 1.2 * height, x + 1.2 * width, y + 2.2 * height),
    ]
    return (
        np.concatenate([_histogram(part) if part is not None else _NOTHING for part in parts]).astype("<u2").tobytes()
    )


def _cut_out(bgr: Frame, left: float, top: float, right: float, bottom: float) -> NDArray[np.uint8] | None:
    columns = slice(max(0, int(left)), max(0, min(bgr.shape[1], int(right))))
    rows = slice(max(0, int(top)), max(0, min(bgr.shape[0], int(bottom))))
    part = bgr[rows, columns]
    return thumbnail(part) if min(part.shape[:2]) >= 4 else None


def likeness(first: bytes, second: bytes) -> float:
    """Mean intersection of two `colours`, 0 to 1, over the parts that both pictures show."""
    both = [np.frombuffer(part, "<u2").astype(np.int64).reshape(2, -1) for part in (first, second)]
    shown = [(a, b) for a, b in zip(*both, strict=True) if a.any() and b.any()]
    return sum(_intersection(a, b) for a, b in shown) / len(shown) if shown else 0.0


def _histogram(small: NDArray[np.uint8]) -> NDArray[np.int64]:
    level = _LEVEL_OF[small.reshape(-1, 3)]
    index = (level[:, 0] * _LEVELS + level[:, 1]) * _LEVELS + level[:, 2]
    return np.bincount(index, minlength=_LEVELS**3).astype(np.int64)


def _intersection(first: NDArray[np.int64], second: NDArray[np.int64]) -> float:
    return float(np.minimum(first, second).sum()) / max(1, int(first.sum()))


_LEVEL_OF: NDArray[np.int64] = np.minimum(np.sqrt(np.arange(256) / 255) * _LEVELS, _LEVELS - 1).astype(np.int64)
_NOTHING: NDArray[np.int64] = np.zeros(_LEVELS**3, np.int64)
