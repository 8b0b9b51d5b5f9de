"""Which transcripts are not believed: Whisper invents text on silence, noise and music, and sometimes repeats itself."""

from __future__ import annotations

import zlib

from msgspec import Struct

NO_SPEECH = 0.6
LOG_PROB = -1.0
COMPRESSION = 2.4


class Hypothesis(Struct, frozen=True):
    """One decoded text with what is needed to judge it. `endless` says that no end of text came within the token cap."""

    text: str
    tokens: tuple[int, ...]
    avg_logprob: float
    no_speech_prob: float
    compression_ratio: float
    endless: bool
    duration_s: float
    level_dbfs: float
    speech_probability: float | None = None

    @property
    def doubtful(self) -> bool:
        """Worth the price of a second decode from a whole encoded window."""
        return self.endless or self.avg_logprob < LOG_PROB or self.compression_ratio > COMPRESSION


def compression_ratio(text: str) -> float:
    """Length of the UTF-8 text over its zlib length: above 2.4 the text repeats itself (the measure of Whisper)."""
    data = text.encode("utf-8")
    return round(len(data) / len(zlib.compress(data)), 4) if data else 0.0


def objection(hypothesis: Hypothesis) -> str | None:
    return None
