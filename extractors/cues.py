"""The vocabulary of cues: everything an extractor can say about speech, a face or a text.

Cues are immutable records with plain numbers, so that they travel as MessagePack and as JSON without loss. Unless a
field says otherwise, times are integer milliseconds on the clock of the caller (extractors count from the start of the
array they were given; the stages shift cues to session time), probabilities lie in [0, 1] and are rounded to four
decimals, so that a value is the same on every machine that agrees to that precision.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

LABELS: tuple[str, ...] = ("anger", "disgust", "fear", "happiness", "neutral", "sadness", "surprise")
"""Default label set of every emotion posterior, in this order."""


def rounded(value: float | None, digits: int = 4) -> float | None:
    """`value` rounded to `digits` decimals, without a negative zero; None and non-finite values become None."""
    if value is None or value != value or value in (float("inf"), float("-inf")):
        return None
    result = round(float(value), digits)
    return 0.0 if result == 0 else result


class Word(Struct, frozen=True):
    """One transcribed word. `start_ms`/`end_ms` are None only where alignment failed."""

    text: str
    start_ms: int | None
    end_ms: int | None
    probability: float


class Transcript(Struct, frozen=True):
    """What was said in one utterance.

    `rejected` names the guard that emptied the text (``no_speech``, ``low_confidence``, ``repetition``, ``music`` …) or
    is None. `avg_logprob` is the mean token log probability, `compression_ratio` the zlib ratio of the text.
    """

    text: str
    language: str
    language_probability: float
    words: tuple[Word, ...] = ()
    avg_logprob: float | None = None
    no_speech_prob: float | None = None
    compression_ratio: float | None = None
    rejected: str | None = None
    model: str = ""


class Prosody(Struct, frozen=True):
    """How it was said. None means not measurable (for example no voiced frame).

    Pitch in Hz and in semitones (st, 12 log2 of the ratio); `relative` holds z-scores against the speaker's running
    baseline (keys: pitch, pitch_range, energy, loudness, rate, pauses, jitter, shimmer, hnr, tilt) and is empty until
    `baseline_utterances` reached the minimum; `pitch_vs_baseline_st` is the median pitch in semitones above the
    speaker's own baseline median.
    """

    duration_ms: int
    voiced_ratio: float
    f0_median_hz: float | None = None
    f0_range_st: float | None = None
    f0_slope_st_s: float | None = None
    energy_dbfs: float | None = None
    loudness_lufs: float | None = None
    rate_words_s: float | None = None
    rate_syllables_s: float | None = None
    pause_count: int = 0
    pause_ratio: float = 0.0
    jitter: float | None = None
    shimmer: float | None = None
    hnr_db: float | None = None
    tilt_db: float | None = None
    pitch_vs_baseline_st: float | None = None
    relative: dict[str, float] = {}
    baseline_utterances: int = 0


class AudioQuality(Struct, frozen=True):
    """How far an utterance can be trusted: `score` in [0, 1], with the reasons that lowered it in words."""

    score: float
    snr_db: float | None = None
    clipping_ratio: float = 0.0
    bandwidth_hz: int | None = None
    reasons: tuple[str, ...] = ()


class Posterior(Struct, frozen=True):
    """A calibrated distribution over `LABELS` with dimensions in [-1, 1] where the model gives them.

    `probabilities` has every label and sums to 1 (within rounding). `quality` in [0, 1] says how far the *input* can
    be trusted; it never changes the distribution itself, fusion uses it as a weight. `model` is ``name@hash8``.
    """

    probabilities: dict[str, float]
    quality: float = 1.0
    valence: float | None = None
    arousal: float | None = None
    dominance: float | None = None
    model: str = ""


class FaceQuality(Struct, frozen=True):
    """`usable` is False when nothing should be concluded from the face; `reasons` says why, in the field's words:
    ``too_small``, ``turned_away``, ``occluded``, ``blurred``, ``dark``, ``cut_off``."""

    usable: bool
    score: float
    size_px: int
    presence_logit: float
    reasons: tuple[str, ...] = ()


class FaceObservation(Struct, frozen=True):
    """One face in one frame.

    `track` is an id stable through the video source; `box` is (x, y, width, height) in pixels of the upright frame;
    `pose` is (yaw, pitch, roll) in degrees, positive = subject's left, up, and clockwise in the picture; `blendshapes`
    are the 52 raw coefficients in [0, 1] in model order; `action_units` maps FACS codes ("AU4") to intensities 0–5
    above the person's own neutral baseline (derived from blendshapes and landmarks, not FACS-coded by people);
    `mouth_open` is the inner-lip gap divided by the outer-eye distance.
    """

    track: int
    box: tuple[int, int, int, int]
    score: float
    quality: FaceQuality
    pose: tuple[float, float, float] | None = None
    blendshapes: tuple[float, ...] = ()
    action_units: dict[str, float] = {}
    mouth_open: float | None = None
    expression: Posterior | None = None


class SpeechCues(Struct, frozen=True):
    """Everything heard in one utterance; parts that policy forbids or that could not run are None, with the reason
    in `skipped` (part -> reason). `envelope_db` is the RMS level in dBFS per 100 ms from the utterance start."""

    start_ms: int
    end_ms: int
    quality: AudioQuality
    transcript: Transcript | None = None
    prosody: Prosody | None = None
    speech_emotion: Posterior | None = None
    text_emotion: Posterior | None = None
    envelope_db: tuple[float, ...] = ()
    skipped: dict[str, str] = {}


Modality = Literal["speech", "face", "text"]
