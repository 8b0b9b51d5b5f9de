"""Training data made harder in the ways that live calls are: telephone band, noise, level, length; text as recognised.

Every function takes its randomness from a generator that the caller seeds per item, so that an item is the same
whatever was drawn before it.
"""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray

Audio = NDArray[np.float32]
RATE = 16_000

_PUNCTUATION = re.compile(r"[^\w\s']|_")
_MASK = re.compile(r"\[([A-Z]+)\]")
FILLERS = ("um", "uh", "you know", "i mean", "like")
DROPPED, SHORTENED, FILLED = 0.04, 0.03, 0.04


def telephone(audio: Audio) -> Audio:
    """The channel of a telephone: 300 to 3,400 Hz with slopes of 100 and 200 Hz, then eight-bit mu-law and back."""
    frequencies = np.fft.rfftfreq(len(audio), 1 / RATE)
    gain = np.clip((frequencies - 200) / 100, 0, 1) * np.clip((3600 - frequencies) / 200, 0, 1)
    return mu_law(np.asarray(np.fft.irfft(np.fft.rfft(audio) * gain, len(audio)), np.float32))


def mu_law(audio: Audio) -> Audio:
    """Samples after eight-bit mu-law coding (mu = 255)."""
    x = np.clip(audio, -1, 1).astype(np.float64)
    coded = np.round((np.sign(x) * np.log1p(255 * np.abs(x)) / np.log(256) + 1) * 127.5) / 127.5 - 1
    return np.asarray(np.sign(coded) * np.expm1(np.abs(coded) * np.log(256)) / 255, np.float32)


def noisy(audio: Audio, snr_db: float, rng: np.random.Generator) -> Audio:
    """`audio` in noise of the given signal-to-noise ratio whose power falls with frequency, like that of rooms."""
    spectrum = np.fft.rfft(rng.standard_normal(len(audio)))
    noise = np.fft.irfft(spectrum / np.sqrt(np.maximum(np.fft.rfftfreq(len(audio), 1 / RATE), 50)), len(audio))
    power = float(np.mean(audio.astype(np.float64) ** 2))
    scale = float(np.sqrt(power / 10 ** (snr_db / 10) / max(float(np.mean(noise**2)), 1e-12)))
    return np.asarray(audio + noise * scale, np.float32)


def louder(audio: Audio, gain_db: float) -> Audio:
    """`audio` amplified, clipped at full scale."""
    return np.asarray(np.clip(audio * 10 ** (gain_db / 20), -1, 1), np.float32)


def piece(audio: Audio, seconds: float, rng: np.random.Generator) -> Audio:
    """A random stretch of the given length; all of it where it is shorter."""
    length = int(seconds * RATE)
    if len(audio) <= length:
        return audio
    start = int(rng.integers(0, len(audio) - length + 1))
    return audio[start : start + length]


def recognised(text: str) -> str:
    """Text as a recogniser without punctuation writes it: lower case, words and apostrophes only, masks as words."""
    plain = _PUNCTUATION.sub(" ", _MASK.sub(r"\1", text).replace("’", "'").lower())
    return " ".join(plain.split())


def misrecognised(text: str, rng: np.random.Generator) -> str:
    """`recognised` text with words lost, words cut short, and fillers: about eleven errors in a hundred words."""
    words: list[str] = []
    for word in recognised(text).split():
        chance = rng.random()
        if chance < DROPPED:
            continue
        if chance < DROPPED + SHORTENED and len(word) > 3:
            at = int(rng.integers(0, len(word)))
            word = word[:at] + word[at + 1 :]
        if rng.random() < FILLED:
            words.append(FILLERS[int(rng.integers(0, len(FILLERS)))])
        words.append(word)
    return " ".join(words) or recognised(text)
