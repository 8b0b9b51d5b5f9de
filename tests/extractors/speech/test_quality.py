"""The quality score falls for the reasons it names, and for no other."""

from __future__ import annotations

import numpy as np
import pytest

from extractors.speech.quality import assess
from extractors.speech.resample import StreamingResampler

from .voices import RATE, int16, voice


def utterance(snr_db: float | None = None) -> np.ndarray:
    wave, pad = voice(140, 1.5, jitter=0.01)[0], np.zeros(int(0.3 * RATE), np.float32)
    padded = np.concatenate([pad, wave, pad])
    if snr_db is not None:
        noise = np.random.default_rng(0).standard_normal(len(padded))
        padded = padded + noise * np.sqrt(np.mean(wave**2) / 10 ** (snr_db / 10))
    return padded.astype(np.float32)


def test_clean_audio_is_trusted() -> None:
    noise = np.random.default_rng(1).standard_normal(len(utterance())) * 1e-4
    found = assess(int16(utterance() + noise))
    assert found.score == 1.0 and found.reasons == () and found.bandwidth_hz == 8_000


@pytest.mark.parametrize("snr", [0, 5, 10, 20, 30])
def test_the_noise_that_was_added_is_the_noise_that_is_found(snr: float) -> None:
    found = assess(int16(0.3 * utterance(snr)))
    assert found.snr_db == pytest.approx(snr, abs=3.5)
    assert ("noise" in found.reasons) == (snr < 20)


def test_more_noise_never_raises_the_score() -> None:
    scores = [assess(int16(0.3 * utterance(snr))).score for snr in (30, 15, 10, 5, 0)]
    assert scores == sorted(scores, reverse=True) and scores[-1] < 0.5


def test_clipped_audio_says_so() -> None:
    found = assess(int16(np.clip(4 * utterance(40), -1, 1)))
    assert "clipping" in found.reasons and found.clipping_ratio > 0.01 and found.score < 0.7
    assert assess(int16(utterance(40))).clipping_ratio == 0


def test_the_telephone_band_is_recognised() -> None:
    narrow = StreamingResampler(RATE, 8_000)
    telephone = np.concatenate([narrow.push(utterance(30)), narrow.flush()])
    wide = StreamingResampler(8_000, RATE)
    found = assess(int16(np.concatenate([wide.push(telephone), wide.flush()])))
    assert found.bandwidth_hz == pytest.approx(3_600, abs=300)
    assert found.reasons == ("telephone_band",) and found.score == 0.9


def test_silence_is_worth_nothing() -> None:
    assert assess(np.zeros(RATE, np.int16)).score == 0
    assert assess(np.zeros(0, np.int16)).reasons == ("silent",)


def test_short_quiet_and_speechless_audio_is_trusted_less() -> None:
    whole = int16(utterance(40))
    assert "short" in assess(whole[4_800:11_000]).reasons
    assert "quiet" in assess(int16(0.002 * utterance(40))).reasons
    assert "little_speech" in assess(whole, speech_ratio=0.1).reasons and assess(whole, speech_ratio=0.9).reasons == ()
