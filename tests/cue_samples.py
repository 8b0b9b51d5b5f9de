"""Cues for tests: small builders and hypothesis strategies. Numbers are made up, the types are the product's."""

from __future__ import annotations

from hypothesis import strategies as st

from extractors.cues import (
    LABELS,
    AudioQuality,
    FaceObservation,
    FaceQuality,
    Posterior,
    Prosody,
    SpeechCues,
    Transcript,
    Word,
)
from fusion.models.pool import LogPool, PoolTable

ANCHORS = {
    "anger": (-0.51, 0.59, 0.25),
    "disgust": (-0.60, 0.35, 0.11),
    "fear": (-0.62, 0.82, -0.43),
    "happiness": (0.81, 0.51, 0.46),
    "neutral": (0.0, 0.0, 0.0),
    "sadness": (-0.63, -0.27, -0.33),
    "surprise": (0.40, 0.67, -0.13),
}
TABLE = PoolTable(
    weights={"text": 1.0, "speech": 0.8, "face": 0.6}, regressor_sigma={"text": {"valence": 0.3, "arousal": 0.35}}
)
POOL = LogPool(TABLE, ANCHORS)


def posterior(label: str = "neutral", p: float = 0.7, quality: float = 1.0, **more: float) -> Posterior:
    """`label` with probability `p`, the rest spread evenly."""
    rest = (1 - p) / (len(LABELS) - 1)
    probabilities = {name: p if name == label else rest for name in LABELS}
    return Posterior(probabilities=probabilities, quality=quality, model=f"{label}-model@00000000", **more)


def observation(
    track: int = 1,
    *,
    units: dict[str, float] | None = None,
    expression: Posterior | None = None,
    usable: bool = True,
    reasons: tuple[str, ...] = (),
    mouth_open: float | None = 0.02,
    size: int = 120,
) -> FaceObservation:
    quality = FaceQuality(usable, 0.9 if usable else 0.1, size, 20.0, reasons)
    return FaceObservation(
        track, (10, 10, size, size), 0.95, quality, (0.0, 0.0, 0.0), (0.5,) * 52, units or {}, mouth_open, expression
    )


def speech_cues(
    start_ms: int = 12_400,
    end_ms: int = 15_100,
    *,
    text: str | None = "Where is my order?",
    relative: dict[str, float] | None = None,
    pitch_st: float | None = None,
    text_emotion: Posterior | None = None,
    speech_emotion: Posterior | None = None,
    envelope_db: tuple[float, ...] = (),
) -> SpeechCues:
    words = tuple(
        Word(word, start_ms + 100 * i, start_ms + 100 * i + 90, 0.9) for i, word in enumerate((text or "").split())
    )
    transcript = None if text is None else Transcript(text, "en", 1.0, words, model="whisper-base@00000000")
    prosody = Prosody(
        end_ms - start_ms, 0.8, 180.0, 6.0, energy_dbfs=-23.0, loudness_lufs=-21.0, rate_words_s=2.4,
        relative=relative or {}, baseline_utterances=5 if relative else 0, pitch_vs_baseline_st=pitch_st,
    )  # fmt: skip
    return SpeechCues(
        start_ms, end_ms, AudioQuality(0.9), transcript, prosody, speech_emotion, text_emotion, envelope_db
    )


@st.composite
def posteriors(draw: st.DrawFn, quality: st.SearchStrategy[float] | None = None) -> Posterior:
    """A distribution over the labels, zeros included, rounded as models round."""
    raw = draw(st.lists(st.integers(0, 1000), min_size=len(LABELS), max_size=len(LABELS)).filter(any))
    probabilities = {label: round(value / sum(raw), 4) for label, value in zip(LABELS, raw, strict=True)}
    axis = st.one_of(st.none(), st.integers(-100, 100).map(lambda v: v / 100))
    return Posterior(
        probabilities=probabilities,
        quality=draw(quality or st.integers(0, 100).map(lambda v: v / 100)),
        valence=draw(axis),
        arousal=draw(axis),
    )


modalities = st.dictionaries(st.sampled_from(["text", "speech", "face"]), posteriors(), max_size=3)
