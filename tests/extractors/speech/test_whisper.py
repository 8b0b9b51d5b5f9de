"""One encoder pass gives words, times and language, and an utterance's transcript does not depend on its batch mates."""

from __future__ import annotations

import csv
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
import soundfile

from extractors import registry
from extractors.cues import Transcript, Word
from extractors.errors import InputError
from extractors.speech.guards import plain_text
from extractors.speech.resample import StreamingResampler, as_int16
from extractors.speech.segment import Segmenter
from extractors.speech.whisper import EncodedUtterance, WhisperEngine, merge_punctuation

from .voices import RATE, int16, voice

TINY, BASE = "whisper-tiny.en", "whisper-base"
needs_tiny = pytest.mark.skipif(registry.installed(TINY).problem is not None, reason=f"{TINY} is not installed")
needs_base = pytest.mark.skipif(registry.installed(BASE).problem is not None, reason=f"{BASE} is not installed")


@lru_cache(maxsize=1)
def tiny() -> WhisperEngine:
    return WhisperEngine(TINY)


@lru_cache(maxsize=1)
def base() -> WhisperEngine:
    return WhisperEngine(BASE)


def turns(folder: Path, name: str, count: int) -> list[EncodedUtterance]:
    audio, rate = soundfile.read(folder / "audio/calls" / f"{name}.flac", dtype="float32", always_2d=True)
    resampler, segmenter = StreamingResampler(rate), Segmenter()
    pcm = as_int16(np.concatenate([resampler.push(audio[:, 0].copy()), resampler.flush()]))
    pieces = [*segmenter.push(pcm), *segmenter.flush()]
    return [tiny().encode(piece.pcm, piece.speech_probability) for piece in pieces[:count]]


def sentences(folder: Path, corpus: str, count: int) -> list[tuple[np.ndarray, str]]:
    with (folder / "audio" / corpus / "manifest.csv").open(encoding="utf-8", newline="") as table:
        rows = [row for row in csv.DictReader(table) if row["label"] in ("neutral", "calm") and row.get("note") != "first 2.0 s only"]
    return [(soundfile.read(folder / "audio" / corpus / row["path"], dtype="int16")[0], row["text"]) for row in rows[:: len(rows) // count][:count]]


@needs_tiny
@pytest.mark.parametrize("samples", [1, 319, 320, 321, 16_000, 33_333, 20 * RATE])
def test_states_cover_the_real_audio_and_nothing_else(samples: int) -> None:
    found = tiny().encode(np.full(samples, 100, np.int16))
    assert found.states.shape == (-(-samples // 320), 384) and found.states.dtype == np.float32
    assert len(found.window) >= len(found.states)
    assert found.duration_s == samples / RATE


@needs_tiny
def test_int16_and_float_audio_are_the_same_audio() -> None:
    pcm = int16(voice(140, 0.8, seed=1)[0])
    assert tiny().encode(pcm).states.tobytes() == tiny().encode(pcm.astype(np.float32) / 32768).states.tobytes()


@needs_tiny
def test_unusable_audio_is_refused() -> None:
    with pytest.raises(ValueError, match="at most 29 s"):
        tiny().encode(np.zeros(30 * RATE, np.int16))
    with pytest.raises(ValueError, match="more than 0"):
        tiny().encode(np.zeros(0, np.int16))
    with pytest.raises(ValueError, match="int16 or float32"):
        tiny().encode(np.zeros((10, 2), np.int16))


@needs_tiny
def test_a_transcript_does_not_depend_on_its_batch() -> None:
    """Alone or in reverse order with others: bit-equal transcripts, scores and word times included."""
    audio = [int16(voice(110 + 15 * k, 0.5 + 0.3 * k, jitter=0.02, glide_st=6, snr_db=20, seed=k)[0]) for k in range(3)]
    encoded = [tiny().encode(pcm) for pcm in audio]
    alone = [tiny().transcribe(one)[0] for one in encoded]
    assert tiny().transcribe(encoded[::-1]) == alone[::-1]


@needs_tiny
def test_a_short_turn_beside_a_long_one_keeps_its_words() -> None:
    """The decoder's window is longer for a long turn, and only for that one."""
    short, long = (int16(voice(130, seconds, jitter=0.02, glide_st=6, snr_db=20, seed=4)[0]) for seconds in (1.0, 14.0))
    encoded = [tiny().encode(pcm) for pcm in (long, short)]
    assert tiny().transcribe(encoded) == [tiny().transcribe(one)[0] for one in encoded]


@needs_tiny
@pytest.mark.parametrize("level", [0.0, 0.001, 0.05])
@pytest.mark.parametrize("seconds", [1.0, 6.0])
def test_nothing_is_heard_in_silence_and_noise(level: float, seconds: float) -> None:
    noise = np.random.default_rng(0).standard_normal(int(seconds * RATE)) * level
    found = tiny().transcribe(tiny().encode(int16(noise)))[0]
    assert found.text == "" and found.words == () and found.rejected is not None


@needs_base
def test_an_unknown_language_is_refused_with_the_cure() -> None:
    with pytest.raises(InputError, match="ISO code"):
        base().transcribe(base().encode(np.zeros(RATE, np.int16)), "klingon")


@needs_tiny
def test_one_language_for_each_utterance_or_one_for_all() -> None:
    encoded = tiny().encode(int16(voice(140, 0.6)[0]))
    with pytest.raises(ValueError, match="as many languages"):
        tiny().transcribe([encoded], ["en", "en"])
    assert tiny().transcribe([]) == []
    assert tiny().language_logprobs(encoded) == {"en": 0.0}


def test_lone_punctuation_joins_its_word() -> None:
    words = [Word("Oh", 10, 300, 0.9), Word(",", 300, 320, 0.8), Word("“", 330, 340, 0.5), Word("no", 340, 500, 0.9), Word("!", 500, 500, 0.9)]
    assert [word.text for word in merge_punctuation(words)] == ["Oh,", "“no!"]
    assert merge_punctuation(words)[0].end_ms == 300


@needs_tiny
@pytest.mark.corpus
def test_real_turns_are_bit_equal_in_any_batch(corpus: Path) -> None:
    encoded = turns(corpus, "dealer_service_light_stereo", 5)
    together = tiny().transcribe(encoded)
    assert [tiny().transcribe(one)[0] for one in encoded] == together
    assert sum(bool(found.text) for found in together) >= 4


def words_are_in_order(found: Transcript, duration_ms: int) -> None:
    last = 0
    for word in found.words:
        assert word.start_ms is not None and word.end_ms is not None
        assert last <= word.start_ms <= word.end_ms <= duration_ms and 0 <= word.probability <= 1
        last = word.start_ms
    assert " ".join(word.text for word in found.words).split() == found.text.split()


@needs_tiny
@pytest.mark.corpus
def test_known_sentences_are_heard_word_for_word(corpus: Path) -> None:
    items = sentences(corpus, "ravdess", 8)
    encoded = [tiny().encode(pcm) for pcm, _ in items]
    found = tiny().transcribe(encoded)
    assert sum(plain_text(one.text) == plain_text(text) for one, (_, text) in zip(found, items, strict=True)) >= 7
    for one, utterance in zip(found, encoded, strict=True):
        words_are_in_order(one, round(utterance.duration_s * 1000))


@needs_base
@pytest.mark.corpus
def test_german_is_recognised_and_its_words_have_times(corpus: Path) -> None:
    items = sentences(corpus, "emodb", 4)
    encoded = [base().encode(pcm) for pcm, _ in items]
    total: dict[str, float] = {}
    for utterance in encoded:
        for code, value in base().language_logprobs(utterance).items():
            total[code] = total.get(code, 0.0) + value
    assert max(total, key=lambda code: total[code]) == "de"
    for one, utterance in zip(base().transcribe(encoded, "de"), encoded, strict=True):
        assert one.language == "de" and one.text
        words_are_in_order(one, round(utterance.duration_s * 1000))


@needs_tiny
@pytest.mark.corpus
def test_a_word_starts_after_the_pause_before_it(corpus: Path) -> None:
    pcm, _ = soundfile.read(corpus / "audio/calls/jfk_11s.flac", dtype="int16")
    words = tiny().transcribe(tiny().encode(pcm))[0].words
    ask = next(word for word in words if plain_text(word.text) == "ask")
    assert ask.start_ms is not None and ask.start_ms > 3_000


@needs_tiny
@pytest.mark.corpus
@pytest.mark.parametrize("name", ["esc10_rain_1", "esc10_helicopter_1", "esc10_clock_tick_1", "dtmf_5", "office_ambience_12s"])
def test_nothing_is_heard_in_real_noise_even_without_voice_activity(corpus: Path, name: str) -> None:
    audio, rate = soundfile.read(corpus / "audio/nonspeech" / f"{name}.flac", dtype="float32")
    resampler = StreamingResampler(rate)
    pcm = np.concatenate([resampler.push(audio), resampler.flush()])[: 12 * RATE]
    assert tiny().transcribe(tiny().encode(pcm))[0].text == ""
