"""Does the pool earn its place? Sentiment polarity on CMU-MOSI from text, audio and video features.

    python -m benchmarks.fusion_mosi --data DIR [--quick]

DIR holds `mosi.npz` (text, audio, video, label, split, video_id). One logistic head per modality is trained on the
train videos. The text and video features come from networks that saw the train labels, so figures measured on train
videos say far too much of them (0.98 there, 0.75 on new videos): calibration and information gain are therefore taken
from test videos by cross-fitting over videos (the fold that is scored is never in the fold that is measured). The same
figures taken from train videos by cross-validation are shown beside it. `official_split` is refused: it puts videos the
features were trained on into its test part.

Compared on the same calibrated posteriors: the pool (`fusion.models.pool`) with exponents fitted as in the product's
own table, with exponents in proportion to information gain, and with equal ones; the mean of probabilities; text
alone; and a linear model on the joined features. Then with one or two modalities gone: every subset, and gone at
random. Intervals are paired bootstraps over videos. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import platform
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import sklearn
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from extractors.cues import Posterior
from extractors.errors import InputError
from fusion.models.pool import LogPool, PoolTable

MODALITIES = ("text", "audio", "video")
LABELS = ("negative", "positive")
FOLDS = 5
Array = np.ndarray[Any, Any]


def head(c: float = 0.05) -> sklearn.pipeline.Pipeline:
    return make_pipeline(StandardScaler(), LogisticRegression(C=c, max_iter=2000))


def log_odds(p: Array) -> Array:
    p = np.clip(p, 1e-6, 1 - 1e-6)
    return np.asarray(np.log(p / (1 - p)))


def platt(scores: Array, labels: Array) -> LogisticRegression:
    """Calibration of log-odds: slope and offset by maximum likelihood."""
    return LogisticRegression(C=1e6).fit(scores[:, None], labels)


def entropy_gain(p: Array, labels: Array, prior: float) -> float:
    """Bits that the posteriors save against knowing the class balance alone."""
    prior_loss = -np.mean(np.where(labels == 1, np.log2(prior), np.log2(1 - prior)))
    p = np.clip(p, 1e-6, 1 - 1e-6)
    return float(prior_loss + np.mean(np.where(labels == 1, np.log2(p), np.log2(1 - p))))


def pooled(table: PoolTable, p: Mapping[str, Array]) -> Array:
    pool = LogPool(table)
    rows = len(next(iter(p.values())))
    return np.array(
        [pool.probabilities({m: Posterior(probabilities=_pair(p[m][i])) for m in p})["positive"] for i in range(rows)]
    )


def _pair(positive: float) -> dict[str, float]:
    return {"negative": 1 - positive, "positive": positive}


def table(weights: Mapping[str, float], prior: float) -> PoolTable:
    balance = _pair(prior)
    return PoolTable(weights=dict(weights), labels=LABELS, prior=balance, reference=dict.fromkeys(weights, balance))


def fitted_weight(p: Array, labels: Array, prior: float) -> float:
    """The exponent in [0, 1] with the greatest information gain, as in the recipe of the product's own table."""
    evidence = log_odds(p) - np.log(prior / (1 - prior))
    offset = np.log(prior / (1 - prior))
    losses = [row_loss(1 / (1 + np.exp(-(offset + w * evidence))), labels).mean() for w in np.arange(21) / 20]
    return round(float(np.argmin(losses)) / 20, 2)


def row_loss(p: Array, y: Array) -> Array:
    p = np.clip(p, 1e-6, 1 - 1e-6)
    return -np.log(np.where(y == 1, p, 1 - p))


def figures(p: Array, y: Array) -> dict[str, float]:
    guess = (p >= 0.5).astype(int)
    return {
        "accuracy": round(float(np.mean(guess == y)), 4),
        "macro_f1": round(float(f1_score(y, guess, average="macro")), 4),
        "log_loss": round(float(row_loss(p, y).mean()), 4),
    }


def difference(a: Array, b: Array, y: Array, videos: Array, draws: int, seed: int = 0) -> dict[str, float]:
    """Accuracy and log loss of `a` minus `b`, with 95 % intervals from resampling whole videos."""
    hit = ((a >= 0.5) == y).astype(float) - ((b >= 0.5) == y)
    loss = row_loss(a, y) - row_loss(b, y)
    names, index = np.unique(videos, return_inverse=True)
    count = np.bincount(index).astype(float)
    sums = np.stack([np.bincount(index, weights=hit), np.bincount(index, weights=loss)])
    picks = np.random.default_rng(seed).integers(0, len(names), (draws, len(names)))
    means = sums[:, picks].sum(-1) / count[picks].sum(-1)
    low, high = np.quantile(means, [0.025, 0.975], axis=1)
    result = {}
    for name, value, below, above in zip(("accuracy", "log_loss"), (hit, loss), low, high, strict=True):
        result[name] = round(float(value.mean()), 4)
        result[f"{name}_low"], result[f"{name}_high"] = round(float(below), 4), round(float(above), 4)
    return result


class Measured:
    """Calibration, class balance and information gain taken from one set of rows."""

    def __init__(self, scores: Mapping[str, Array], y: Array, videos: Array) -> None:
        self.prior = float(np.mean(y))
        self._platt = {m: platt(scores[m], y) for m in MODALITIES}
        self.gain: dict[str, float] = {}
        self.weights: dict[str, float] = {}
        for m in MODALITIES:
            held = np.empty(len(y))
            for fit, rest in GroupKFold(FOLDS).split(y, groups=videos):
                held[rest] = platt(scores[m][fit], y[fit]).predict_proba(scores[m][rest][:, None])[:, 1]
            self.gain[m] = entropy_gain(held, y, self.prior)
            self.weights[m] = fitted_weight(held, y, self.prior)

    def calibrate(self, scores: Mapping[str, Array]) -> dict[str, Array]:
        return {m: self._platt[m].predict_proba(scores[m][:, None])[:, 1] for m in MODALITIES}


def out_of_fold(x: Mapping[str, Array], y: Array, videos: Array) -> dict[str, Array]:
    scores = {m: np.empty(len(y)) for m in MODALITIES}
    for fit, rest in GroupKFold(FOLDS).split(y, groups=videos):
        for m in MODALITIES:
            scores[m][rest] = log_odds(head().fit(x[m][fit], y[fit]).predict_proba(x[m][rest])[:, 1])
    return scores


METHODS = ("pool", "pool, share of gain", "pool, equal weights", "mean of probabilities")


def combine(method: str, p: Mapping[str, Array], measured: Measured) -> Array:
    if method == "mean of probabilities":
        return np.asarray(np.mean([p[m] for m in sorted(p)], axis=0))
    weights = {
        "pool": measured.weights,
        "pool, share of gain": {m: max(0.0, measured.gain[m]) / max(measured.gain.values()) for m in MODALITIES},
        "pool, equal weights": dict.fromkeys(MODALITIES, 1.0),
    }[method]
    return pooled(table(weights, measured.prior), p)


def evaluate(
    plan: Sequence[tuple[Measured, Array]], scores: Mapping[str, Array], subset: Sequence[str], method: str
) -> Array:
    """Posterior of every test row, each from what was measured on other rows."""
    result = np.empty(len(scores["text"]))
    for measured, rows in plan:
        p = measured.calibrate({m: scores[m][rows] for m in MODALITIES})
        result[rows] = combine(method, {m: p[m] for m in subset}, measured)
    return result


def randomly_dropped(full: Mapping[tuple[str, ...], Array], rows: int, rate: float, seed: int) -> Array:
    """One modality set per row, each modality gone with probability `rate`, never all."""
    rng = np.random.default_rng(seed)
    subsets = sorted(full)
    keep = rng.random((rows, 3)) >= rate
    while (empty := ~keep.any(1)).any():
        keep[empty] = rng.random((int(empty.sum()), 3)) >= rate
    position = {s: i for i, s in enumerate(subsets)}
    return np.array([position[tuple(m for m, k in zip(MODALITIES, row, strict=True) if k)] for row in keep])


def subsets_of_all() -> list[tuple[str, ...]]:
    return [s for n in (1, 2, 3) for s in combinations(MODALITIES, n)]


def run(data: Path, split: str, quick: bool) -> dict[str, object]:
    if split != "split":
        raise InputError(
            f"the split `{split}` cannot be used", where=str(data),
            cure="its test part holds videos that the text and video features were trained on; use `split`",
        )  # fmt: skip
    try:
        mosi = np.load(data / "mosi.npz", allow_pickle=False)
    except OSError as error:
        raise InputError(
            "mosi.npz cannot be read", where=str(data), cure="give the folder that holds it with --data"
        ) from error
    train, test = mosi["split"] == "train", mosi["split"] == "test"
    x = {m: mosi[m].astype(np.float64) for m in MODALITIES}
    y, videos = mosi["label"].astype(int), mosi["video_id"]
    heads = {m: head().fit(x[m][train], y[train]) for m in MODALITIES}
    scores = {m: log_odds(heads[m].predict_proba(x[m][test])[:, 1]) for m in MODALITIES}
    y_test, v_test = y[test], videos[test]
    joined = head().fit(np.hstack([x[m][train] for m in MODALITIES]), y[train])
    joined_scores = log_odds(joined.predict_proba(np.hstack([x[m][test] for m in MODALITIES]))[:, 1])
    joined_p = {
        "joined features, calibrated": np.empty(len(y_test)),
        "joined features, raw": 1 / (1 + np.exp(-joined_scores)),
    }

    cross_fitted = []
    for fit, rest in GroupKFold(FOLDS).split(y_test, groups=v_test):
        cross_fitted.append((Measured({m: scores[m][fit] for m in MODALITIES}, y_test[fit], v_test[fit]), rest))
        joined_p["joined features, calibrated"][rest] = platt(joined_scores[fit], y_test[fit]).predict_proba(
            joined_scores[rest][:, None]
        )[:, 1]
    inside = out_of_fold({m: x[m][train] for m in MODALITIES}, y[train], videos[train])
    from_train = [(Measured(inside, y[train], videos[train]), np.arange(len(y_test)))]

    draws = 500 if quick else 5000
    report: dict[str, object] = {
        "n_test": len(y_test),
        "videos_test": len(set(v_test.tolist())),
        "majority": figures(np.full(len(y_test), y_test.mean()), y_test),
    }
    for name, plan in (
        ("measured on other test videos", cross_fitted),
        ("measured on train videos (leaky)", from_train),
    ):
        report[name] = compare(
            name, plan, scores, joined_p if plan is cross_fitted else {}, y_test, v_test, draws, 5 if quick else 20
        )
    return report


def compare(
    name: str, plan: Sequence[tuple[Measured, Array]], scores: Mapping[str, Array], joined: Mapping[str, Array],
    y: Array, videos: Array, draws: int, seeds: int,
) -> dict[str, object]:  # fmt: skip
    gains = {m: round(float(np.mean([measured.gain[m] for measured, _ in plan])), 4) for m in MODALITIES}
    weights = {m: round(float(np.mean([measured.weights[m] for measured, _ in plan])), 2) for m in MODALITIES}
    print(f"\nCalibration and weights {name}; information gain in bits: {gains}, weights {weights}")
    p = {method: {s: evaluate(plan, scores, s, method) for s in subsets_of_all()} for method in METHODS}
    whole = {method: p[method][MODALITIES] for method in METHODS} | {
        "text alone": p["mean of probabilities"][("text",)]
    }
    whole |= joined
    print(f"  {'method':34}{'accuracy':>9}{'macro F1':>10}{'log loss':>10}")
    rows = {method: figures(values, y) for method, values in whole.items()}
    for method, row in rows.items():
        print(f"  {method:34}{row['accuracy']:9.4f}{row['macro_f1']:10.4f}{row['log_loss']:10.4f}")
    against = {other: difference(whole["pool"], whole[other], y, videos, draws) for other in whole if other != "pool"}
    print("  pool minus …  (95 % interval over videos)")
    for other, d in against.items():
        accuracy = f"{d['accuracy']:+9.4f} [{d['accuracy_low']:+.4f}, {d['accuracy_high']:+.4f}]"
        loss = f"log loss {d['log_loss']:+.4f} [{d['log_loss_low']:+.4f}, {d['log_loss_high']:+.4f}]"
        print(f"  {other:34}{accuracy}   {loss}   {verdict(d)}")
    print(f"  {'modalities left':34}{'pool':>9}{'mean':>10}{'best one':>10}")
    subsets: dict[str, dict[str, float]] = {}
    for s in subsets_of_all():
        left = {
            "pool": figures(p["pool"][s], y)["accuracy"],
            "mean": figures(p["mean of probabilities"][s], y)["accuracy"],
        }
        left["best_one"] = figures(p["mean of probabilities"][(s[0],)], y)["accuracy"]
        subsets["+".join(s)] = left
        print(f"  {'+'.join(s):34}{left['pool']:9.4f}{left['mean']:10.4f}{left['best_one']:10.4f}")
    dropped = drop(p, y, videos, seeds, draws)
    print(f"  each modality gone in a third of the rows, mean of {seeds} seeds:")
    for name in ("pool", "mean", "best_one"):
        print(f"  {name.replace('_', ' '):34}{dropped[name]:9.4f}   log loss {dropped[name + '_log_loss']:.4f}")
    compared = {other: {**d, "verdict": verdict(d)} for other, d in against.items()}
    return {
        "gain_bits": gains,
        "methods": rows,
        "pool_minus": compared,
        "subsets": subsets,
        "randomly_dropped": dropped,
    }


def verdict(d: Mapping[str, float]) -> str:
    """In which figures the interval excludes zero."""
    better = [n for n, good in (("accuracy", d["accuracy_low"] > 0), ("log loss", d["log_loss_high"] < 0)) if good]
    worse = [n for n, bad in (("accuracy", d["accuracy_high"] < 0), ("log loss", d["log_loss_low"] > 0)) if bad]
    words = [f"pool better in {' and '.join(better)}"] * bool(better) + [f"pool worse in {' and '.join(worse)}"] * bool(
        worse
    )
    return ", ".join(words) or "no difference shown"


def drop(
    p: Mapping[str, Mapping[tuple[str, ...], Array]], y: Array, videos: Array, seeds: int, draws: int
) -> dict[str, float]:
    subsets = sorted(p["pool"])
    results: dict[str, list[dict[str, float]]] = {"pool": [], "mean": [], "best_one": []}
    stacked = {
        "pool": np.stack([p["pool"][s] for s in subsets]),
        "mean": np.stack([p["mean of probabilities"][s] for s in subsets]),
        # MODALITIES is in the order of information, so the first one left is the best one left.
        "best_one": np.stack([p["mean of probabilities"][(s[0],)] for s in subsets]),
    }
    for seed in range(seeds):
        which = randomly_dropped(p["pool"], len(y), 1 / 3, seed)
        for name, values in stacked.items():
            results[name].append(figures(values[which, np.arange(len(y))], y))
    flat = {}
    for name, rows in results.items():
        flat[name] = round(float(np.mean([row["accuracy"] for row in rows])), 4)
        flat[f"{name}_log_loss"] = round(float(np.mean([row["log_loss"] for row in rows])), 4)
    return flat


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fusion_mosi", description="Fusion on CMU-MOSI")
    parser.add_argument("--data", type=Path, required=True, help="folder with mosi.npz")
    parser.add_argument("--split", default="split", help="column with the parts (only `split` is free of leaks)")
    parser.add_argument("--quick", action="store_true", help="fewer bootstrap draws")
    options = parser.parse_args(arguments)
    versions = f"numpy {np.__version__}, scikit-learn {sklearn.__version__}"
    print(f"{platform.machine()}, Python {platform.python_version()}, {versions}")
    try:
        report = run(options.data, options.split, options.quick)
    except InputError as error:
        parser.exit(2, f"{error}\n")
    print(json.dumps(report))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
