import csv
from pathlib import Path

import cv2
import numpy as np
import pytest

from extractors.cues import LABELS
from extractors.face.expression import ExpressionModel

pytestmark = pytest.mark.models


@pytest.fixture(scope="module")
def model(bundled_models: None) -> ExpressionModel:
    return ExpressionModel()


def test_the_posterior_is_a_distribution_over_the_labels_and_repeatable(model: ExpressionModel) -> None:
    patch = np.random.default_rng(5).integers(0, 255, (64, 64), dtype=np.uint8)
    first, second = model.posterior(patch), model.posterior(patch)
    assert first == second
    assert tuple(first.probabilities) == LABELS
    assert sum(first.probabilities.values()) == pytest.approx(1, abs=0.001)
    assert first.valence is None and first.arousal is None


@pytest.mark.corpus
def test_calibration_makes_the_network_agree_with_what_people_see(model: ExpressionModel, corpus: Path) -> None:
    """1 000 faces of the private part of FER+, none of which the network or the calibration has seen."""
    folder = corpus / "visual" / "fer2013plus"
    with (folder / "index.csv").open() as stream:
        rows = [
            row
            for row in csv.DictReader(stream)
            if row["mosaic"] == "private_0.png"
            and row["leaks_into_full_training"] == "0"
            and row["ferplus_majority"] in LABELS
        ][:1000]
    mosaic = cv2.imread(str(folder / "private_0.png"), cv2.IMREAD_GRAYSCALE)
    cells = mosaic.reshape(len(mosaic) // 48, 48, 50, 48).transpose(0, 2, 1, 3).reshape(-1, 48, 48)
    raw, calibrated, certainty = [], [], []
    for row in rows:
        picture, truth = cells[int(row["cell"])], row["ferplus_majority"]
        raw.append(LABELS[int(model.network(picture).argmax())] == truth)
        shares = model.posterior(picture).probabilities
        best = max(shares, key=lambda label: shares[label])
        calibrated.append(best == truth)
        certainty.append(shares[best])
    assert np.mean(calibrated) > 0.74
    assert np.mean(calibrated) > np.mean(raw) + 0.05
    assert abs(np.mean(certainty) - np.mean(calibrated)) < 0.12
