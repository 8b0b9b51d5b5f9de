"""Metrics of every task. Each takes (truth, prediction) in this order and returns a plain float.

Where a class never occurs in the truth it has no recall: `uar` is the mean over the classes that occur. F1 follows the
usual convention: a class that is only predicted counts with 0 in the macro mean.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
BINS = 15


def accuracy(truth: Sequence[str], prediction: Sequence[str]) -> float:
    """Share of equal pairs; nan without any."""
    _same_length(truth, prediction)
    return float(np.mean([t == p for t, p in zip(truth, prediction, strict=True)])) if len(truth) else float("nan")


def confusion(
    truth: Sequence[str], prediction: Sequence[str], labels: Sequence[str] | None = None
) -> NDArray[np.int64]:
    """Counts of shape (labels, labels): row = truth, column = prediction. `labels` defaults to all that occur,
    sorted."""
    _same_length(truth, prediction)
    names = list(labels) if labels is not None else sorted(set(truth) | set(prediction))
    index = {name: i for i, name in enumerate(names)}
    counts = np.zeros((len(names), len(names)), np.int64)
    for t, p in zip(truth, prediction, strict=True):
        counts[index[t], index[p]] += 1
    return counts


def uar_of(counts: NDArray[np.int64]) -> float:
    """`uar` of a confusion matrix."""
    support = counts.sum(axis=1)
    seen = support > 0
    return float(np.mean(np.diag(counts)[seen] / support[seen])) if seen.any() else float("nan")


def f1_of(counts: NDArray[np.int64]) -> Floats:
    """F1 of each class of a confusion matrix; 0 for a class that is only predicted, nan for one that never occurs."""
    hits = np.diag(counts).astype(np.float64)
    total = counts.sum(axis=0) + counts.sum(axis=1)
    return np.asarray(np.divide(2 * hits, total, out=np.full(len(hits), np.nan), where=total > 0), np.float64)


def macro_f1_of(counts: NDArray[np.int64]) -> float:
    scores = f1_of(counts)
    return float(np.nanmean(scores)) if np.isfinite(scores).any() else float("nan")


def weighted_f1_of(counts: NDArray[np.int64]) -> float:
    support = counts.sum(axis=1)
    return float(np.nansum(f1_of(counts) * support) / support.sum()) if support.sum() else float("nan")


def uar(truth: Sequence[str], prediction: Sequence[str]) -> float:
    """Unweighted average recall: mean recall of the classes that occur in the truth."""
    return uar_of(confusion(truth, prediction))


def macro_f1(truth: Sequence[str], prediction: Sequence[str]) -> float:
    """Mean F1 over all classes that occur in truth or prediction."""
    return macro_f1_of(confusion(truth, prediction))


def weighted_f1(truth: Sequence[str], prediction: Sequence[str]) -> float:
    """F1 averaged with the class counts of the truth."""
    return weighted_f1_of(confusion(truth, prediction))


def pearson(truth: ArrayLike, prediction: ArrayLike) -> float:
    """Linear correlation; nan where one side does not vary."""
    t, p = _pair(truth, prediction)
    st, sp = t.std(), p.std()
    return float(((t - t.mean()) * (p - p.mean())).mean() / (st * sp)) if len(t) and st > 0 and sp > 0 else float("nan")


def ccc(truth: ArrayLike, prediction: ArrayLike) -> float:
    """Concordance correlation coefficient (Lin 1989), with population variances."""
    t, p = _pair(truth, prediction)
    if not len(t):
        return float("nan")
    spread = t.var() + p.var() + (t.mean() - p.mean()) ** 2
    return float(2 * ((t - t.mean()) * (p - p.mean())).mean() / spread) if spread > 0 else float("nan")


def rmse(truth: ArrayLike, prediction: ArrayLike) -> float:
    """Root mean squared error."""
    t, p = _pair(truth, prediction)
    return float(np.sqrt(np.mean((t - p) ** 2))) if len(t) else float("nan")


def ece(truth: ArrayLike, prediction: ArrayLike, bins: int = BINS) -> float:
    """Expected calibration error of the most probable class, `bins` equal-width bins of confidence (Guo et al. 2017).

    `truth`: class indices (n,); `prediction`: probabilities (n, classes).
    """
    t, p = np.asarray(truth, np.int64), np.asarray(prediction, np.float64)
    if not len(t):
        return float("nan")
    confidence, right = p.max(axis=1), p.argmax(axis=1) == t
    place = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    gap = np.bincount(place, weights=confidence - right, minlength=bins)
    return float(np.abs(gap).sum() / len(t))


def brier(truth: ArrayLike, prediction: ArrayLike) -> float:
    """Brier score over all classes: mean squared distance to the one-hot truth, in [0, 2]. Shapes as in `ece`."""
    t, p = np.asarray(truth, np.int64), np.asarray(prediction, np.float64)
    return float(np.mean(np.sum((p - np.eye(p.shape[1])[t]) ** 2, axis=1))) if len(t) else float("nan")


def log_loss_bits(truth: ArrayLike, prediction: ArrayLike, floor: float = 1e-4) -> float:
    """Mean -log2 of the probability of the true class; `floor` is what a probability rounded to 0 counts as."""
    t, p = np.asarray(truth, np.int64), np.asarray(prediction, np.float64)
    return float(-np.mean(np.log2(np.maximum(p[np.arange(len(t)), t], floor)))) if len(t) else float("nan")


_NOT_WORD = re.compile(r"[^\w\s']|_")


def spoken(text: str) -> str:
    """Text as it is compared: compatibility composition, lower case, no punctuation but apostrophes inside words."""
    plain = _NOT_WORD.sub(" ", unicodedata.normalize("NFKC", text).lower().replace("’", "'"))
    return " ".join(word.strip("'") for word in plain.split() if word.strip("'"))


def wer(truth: Sequence[str], prediction: Sequence[str]) -> float:
    """Word error rate of the whole set: edits over words of the truth, after `spoken`; nan without a true word."""
    edits, words = word_errors(truth, prediction)
    return edits.sum() / words.sum() if words.sum() else float("nan")


def cer(truth: Sequence[str], prediction: Sequence[str]) -> float:
    """Character error rate of the whole set, blanks included, after `spoken`."""
    edits, characters = character_errors(truth, prediction)
    return edits.sum() / characters.sum() if characters.sum() else float("nan")


def word_errors(truth: Sequence[str], prediction: Sequence[str]) -> tuple[Floats, Floats]:
    """(edits, words of the truth) per pair."""
    return _errors([spoken(t).split() for t in truth], [spoken(p).split() for p in prediction])


def character_errors(truth: Sequence[str], prediction: Sequence[str]) -> tuple[Floats, Floats]:
    """(edits, characters of the truth) per pair."""
    return _errors([spoken(t) for t in truth], [spoken(p) for p in prediction])


def _errors(truth: Sequence[Sequence[str]], prediction: Sequence[Sequence[str]]) -> tuple[Floats, Floats]:
    _same_length(truth, prediction)
    pairs = zip(truth, prediction, strict=True)
    return np.array([edit_distance(t, p) for t, p in pairs], np.float64), np.array([len(t) for t in truth], np.float64)


def edit_distance(truth: Sequence[str], prediction: Sequence[str]) -> int:
    """Fewest substitutions, deletions and insertions that turn `truth` into `prediction` (Levenshtein)."""
    previous = list(range(len(prediction) + 1))
    for i, t in enumerate(truth, 1):
        current = [i]
        for j, p in enumerate(prediction, 1):
            current.append(min(previous[j] + 1, current[j - 1] + 1, previous[j - 1] + (t != p)))
        previous = current
    return previous[-1]


def _same_length(truth: Sequence[object], prediction: Sequence[object]) -> None:
    if len(truth) != len(prediction):
        raise ValueError(f"truth has {len(truth)} entries, prediction {len(prediction)}")


def _pair(truth: ArrayLike, prediction: ArrayLike) -> tuple[Floats, Floats]:
    t, p = np.asarray(truth, np.float64), np.asarray(prediction, np.float64)
    if t.shape != p.shape:
        raise ValueError(f"truth has shape {t.shape}, prediction {p.shape}")
    return t, p
