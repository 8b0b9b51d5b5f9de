"""Synthetic voices whose pitch, jitter, shimmer and noise are known, and cuttings of a signal into chunks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

RATE = 16_000
FORMANTS = ((700.0, 80.0), (1200.0, 90.0), (2600.0, 120.0), (3500.0, 200.0), (4500.0, 250.0), (5500.0, 300.0), (6800.0, 350.0))


def voice(
    f0_hz: float = 150.0,
    seconds: float = 2.0,
    jitter: float = 0.0,
    shimmer: float = 0.0,
    snr_db: float | None = None,
    glide_st: float = 0.0,
    seed: int = 0,
) -> tuple[NDArray[np.float32], dict[str, float]]:
    """A pulse train through three formants, float32 at 16 kHz, and the true figures of its pulses.

    Every pulse is placed exactly, between samples too, as a phase ramp in the spectrum.
    """
    random = np.random.default_rng(seed)
    count = int(seconds * RATE)
    places, strengths, time = [], [], 0.01
    while time < seconds - 0.02:
        places.append(time)
        strengths.append(1 + shimmer * random.standard_normal())
        hz = f0_hz * 2 ** (glide_st * (time / seconds - 0.5) / 12)
        time += (1 + jitter * random.standard_normal()) / hz
    hz_axis = np.fft.rfftfreq(count, 1 / RATE)
    spectrum = np.zeros(len(hz_axis), np.complex128)
    for place, strength in zip(places, strengths, strict=True):
        spectrum += strength * np.exp(-2j * np.pi * hz_axis * place)
    tract = 1 / (1 + 1j * hz_axis / 200)
    for centre, width in FORMANTS:
        tract = tract * centre**2 / (centre**2 - hz_axis**2 + 1j * hz_axis * width)
    wave = np.fft.irfft(spectrum * tract, count)
    wave *= 0.5 / np.abs(wave).max()
    if snr_db is not None:
        noise = random.standard_normal(count)
        wave = wave + noise * np.sqrt(np.mean(wave**2) / np.mean(noise**2) / 10 ** (snr_db / 10))
    periods, heights = np.diff(places), np.array(strengths)
    truth = {
        "jitter": float(np.mean(np.abs(np.diff(periods))) / np.mean(periods)),
        "shimmer": float(np.mean(np.abs(np.diff(heights))) / np.mean(heights)),
    }
    return wave.astype(np.float32), truth


def int16(wave: NDArray[Any]) -> NDArray[np.int16]:
    return np.clip(np.rint(np.asarray(wave) * 32768), -32768, 32767).astype(np.int16)


def chunks(signal: NDArray[Any], sizes: list[int]) -> Iterator[NDArray[Any]]:
    """The signal in pieces of these sizes, over and over."""
    place, turn = 0, 0
    while place < len(signal):
        size = sizes[turn % len(sizes)]
        yield signal[place : place + size]
        place, turn = place + size, turn + 1
