"""Evidence: which modality moved the decision, how far, which way, and the check that the statement is true.

The share of a modality is its leave-one-out effect: the change in the log-odds of the best label when the modality is
taken away and the rest is pooled again, in absolute value, over the sum of all. It `supports` the label when the
log-odds fall without it. With one modality alone the rest is the prior and its share is 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from msgspec import Struct

from extractors.cues import Posterior
from fusion.events import EmotionEvent
from fusion.models.pool import LogPool, to_unit

Pooling = Callable[[Mapping[str, Posterior]], Mapping[str, float]]


class Share(Struct, frozen=True):
    """Share of a modality in the decision (all shares of an event sum to 1) and its direction."""

    weight: float
    supports: bool


class Verification(Struct, frozen=True):
    """What `verify` found: the probability of the label with everything and without the strongest evidence, and every
    statement of the event that its own posteriors do not bear out."""

    modality: str | None
    before: float
    after: float
    problems: tuple[str, ...]


def leave_one_out(pooling: Pooling, posteriors: Mapping[str, Posterior], label: str) -> dict[str, float]:
    """Change of the log-odds of `label` that each modality brings (positive: it speaks for the label)."""
    whole = log_odds(pooling(posteriors)[label])
    return {
        name: whole - log_odds(pooling({other: p for other, p in posteriors.items() if other != name})[label])
        for name in sorted(posteriors)
    }


def log_odds(probability: float) -> float:
    bounded = min(1 - 1e-12, max(1e-12, probability))
    return math.log(bounded / (1 - bounded))


def shares(pooling: Pooling, posteriors: Mapping[str, Posterior], label: str) -> dict[str, Share]:
    """Share and direction per modality. Where no modality moves the label at all, all have the same share."""
    effects = {name: round(effect, 9) for name, effect in leave_one_out(pooling, posteriors, label).items()}
    sizes = {name: abs(effect) for name, effect in effects.items()}
    if not any(sizes.values()):
        sizes = dict.fromkeys(sizes, 1.0)
    weights = to_unit(sizes)
    return {name: Share(weights[name], effects[name] >= 0) for name in effects}


def verify(event: EmotionEvent, posteriors: Mapping[str, Posterior], pool: LogPool) -> Verification:
    """Check an event against the posteriors it was made from.

    Its probabilities must be their pool; its evidence must carry the recomputed shares; and without the modality of its
    strongest evidence the probability of the best label must fall if the evidence supports it, rise if not.
    """
    problems: list[str] = []
    pooled = pool.probabilities(posteriors)
    best = max(event.probabilities, key=lambda label: event.probabilities[label])
    for label, stated in event.probabilities.items():
        if abs(stated - pooled[label]) > 1.5e-4:
            problems.append(f"probability of {label} is {stated}, its posteriors give {pooled[label]:.4f}")
    expected = shares(pool.probabilities, posteriors, best)
    stated_weights = {name: use.weight for name, use in event.modalities.items() if use.present}
    if stated_weights != {name: share.weight for name, share in expected.items()}:
        problems.append(f"shares are {stated_weights}, removal gives { {n: s.weight for n, s in expected.items()} }")
    if not event.evidence:
        return Verification(None, pooled[best], pooled[best], tuple(problems))
    top = max(event.evidence, key=lambda piece: piece.weight)
    rest = {name: posterior for name, posterior in posteriors.items() if name != top.modality}
    before, after = pooled[best], pool.probabilities(rest)[best]
    if (after > before + 1e-9) if top.supports else (after < before - 1e-9):
        direction = "supports" if top.supports else "speaks against"
        problems.append(f"{top.modality} {direction} {best}, yet without it {before:.4f} becomes {after:.4f}")
    return Verification(top.modality, before, after, tuple(problems))
