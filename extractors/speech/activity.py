"""Where the speech is inside one utterance, by its level."""

from __future__ import annotations

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from extractors.speech.loudness import FLOOR_DB, frame_levels

Floats = NDArray[np.float32]
Bools = NDArray[np.bool_]

HOP = 160  # 10 ms
_FRAME = 400


class Activity(Struct, frozen=True, eq=False):
    """Which frames of 10 ms carry speech, by level: bool (frames,), and the first and last of them (exclusive)."""

    active: Bools
    first: int
    last: int


def speech_activity(audio: Floats) -> Activity:
    """Frames of 10 ms above a level between the noise (5th percentile) and the speech (95th) of this utterance.

    The threshold is a third of the way up in dB, at least 15 and at most 35 dB below the speech, so that clean audio
    does not lose its consonants and noisy audio not its pauses.
    """
    levels = frame_levels(audio, _FRAME, HOP)
    if len(levels) == 0 or levels.max() <= FLOOR_DB:
        return Activity(np.zeros(len(levels), np.bool_), 0, 0)
    noise, speech = float(np.percentile(levels, 5)), float(np.percentile(levels, 95))
    threshold = min(max(noise + (speech - noise) / 3, speech - 35), speech - 15)
    active = levels >= threshold
    places = np.flatnonzero(active)
    return Activity(active, int(places[0]), int(places[-1]) + 1) if len(places) else Activity(active, 0, 0)
