"""Logarithmic opinion pool with prior correction: the calibrated feature-level combination of the modalities.

    p(l)  ∝  prior(l) · Π_m ( p_m(l) / reference_m(l) ) ^ (w_m · q_m)

Each modality m brings the evidence by which its calibrated posterior differs from the class balance it was calibrated
under (`reference`); `w_m` is the exponent of the greatest measured information gain, `q_m` the quality of the input.
A missing modality has the exponent 0, so the pool of the others is what it would be had it never existed, and a
modality that only repeats its reference changes nothing. (Genest & Zidek 1986; for w = q = 1 this is naive Bayes.)

Valence, arousal and dominance are means weighted by precision (inverse variance) over two kinds of estimate: the pooled
distribution read through the anchors of the labels, and the regressors of the modalities that have one. There is no
arousal proxy from prosody: no measured error, no vote.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import msgspec
from msgspec import Struct

from extractors.cues import LABELS, Posterior
from fusion.taxonomy import ANCHORS, REFERENCE_PRIOR

UNKNOWN = "unknown"
WEIGHTS = Path(__file__).resolve().parent.parent / "weights" / "pooling.json"
_DIMENSIONS = ("valence", "arousal", "dominance")


class PoolTable(Struct, frozen=True):
    """Everything the pool has to be told, measured on data.

    `weights`: exponent of each modality in [0, 1], the one with which it tells most about data unlike those it was
    trained on: 1 where its posterior can be taken at its word, 0 where it tells nothing. `prior`: class balance
    expected in use, `reference`: class balance each modality was calibrated under (default: uniform for both).
    `floor`: how much of the reference is mixed into a posterior, so that one rounded zero is no veto.
    `regressor_sigma`: root mean squared error of the dimension regressors per modality, `anchor_sigma` of the
    anchors. The pool abstains below `min_probability` of the best label or below `min_evidence` in total exponent.
    (Chosen on MELD dev, words alone, as the highest of 0.3, 0.35, 0.4, 0.45 and 0.5 below which the best label is
    right in less than a third: there it is right in 27 % on dev and 28 % on test, above it in 48 % and 53 %; 9 % of
    the utterances fall below.)
    """

    weights: dict[str, float]
    labels: tuple[str, ...] = LABELS
    prior: dict[str, float] = {}
    reference: dict[str, dict[str, float]] = {}
    floor: float = 0.02
    regressor_sigma: dict[str, dict[str, float]] = {}
    anchor_sigma: float = 0.4
    min_probability: float = 0.3
    min_evidence: float = 0.1


class Fused(Struct, frozen=True):
    """The decision. `best` is the most probable label, `label` the same or ``unknown``.

    `probabilities` sum to exactly 1 in steps of 0.0001. `confidence` is the probability of `best`: low quality pulls it
    towards the prior, it needs no further discount. `intensity` is the distance of (valence, arousal, dominance) from
    neutral, 1 being the most distant anchor. `evidence` is the total exponent Σ w·q.
    """

    label: str
    best: str
    probabilities: dict[str, float]
    confidence: float
    evidence: float
    valence: float | None = None
    arousal: float | None = None
    dominance: float | None = None
    intensity: float | None = None


class LogPool:
    """The pool for one table. Pure: equal posteriors give equal decisions, whatever the order they come in."""

    def __init__(self, table: PoolTable, anchors: Mapping[str, tuple[float, float, float]] | None = None) -> None:
        self.table = table
        self._anchors = anchors or {}
        self._prior = _distribution(table.prior, table.labels)
        self._reference = {name: _distribution(p, table.labels) for name, p in table.reference.items()}
        self._uniform = _distribution({}, table.labels)
        self.identity = f"log-pool@{hashlib.sha256(msgspec.json.encode(table, order='sorted')).hexdigest()[:8]}"

    def exponent(self, modality: str, posterior: Posterior) -> float:
        """w·q: how much the modality counts. 0 for a modality that the table does not know."""
        return self.table.weights.get(modality, 0.0) * min(1.0, max(0.0, posterior.quality))

    def probabilities(self, posteriors: Mapping[str, Posterior]) -> dict[str, float]:
        """The pooled distribution over the labels of the table, not rounded. No modality at all gives the prior."""
        scores = {label: math.log(self._prior[label]) for label in self.table.labels}
        for modality in sorted(posteriors):
            exponent = self.exponent(modality, posteriors[modality])
            reference = self._reference.get(modality, self._uniform)
            stated = _distribution(posteriors[modality].probabilities, self.table.labels)
            for label in self.table.labels:
                ratio = (1 - self.table.floor) * stated[label] / reference[label] + self.table.floor
                scores[label] += exponent * math.log(max(ratio, 1e-9))
        return _softmax(scores)

    def fuse(self, posteriors: Mapping[str, Posterior]) -> Fused:
        """Pool, decide, and place in valence, arousal and dominance."""
        pooled = self.probabilities(posteriors)
        probabilities = to_unit(pooled)
        best = max(self.table.labels, key=lambda label: probabilities[label])
        evidence = math.fsum(self.exponent(name, posterior) for name, posterior in posteriors.items())
        abstains = probabilities[best] < self.table.min_probability or round(evidence, 6) < self.table.min_evidence
        valence, arousal, dominance = (
            self._dimension(axis, name, pooled, posteriors) for axis, name in enumerate(_DIMENSIONS)
        )
        return Fused(
            label=UNKNOWN if abstains else best,
            best=best,
            probabilities=probabilities,
            confidence=probabilities[best],
            evidence=round(evidence, 4),
            valence=valence,
            arousal=arousal,
            dominance=dominance,
            intensity=self._intensity((valence, arousal, dominance)),
        )

    def _dimension(
        self, axis: int, name: str, pooled: Mapping[str, float], posteriors: Mapping[str, Posterior]
    ) -> float | None:
        estimates: list[tuple[float, float]] = []
        if self._anchors:
            known = [
                (pooled[label], self._anchors[label][axis]) for label in self.table.labels if label in self._anchors
            ]
            mass = math.fsum(p for p, _ in known)
            mean = math.fsum(p * value for p, value in known) / mass
            spread = math.fsum(p * (value - mean) ** 2 for p, value in known) / mass
            estimates.append((mean, spread + self.table.anchor_sigma**2))
        for modality in sorted(posteriors):
            value = getattr(posteriors[modality], name)
            sigma = self.table.regressor_sigma.get(modality, {}).get(name)
            quality = posteriors[modality].quality
            if value is not None and sigma and quality > 0:
                estimates.append((value, sigma**2 / quality))
        if not estimates:
            return None
        precision = math.fsum(1 / variance for _, variance in estimates)
        mean = math.fsum(value / variance for value, variance in estimates) / precision
        return round(min(1.0, max(-1.0, mean)), 4) + 0.0

    def _intensity(self, point: Sequence[float | None]) -> float | None:
        if not self._anchors or any(value is None for value in point):
            return None
        farthest = max(math.hypot(*anchor) for anchor in self._anchors.values())
        return round(min(1.0, math.hypot(*(value for value in point if value is not None)) / farthest), 4)


FERPLUS_PRIOR = {
    "anger": 0.0924, "disgust": 0.0189, "fear": 0.0312, "happiness": 0.2629, "neutral": 0.354, "sadness": 0.1276,
    "surprise": 0.1078,
}  # fmt: skip
"""Mean votes of the pictures that the face posterior was calibrated on (FER+ PublicTest without leaking rows)."""

UNMEASURED = PoolTable(
    weights={"text": 1.0, "speech": 0.8, "face": 0.8},
    prior=REFERENCE_PRIOR,
    reference={"text": REFERENCE_PRIOR, "speech": REFERENCE_PRIOR, "face": FERPLUS_PRIOR},
)
"""Used while no measured table is installed."""


@cache
def default_pool() -> LogPool:
    """The pool of the product: measured weights of `fusion/weights/pooling.json`, anchors of the taxonomy."""
    table = msgspec.json.decode(WEIGHTS.read_bytes(), type=PoolTable) if WEIGHTS.is_file() else UNMEASURED
    return LogPool(table, ANCHORS)


def to_unit(values: Mapping[str, float], steps: int = 10_000) -> dict[str, float]:
    """Non-negative values scaled to sum 1 in steps of 1/`steps`: rounded down, what is missing goes to the largest
    remainders (earlier keys first), so that the printed shares add up."""
    total = math.fsum(values.values())
    scaled = {key: value / total * steps for key, value in values.items()} if total > 0 else dict.fromkeys(values, 0.0)
    if total <= 0:
        return scaled
    counts = {key: math.floor(round(value, 6)) for key, value in scaled.items()}
    order = sorted(scaled, key=lambda key: round(counts[key] - scaled[key], 6))
    for key in order[: steps - sum(counts.values())]:
        counts[key] += 1
    return {key: counts[key] / steps for key in values}


def _distribution(stated: Mapping[str, float], labels: Sequence[str]) -> dict[str, float]:
    """`stated` restricted to `labels`, positive, sum 1; uniform where nothing is stated."""
    values = {label: max(stated.get(label, 0.0), 0.0) for label in labels}
    total = math.fsum(values.values())
    return {label: values[label] / total if total > 0 else 1 / len(labels) for label in labels}


def _softmax(scores: Mapping[str, float]) -> dict[str, float]:
    highest = max(scores.values())
    powers = {label: math.exp(score - highest) for label, score in scores.items()}
    total = math.fsum(powers.values())
    return {label: power / total for label, power in powers.items()}
