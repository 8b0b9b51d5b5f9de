"""Fundamental frequency by SwiftF0 (Nieradzik 2025; MIT): one value and one confidence every 16 ms."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import onnxruntime
from msgspec import Struct
from numpy.typing import NDArray

from extractors import registry

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]

RATE = 16_000
HOP = 256
HOP_S = HOP / RATE
LOWEST_HZ, HIGHEST_HZ = 65.0, 800.0  # above mains hum, up to screams
VOICED = 0.5
_SILENT_PEAK = 1e-3  # the model answers digital silence with random voiced frames
_SHORTEST_RUN = 3  # voiced stretches below 48 ms are clicks and consonants


class Pitch(Struct, frozen=True, eq=False):
    """`f0_hz` float64 (frames,), 0 where unvoiced; frame k is centred at k * 16 ms."""

    f0_hz: Doubles

    @property
    def voiced(self) -> NDArray[np.bool_]:
        return self.f0_hz > 0


@lru_cache(maxsize=1)
def _session() -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(str(registry.path("swift-f0")), options, providers=["CPUExecutionProvider"])


def track(audio: Floats) -> Pitch:
    """F0 of float32 mono audio in [-1, 1] at 16 kHz, shape (n,), in one pass (memory grows with n: utterances only)."""
    frames = len(audio) // HOP
    if frames == 0:
        return Pitch(np.zeros(0))
    limits = {"fmin": np.asarray(LOWEST_HZ, np.float32), "fmax": np.asarray(HIGHEST_HZ, np.float32)}
    pitch, confidence = _session().run(["pitch", "confidence"], {"audio": audio[None, :], **limits})
    peaks = np.abs(audio[: frames * HOP]).reshape(frames, HOP).max(axis=1)
    voiced = (np.round(confidence[0, :frames], 4) >= VOICED) & (peaks >= _SILENT_PEAK)
    return Pitch(np.where(_without_short_runs(voiced), np.round(pitch[0, :frames].astype(np.float64), 3), 0.0))


def runs(mask: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Start and end (exclusive) of every stretch of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]).astype(np.int8)))
    return [(int(a), int(b)) for a, b in edges.reshape(-1, 2)]


def _without_short_runs(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    kept = np.zeros_like(mask)
    for start, end in runs(mask):
        kept[start:end] = end - start >= _SHORTEST_RUN
    return kept
