"""Steadiness and colour of the voice: jitter, shimmer, harmonics-to-noise ratio, spectral tilt.

All are measured where a pitch was found and are None where there is too little of it. Definitions are the "local" ones
in common use: mean absolute difference of neighbouring periods (amplitudes) over their mean. Cycle lengths come from
matching each cycle with the next by normalised cross-correlation (Titze and Liang 1993), the harmonics-to-noise ratio
from the autocorrelation (Boersma 1993).
"""

from __future__ import annotations

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from extractors.speech.pitch import HOP, RATE, Pitch, runs

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]

_FEWEST_CYCLES = 12
_PERIOD_FACTOR = 1.3  # neighbours that differ by more are not successive cycles of one phonation
_AMPLITUDE_FACTOR = 1.6
_LEAST_MATCH = 0.7  # cycles less alike than this do not belong together
_FRAME = 960  # 60 ms: 4.5 cycles at 75 Hz, as Boersma asks for
_FINE = 4  # autocorrelation is interpolated to a quarter of a sample


class VoiceQuality(Struct, frozen=True):
    """`jitter` and `shimmer` as ratios (0.01 = 1 %), `hnr_db` in dB, `tilt_db` = level of 50–1000 Hz over 1–5 kHz in dB."""

    jitter: float | None = None
    shimmer: float | None = None
    hnr_db: float | None = None
    tilt_db: float | None = None
    cycles: int = 0


def voice_quality(audio: Floats, pitch: Pitch) -> VoiceQuality:
    """Measure float32 mono audio in [-1, 1] at 16 kHz, with the pitch track of the same audio."""
    jitter, shimmer, cycles = _perturbation(audio, pitch)
    hnr, tilt = _spectral(audio, pitch)
    return VoiceQuality(jitter, shimmer, hnr, tilt, cycles)


def _perturbation(audio: Floats, pitch: Pitch) -> tuple[float | None, float | None, int]:
    differences: list[float] = []
    lengths: list[float] = []
    amplitude_differences: list[float] = []
    amplitudes: list[float] = []
    for start, end in runs(pitch.voiced):
        periods, levels = _cycles(audio, pitch, start, end)
        for a, b in zip(periods, periods[1:], strict=False):
            if max(a, b) <= _PERIOD_FACTOR * min(a, b):
                differences.append(abs(a - b))
                lengths.append((a + b) / 2)
        for a, b in zip(levels, levels[1:], strict=False):
            if min(a, b) > 0 and max(a, b) <= _AMPLITUDE_FACTOR * min(a, b):
                amplitude_differences.append(abs(a - b))
                amplitudes.append((a + b) / 2)
    jitter = float(np.sum(differences) / np.sum(lengths)) if len(lengths) >= _FEWEST_CYCLES else None
    shimmer = float(np.sum(amplitude_differences) / np.sum(amplitudes)) if len(amplitudes) >= _FEWEST_CYCLES else None
    return jitter, shimmer, len(lengths)


def _cycles(audio: Floats, pitch: Pitch, start: int, end: int) -> tuple[list[float], list[float]]:
    """Cycle lengths in samples and Hann-weighted RMS levels along one voiced stretch of frames."""
    first, last = start * HOP, min(end * HOP, len(audio))
    place = first + int(np.argmax(np.abs(audio[first : min(first + RATE // 55, last)])))
    periods: list[float] = []
    levels: list[float] = []
    while True:
        frame = min(max((place + HOP // 2) // HOP, start), end - 1)
        expected = RATE / pitch.f0_hz[frame]
        half = int(expected / 2) + 1
        slack = int(0.25 * expected) + 2
        near = int(expected)
        lowest, highest = place + near - slack - half, place + near + slack + half
        if place - half < 0 or highest > last:
            return periods, levels
        cycle = audio[place - half : place + half].astype(np.float64)
        region = audio[lowest:highest].astype(np.float64)
        levels.append(float(np.sqrt(np.mean((cycle * np.hanning(len(cycle))) ** 2))))
        products = np.correlate(region, cycle, "valid")
        energy = np.cumsum(np.concatenate([[0.0], region**2]))
        norms = np.sqrt(np.maximum((energy[len(cycle) :] - energy[: -len(cycle)]) * float(cycle @ cycle), 1e-20))
        match = products / norms
        best = int(np.argmax(match))
        if match[best] < _LEAST_MATCH or not 0 < best < len(match) - 1:
            periods.append(0.0)  # a gap: never within the period factor of a neighbour
            levels.append(0.0)
            place += max(near, 1)
            continue
        left, middle, right = match[best - 1 : best + 2]
        bend = left - 2 * middle + right
        shift = 0.5 * (left - right) / bend if bend < 0 else 0.0
        periods.append(near - slack + best + float(shift))
        place += near - slack + best


def _spectral(audio: Floats, pitch: Pitch) -> tuple[float | None, float | None]:
    """Mean harmonics-to-noise ratio, and tilt of the mean spectrum, over voiced frames of 60 ms."""
    voiced = np.flatnonzero(pitch.voiced)
    starts = voiced * HOP - _FRAME // 2
    inside = (starts >= 0) & (starts + _FRAME <= len(audio))
    voiced, starts = voiced[inside], starts[inside]
    if len(voiced) < 3:
        return None, None
    window = np.hanning(_FRAME + 1)[:-1]
    frames = audio[starts[:, None] + np.arange(_FRAME)].astype(np.float64)
    frames -= frames.mean(axis=1, keepdims=True)
    size = 2 * 1024
    power = np.abs(np.fft.rfft(frames * window, size)) ** 2
    ratios = _harmonicity(power, np.abs(np.fft.rfft(window, size)) ** 2, pitch.f0_hz[voiced], size)
    hnr = float(np.mean(10 * np.log10(ratios / (1 - ratios)))) if len(ratios) else None
    hz = np.arange(size // 2 + 1) * RATE / size
    mean = power.sum(axis=0)
    low, high = mean[(hz >= 50) & (hz < 1000)].sum(), mean[(hz >= 1000) & (hz < 5000)].sum()
    return hnr, float(10 * np.log10(low / high)) if high > 0 and low > 0 else None


def _harmonicity(power: Doubles, window_power: Doubles, f0: Doubles, size: int) -> Doubles:
    """Share of the periodic part per frame: the normalised autocorrelation at the pitch period, the window divided out."""
    fine = size * _FINE
    correlation = np.fft.irfft(power, fine)[:, : _FINE * _FRAME]
    window = np.fft.irfft(window_power, fine)[: _FINE * _FRAME]
    ratios = []
    for row, hz in zip(correlation, f0, strict=True):
        low, high = int(_FINE * 0.9 * RATE / hz), int(_FINE * 1.1 * RATE / hz) + 2
        if high > 0.6 * _FINE * _FRAME or row[0] <= 0:
            continue  # the window leaves too little to compare
        ratio = float(np.max(row[low:high] / row[0] * window[0] / window[low:high]))
        if ratio > 0:
            ratios.append(min(ratio, 0.9999))
    return np.array(ratios)
