"""Levels: RMS in dBFS (full-scale square wave = 0), and loudness in LUFS after ITU-R BS.1770-4."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from extractors.speech.resample import as_float32

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]

RATE = 16_000
FLOOR_DB = -96.0
"""What silence is given as: the range of 16 bits."""
_BLOCK = 400 * RATE // 1000
_STEP = _BLOCK // 4
_OFFSET = -0.691  # so that 997 Hz at 0 dBFS reads -3.01 LUFS


def decibels(power: float) -> float:
    """10 log10 of a mean square, not below `FLOOR_DB`."""
    return max(FLOOR_DB, 10 * math.log10(power)) if power > 0 else FLOOR_DB


def frame_levels(audio: Floats, length: int, hop: int) -> Doubles:
    """RMS in dBFS of frames of `length` samples every `hop`, float64 (frames,); the last incomplete frame is left out."""
    if len(audio) < length:
        return np.zeros(0)
    squares = np.concatenate([[0.0], np.cumsum(np.square(audio, dtype=np.float64))])
    starts = np.arange(0, len(audio) - length + 1, hop)
    power = np.maximum(squares[starts + length] - squares[starts], 0.0) / length
    levels: Doubles = np.maximum(FLOOR_DB, 10 * np.log10(np.maximum(power, 1e-12)))
    return levels


def envelope_db(pcm: NDArray[Any]) -> tuple[float, ...]:
    """RMS level in dBFS per 100 ms from the start, one decimal; the last value may stand for less than 100 ms.

    `pcm` is int16, or float32 in [-1, 1], mono at 16 kHz.
    """
    audio = as_float32(pcm)
    blocks = (audio[first : first + RATE // 10] for first in range(0, len(audio), RATE // 10))
    return tuple(round(decibels(float(np.mean(np.square(block, dtype=np.float64)))), 1) for block in blocks)


def loudness_lufs(audio: Floats) -> float | None:
    """Integrated loudness of mono audio at 16 kHz: K-weighting, blocks of 400 ms every 100 ms, both gates of BS.1770-4.

    Below 400 ms there is no block to gate, so the weighted mean square of all of it is taken. None where every block
    lies under the absolute gate of -70 LUFS.
    """
    if len(audio) == 0:
        return None
    weighted = np.square(k_weighted(audio))
    if len(weighted) < _BLOCK:
        level = _OFFSET + 10 * math.log10(max(float(weighted.mean()), 1e-12))
        return level if level > -70 else None
    sums = np.concatenate([[0.0], np.cumsum(weighted)])
    starts = np.arange(0, len(weighted) - _BLOCK + 1, _STEP)
    power = np.maximum(sums[starts + _BLOCK] - sums[starts], 1e-15) / _BLOCK
    levels = _OFFSET + 10 * np.log10(power)
    loud = power[levels > -70]
    if len(loud) == 0:
        return None
    gate = _OFFSET + 10 * math.log10(float(loud.mean())) - 10
    kept = power[(levels > -70) & (levels > gate)]
    return _OFFSET + 10 * math.log10(float(kept.mean()))


def k_weighted(audio: Floats) -> Doubles:
    """K-weighted audio, same length. The two biquads are applied as one frequency response on the zero-padded signal.

    The padding is longer than the filters ring (half a second: the high pass at 38 Hz is 150 dB down by then).
    """
    size = 1 << (len(audio) + RATE // 2).bit_length()
    spectrum = np.fft.rfft(audio.astype(np.float64), size) * _k_response(size)
    return np.fft.irfft(spectrum, size)[: len(audio)]


@lru_cache(maxsize=8)
def _k_response(size: int) -> NDArray[np.complex128]:
    z = np.exp(-2j * np.pi * np.arange(size // 2 + 1) / size)
    response = np.ones(len(z), np.complex128)
    for numerator, denominator in (_shelf(), _high_pass()):
        response *= np.polyval(numerator[::-1], z) / np.polyval(denominator[::-1], z)
    return response


def _shelf() -> tuple[list[float], list[float]]:
    """The head filter of BS.1770 at 16 kHz. The standard tabulates it for 48 kHz; these are the parameters of the
    analogue filter behind that table, through the bilinear transform."""
    k = math.tan(math.pi * 1681.974450955533 / RATE)
    gain, quality = 10 ** (3.999843853973347 / 20), 0.7071752369554196
    edge = gain**0.4996667741545416
    a0 = 1 + k / quality + k * k
    b = [(gain + edge * k / quality + k * k) / a0, 2 * (k * k - gain) / a0, (gain - edge * k / quality + k * k) / a0]
    return b, [1.0, 2 * (k * k - 1) / a0, (1 - k / quality + k * k) / a0]


def _high_pass() -> tuple[list[float], list[float]]:
    """The low-frequency cut of BS.1770 at 16 kHz, by the same way."""
    k = math.tan(math.pi * 38.13547087602444 / RATE)
    quality = 0.5003270373238773
    a0 = 1 + k / quality + k * k
    return [1.0, -2.0, 1.0], [1.0, 2 * (k * k - 1) / a0, (1 - k / quality + k * k) / a0]
