"""The face over a span of time: observations of single frames in, one summary out."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from msgspec import Struct

from extractors.cues import LABELS, FaceObservation, Posterior, rounded

ACTIVE_INTENSITY = 1.0
"""An action unit counts as active in a frame from this intensity on (FACS level A, "trace")."""
ACTIVE_SHARE = 0.3
"""An action unit is named for a span when it is active in at least this share of the usable frames. The share does not
grow with the length of the span, as the maximum over the span does."""
STEADY_FRAMES = 3
"""With fewer usable frames than this the quality of the span falls in proportion."""


class UnitActivity(Struct, frozen=True):
    """One action unit over a span: mean `intensity` 0–5 over the usable frames, `share` of those it is active in."""

    intensity: float
    share: float

    @property
    def active(self) -> bool:
        return self.share >= ACTIVE_SHARE


class FaceSpan(Struct, frozen=True):
    """One track over a span.

    `usable` of `frames` frames can be trusted and nothing else counts; `quality` in [0, 1] is their mean score times
    their share (times usable/3 when there are fewer than three); `posterior` is the mean of their expression
    posteriors weighted by quality, None where there are none. `reasons` says why frames are not usable, the most
    frequent first.
    """

    source: str
    track: int
    frames: int
    usable: int
    quality: float
    posterior: Posterior | None = None
    units: dict[str, UnitActivity] = {}
    reasons: tuple[str, ...] = ()


def summarize(source: str, track: int, observations: Sequence[FaceObservation]) -> FaceSpan:
    """Summary of the observations of one track in order of time. Frames of one face hang together, so their posteriors
    are averaged, never multiplied."""
    usable = [face for face in observations if face.quality.usable]
    reasons = Counter(reason for face in observations if not face.quality.usable for reason in face.quality.reasons)
    quality = 0.0
    if usable:
        score = math.fsum(face.quality.score for face in usable) / len(usable)
        quality = score * len(usable) / len(observations) * min(1.0, len(usable) / STEADY_FRAMES)
    return FaceSpan(
        source,
        track,
        len(observations),
        len(usable),
        rounded(min(1.0, max(0.0, quality))) or 0.0,
        _mean_posterior([face.expression for face in usable if face.expression], quality),
        _units(usable),
        tuple(sorted(reasons, key=lambda reason: (-reasons[reason], reason))),
    )


def _units(usable: Sequence[FaceObservation]) -> dict[str, UnitActivity]:
    seen: dict[str, list[float]] = {}
    for face in usable:
        for code, intensity in face.action_units.items():
            seen.setdefault(code, []).append(intensity)
    return {
        code: UnitActivity(
            rounded(math.fsum(values) / len(values)) or 0.0,
            rounded(sum(value >= ACTIVE_INTENSITY for value in values) / len(values)) or 0.0,
        )
        for code, values in sorted(seen.items(), key=lambda item: unit_order(item[0]))
    }


def unit_order(code: str) -> tuple[int, str]:
    """Sort key of FACS codes by their number."""
    digits = "".join(letter for letter in code if letter.isdigit())
    return (int(digits) if digits else 0, code)


def _mean_posterior(posteriors: Sequence[Posterior], quality: float) -> Posterior | None:
    total = math.fsum(posterior.quality for posterior in posteriors)
    if not posteriors or total <= 0:
        return None

    def mean(values: Sequence[tuple[float, float | None]]) -> float | None:
        present = [(weight, value) for weight, value in values if value is not None]
        weights = math.fsum(weight for weight, _ in present)
        return rounded(math.fsum(weight * value for weight, value in present) / weights) if weights > 0 else None

    labels = [*LABELS, *sorted({label for posterior in posteriors for label in posterior.probabilities} - set(LABELS))]
    mass = {label: math.fsum(p.quality * p.probabilities.get(label, 0.0) for p in posteriors) for label in labels}
    return Posterior(
        probabilities={label: rounded(value / total, 6) or 0.0 for label, value in mass.items()},
        quality=rounded(min(1.0, max(0.0, quality))) or 0.0,
        valence=mean([(p.quality, p.valence) for p in posteriors]),
        arousal=mean([(p.quality, p.arousal) for p in posteriors]),
        dominance=mean([(p.quality, p.dominance) for p in posteriors]),
        model=posteriors[0].model,
    )
