"""A speaker's own way of speaking, learnt as he goes on, and how far an utterance departs from it."""

from __future__ import annotations

import math

import msgspec
import numpy as np
from msgspec import Struct

from extractors.cues import Prosody

MINIMUM = 3
MEMORY = 40
_PRIOR_WEIGHT = 5.0
_LIMIT = 5.0

SPREAD: dict[str, float] = {
    "pitch": 2.5,
    "pitch_range": 3.4,
    "energy": 2.0,
    "loudness": 2.0,
    "rate": 1.0,
    "pauses": 0.06,
    "jitter": 0.004,
    "shimmer": 0.018,
    "hnr": 2.0,
    "tilt": 3.0,
}
"""Usual standard deviation within one speaker (measured over the turns of telephone callers and over calm read speech;
rate in syllables a second): what is believed before his own is known."""


class _State(Struct):
    values: dict[str, list[float]] = {}
    utterances: int = 0


class Baseline:
    """Running baseline of one speaker: median and median absolute deviation of his last 40 utterances.

    `relate` compares an utterance with *earlier* ones only; call `update` afterwards. A baseline over one emotional
    stretch calls that stretch normal, so relative values are to be read beside the absolute ones, never instead.
    The spread starts from `SPREAD` and gives way to the speaker's own as utterances come in.
    """

    def __init__(self) -> None:
        self._state = _State()

    @property
    def utterances(self) -> int:
        """Utterances taken in so far."""
        return self._state.utterances

    def relate(self, prosody: Prosody) -> Prosody:
        """The same prosody with `relative` (z-scores, limited to ±5), `pitch_vs_baseline_st` and `baseline_utterances`.

        A measure that fewer than 3 earlier utterances had is left out.
        """
        relative: dict[str, float] = {}
        pitch_distance = None
        for key, value in _measures(prosody).items():
            past = self._state.values.get(key, [])
            if len(past) < MINIMUM:
                continue
            centre = float(np.median(past))
            own = 1.4826 * float(np.median(np.abs(np.array(past) - centre)))
            weight = _PRIOR_WEIGHT / (_PRIOR_WEIGHT + len(past))
            spread = math.sqrt(weight * SPREAD[key] ** 2 + (1 - weight) * own**2)
            # An almost constant past must not turn a small change into a great one.
            score = (value - centre) / max(spread, SPREAD[key] / 3)
            relative[key] = round(min(max(score, -_LIMIT), _LIMIT), 3)
            if key == "pitch":
                pitch_distance = round(value - centre, 3)
        return msgspec.structs.replace(
            prosody,
            relative=relative,
            pitch_vs_baseline_st=pitch_distance,
            baseline_utterances=self._state.utterances,
        )

    def update(self, prosody: Prosody) -> None:
        """Take an utterance into the baseline."""
        self._state.utterances += 1
        for key, value in _measures(prosody).items():
            past = self._state.values.setdefault(key, [])
            past.append(value)
            del past[:-MEMORY]

    def snapshot(self) -> bytes:
        """MessagePack of the state, below 5 kB."""
        return msgspec.msgpack.encode(self._state)

    def restore(self, state: bytes) -> None:
        """Take over a snapshot; raises ValueError where it is not one."""
        try:
            self._state = msgspec.msgpack.decode(state, type=_State)
        except msgspec.DecodeError as error:
            raise ValueError(f"not a baseline state: {error}") from error


def _measures(prosody: Prosody) -> dict[str, float]:
    values = {
        "pitch": 12 * math.log2(prosody.f0_median_hz / 100) if prosody.f0_median_hz else None,
        "pitch_range": prosody.f0_range_st,
        "energy": prosody.energy_dbfs,
        "loudness": prosody.loudness_lufs,
        "rate": prosody.rate_syllables_s,
        "pauses": prosody.pause_ratio,
        "jitter": prosody.jitter,
        "shimmer": prosody.shimmer,
        "hnr": prosody.hnr_db,
        "tilt": prosody.tilt_db,
    }
    return {key: round(value, 4) for key, value in values.items() if value is not None}
