"""Metrics agree with an independent implementation, also where truth and prediction are not alike."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusion.evaluation import metrics as m
from fusion.evaluation.bootstrap import intervals

reference = pytest.importorskip("sklearn.metrics")

TRUTH = ["a", "a", "a", "a", "b", "b", "c"]
GUESS = ["a", "b", "b", "d", "b", "a", "c"]


def test_class_figures_agree_with_scikit_learn_on_an_asymmetric_example() -> None:
    assert m.accuracy(TRUTH, GUESS) == pytest.approx(reference.accuracy_score(TRUTH, GUESS))
    recall = reference.recall_score(TRUTH, GUESS, average="macro", labels=["a", "b", "c"])
    assert m.uar(TRUTH, GUESS) == pytest.approx(recall)
    assert m.macro_f1(TRUTH, GUESS) == pytest.approx(reference.f1_score(TRUTH, GUESS, average="macro"))
    assert m.weighted_f1(TRUTH, GUESS) == pytest.approx(reference.f1_score(TRUTH, GUESS, average="weighted"))


def test_truth_comes_first() -> None:
    assert m.uar(TRUTH, GUESS) != pytest.approx(m.uar(GUESS, TRUTH))
    assert m.weighted_f1(TRUTH, GUESS) != pytest.approx(m.weighted_f1(GUESS, TRUTH))
    assert m.wer(["one two three four"], ["one"]) == 0.75
    assert m.wer(["one"], ["one two three four"]) == 3.0


labels = st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("abcd")), min_size=1, max_size=40)


@given(labels)
def test_class_figures_agree_with_scikit_learn(pairs: list[tuple[str, str]]) -> None:
    truth, guess = [t for t, _ in pairs], [g for _, g in pairs]
    recall = reference.recall_score(truth, guess, average="macro", labels=sorted(set(truth)), zero_division=0)
    assert m.uar(truth, guess) == pytest.approx(recall)
    assert m.macro_f1(truth, guess) == pytest.approx(reference.f1_score(truth, guess, average="macro", zero_division=0))
    assert m.weighted_f1(truth, guess) == pytest.approx(
        reference.f1_score(truth, guess, average="weighted", zero_division=0)
    )


def test_rows_of_the_confusion_matrix_are_the_truth() -> None:
    assert m.confusion(["a", "a", "b"], ["a", "b", "b"]).tolist() == [[1, 1], [0, 1]]


def test_brier_and_log_loss_agree_with_scikit_learn() -> None:
    truth, p = [0, 2, 1], np.array([[0.7, 0.2, 0.1], [0.5, 0.3, 0.2], [0.1, 0.8, 0.1]])
    assert m.log_loss_bits(truth, p) == pytest.approx(reference.log_loss(truth, p) / np.log(2))
    assert m.brier(truth, p) == pytest.approx(
        np.mean([((row - np.eye(3)[t]) ** 2).sum() for t, row in zip(truth, p, strict=True)])
    )


def test_calibration_error_is_the_gap_between_confidence_and_accuracy() -> None:
    p = np.array([[0.9, 0.1]] * 10)
    assert m.ece([0] * 9 + [1], p) == pytest.approx(0.0, abs=1e-12)
    assert m.ece([0] * 5 + [1] * 5, p) == pytest.approx(0.4)
    assert m.ece([0] * 4, np.array([[1.0, 0.0]] * 4)) == 0.0


def test_concordance_punishes_scale_and_shift_where_correlation_does_not() -> None:
    truth = np.array([0.0, 0.2, 0.4, 0.9])
    assert m.pearson(truth, 2 * truth + 1) == pytest.approx(1.0)
    assert m.ccc(truth, truth) == pytest.approx(1.0)
    assert m.ccc(truth, 2 * truth + 1) < 0.3
    shifted = truth + 0.1
    assert m.ccc(truth, shifted) == pytest.approx(2 * truth.var() / (2 * truth.var() + 0.01))
    assert np.isnan(m.pearson([1.0, 1.0], [0.0, 1.0]))


def test_correlation_agrees_with_numpy() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=50), rng.normal(size=50)
    assert m.pearson(a, b) == pytest.approx(np.corrcoef(a, b)[0, 1])


def test_word_errors_ignore_case_and_punctuation_but_not_words() -> None:
    assert m.wer(["Hello, World!"], ["hello world"]) == 0.0
    assert m.wer(["It’s fine."], ["it's fine"]) == 0.0
    assert m.wer(["a b c d"], ["a x c"]) == 0.5
    assert m.cer(["abcd"], ["abd"]) == 0.25
    assert m.wer(["Straße"], ["STRASSE"]) in (0.0, 1.0)
    assert np.isnan(m.wer(["..."], ["word"]))


@given(st.lists(st.sampled_from("ab"), max_size=8), st.lists(st.sampled_from("ab"), max_size=8))
def test_edit_distance_is_symmetric_and_bounded(one: list[str], other: list[str]) -> None:
    distance = m.edit_distance(one, other)
    assert distance == m.edit_distance(other, one)
    assert abs(len(one) - len(other)) <= distance <= max(len(one), len(other))
    assert (distance == 0) == (one == other)


def test_sides_of_different_length_are_refused() -> None:
    with pytest.raises(ValueError, match="truth has 2"):
        m.accuracy(["a", "b"], ["a"])
    with pytest.raises(ValueError, match="shape"):
        m.ccc([1.0, 2.0], [1.0])


def test_intervals_are_wider_when_speakers_are_drawn_instead_of_rows() -> None:
    right = np.repeat([0.0, 1.0, 1.0, 0.0, 1.0, 0.0, 1.0, 1.0], 50)
    speakers = [str(i) for i in np.repeat(np.arange(8), 50)]

    def mean(at: np.ndarray) -> dict[str, float]:
        return {"mean": float(right[at].mean())}

    low, high = intervals(mean, len(right))["mean"]
    wide_low, wide_high = intervals(mean, len(right), speakers)["mean"]
    assert low < right.mean() < high
    assert wide_high - wide_low > 3 * (high - low)
    assert intervals(mean, len(right), speakers) == intervals(mean, len(right), speakers)
