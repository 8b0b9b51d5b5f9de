"""Two synthetic voices out of one: hibari-tts speaks, with pitch and formants changed before its vocoder.

The network of hibari (Apache-2.0) gives, per 12.5 ms frame, F0 and the spectra of a harmonic, a noise and a free-phase
part. Scaling F0 moves the pitch, stretching its distance from the mean changes the pitch range, and stretching the
spectra along frequency moves the formants: the source-filter way of changing a voice. How a mood is spoken is a recipe
of these figures, not acted emotion: the emotion of the samples is in their words.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from hibari import Hibari, dsp
from msgspec import Struct

RATE = 24_000
_VOICED_HZ = 60.0
_FLOOR_LOG = -12.0
_SPEECH_RMS = 0.07


class Manner(Struct, frozen=True):
    """How something is said: tempo, pitch and pitch range as factors, level in dB, brightness in dB per octave above
    500 Hz."""

    speed: float = 1.0
    pitch: float = 1.0
    pitch_range: float = 1.0
    level_db: float = 0.0
    brightness_db: float = 0.0


MOODS = {
    "neutral": Manner(),
    "calm": Manner(speed=0.94, pitch=0.97, pitch_range=0.85, level_db=-1.0, brightness_db=-0.5),
    "annoyed": Manner(speed=1.06, pitch=1.08, pitch_range=1.25, level_db=2.5, brightness_db=0.7),
    "angry": Manner(speed=1.1, pitch=1.16, pitch_range=1.45, level_db=5.0, brightness_db=1.5),
    "sad": Manner(speed=0.9, pitch=0.93, pitch_range=0.65, level_db=-3.0, brightness_db=-1.0),
    "relieved": Manner(speed=0.97, pitch=1.06, pitch_range=1.3),
    "happy": Manner(speed=1.03, pitch=1.16, pitch_range=1.45, level_db=1.5, brightness_db=0.5),
}
SPEAKERS = {"customer": (1.0, 1.0), "narrator": (0.97, 0.98), "agent": (0.57, 0.86)}
"""Pitch and formant factors of each speaker, against the packaged voice."""


class Voices:
    """Speaks texts as one of `SPEAKERS` in one of `MOODS`: float32 mono at `RATE`, the same bytes each time."""

    def __init__(self) -> None:
        self._tts = Hibari(threads=1)

    def say(self, text: str, speaker: str, mood: str = "neutral", seed: int = 0) -> np.ndarray:
        """Speech without silence at its ends."""
        manner, (pitch, formants) = MOODS[mood], SPEAKERS[speaker]
        noise = np.random.default_rng(seed)
        sentences = self._tts.phonemize(text)
        spoken = _trimmed(np.concatenate([self._sentence(one, manner, pitch, formants, noise) for one in sentences]))
        gain = _SPEECH_RMS * 10 ** (manner.level_db / 20) / np.sqrt(np.mean(spoken**2))
        return np.asarray(np.tanh(spoken * gain), np.float32)

    def _sentence(
        self, phonemes: str, manner: Manner, pitch: float, formants: float, noise: np.random.Generator
    ) -> np.ndarray:
        ids, speed = np.asarray([self._tts.ids(phonemes)], np.int64), np.asarray([manner.speed], np.float32)
        inputs = {"ids": ids, "speed": speed}
        harmonic, turn, hiss, free, phase, f0 = (output[0] for output in self._tts.sess.run(None, inputs))
        voiced = f0 > _VOICED_HZ
        middle = np.exp(np.log(f0[voiced]).mean())
        moved = middle * (np.maximum(f0, 1.0) / middle) ** manner.pitch_range * pitch * manner.pitch
        f0 = np.where(voiced, moved, 0.0)
        harmonic, turn, hiss, free = (_stretched(part, formants) for part in (harmonic, turn, hiss, free))
        octaves = np.maximum(np.log2(np.maximum(np.arange(harmonic.shape[0]), 1) * RATE / dsp.N_FFT / 500), 0)
        harmonic = harmonic + (octaves * manner.brightness_db * np.log(10) / 20)[:, None]
        return np.asarray(dsp.synth(*(_float32(part) for part in (harmonic, turn, hiss, free, phase, f0)), noise))


def _float32(values: Any) -> np.ndarray:
    return np.ascontiguousarray(values, dtype=np.float32)


def _stretched(spectrum: np.ndarray, factor: float) -> np.ndarray:
    """A log spectrum (bins, frames) with its frequencies multiplied by `factor`; silence where nothing is left."""
    bins = spectrum.shape[0]
    source = np.arange(bins) / factor
    low = np.minimum(source.astype(int), bins - 1)
    part = (source - low)[:, None]
    mixed = spectrum[low] * (1 - part) + spectrum[np.minimum(low + 1, bins - 1)] * part
    return np.where((source <= bins - 1)[:, None], mixed, _FLOOR_LOG)


def _trimmed(samples: np.ndarray, below_db: float = -40.0) -> np.ndarray:
    """Without the quiet ends (10 ms blocks more than 40 dB under the loudest), with 20 ms left on both sides."""
    block = RATE // 100
    levels = np.sqrt(np.mean(samples[: len(samples) // block * block].reshape(-1, block) ** 2, axis=1))
    loud = np.flatnonzero(levels > levels.max() * 10 ** (below_db / 20))
    return samples[max(0, loud[0] - 2) * block : (loud[-1] + 3) * block]
