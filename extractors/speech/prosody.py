"""How an utterance was said: pitch, level, tempo, pauses and voice quality, and where it stands for its speaker."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from extractors.cues import Prosody, Word, rounded
from extractors.speech.activity import HOP, Activity, speech_activity
from extractors.speech.baseline import Baseline
from extractors.speech.loudness import decibels, envelope_db, loudness_lufs
from extractors.speech.pitch import HOP_S, Pitch, runs, track
from extractors.speech.resample import as_float32
from extractors.speech.syllables import syllables
from extractors.speech.voice_quality import voice_quality

__all__ = ["Baseline", "envelope_db", "measure"]

Floats = NDArray[np.float32]

RATE = 16_000
_SHORTEST_PAUSE_MS = 200
_FEWEST_VOICED = 6  # frames of 16 ms: below 0.1 s of voice there is no pitch to speak of
_MOST_SLOPE_POINTS = 300


def measure(pcm: NDArray[Any], words: Sequence[Word] = (), language: str = "en") -> Prosody:
    """Prosody of one utterance: int16, or float32 in [-1, 1], mono at 16 kHz, shape (n,); `words` from its transcript.

    Pitch is the median over voiced frames, its range the 5th to 95th percentile in semitones, its slope the median of
    all pairwise slopes (Theil 1950, Sen 1968). Level and pauses are taken between the first and the last frame that
    carries speech; a pause is at least 200 ms below the level of speech. Rates are words and syllables over the
    stretch from the first word to the last, pauses included.
    """
    audio = as_float32(pcm)
    activity = speech_activity(audio)
    pitch = _spoken(track(audio), activity)
    quality = voice_quality(audio, pitch)
    f0 = pitch.f0_hz[pitch.voiced]
    pauses = [b - a for a, b in runs(~activity.active[activity.first : activity.last])]
    pauses = [frames for frames in pauses if frames * 10 >= _SHORTEST_PAUSE_MS]
    span = max(1, activity.last - activity.first)
    rates = _rates(words, language)
    measurable = len(f0) >= _FEWEST_VOICED
    return Prosody(
        duration_ms=round(len(audio) * 1000 / RATE),
        voiced_ratio=round(len(f0) / len(pitch.f0_hz), 4) if len(pitch.f0_hz) else 0.0,
        f0_median_hz=rounded(float(np.median(f0)), 2) if measurable else None,
        f0_range_st=rounded(12 * math.log2(_percentile(f0, 95) / _percentile(f0, 5)), 3) if measurable else None,
        f0_slope_st_s=rounded(_slope(pitch), 3) if measurable else None,
        energy_dbfs=rounded(_speech_level(audio, activity), 2),
        loudness_lufs=rounded(loudness_lufs(audio), 2),
        rate_words_s=rounded(rates[0], 3) if rates else None,
        rate_syllables_s=rounded(rates[1], 3) if rates else None,
        pause_count=len(pauses),
        pause_ratio=round(sum(pauses) / span, 4),
        jitter=rounded(quality.jitter, 5),
        shimmer=rounded(quality.shimmer, 5),
        hnr_db=rounded(quality.hnr_db, 2),
        tilt_db=rounded(quality.tilt_db, 2),
    )


def _spoken(pitch: Pitch, activity: Activity) -> Pitch:
    """The pitch of frames at the level of speech: mains hum between the words has a pitch too."""
    if len(activity.active) == 0:
        return Pitch(np.zeros_like(pitch.f0_hz))
    places = np.minimum(np.rint(np.arange(len(pitch.f0_hz)) * HOP_S * 100).astype(int), len(activity.active) - 1)
    return Pitch(np.where(activity.active[places], pitch.f0_hz, 0.0))


def _speech_level(audio: Floats, activity: Activity) -> float | None:
    """RMS over the frames that carry speech, dBFS."""
    blocks = audio[: len(activity.active) * HOP].reshape(-1, HOP)[activity.active]
    return decibels(float(np.mean(np.square(blocks, dtype=np.float64)))) if blocks.size else None


def _rates(words: Sequence[Word], language: str) -> tuple[float, float] | None:
    timed = [word for word in words if word.start_ms is not None and word.end_ms is not None]
    if not timed or timed[0].start_ms is None or timed[-1].end_ms is None:
        return None
    seconds = (timed[-1].end_ms - timed[0].start_ms) / 1000
    if seconds < 0.2:
        return None
    return len(timed) / seconds, sum(syllables(word.text, language) for word in timed) / seconds


def _slope(pitch: Pitch) -> float | None:
    """Theil–Sen slope of the pitch in semitones a second; None where the voice spans less than 0.2 s."""
    frames = np.flatnonzero(pitch.voiced)
    frames = frames[:: -(-len(frames) // _MOST_SLOPE_POINTS)]
    times, tones = frames * HOP_S, 12 * np.log2(pitch.f0_hz[frames])
    if len(frames) < 3 or times[-1] - times[0] < 0.2:
        return None
    i, j = np.triu_indices(len(frames), 1)
    return float(np.median((tones[j] - tones[i]) / (times[j] - times[i])))


def _percentile(values: NDArray[np.float64], percent: float) -> float:
    return float(np.percentile(values, percent))
