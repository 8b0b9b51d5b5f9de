"""The person's own neutral face: running quantiles of the readings, causal, of constant memory.

Each reading keeps a histogram weighted by media time. Its neutral value is a quantile (low for what rises with
expression, the middle for what moves both ways, high for what shrinks), mixed with the neutral of a population while
little has been seen: after 5 s of usable face half is the person's own, after 20 s four fifths. It cannot leave the
range of neutral faces, so that somebody who laughs all along is not taken for somebody with a laughing neutral face.
"""

from __future__ import annotations

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from extractors.face.readings import INDEX, READINGS

BINS = 40

PRIOR_MS = 5000
"""Usable time at which the person's own quantile counts as much as the population's neutral."""

MEMORY_MS = 600_000
"""Seen time after which old time is halved, so that the neutral follows light and camera."""

STEP_MS = 250
"""Longest time that one frame stands for."""

# Reading: neutral of the population, range of neutral faces, quantile, range of the histogram. Populations: 5552
# FER+ faces voted neutral (10th, 50th and 90th percentile), distances corrected by four sharp clips.
_TABLE: dict[str, tuple[float, float, float, float, float, float]] = {
    "browDown": (0.01, 0.0, 0.30, 0.3, 0.0, 1.0),
    "browInnerUp": (0.06, 0.0, 0.50, 0.3, 0.0, 1.0),
    "browOuterUp": (0.15, 0.0, 0.50, 0.3, 0.0, 1.0),
    "eyeBlink": (0.10, 0.0, 0.35, 0.3, 0.0, 1.0),
    "eyeSquint": (0.27, 0.0, 0.52, 0.3, 0.0, 1.0),
    "eyeWide": (0.01, 0.0, 0.07, 0.3, 0.0, 0.5),
    "jawOpen": (0.01, 0.0, 0.10, 0.3, 0.0, 1.0),
    "mouthDimple": (0.003, 0.0, 0.03, 0.3, 0.0, 0.4),
    "mouthFrown": (0.01, 0.0, 0.22, 0.3, 0.0, 1.0),
    "mouthFunnel": (0.001, 0.0, 0.02, 0.3, 0.0, 0.4),
    "mouthLowerDown": (0.005, 0.0, 0.10, 0.3, 0.0, 1.0),
    "mouthPress": (0.02, 0.0, 0.20, 0.3, 0.0, 0.8),
    "mouthPucker": (0.05, 0.0, 0.50, 0.3, 0.0, 1.0),
    "mouthRollLower": (0.02, 0.0, 0.15, 0.3, 0.0, 0.8),
    "mouthRollUpper": (0.01, 0.0, 0.06, 0.3, 0.0, 0.8),
    "mouthShrugLower": (0.02, 0.0, 0.15, 0.3, 0.0, 0.8),
    "mouthShrugUpper": (0.02, 0.0, 0.10, 0.3, 0.0, 0.8),
    "mouthSmile": (0.005, 0.0, 0.20, 0.3, 0.0, 1.0),
    "mouthStretch": (0.005, 0.0, 0.10, 0.3, 0.0, 1.0),
    "mouthUpperUp": (0.003, 0.0, 0.05, 0.3, 0.0, 1.0),
    "brow_eye": (0.245, 0.215, 0.285, 0.5, 0.15, 0.35),
    "brow_eye_height": (0.185, 0.14, 0.22, 0.5, 0.05, 0.30),
    "outer_brow_height": (0.185, 0.145, 0.215, 0.5, 0.05, 0.30),
    "nasal_root": (0.195, 0.163, 0.225, 0.5, 0.10, 0.30),
    "lid_gap": (0.108, 0.065, 0.135, 0.7, 0.0, 0.20),
    "nose_wing_eye": (0.405, 0.362, 0.446, 0.6, 0.25, 0.55),
    "nose_lip": (0.163, 0.13, 0.198, 0.5, 0.05, 0.30),
    "lip_gap": (0.012, 0.0, 0.06, 0.3, 0.0, 0.50),
    "mouth_width": (0.56, 0.48, 0.64, 0.4, 0.35, 0.90),
    "corner_height": (-0.013, -0.032, 0.03, 0.4, -0.10, 0.15),
    "lip_thickness": (0.098, 0.08, 0.12, 0.6, 0.03, 0.18),
    "chin_height": (0.33, 0.21, 0.42, 0.5, 0.05, 0.60),
    "nose_width": (0.426, 0.39, 0.47, 0.4, 0.30, 0.60),
    "glabella": (0.14, 0.07, 0.32, 0.3, 0.0, 0.60),
}

_PRIOR, _LEAST, _MOST, _QUANTILE, _LOW, _HIGH = (
    np.array(column) for column in zip(*(_TABLE[name] for name in READINGS), strict=True)
)

POPULATION: NDArray[np.float64] = _PRIOR
"""Neutral of the population in the order of `READINGS`."""


class Baseline(Struct):
    """State: milliseconds seen per reading and bin (little-endian uint32, row by row)."""

    histogram: bytes = b""
    seen_ms: int = 0


def learn(baseline: Baseline, readings: NDArray[np.float64], elapsed_ms: int) -> None:
    """Count one usable frame; `elapsed_ms` is the media time since the frame before."""
    counts = _counts(baseline)
    weight = max(1, min(elapsed_ms, STEP_MS))
    known = np.isfinite(readings)
    place = np.clip((np.where(known, readings, 0.0) - _LOW) / (_HIGH - _LOW) * BINS, 0, BINS - 1).astype(np.int64)
    rows = np.arange(len(READINGS))[known]
    counts[rows, place[known]] += weight
    baseline.seen_ms += weight
    if baseline.seen_ms >= MEMORY_MS:
        counts //= 2
        baseline.seen_ms //= 2
    baseline.histogram = counts.astype("<u4").tobytes()


def neutral(baseline: Baseline) -> NDArray[np.float64]:
    """Neutral values in the order of `READINGS`."""
    counts = _counts(baseline).astype(np.float64)
    total = counts.sum(axis=1)
    target = np.maximum(total, 1.0) * _QUANTILE
    heap = np.cumsum(counts, axis=1)
    place = np.minimum((heap < target[:, None]).sum(axis=1), BINS - 1)
    rows = np.arange(len(READINGS))
    before = np.where(place > 0, heap[rows, place - 1], 0.0)
    within = np.clip((target - before) / np.maximum(counts[rows, place], 1.0), 0.0, 1.0)
    own = _LOW + (place + within) * (_HIGH - _LOW) / BINS
    share = total / (total + PRIOR_MS)
    return np.asarray(np.clip((1 - share) * _PRIOR + share * own, _LEAST, _MOST))


def _counts(baseline: Baseline) -> NDArray[np.int64]:
    if not baseline.histogram:
        return np.zeros((len(READINGS), BINS), np.int64)
    return np.frombuffer(baseline.histogram, "<u4").reshape(len(READINGS), BINS).astype(np.int64)


__all__ = ["Baseline", "INDEX", "MEMORY_MS", "POPULATION", "PRIOR_MS", "learn", "neutral"]
