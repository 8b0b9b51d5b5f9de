"""Posteriors against labelled rows: the figures of every emotion task.

Our heads state their posteriors under the reference prior of the taxonomy. A corpus has other label shares, and an
acted one has even shares; so some figures are given after the posterior was restated:

- ``uar``, ``accuracy``, ``macro_f1``, ``weighted_f1``, ``ece``, ``brier``: the posterior as it is delivered;
- ``uar_closed``: restated under even shares of the labels that occur in the corpus (the usual "which of these four");
- ``ece_restated``, ``gain_bits``: restated under the label shares of the corpus. The gain is the entropy of the labels
  less the log loss: how many bits an item tells. Below 0 it misleads.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from extractors.cues import LABELS, Posterior
from extractors.posterior import restate
from fusion import taxonomy
from fusion.evaluation import metrics as m
from fusion.evaluation.bootstrap import REPEATS, intervals
from fusion.evaluation.report import ClassFigures, Report
from fusion.evaluation.rows import Row

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
GROUPS = ("sex", "language", "speaker", "role", "split", "title")
LARGEST_GROUPS = 40
DIMENSIONS = ("valence", "arousal", "dominance")
_INDEX = {label: i for i, label in enumerate(LABELS)}


class Truth(Struct, frozen=True):
    """Labels of rows after mapping: `index` into `LABELS` (-1 where there is none), `shares` (n, 7) of the rows with
    one or more mapped labels. `ambiguous` counts rows whose mapped labels tie."""

    index: Ints
    shares: Floats
    used: dict[str, str]
    unmapped: dict[str, int]
    ambiguous: int


def map_truth(rows: Sequence[Row], label_set: str) -> Truth:
    """Truth of each row: its label, else the one label of its distribution with the largest mapped share."""
    index, shares = np.full(len(rows), -1, np.int64), np.zeros((len(rows), len(LABELS)))
    used: dict[str, str] = {}
    unmapped: Counter[str] = Counter()
    ambiguous = 0
    for i, row in enumerate(rows):
        for label, share in (row.labels or ({row.label: 1.0} if row.label else {})).items():
            target = taxonomy.map_label(label, label_set)
            if target:
                used[label] = target
                shares[i, _INDEX[target]] += share
        hard = taxonomy.map_label(row.label, label_set) if row.label else None
        if hard:
            used[row.label] = hard
        total = shares[i].sum()
        if row.label and not hard or not row.label and row.labels and total == 0:
            unmapped[row.label or " + ".join(row.labels)] += 1
            shares[i] = 0
        elif total > 0:
            shares[i] /= total
            best = np.flatnonzero(shares[i] >= shares[i].max() - 1e-9)
            if hard or len(best) == 1:
                index[i] = _INDEX[hard] if hard else best[0]
            else:
                ambiguous += 1
    return Truth(index, shares, dict(sorted(used.items())), dict(sorted(unmapped.items())), ambiguous)


def matrix(posteriors: Sequence[Posterior]) -> Floats:
    """Probabilities (n, 7) in the order of `LABELS`."""
    return np.array([[p.probabilities[label] for label in LABELS] for p in posteriors], np.float64).reshape(
        -1, len(LABELS)
    )


def label_shares(index: Ints) -> Floats:
    """Shares of `LABELS` among class indices, (7,)."""
    return np.bincount(index, minlength=len(LABELS)) / max(len(index), 1)


def label_figures(index: Ints, probabilities: Floats, prior: Floats) -> dict[str, float]:
    """All label figures for class indices (n,) and probabilities (n, 7) that hold under `prior` (7,)."""
    counts = np.bincount(index * len(LABELS) + probabilities.argmax(axis=1), minlength=len(LABELS) ** 2).reshape(
        len(LABELS), len(LABELS)
    )
    shares = label_shares(index)
    seen = shares > 0
    closed = restate(np.maximum(probabilities, 1e-4), prior, seen / seen.sum())
    restated = restate(np.maximum(probabilities, 1e-4), prior, shares)
    counts_closed = np.bincount(index * len(LABELS) + closed.argmax(axis=1), minlength=len(LABELS) ** 2).reshape(
        len(LABELS), len(LABELS)
    )
    entropy = float(-np.sum(shares[seen] * np.log2(shares[seen])))
    return {
        "uar": m.uar_of(counts),
        "uar_closed": m.uar_of(counts_closed),
        "accuracy": float(np.trace(counts) / counts.sum()),
        "macro_f1": m.macro_f1_of(counts),
        "weighted_f1": m.weighted_f1_of(counts),
        "ece": m.ece(index, probabilities),
        "ece_restated": m.ece(index, restated),
        "brier": m.brier(index, probabilities),
        "gain_bits": entropy - m.log_loss_bits(index, restated),
    }


def dimension_figures(truth: Mapping[str, Floats], prediction: Mapping[str, Floats]) -> dict[str, float]:
    """Concordance, correlation and root mean squared error of each dimension."""
    return {
        f"{name}_{axis}": metric(truth[axis], prediction[axis])
        for axis in truth
        for name, metric in (("ccc", m.ccc), ("pearson", m.pearson), ("rmse", m.rmse))
    }


def emotion_report(
    task: str,
    data: str,
    rows: Sequence[Row],
    posteriors: Sequence[Posterior],
    *,
    label_set: str,
    prior: Mapping[str, float],
    models: Mapping[str, str],
    bootstrap: str = "",
    notes: Sequence[str] = (),
    repeats: int = REPEATS,
) -> Report:
    """Score posteriors (one a row) that hold under `prior` against the labels of `rows` and, where given,
    dimensions."""
    truth = map_truth(rows, label_set)
    labelled = np.flatnonzero(truth.index >= 0)
    probabilities, reference = matrix(posteriors), np.array([prior[label] for label in LABELS])
    known = {axis: np.flatnonzero([getattr(row, axis) is not None for row in rows]) for axis in DIMENSIONS}
    known = {axis: at for axis, at in known.items() if len(at)}
    dims = {
        axis: np.array(
            [[getattr(r, axis), getattr(p, axis)] for r, p in zip(rows, posteriors, strict=True)], np.float64
        )
        for axis in known
    }

    def figures(at: Ints) -> dict[str, float]:
        found: dict[str, float] = {}
        if len(labels := at[truth.index[at] >= 0]):
            found |= label_figures(truth.index[labels], probabilities[labels], reference)
        for axis, pairs in dims.items():
            good = pairs[at][np.isfinite(pairs[at]).all(axis=1)]
            found |= dimension_figures({axis: good[:, 0]}, {axis: good[:, 1]}) if len(good) > 1 else {}
        return found

    everything = np.arange(len(rows))
    names = [getattr(row, bootstrap) if bootstrap else "" for row in rows]
    predicted = [LABELS[i] for i in probabilities[labelled].argmax(axis=1)]
    actual = [LABELS[i] for i in truth.index[labelled]]
    remarks = [*notes]
    if truth.ambiguous:
        remarks.append(
            f"{truth.ambiguous} rows carry several labels of equal share: they are left out of the label figures"
        )
    return Report(
        task=task,
        data=data,
        n=len(rows),
        metrics={"n_labelled": float(len(labelled))} | figures(everything),
        intervals=intervals(figures, len(rows), names if bootstrap else None, repeats=repeats) if repeats else {},
        bootstrap_over=f"{bootstrap}s" if bootstrap and len(set(names)) > 1 else "rows",
        classes=_classes(actual, predicted),
        confusion=_confusion(actual, predicted),
        groups=_groups(rows, truth.index, probabilities),
        mapping=truth.used,
        unmapped=truth.unmapped,
        label_set=label_set,
        models=dict(models),
        notes=tuple(remarks),
    )


def _classes(truth: Sequence[str], prediction: Sequence[str]) -> dict[str, ClassFigures]:
    counts = m.confusion(truth, prediction, LABELS)
    f1 = m.f1_of(counts)
    return {
        label: ClassFigures(
            int(counts[i].sum()),
            float(counts[i, i] / counts[i].sum()),
            float(counts[i, i] / counts[:, i].sum()) if counts[:, i].sum() else float("nan"),
            float(f1[i]),
        )
        for i, label in enumerate(LABELS)
        if counts[i].sum()
    }


def _confusion(truth: Sequence[str], prediction: Sequence[str]) -> dict[str, dict[str, int]]:
    counts = m.confusion(truth, prediction, LABELS)
    return {
        label: {other: int(counts[i, j]) for j, other in enumerate(LABELS)}
        for i, label in enumerate(LABELS)
        if counts[i].sum()
    }


def _groups(rows: Sequence[Row], index: Ints, probabilities: Floats) -> dict[str, dict[str, dict[str, float]]]:
    found: dict[str, dict[str, dict[str, float]]] = {}
    for column in GROUPS:
        values = np.array([getattr(row, column) for row in rows])
        distinct = sorted(set(values[index >= 0]) - {""})
        if not 2 <= len(distinct) <= LARGEST_GROUPS:
            continue
        for value in distinct:
            at = np.flatnonzero((values == value) & (index >= 0))
            counts = np.bincount(index[at] * len(LABELS) + probabilities[at].argmax(axis=1), minlength=len(LABELS) ** 2)
            square = counts.reshape(len(LABELS), len(LABELS))
            figures = {"n": float(len(at)), "uar": m.uar_of(square), "accuracy": float(np.trace(square) / len(at))}
            found.setdefault(column, {})[value] = figures
    return found
