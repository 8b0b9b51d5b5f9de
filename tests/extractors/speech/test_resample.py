"""A stream changes its rate without changing with the way it was delivered."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extractors.errors import InputError
from extractors.speech.resample import StreamingResampler, as_int16

RATES = (4_000, 8_000, 11_025, 16_000, 22_050, 44_100, 48_000, 96_000, 192_000)


def tone(rate: int, hz: float, seconds: float = 0.5) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * hz * np.arange(int(rate * seconds)) / rate)).astype(np.float32)


def resampled(signal: np.ndarray, rate: int, sizes: list[int]) -> np.ndarray:
    resampler, parts, place, turn = StreamingResampler(rate), [], 0, 0
    while place < len(signal):
        parts.append(resampler.push(signal[place : place + sizes[turn % len(sizes)]]))
        place, turn = place + sizes[turn % len(sizes)], turn + 1
    return np.concatenate([*parts, resampler.flush()])


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(RATES), st.lists(st.integers(1, 3000), min_size=1, max_size=8), st.integers(0, 6000))
def test_chunking_never_changes_a_bit(rate: int, sizes: list[int], length: int) -> None:
    signal = np.random.default_rng(length).standard_normal(length).astype(np.float32)
    assert resampled(signal, rate, sizes).tobytes() == resampled(signal, rate, [max(length, 1)]).tobytes()


@pytest.mark.parametrize("rate", RATES)
def test_output_sample_n_is_at_time_n_over_16000(rate: int) -> None:
    result = resampled(tone(rate, 997), rate, [rate // 50])
    assert len(result) == 8_000
    expected = tone(16_000, 997)
    assert np.abs(result - expected)[400:-400].max() < 2e-5


@pytest.mark.parametrize("rate", [44_100, 48_000, 192_000])
def test_what_16_khz_cannot_carry_is_gone(rate: int) -> None:
    result = resampled(tone(rate, 9_000), rate, [1000])
    assert 20 * np.log10(np.abs(result[400:-400]).max() / 0.5) < -80


def test_a_constant_stays_that_constant() -> None:
    result = resampled(np.full(4410, 0.25, np.float32), 44_100, [441])
    assert np.abs(result[400:-400] - 0.25).max() < 1e-6


def test_an_hour_drifts_by_nothing() -> None:
    """Integer positions: the length of a long stream is exact, and so is a click near its end."""
    resampler = StreamingResampler(44_100)
    second, total = np.zeros(44_100, np.float32), 0
    for _ in range(120):
        total += len(resampler.push(second))
    click = np.zeros(44_100, np.float32)
    click[22_050] = 1.0
    tail = np.concatenate([resampler.push(click), resampler.flush()])
    assert total + len(tail) == 121 * 16_000
    assert total + int(np.argmax(tail)) == 120 * 16_000 + 8_000


def test_equal_rates_pass_through_untouched() -> None:
    pcm = np.arange(-500, 500, dtype=np.int16)
    resampler = StreamingResampler(16_000)
    assert np.array_equal(as_int16(resampler.push(pcm)), pcm)
    assert len(resampler.flush()) == 0


def test_a_saved_state_goes_on_where_it_stopped() -> None:
    signal = np.random.default_rng(1).standard_normal(20_000).astype(np.float32)
    whole = resampled(signal, 48_000, [777])
    first = StreamingResampler(48_000)
    head = first.push(signal[:9_001])
    second = StreamingResampler(48_000)
    second.restore(first.snapshot())
    tail = np.concatenate([second.push(signal[9_001:]), second.flush()])
    assert np.concatenate([head, tail]).tobytes() == whole.tobytes()


@pytest.mark.parametrize("rate", [0, 3_999, 192_001])
def test_an_unusable_rate_is_refused_with_the_cure(rate: int) -> None:
    with pytest.raises(InputError, match="give audio between 4000 and 192000 Hz"):
        StreamingResampler(rate)


@pytest.mark.skipif(importlib.util.find_spec("torchaudio") is None, reason="torchaudio is not installed")
@pytest.mark.parametrize("rate", [8_000, 44_100])
def test_same_filter_as_torchaudio(rate: int) -> None:
    import torch
    import torchaudio

    signal = np.random.default_rng(2).standard_normal(rate // 2).astype(np.float32) * np.float32(0.1)
    reference = torchaudio.functional.resample(
        torch.from_numpy(signal), rate, 16_000, lowpass_filter_width=24, rolloff=0.9,
        resampling_method="sinc_interp_kaiser", beta=8.6,
    ).numpy()
    assert np.abs(resampled(signal, rate, [500]) - reference)[200:-200].max() < 3e-4  # of noise at 0.1
