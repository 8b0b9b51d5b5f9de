"""How much a modality may count is measured, and the table that says so fits the pool that reads it."""

from __future__ import annotations

import json

import numpy as np
import pytest

from extractors.cues import LABELS
from fusion import taxonomy
from fusion.models.pool import WEIGHTS, default_pool
from fusion.training.heads import least
from fusion.training.pooling import Part

PRIOR = np.array([taxonomy.REFERENCE_PRIOR[label] for label in LABELS])


def part(sure: float, right: float, n: int = 3000) -> Part:
    """Posteriors (under even shares) that give `sure` to one label and are right in the share `right` of the items."""
    rng = np.random.default_rng(1)
    truth = rng.integers(0, 7, n)
    said = np.where(rng.random(n) < right, truth, (truth + rng.integers(1, 7, n)) % 7)
    p = np.full((n, 7), (1 - sure) / 6)
    p[np.arange(n), said] = sure
    return Part(truth, p, np.full(7, 1 / 7))


def weight(part: Part) -> float:
    return least(lambda w: -part.gain(w), 0.0, 1.0)


def test_a_modality_that_knows_its_certainty_counts_in_full() -> None:
    assert weight(part(sure=0.5, right=0.5)) > 0.95


def test_a_modality_that_is_too_sure_of_itself_counts_less() -> None:
    assert 0.2 < weight(part(sure=0.9, right=0.5)) < 0.7


def test_a_modality_that_guesses_does_not_count() -> None:
    guessing = part(sure=0.9, right=1 / 7)
    assert weight(guessing) < 0.05
    assert guessing.gain(1.0) < 0


def test_no_weight_is_no_gain() -> None:
    assert part(0.9, 0.6).gain(0.0) == pytest.approx(0.0, abs=1e-9)
    assert part(0.9, 0.6).gain(0.5) > 0


def test_the_table_in_use_was_measured_and_is_the_one_the_pool_reads() -> None:
    stored = json.loads(WEIGHTS.read_text("utf-8"))
    table = default_pool().table
    assert set(table.weights) == {"text", "speech", "face"} == set(stored["modalities"])
    for name, entry in stored["modalities"].items():
        assert 0 <= entry["weight"] <= 1 and table.weights[name] == round(entry["weight"] * entry["discount"], 4)
        assert entry["gain_bits"] >= 0 and entry["n"] > 0 and entry["source"]
        assert sum(table.reference[name].values()) == pytest.approx(1, abs=0.01)  # contempt has the rest in faces
    assert table.prior == taxonomy.REFERENCE_PRIOR
