"""Recipes are reproducible, and their parts do what their names say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from extractors.errors import InputError
from fusion.training import augment
from fusion.training.heads import deterministic, least, logistic_regression, save
from fusion.training.recipes import RECIPES


def blobs() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    y = np.repeat([0, 1, 2], [80, 30, 10])
    return rng.normal(size=(120, 5)) * [1, 2, 5, 0.1, 1] + np.eye(3, 5)[y] * 2 + 4, y


def test_the_logistic_regression_agrees_with_scikit_learn() -> None:
    linear = pytest.importorskip("sklearn.linear_model")
    x, y = blobs()
    weight, bias = logistic_regression(x, y, 3, 0.5)
    z = (x - x.mean(axis=0)) / x.std(axis=0)
    other = linear.LogisticRegression(C=0.5, class_weight="balanced", max_iter=5000, tol=1e-10).fit(z, y)
    scores = x @ weight + bias
    ours = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    assert np.abs(ours - other.predict_proba(z)).max() < 1e-4


def test_equal_seeds_give_equal_bytes(tmp_path: Path) -> None:
    files = []
    for run in ("one", "two"):
        deterministic(5)
        x, y = blobs()
        weight, bias = logistic_regression(x, y, 3, 0.1)
        files.append(tmp_path / run / "w.safetensors")
        save(files[-1], {"weight": weight, "bias": bias}, {"b": 1, "a": [1, 2]})
    assert files[0].read_bytes() == files[1].read_bytes()


def test_an_unwritable_place_for_weights_is_the_users_input(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="choose another --out"):
        save(tmp_path / "file" / "w.safetensors", {"w": np.zeros(2)}, {})


@given(st.floats(0.5, 9.5))
def test_the_least_value_of_a_valley_is_found(bottom: float) -> None:
    assert least(lambda x: (x - bottom) ** 2, 0.0, 10.0) == pytest.approx(bottom, abs=1e-4)


def test_the_telephone_keeps_its_band_and_nothing_else() -> None:
    t = np.arange(16_000) / 16_000
    for hertz, kept in ((100, False), (1000, True), (5000, False)):
        out = augment.telephone((0.3 * np.sin(2 * np.pi * hertz * t)).astype(np.float32))
        assert (np.std(out) > 0.15) == kept, hertz
        assert len(out) == len(t) and out.dtype == np.float32


def test_noise_has_the_ratio_that_was_asked_for() -> None:
    rng = np.random.default_rng(0)
    clean = (0.1 * np.sin(np.arange(32_000) / 8)).astype(np.float32)
    noise = augment.noisy(clean, 10, rng) - clean
    assert 10 * np.log10(np.mean(clean**2) / np.mean(noise**2)) == pytest.approx(10, abs=0.1)


def test_a_piece_has_the_length_that_was_asked_for_or_all_there_is() -> None:
    rng = np.random.default_rng(0)
    assert len(augment.piece(np.zeros(48_000, np.float32), 1.5, rng)) == 24_000
    assert len(augment.piece(np.zeros(800, np.float32), 1.5, rng)) == 800


def test_recognised_text_has_neither_case_nor_punctuation() -> None:
    assert augment.recognised("I'm SO happy!!! [NAME], isn’t it?") == "i'm so happy name isn't it"


def test_misrecognised_text_is_the_same_for_the_same_seed_and_never_empty() -> None:
    text = "The quick brown fox jumps over the lazy dog and runs away from all of it"
    one, two = (augment.misrecognised(text, np.random.default_rng(7)) for _ in range(2))
    assert one == two
    assert all(augment.misrecognised("Yes.", np.random.default_rng(i)) for i in range(100))


def test_a_recipe_without_its_corpora_says_what_is_missing(tmp_path: Path) -> None:
    for name, missing in (("text-emotion", "goemotions"), ("speech-emotion", "emodb")):
        try:
            with pytest.raises(InputError, match=f"no folder {missing}"):
                RECIPES[name](data=tmp_path, out=tmp_path / "out.safetensors", seed=0)
        except Exception as error:  # noqa: BLE001
            if "is not installed" in str(error):
                pytest.skip(str(error))
            raise
