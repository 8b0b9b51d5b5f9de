"""Fit and evaluate ``weights/face-expression.json``: ``python -m extractors.face.calibrate DATA [--write]``.

DATA is a folder with the FER+ pictures as mosaics (50 cells of 48×48 a row) and ``index.csv`` with the columns mosaic,
cell, the ten vote columns, ferplus_majority and leaks_into_full_training. Fitted on the public part, reported on the
private part, both without pictures that occur in the full training set (the network has seen them). Needs
scikit-learn (the `train` extra) and about five minutes of one core.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import confusion_matrix, f1_score

from extractors.cues import LABELS
from extractors.errors import AffectstreamError, InputError
from extractors.face.expression import FACE_FEATURES, WEIGHTS, ExpressionModel, face_features
from extractors.face.mesh import FaceMesh, Mesh, Region, region_of_points
from extractors.face.pose import head_pose, head_rotation
from extractors.face.quality import PRESENCE_FREE, TURNED_YAW
from extractors.face.readings import read

Floats = NDArray[np.float64]

C = 0.3
"""Inverse strength of the penalty, chosen among 0.1, 0.3, 1 and 3 by five folds of the public part."""


def load(folder: Path, part: str) -> tuple[NDArray[np.uint8], list[dict[str, str]]]:
    """Pictures (N×48×48) and rows of the mosaics whose name begins with `part`, without leaking rows."""
    if not (folder / "index.csv").is_file():
        raise InputError("no index.csv", where=str(folder), cure="name the folder with the FER+ mosaics")
    with (folder / "index.csv").open() as stream:
        rows = [row for row in csv.DictReader(stream) if row["mosaic"].startswith(part)]
    rows = [row for row in rows if row["leaks_into_full_training"] == "0"]
    cells: dict[str, NDArray[np.uint8]] = {}
    for name in {row["mosaic"] for row in rows}:
        mosaic = cv2.imread(str(folder / name), cv2.IMREAD_GRAYSCALE)
        if mosaic is None:
            raise InputError("a mosaic cannot be read", where=str(folder / name), cure="fetch the data set again")
        grid = np.asarray(mosaic, np.uint8).reshape(len(mosaic) // 48, 48, 50, 48)
        cells[name] = grid.transpose(0, 2, 1, 3).reshape(-1, 48, 48)
    return np.stack([cells[row["mosaic"]][int(row["cell"])] for row in rows]), rows


def mesh_of_crop(mesh: FaceMesh, grey: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], Mesh]:
    """BGR picture and mesh of a picture that is all face, as FER2013's are."""
    bgr = np.repeat(grey[:, :, None], 3, axis=2)
    side = grey.shape[0]
    looks = [mesh.mesh(bgr, Region(side / 2, side / 2, side * scale, 0.0)) for scale in (1.125, 1.375)]
    first = max(looks, key=lambda look: look.presence)
    second = mesh.mesh(bgr, region_of_points(first.points))
    return bgr, second if second.presence > first.presence - 2 else first


def measure(pictures: NDArray[np.uint8]) -> tuple[Floats, Floats, NDArray[np.bool_]]:
    """Network log probabilities N×7, face features N×K, and where the mesh can be used."""
    model, mesh = ExpressionModel(), FaceMesh()
    network, features = np.zeros((len(pictures), len(LABELS))), np.zeros((len(pictures), len(FACE_FEATURES)))
    usable = np.zeros(len(pictures), bool)
    for row, grey in enumerate(pictures):
        network[row] = model.network(grey)
        bgr, seen = mesh_of_crop(mesh, grey)
        rotation = head_rotation(seen.points)
        usable[row] = seen.presence >= PRESENCE_FREE and abs(head_pose(rotation)[0]) <= TURNED_YAW
        if usable[row]:
            features[row] = face_features(read(seen.points, mesh.blendshapes(seen.points), rotation, bgr))
    return network, features, usable


def votes_of(rows: list[dict[str, str]]) -> Floats:
    """Share of the votes for each of `LABELS`, N×7; rows where fewer than half voted for one of them are 0."""
    counts = np.array([[float(row[label]) for label in LABELS] for row in rows])
    total = counts.sum(axis=1, keepdims=True)
    return np.asarray(np.where(total >= 5, counts / np.maximum(total, 1), 0.0))


def fit(features: Floats, votes: Floats) -> Floats:
    """Weights (K+1)×7 on raw features, bias last. A face counts for each label with its share of the votes."""
    middle, spread = features.mean(axis=0), features.std(axis=0) + 1e-6
    rows, labels = np.nonzero(votes)
    model = LogisticRegression(C=C, max_iter=2000)
    model.fit(((features - middle) / spread)[rows], labels, sample_weight=votes[rows, labels])
    weights = model.coef_.T / spread[:, None]
    return np.vstack([weights, model.intercept_ - middle @ weights])


def shares(features: Floats, weights: Floats) -> Floats:
    """Posterior N×7."""
    scores = np.column_stack([features, np.ones(len(features))]) @ weights
    scores = np.exp(scores - scores.max(axis=1, keepdims=True))
    return np.asarray(scores / scores.sum(axis=1, keepdims=True))


def calibration_error(certainty: Floats, truth: Floats, bins: int = 15) -> float:
    """Expected calibration error: mean gap between certainty and truth (0/1, or share of votes) over equal bins."""
    place = np.minimum((certainty * bins).astype(int), bins - 1)
    gaps = [abs(certainty[place == k].sum() - truth[place == k].sum()) for k in range(bins)]
    return float(sum(gaps) / len(certainty))


def report(title: str, posterior: Floats, rows: list[dict[str, str]], keep: NDArray[np.bool_]) -> dict[str, Any]:
    """Accuracy and macro F1 on majority rows; ECE there and against votes, KL and Brier against votes."""
    votes = votes_of(rows)
    place = {label: k for k, label in enumerate(LABELS)}
    truth = np.array([place.get(row["ferplus_majority"], -1) for row in rows])
    sure, voted = keep & (truth >= 0), keep & (votes.sum(axis=1) > 0)
    guess, top = posterior.argmax(axis=1), posterior.max(axis=1)
    log_ratio = np.log(np.clip(votes[voted], 1e-9, 1)) - np.log(np.clip(posterior[voted], 1e-9, 1))
    result = {
        "n": int(sure.sum()),
        "accuracy": round(float((guess == truth)[sure].mean()), 4),
        "macro_f1": round(float(f1_score(truth[sure], guess[sure], average="macro")), 4),
        "ece": round(calibration_error(top[sure], (guess == truth)[sure].astype(float)), 4),
        "ece_votes": round(calibration_error(top[voted], votes[voted, guess[voted]]), 4),
        "kl": round(float((votes[voted] * log_ratio).sum(axis=1).mean()), 4),
        "brier": round(float(((votes[voted] - posterior[voted]) ** 2).sum(axis=1).mean()), 4),
        "recall": {label: round(float((guess[sure & (truth == k)] == k).mean()), 3) for k, label in enumerate(LABELS)},
    }
    print(f"{title:34s}", {key: value for key, value in result.items() if key != "recall"})
    if title.startswith("calibrated, network and mesh"):
        print(LABELS, confusion_matrix(truth[sure], guess[sure]).tolist(), result["recall"])
    return result


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m extractors.face.calibrate", description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--write", action="store_true", help="store the weights in the package")
    arguments = parser.parse_args()
    fitted, tested = (load(arguments.data, part) for part in ("public", "private"))
    network, features, usable = measure(fitted[0])
    votes = votes_of(fitted[1])
    both = np.hstack([network, features])
    alone = fit(network[votes.sum(axis=1) > 0], votes[votes.sum(axis=1) > 0])
    with_mesh = fit(both[usable & (votes.sum(axis=1) > 0)], votes[usable & (votes.sum(axis=1) > 0)])
    network, features, usable = measure(tested[0])
    raw, only, full = np.exp(network), shares(network, alone), shares(np.hstack([network, features]), with_mesh)
    everyone = np.ones(len(usable), bool)
    mixed = np.where(usable[:, None], full, only)
    figures = {
        name: report(name, posterior / posterior.sum(axis=1, keepdims=True), tested[1], keep)
        for name, posterior, keep in (
            ("as trained, all", raw, everyone),
            ("calibrated, network alone, all", only, everyone),
            ("as trained, usable mesh", raw, usable),
            ("calibrated, network alone, usable mesh", only, usable),
            ("calibrated, network and mesh, usable mesh", full, usable),
            ("calibrated, mesh where usable, all", mixed, everyone),
        )
    }
    if arguments.write:
        names = ["network " + label for label in LABELS]
        stored = {
            "provenance": "multinomial logistic regression on FER+ votes, PublicTest part without leaking rows, "
            "evaluated on PrivateTest likewise; python -m extractors.face.calibrate",
            "rows": "features, bias last",
            "columns": LABELS,
            "with_mesh": {"features": [*names, *FACE_FEATURES], "weights": _listed(with_mesh)},
            "alone": {"features": names, "weights": _listed(alone)},
            "private_test": figures,
        }
        WEIGHTS.write_text(json.dumps(stored, indent=None, separators=(",", ":")).replace("],[", "],\n[") + "\n")
        print(f"wrote {WEIGHTS}")
    print(json.dumps(figures))


def _listed(weights: Floats) -> list[list[float]]:
    return [[round(float(value), 4) for value in row] for row in weights]


if __name__ == "__main__":
    try:
        main()
    except AffectstreamError as error:
        print(error, file=sys.stderr)
        raise SystemExit(2) from None
