"""Emotion of voices: a distribution for any states, silent about what it never heard, careful with short sound."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from extractors import registry
from extractors.cues import LABELS, Prosody
from extractors.posterior import restate, softmax
from extractors.speech.emotion import SpeechEmotion, merged
from extractors.speech.whisper import MARGIN_FRAMES
from fusion import taxonomy
from fusion.evaluation import corpora

PRIOR = np.array([taxonomy.REFERENCE_PRIOR[label] for label in LABELS])
CLASSES = ("anger", "neutral", "disgust", "fear", "happiness", "neutral", "sadness")
SIZES = {"speech-emotion": 512, "speech-emotion-tiny": 384}


def head(name: str) -> SpeechEmotion:
    try:
        return SpeechEmotion(name)
    except registry.ModelMissing as missing:
        pytest.skip(str(missing))


@pytest.fixture(scope="module")
def model() -> SpeechEmotion:
    return head("speech-emotion")


def states(seconds: float, seed: int = 0, size: int = 512) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(int(seconds * 50), size)).astype(np.float32)


@given(arrays(np.float64, len(CLASSES), elements=st.floats(-20, 20)))
def test_merging_classes_gives_a_distribution_and_leaves_unheard_labels_at_their_prior(scores: np.ndarray) -> None:
    shares = merged(softmax(scores), CLASSES, PRIOR)
    assert shares.sum() == pytest.approx(1)
    assert shares[LABELS.index("surprise")] == pytest.approx(taxonomy.REFERENCE_PRIOR["surprise"])


def test_a_voice_that_tells_nothing_gives_the_prior() -> None:
    even = np.full(len(CLASSES), 1 / len(CLASSES))
    assert merged(even, CLASSES, PRIOR) == pytest.approx(PRIOR)


def test_evidence_for_either_class_of_a_label_is_evidence_for_the_label() -> None:
    for i in (1, 5):
        by_class = np.full(len(CLASSES), 0.05)
        by_class[i] = 0.7
        assert LABELS[int(merged(by_class, CLASSES, PRIOR).argmax())] == "neutral"


@given(arrays(np.float64, 7, elements=st.floats(0.01, 1)), arrays(np.float64, 7, elements=st.floats(0.01, 1)))
def test_restating_agrees_with_the_taxonomy(p: np.ndarray, prior: np.ndarray) -> None:
    p, prior = p / p.sum(), prior / prior.sum()
    named = [dict(zip(LABELS, values.tolist(), strict=True)) for values in (p, prior)]
    expected = taxonomy.rebase(named[0], named[1], taxonomy.REFERENCE_PRIOR)
    assert restate(p, prior, PRIOR) == pytest.approx(list(expected.values()))


@pytest.mark.models
@pytest.mark.parametrize("name", SIZES)
def test_each_head_reads_the_states_of_its_encoder(name: str) -> None:
    found = head(name)
    assert found.size == SIZES[name]
    assert found.prior == pytest.approx(taxonomy.REFERENCE_PRIOR)
    assert found._head.anchors == pytest.approx(np.array([taxonomy.ANCHORS[label] for label in LABELS]))
    result = found.classify(states(1.0, size=found.size))
    assert sum(result.probabilities.values()) == pytest.approx(1, abs=1e-3)
    assert result.model == registry.identity(name)


@pytest.mark.models
@pytest.mark.parametrize("name", SIZES)
def test_a_head_was_trained_on_states_as_the_engine_makes_them(name: str) -> None:
    # The silence behind an utterance changes its states a little: after a change of the margin the heads are trained anew.
    assert head(name)._head.head.get("margin_frames", MARGIN_FRAMES) == MARGIN_FRAMES


@pytest.mark.models
def test_the_default_heads_never_saw_data_that_may_not_be_used_commercially() -> None:
    for name in ("speech-emotion", "speech-emotion-tiny"):
        assert head(name).trained_on == ("emodb",)
        assert registry.MODELS[name].commercial


@pytest.mark.models
@settings(max_examples=20, deadline=None)
@given(seconds=st.floats(0.02, 8), seed=st.integers(0, 100), loud=st.floats(0.1, 30))
def test_any_states_give_a_distribution(seconds: float, seed: int, loud: float) -> None:
    found = head("speech-emotion").classify(states(seconds, seed) * np.float32(loud))
    assert tuple(found.probabilities) == LABELS
    assert sum(found.probabilities.values()) == pytest.approx(1, abs=1e-3)
    assert all(value is not None and -1 <= value <= 1 for value in (found.valence, found.arousal, found.dominance))


@pytest.mark.models
def test_the_same_states_give_the_same_posterior_also_from_a_view(model: SpeechEmotion) -> None:
    x = states(3)
    wide = np.zeros((len(x) + 7, 600), np.float32)
    wide[3 : 3 + len(x), 50:562] = x
    assert model.classify(x) == model.classify(x.copy()) == model.classify(wide[3 : 3 + len(x), 50:562])


@pytest.mark.models
def test_short_utterances_are_trusted_less(model: SpeechEmotion) -> None:
    short, middle, long = (model.classify(states(seconds)).quality for seconds in (0.3, 1.0, 3.0))
    assert 0 <= short < middle < long == 1


@pytest.mark.models
def test_sound_with_hardly_any_voice_is_trusted_less_but_judged_alike(model: SpeechEmotion) -> None:
    x = states(2)
    heard, whispered = model.classify(x, Prosody(2000, 0.6)), model.classify(x, Prosody(2000, 0.05))
    assert heard.probabilities == whispered.probabilities == model.classify(x).probabilities
    assert whispered.quality == pytest.approx(heard.quality / 4, abs=1e-3)


@pytest.mark.models
def test_no_state_at_all_gives_the_prior_with_no_weight(model: SpeechEmotion) -> None:
    found = model.classify(np.empty((0, 512), np.float32))
    assert found.quality == 0
    assert found.probabilities == taxonomy.REFERENCE_PRIOR


@pytest.mark.models
def test_states_of_another_encoder_are_refused(model: SpeechEmotion) -> None:
    for wrong in (np.zeros((10, 384), np.float32), np.zeros(512, np.float32)):
        with pytest.raises(ValueError, match="whisper-base have the shape"):
            model.classify(wrong)


@pytest.mark.corpus
@pytest.mark.models
def test_voices_of_another_language_and_corpus_are_told_apart_better_than_by_chance(
    corpus: Path, tmp_path: Path
) -> None:
    from fusion.evaluation.tasks import evaluate

    head("speech-emotion")
    rows = corpora.read(corpus / "audio" / "ravdess").rows
    labels, actors = ("anger", "happiness", "neutral", "sadness"), ("actor01", "actor02", "actor03", "actor04")
    picked = [row for row in rows if row.label in labels and row.speaker in actors]
    lines = [f"{row.path},{row.label},{row.speaker}" for row in picked]
    (tmp_path / "voices.csv").write_text("\n".join(["path,label,speaker", *lines]))
    report = evaluate("speech-emotion", manifest=tmp_path / "voices.csv")
    assert report.n == 56 and set(report.classes) == set(labels)
    assert report.metrics["uar_closed"] > 0.4
