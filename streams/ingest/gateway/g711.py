"""G.711: µ-law and A-law to linear PCM, by table (ITU-T G.711; the standard library lost `audioop` in Python 3.13)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def _mu_law_table() -> NDArray[np.int16]:
    code = ~np.arange(256, dtype=np.int32) & 0xFF
    segment, step = (code >> 4) & 7, code & 15
    magnitude = ((step << 3) + 0x84 << segment) - 0x84
    return np.where(code & 0x80, -magnitude, magnitude).astype("<i2")


def _a_law_table() -> NDArray[np.int16]:
    code = np.arange(256, dtype=np.int32) ^ 0x55
    segment, step = (code >> 4) & 7, code & 15
    magnitude = np.where(segment == 0, (step << 4) + 8, (step << 4) + 0x108 << np.maximum(segment - 1, 0))
    return np.where(code & 0x80, magnitude, -magnitude).astype("<i2")


MU_LAW = _mu_law_table()
"""Linear s16 value (14-bit scale, shifted to 16) of each µ-law code."""
A_LAW = _a_law_table()
"""Linear s16 value (13-bit scale, shifted to 16) of each A-law code."""


def mu_law(payload: bytes) -> bytes:
    """Little-endian s16 PCM of µ-law bytes, one sample a byte."""
    return MU_LAW[np.frombuffer(payload, np.uint8)].tobytes()


def a_law(payload: bytes) -> bytes:
    """Little-endian s16 PCM of A-law bytes, one sample a byte."""
    return A_LAW[np.frombuffer(payload, np.uint8)].tobytes()


def deinterleave(pcm: bytes, channels: int) -> list[bytes]:
    """s16 PCM of each channel of interleaved s16 PCM; the length must be whole frames."""
    if channels == 1:
        return [pcm]
    samples = np.frombuffer(pcm, "<i2").reshape(-1, channels)
    return [samples[:, channel].tobytes() for channel in range(channels)]
