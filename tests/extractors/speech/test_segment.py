"""Speech is cut into utterances by what was said, never by how it was delivered."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from extractors import registry
from extractors.speech.segment import FRAME, RATE, Segment, Segmenter, SegmentOptions, VoiceActivity

from .voices import chunks, voice

pytestmark = pytest.mark.skipif(registry.installed("silero-vad").problem is not None, reason="silero-vad is not installed")

PARTIALS = SegmentOptions(partial_every_ms=500)
BOTH = SegmentOptions(partial_every_ms=500, partial_at_pause=True)


@lru_cache(maxsize=32)
def babble(seconds: float, seed: int = 0) -> np.ndarray:
    """Something voice activity takes for speech: a voice whose pitch and loudness move like syllables."""
    random = np.random.default_rng(seed)
    count = int(seconds * RATE)
    wave, _ = voice(130 + 20 * random.random(), seconds, jitter=0.01, shimmer=0.05, glide_st=5, snr_db=30, seed=seed)
    syllables = 0.55 + 0.45 * np.sin(2 * np.pi * 4.5 * np.arange(count) / RATE + random.random())
    return (wave * syllables * 16_000).astype(np.int16)


def silence(seconds: float) -> np.ndarray:
    return np.zeros(int(seconds * RATE), np.int16)


@lru_cache(maxsize=1)
def conversation() -> np.ndarray:
    parts = [silence(0.7), babble(1.5, 1), silence(0.9), babble(2.5, 2), silence(0.3), babble(1.0, 3), silence(1.2)]
    return np.concatenate(parts)


def run(pcm: np.ndarray, sizes: list[int], options: SegmentOptions | None = None) -> list[Segment]:
    segmenter = Segmenter(options)
    found = [piece for chunk in chunks(pcm, sizes) for piece in segmenter.push(chunk)]
    return found + list(segmenter.flush())


def key(piece: Segment) -> tuple[object, ...]:
    return (piece.index, piece.partial, piece.start_sample, piece.end_sample, piece.cut, piece.speech_probability,
            piece.speech_ratio, piece.pcm.tobytes())


def test_two_turns_with_a_pause_between_are_two_utterances() -> None:
    found = run(conversation(), [320])
    assert [piece.index for piece in found] == [0, 1]
    assert abs(found[0].start_ms - (700 - 150)) < 150 and abs(found[0].end_ms - (2200 + 150)) < 250
    assert found[1].end_ms - found[1].start_ms > 3_000


@settings(max_examples=12, deadline=None)
@given(st.lists(st.integers(1, 5_000), min_size=1, max_size=6))
def test_chunk_size_never_changes_an_utterance(sizes: list[int]) -> None:
    pcm = conversation()
    assert [key(p) for p in run(pcm, sizes, PARTIALS)] == [key(p) for p in run(pcm, [len(pcm)], PARTIALS)]


def test_an_utterance_is_exactly_the_audio_it_spans() -> None:
    pcm = conversation()
    for piece in run(pcm, [480], PARTIALS):
        assert np.array_equal(piece.pcm, pcm[piece.start_sample : piece.end_sample])


def test_utterances_never_overlap() -> None:
    options = SegmentOptions(min_silence_ms=200, pad_ms=200)
    found = run(np.concatenate([babble(0.8, k) if k % 2 else silence(0.25) for k in range(9)]), [512], options)
    assert len(found) > 1
    assert all(a.end_sample <= b.start_sample for a, b in zip(found, found[1:], strict=False))


def test_silence_and_noise_hold_no_utterance() -> None:
    noise = (np.random.default_rng(0).standard_normal(5 * RATE) * 300).astype(np.int16)
    assert run(silence(5), [512]) == []
    assert run(noise, [512]) == []


def test_a_click_is_too_short_to_be_an_utterance() -> None:
    assert run(np.concatenate([silence(0.5), babble(0.12), silence(1)]), [512]) == []


def test_endless_speech_is_cut_and_nothing_of_it_is_lost() -> None:
    options = SegmentOptions(max_utterance_ms=900, cut_search_ms=600, min_silence_ms=400)
    whole, pieces = run(conversation(), [512], SegmentOptions(min_silence_ms=400)), run(conversation(), [512], options)
    assert sum(piece.cut for piece in pieces) >= 3
    assert all(piece.end_ms - piece.start_ms <= 900 for piece in pieces)
    for turn in whole:
        parts = [piece for piece in pieces if turn.start_sample <= piece.start_sample < turn.end_sample]
        assert parts[0].start_sample == turn.start_sample and not parts[-1].cut
        # Voice activity may hesitate for a moment, but padding closes over it: the parts touch.
        assert all(b.start_sample - a.end_sample <= 3 * FRAME for a, b in zip(parts, parts[1:], strict=False))


def test_partial_hypotheses_come_at_steps_of_media_time() -> None:
    found = run(conversation(), [160], PARTIALS)
    for index in {piece.index for piece in found}:
        pieces = [piece for piece in found if piece.index == index]
        assert pieces[-1].partial == 0 and {piece.start_sample for piece in pieces} == {pieces[-1].start_sample}
        assert [piece.partial for piece in pieces[:-1]] == list(range(1, len(pieces)))
        steps = [(piece.end_ms - piece.start_ms) // 500 for piece in pieces[:-1]]
        assert all(a < b for a, b in zip(steps, steps[1:], strict=False)) and all(step >= piece.partial for step, piece in zip(steps, pieces, strict=False))


def test_a_hypothesis_at_a_pause_is_the_utterance_that_follows_if_the_pause_goes_on() -> None:
    found = run(conversation(), [160], SegmentOptions(partial_at_pause=True))
    complete = [piece for piece in found if not piece.partial]
    assert [key(piece) for piece in run(conversation(), [160])] == [key(piece) for piece in complete]
    for piece in complete:
        offered = [other for other in found if other.index == piece.index and other.partial]
        assert offered and [other.partial for other in offered] == list(range(1, len(offered) + 1))
        last = offered[-1]
        assert (last.start_sample, last.end_sample, last.speech_probability) == (piece.start_sample, piece.end_sample, piece.speech_probability)
        assert np.array_equal(last.pcm, piece.pcm)


def test_a_hypothesis_at_a_pause_comes_while_the_pause_may_still_end() -> None:
    segmenter, options = Segmenter(SegmentOptions(partial_at_pause=True)), SegmentOptions()
    gained = []
    offered: dict[int, int] = {}
    for chunk in chunks(conversation(), [FRAME]):
        for piece in segmenter.push(chunk):
            if piece.partial:
                offered[piece.index] = segmenter.next_sample
            elif piece.index in offered:
                gained.append((segmenter.next_sample - offered[piece.index]) // 16)
    assert gained and all(abs(value - (options.min_silence_ms - options.pad_ms)) <= 32 for value in gained)


def test_no_utterance_starts_before_what_was_declared_read() -> None:
    segmenter, read = Segmenter(PARTIALS), 0
    for chunk in chunks(conversation(), [700]):
        before = segmenter.read_ms
        for piece in segmenter.push(chunk):
            assert piece.start_ms >= before or piece.partial or piece.start_ms >= read
        assert segmenter.read_ms >= before
        read = before
    list(segmenter.flush())
    assert segmenter.read_ms == len(conversation()) // 16


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 8 * RATE), st.booleans())
def test_a_crash_anywhere_changes_nothing(at: int, with_audio: bool) -> None:
    pcm = conversation()
    first = Segmenter(BOTH)
    before = list(first.push(pcm[:at]))
    state = first.snapshot(include_audio=with_audio)
    assert with_audio or len(state) < 8_000
    second = Segmenter()
    second.restore(state)
    assert second.next_sample == (min(at, len(pcm)) if with_audio else second.resume_sample)
    after = list(second.push(pcm[second.next_sample :])) + list(second.flush())
    assert [key(p) for p in before + after] == [key(p) for p in run(pcm, [512], BOTH)]


def test_memory_is_bounded_by_the_longest_utterance() -> None:
    segmenter = Segmenter(SegmentOptions(max_utterance_ms=6_000, cut_search_ms=2_000))
    largest = 0
    for seed in range(12):
        list(segmenter.push(np.concatenate([babble(1.0, 1 + (seed + k) % 3) for k in range(4)])))
        largest = max(largest, len(segmenter.snapshot()))
    assert largest < 2 * RATE * 8


def test_a_foreign_state_is_refused() -> None:
    with pytest.raises(ValueError, match="not a segmenter state"):
        Segmenter().restore(b"\x93\x01\x02\x03")


@pytest.mark.parametrize("bad", [{"threshold": 1.5}, {"pad_ms": 900}, {"max_utterance_ms": 3_000}, {"max_utterance_ms": 60_000}, {"min_speech_ms": -1}])
def test_impossible_options_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(ValueError):
        Segmenter(SegmentOptions(**bad))  # type: ignore[arg-type]


def test_voice_activity_resumes_from_its_state() -> None:
    pcm = babble(1.5)
    frames = pcm[: len(pcm) // FRAME * FRAME].reshape(-1, FRAME)
    one, other = VoiceActivity(), VoiceActivity()
    expected = [one.push(frame) for frame in frames]
    for frame in frames[:10]:
        other.push(frame)
    third = VoiceActivity()
    third.restore(other.snapshot())
    assert [third.push(frame) for frame in frames[10:]] == expected[10:]


@pytest.mark.corpus
def test_real_telephone_talk_is_found_and_noise_is_not(corpus: Path) -> None:
    """Turns cover the labelled speech of a real telephone call; a dog, rain and a helicopter hold no utterance."""
    audio, rate = soundfile.read(corpus / "audio/calls/phone_two_women.flac", dtype="int16")
    assert rate == RATE
    found = run(audio, [320])
    heard = np.zeros(len(audio), bool)
    for piece in found:
        heard[piece.start_sample : piece.end_sample] = True
    labelled = np.zeros(len(audio), bool)
    for line in (corpus / "audio/calls/phone_two_women.rttm").read_text(encoding="utf-8").splitlines():
        start, length = (float(value) for value in line.split()[3:5])
        labelled[int(start * RATE) : int((start + length) * RATE)] = True
    assert (heard & labelled).sum() / labelled.sum() > 0.95
    for name in ("esc10_dog_bark_1", "esc10_rain_1", "esc10_helicopter_1"):
        noise, _ = soundfile.read(corpus / f"audio/nonspeech/{name}.flac", dtype="int16")
        assert run(noise, [320]) == []
