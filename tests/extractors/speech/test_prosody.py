"""Measures of the voice are right on voices whose truth is known, and relative ones never look at themselves."""

from __future__ import annotations

import importlib.util
import math

import numpy as np
import pytest

from extractors import registry
from extractors.cues import Prosody, Word
from extractors.speech.loudness import envelope_db, loudness_lufs
from extractors.speech.pitch import track
from extractors.speech.prosody import Baseline, measure
from extractors.speech.syllables import syllables
from extractors.speech.voice_quality import voice_quality

from .voices import RATE, int16, voice

needs_pitch = pytest.mark.skipif(registry.installed("swift-f0").problem is not None, reason="swift-f0 is not installed")


@needs_pitch
@pytest.mark.parametrize("hz", [85, 120, 210, 320])
def test_pitch_of_a_known_voice(hz: float) -> None:
    found = measure(int16(voice(hz, 1.5)[0]))
    assert found.f0_median_hz == pytest.approx(hz, rel=0.01)
    assert found.f0_range_st is not None and found.f0_range_st < 0.5
    assert found.voiced_ratio > 0.9


@needs_pitch
def test_a_rising_voice_has_its_slope_and_range() -> None:
    found = measure(int16(voice(150, 2.0, glide_st=6)[0]))
    assert found.f0_slope_st_s == pytest.approx(3.0, abs=0.2)
    assert found.f0_range_st == pytest.approx(0.9 * 6, abs=0.4)


@needs_pitch
@pytest.mark.parametrize("hz", [100, 150])
@pytest.mark.parametrize("jitter", [0.005, 0.01, 0.02])
def test_jitter_of_a_known_voice(hz: float, jitter: float) -> None:
    wave, truth = voice(hz, 2.5, jitter=jitter)
    assert voice_quality(wave, track(wave)).jitter == pytest.approx(truth["jitter"], rel=0.2)


@needs_pitch
@pytest.mark.parametrize("shimmer", [0.05, 0.1])
def test_shimmer_of_a_known_voice(shimmer: float) -> None:
    wave, truth = voice(110, 2.5, shimmer=shimmer)
    assert voice_quality(wave, track(wave)).shimmer == pytest.approx(truth["shimmer"], rel=0.15)


@needs_pitch
@pytest.mark.parametrize("hz", [90, 150, 220])
@pytest.mark.parametrize("snr", [5, 10, 20])
def test_harmonics_to_noise_ratio_is_the_ratio_of_the_noise_added(hz: float, snr: float) -> None:
    wave, _ = voice(hz, 1.5, snr_db=snr)
    assert voice_quality(wave, track(wave)).hnr_db == pytest.approx(snr, abs=0.7)


@needs_pitch
def test_a_clean_steady_voice_has_hardly_any_jitter_or_noise() -> None:
    wave, _ = voice(150, 1.5)
    found = voice_quality(wave, track(wave))
    assert found.jitter is not None and found.jitter < 0.001
    assert found.hnr_db is not None and found.hnr_db > 25


@needs_pitch
def test_a_pressed_voice_has_less_tilt_than_a_soft_one() -> None:
    soft, _ = voice(150, 1.5)
    pressed = np.diff(soft, prepend=np.float32(0)).astype(np.float32)  # a differentiator lifts 6 dB an octave
    tilts = [voice_quality(wave, track(wave)).tilt_db for wave in (soft, pressed)]
    assert tilts[0] > tilts[1] + 4


@needs_pitch
def test_pauses_inside_are_counted_and_padding_is_not() -> None:
    tone, gap, pad = voice(140, 0.8)[0], np.zeros(int(0.3 * RATE), np.float32), np.zeros(int(0.5 * RATE), np.float32)
    found = measure(np.concatenate([pad, tone, gap, tone, np.zeros(int(0.1 * RATE), np.float32), tone, pad]))
    assert found.pause_count == 1
    assert found.pause_ratio == pytest.approx(0.3 / 2.8, abs=0.03)


@needs_pitch
def test_mains_hum_between_words_is_no_voice() -> None:
    count = 3 * RATE
    hum = 0.01 * np.sin(2 * np.pi * 120 * np.arange(count) / RATE)
    wave = hum.astype(np.float32)
    wave[RATE : 2 * RATE] += voice(220, 1.0)[0]
    assert measure(wave).f0_median_hz == pytest.approx(220, rel=0.02)
    assert measure(wave).f0_range_st == pytest.approx(0, abs=1)


@needs_pitch
@pytest.mark.parametrize("pcm", [np.zeros(0, np.int16), np.zeros(100, np.int16), np.zeros(RATE, np.int16)])
def test_nothing_to_measure_is_none_not_a_number(pcm: np.ndarray) -> None:
    found = measure(pcm)
    assert found.f0_median_hz is None and found.jitter is None and found.hnr_db is None and found.energy_dbfs is None
    assert found.voiced_ratio == 0 and found.pause_count == 0 and found.rate_words_s is None


@needs_pitch
def test_noise_has_no_pitch() -> None:
    noise = (np.random.default_rng(0).standard_normal(RATE) * 0.1).astype(np.float32)
    assert measure(noise).voiced_ratio < 0.1


@needs_pitch
def test_rates_come_from_the_words() -> None:
    words = [Word("Unbelievable", 500, 1300, 0.9), Word("service,", 1300, 1700, 0.9), Word("really.", 2000, 2500, 0.9)]
    found = measure(int16(voice(150, 3.0)[0]), words)
    assert found.rate_words_s == pytest.approx(1.5)
    assert found.rate_syllables_s == pytest.approx((5 + 2 + 2) / 2)


@pytest.mark.parametrize(
    ("word", "language", "count"),
    [("strength", "en", 1), ("table", "en", 2), ("asked", "en", 1), ("wanted", "en", 2), ("Eisschrank", "de", 2), ("Wochenende", "de", 4),
     ("beautiful", "en", 3), ("merci", "fr", 2), ("спасибо", "ru", 3), ("ありがとう", "ja", 5), ("きょう", "ja", 2), ("你好", "zh", 2),
     ("안녕하세요", "ko", 5), ("नमस्ते", "hi", 3), ("42", "en", 2), ("…", "en", 0)],
)
def test_syllables_of_known_words(word: str, language: str, count: int) -> None:
    assert syllables(word, language) == count


def test_loudness_of_the_reference_tone() -> None:
    """BS.1770: a 997 Hz sine with a peak of -20 dBFS reads -23.0 LUFS, however short."""
    tone = (0.1 * np.sin(2 * np.pi * 997 * np.arange(2 * RATE) / RATE)).astype(np.float32)
    assert loudness_lufs(tone) == pytest.approx(-23.0, abs=0.1)
    assert loudness_lufs(tone[: RATE // 5]) == pytest.approx(-23.0, abs=0.2)
    assert loudness_lufs(np.concatenate([tone, np.zeros(4 * RATE, np.float32)])) == pytest.approx(-23.0, abs=0.5)
    assert loudness_lufs(np.zeros(RATE, np.float32)) is None


@pytest.mark.skipif(importlib.util.find_spec("torchaudio") is None, reason="torchaudio is not installed")
def test_loudness_agrees_with_torchaudio() -> None:
    import torch
    import torchaudio

    wave, _ = voice(140, 2.0, snr_db=20)
    reference = float(torchaudio.functional.loudness(torch.from_numpy(wave)[None], RATE))
    assert loudness_lufs(wave) == pytest.approx(reference, abs=0.3)


def test_envelope_is_level_per_tenth_of_a_second() -> None:
    square = np.concatenate([np.full(1600, 16384, np.int16), np.zeros(1600, np.int16), np.full(800, -3277, np.int16)])
    assert envelope_db(square) == (-6.0, -96.0, -20.0)
    assert envelope_db(np.zeros(0, np.int16)) == ()


def prosody(hz: float, level: float = -20.0) -> Prosody:
    return Prosody(2000, 0.6, f0_median_hz=hz, f0_range_st=6.0, energy_dbfs=level, loudness_lufs=level, pause_ratio=0.05)


def test_relative_values_wait_for_three_earlier_utterances() -> None:
    baseline = Baseline()
    for count in range(3):
        related = baseline.relate(prosody(200))
        assert related.relative == {} and related.pitch_vs_baseline_st is None and related.baseline_utterances == count
        baseline.update(prosody(120))
    related = baseline.relate(prosody(240))
    assert related.pitch_vs_baseline_st == pytest.approx(12.0)
    assert related.relative["pitch"] > 3 and related.relative["energy"] == 0
    assert related.baseline_utterances == 3


def test_an_utterance_is_not_compared_with_itself() -> None:
    baseline = Baseline()
    for _ in range(5):
        baseline.update(prosody(120))
    before = baseline.snapshot()
    first = baseline.relate(prosody(240))
    assert baseline.snapshot() == before and baseline.relate(prosody(240)) == first


def test_one_shout_does_not_move_the_baseline() -> None:
    baseline = Baseline()
    for hz in (118, 121, 120, 124, 119, 380):
        baseline.update(prosody(hz))
    distance = baseline.relate(prosody(120)).pitch_vs_baseline_st
    assert distance is not None and abs(distance) < 0.3


def test_a_small_change_after_a_monotone_past_stays_small() -> None:
    baseline = Baseline()
    for _ in range(40):
        baseline.update(prosody(120))
    assert baseline.relate(prosody(120 * 2 ** (0.5 / 12))).relative["pitch"] < 1.0
    assert baseline.relate(prosody(799)).relative["pitch"] == 5.0


def test_a_baseline_resumes_from_its_state() -> None:
    one = Baseline()
    for hz in (100, 110, 130, 140):
        one.update(prosody(hz))
    other = Baseline()
    other.restore(one.snapshot())
    assert other.relate(prosody(150)) == one.relate(prosody(150)) and other.utterances == 4
    assert len(one.snapshot()) < 5_000
    with pytest.raises(ValueError, match="not a baseline state"):
        other.restore(b"\xc1")


def test_what_was_not_measured_is_not_compared() -> None:
    baseline = Baseline()
    for _ in range(4):
        baseline.update(prosody(120))
    mute = Prosody(500, 0.0)
    assert set(baseline.relate(mute).relative) == {"pauses"}
    assert math.isclose(baseline.relate(mute).relative["pauses"], -0.05 / 0.06 / math.sqrt(5 / 9), abs_tol=0.01)
