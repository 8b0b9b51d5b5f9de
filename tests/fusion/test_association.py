"""Which face speaks: right joins come, wrong joins do not. Series are synthetic: syllables that open a mouth and make a
level, with jitter of landmarks, at the frame rates that cameras have."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import av
import msgspec
import numpy as np
import pytest
import soundfile

from extractors.face.analyse import FaceAnalyser
from extractors.speech.prosody import envelope_db
from extractors.speech.segment import Segmenter
from fusion.association import ACCEPT, MOST_PAIRS, Joins, Pair, Score, mouth_motion, score, voice_level

Series = np.ndarray


def syllables(rng: np.random.Generator, ms: int) -> Series:
    """Opening in [0, 1] per 10 ms: syllables of 100–280 ms with pauses now and then."""
    opening, at = np.zeros(ms // 10), int(rng.integers(0, 8))
    while at < len(opening):
        if rng.random() < 0.12:
            at += int(rng.integers(20, 60))
            continue
        length = int(rng.integers(10, 28))
        end = min(len(opening), at + length)
        opening[at:end] = np.maximum(opening[at:end], (np.hanning(length) * rng.uniform(0.4, 1))[: end - at])
        at += length - 4
    return opening


def level(opening: Series) -> list[float]:
    return [
        20 * np.log10(np.sqrt(np.mean((0.3 * opening[i : i + 10]) ** 2)) + 0.003)
        for i in range(0, len(opening) - 9, 10)
    ]


def mouth(rng: np.random.Generator, opening: Series, start_ms: int, fps: float) -> list[tuple[int, float]]:
    """The mouth leads the voice by 100 ms; landmarks jitter by 0.008 eye distances."""
    smooth = np.convolve(opening, np.hanning(15) / np.hanning(15).sum(), mode="same") * 0.15 * rng.uniform(0.7, 1.2)
    lips = np.roll(smooth, -10) + rng.normal(0, 0.008, len(opening))
    times = np.arange(rng.uniform(0, 1000 / fps), len(lips) * 10 - 10, 1000 / fps)
    return [(start_ms + int(t), max(0.0, float(lips[int(t) // 10]))) for t in times]


def utterance(rng: np.random.Generator, fps: float, faces: Sequence[str], ms: int) -> dict[tuple[str, int], Score]:
    """Scores of an utterance at 5 s, one second of silence before it, for faces that speak it, speak something else
    (`other`), keep still, or speak just before it (`before`)."""
    spoken = syllables(rng, ms)
    scores = {}
    for track, kind in enumerate(faces):
        lips = {
            "speaks": np.concatenate([np.zeros(100), spoken]),
            "other": syllables(rng, ms + 1000),
            "still": np.zeros(100 + len(spoken)),
            "before": np.concatenate([syllables(rng, 1000), np.zeros(len(spoken))]),
        }[kind]
        found = score(level(spoken), 5000, mouth(rng, lips, 4000, fps))
        if found:
            scores["video/0", track] = found
    return scores


def dialogue(seed: int, fps: float, faces: Sequence[str], count: int = 12) -> list[tuple[int, bool]]:
    """(joined track, accepted) per utterance of one voice."""
    rng, joins, result = np.random.default_rng(seed), Joins(), []
    for i in range(count):
        found = joins.resolve(
            "customer", utterance(rng, fps, faces, int(rng.choice([1500, 2500, 4000, 6000]))), 10_000 * i
        )
        result.append((found.track, found.accepted) if found else (-1, False))
    return result


@pytest.mark.parametrize("fps", [5, 10, 25])
@pytest.mark.parametrize("faces", [("speaks",), ("still", "speaks"), ("other", "speaks", "before")])
def test_the_speaking_face_is_joined_after_a_few_utterances(fps: float, faces: tuple[str, ...]) -> None:
    runs = [dialogue(seed, fps, faces) for seed in range(8)]
    joined = [[track for track, accepted in run if accepted] for run in runs]
    assert all(track == faces.index("speaks") for run in joined for track in run), "a wrong join"
    assert sum(bool(run) for run in joined) >= 7
    later = [accepted for run in runs for _, accepted in run[8:]]
    assert np.mean(later) > (0.8 if fps >= 10 else 0.5)


@pytest.mark.parametrize("fps", [5, 10, 25])
@pytest.mark.parametrize("faces", [("still",), ("other",), ("before",), ("other", "still", "other")])
def test_a_voice_from_off_screen_is_joined_to_nobody(fps: float, faces: tuple[str, ...]) -> None:
    accepted = [found for seed in range(12) for _, found in dialogue(seed, fps, faces)]
    assert not any(accepted)


def test_the_evidence_of_chance_is_at_most_standard_normal() -> None:
    rng = np.random.default_rng(5)
    z = [next(iter(utterance(rng, 10, ("other",), 4000).values())).z for _ in range(200)]
    assert abs(np.mean(z)) < 0.4 and 0.7 < np.std(z) < 1.1, "narrower than normal: real series are less tame"


def test_a_joined_face_that_keeps_still_is_not_joined_to_this_utterance() -> None:
    rng, joins = np.random.default_rng(3), Joins()
    for i in range(6):
        joins.resolve("customer", utterance(rng, 25, ("speaks",), 4000), i)
    assert joins.owner(("video/0", 0)) == "customer"
    silent = joins.resolve("customer", utterance(rng, 25, ("still",), 4000), 7)
    assert silent and not silent.accepted


def test_a_face_belongs_to_the_voice_with_the_better_claim() -> None:
    joins, mine, yours = Joins(), {("v", 1): Score(6.5, 0.5)}, {("v", 1): Score(6.0, 0.5)}
    first = joins.resolve("customer", mine, 0)
    second = joins.resolve("colleague", yours, 1)
    assert first and first.accepted and second and not second.accepted
    assert joins.owner(("v", 1)) == "customer"


def test_two_faces_with_about_the_same_score_are_left_alone() -> None:
    found = Joins().resolve("customer", {("v", 1): Score(6.5, 0.5), ("v", 2): Score(6.0, 0.5)}, 0)
    assert found and found.track == 1 and found.score and found.score > ACCEPT and not found.accepted


def test_looking_often_does_not_make_a_join_of_chance() -> None:
    """A thousand dialogues of sixty utterances by chance: at most one in a thousand may ever reach the threshold, which
    a plain running z-score of 4 would pass far more often than it says."""
    z = np.random.default_rng(7).normal(size=(1000, 60))
    pairs = [Pair("p", "v", 1) for _ in z]
    passed = 0
    for pair, row in zip(pairs, z, strict=True):
        best = 0.0
        for value in row:
            pair.total, pair.count = pair.total + value, pair.count + 1
            best = max(best, pair.score)
        passed += best >= ACCEPT
    assert passed <= 3


def test_a_face_seen_too_briefly_has_no_score() -> None:
    assert score([-20.0] * 30, 5000, [(5000 + 200 * i, 0.1 * (i % 2)) for i in range(4)]) is None
    assert score([], 5000, []) is None
    assert Joins().resolve("customer", {}, 0) is None


def test_long_holes_between_frames_are_not_bridged() -> None:
    motion = mouth_motion([(0, 0.0), (100, 0.1), (2000, 0.0), (2100, 0.1)], 0, 22)
    assert np.isnan(motion[3:18]).all() and np.isfinite(motion[21])


def test_the_level_is_relative_to_the_peak() -> None:
    assert voice_level([-60.0, -40.0, -20.0]).tolist() == [0.0, 0.5, 1.0]
    assert np.allclose(voice_level([-30.0, -10.0]), voice_level([-50.0, -30.0]))


def test_evidence_is_bounded_and_survives_storing() -> None:
    joins = Joins()
    for i in range(3 * MOST_PAIRS):
        joins.resolve("customer", {("v", i): Score(6.5, 0.5)}, i)
    assert len(joins.pairs) == MOST_PAIRS and 0 < len(joins.joined) <= MOST_PAIRS
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(joins), type=Joins) == joins


@pytest.mark.corpus
@pytest.mark.models
def test_real_mouths_are_not_joined_to_real_voices_of_others(corpus: Path, bundled_models: None) -> None:
    """Three people in an office, filmed without sound, against the turns of a telephone call."""
    voices = [turns(corpus / "audio" / "calls" / "dealer_oil_light_mono.flac")]
    mouths = lips(corpus / "visual" / "videos" / "openface_multi_face.avi", every=6)
    assert len(mouths) >= 3
    scores, accepted = [], []
    for voice in voices:
        joins, silent_since = Joins(), -10_000
        for start_ms, end_ms, envelope in voice:
            found = {}
            for track, series in mouths.items():
                looped = [(ms + lap * 24_000, gap) for lap in range(end_ms // 24_000 + 1) for ms, gap in series]
                near = [(ms, gap) for ms, gap in looped if start_ms - 1500 < ms < end_ms]
                one = score(envelope, start_ms, near, silence_ms=start_ms - silent_since)
                if one:
                    found["video/0", track] = one
            scores += [one.z for one in found.values()]
            join = joins.resolve("caller", found, end_ms)
            accepted.append(bool(join and join.accepted))
            silent_since = end_ms
    assert len(scores) > 100 and abs(np.mean(scores)) < 0.3 and np.std(scores) < 1.1
    assert not any(accepted)


def turns(path: Path) -> list[tuple[int, int, Sequence[float]]]:
    """(start_ms, end_ms, envelope) of the utterances of a recording's first channel."""
    sound, rate = soundfile.read(path, dtype="int16", always_2d=True)
    places = np.arange(len(sound) * 16_000 // rate) * rate / 16_000
    pcm = np.interp(places, np.arange(len(sound)), sound[:, 0]).astype(np.int16)
    segmenter = Segmenter()
    pieces = [*segmenter.push(pcm), *segmenter.flush()]
    return [(piece.start_ms, piece.end_ms, envelope_db(piece.pcm)) for piece in pieces if not piece.partial]


def lips(path: Path, every: int) -> dict[int, list[tuple[int, float]]]:
    """(ms, mouth_open) of the faces of a video that are only followed, not analysed."""
    analyser, series = FaceAnalyser(), {}
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        for i, frame in enumerate(container.decode(stream)):
            ms = int(frame.pts * stream.time_base * 1000)
            if i % every == 0:
                for face in analyser.process(frame.to_ndarray(format="bgr24"), ms, "follow"):
                    if face.quality.usable and face.mouth_open is not None:
                        series.setdefault(face.track, []).append((ms, face.mouth_open))
    return series
