"""Facial action units (FACS, Ekman, Friesen and Hager 2002) derived from blendshapes, mesh distances and wrinkles.

Intensities run from 0 to 5 above the person's own neutral face. They are read-outs of the measurements named in
`RECIPES`, scaled so that 5 is the strongest hundredth of 18 000 web faces; nobody FACS-coded anything, and no trained
action-unit network is behind them. AU2, 5, 10, 12, 25, 26 and 43/45 follow what is seen well; AU1, 4, 6 and 7 fairly;
AU9, 14, 15, 17, 18, 20, 23, 24 and 28 are weak and carry little weight alone.
"""

from __future__ import annotations

import math

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from extractors.face.baseline import Baseline, learn, neutral
from extractors.face.readings import INDEX

RECIPES: dict[str, str] = {
    "AU1": "inner brow raiser: browInnerUp",
    "AU2": "outer brow raiser: browOuterUp, outer brow height",
    "AU4": "brow lowerer: distance of brow and eye, root of the nose, wrinkles between the brows, browDown",
    "AU5": "upper lid raiser: eyeWide",
    "AU6": "cheek raiser: eyeSquint together with a smile",
    "AU7": "lid tightener: eyeSquint",
    "AU9": "nose wrinkler: nose wings drawn to the eyes beyond what the smile explains",
    "AU10": "upper lip raiser: mouthUpperUp",
    "AU12": "lip corner puller: mouthSmile, mouth width and corner height",
    "AU14": "dimpler: mouthDimple",
    "AU15": "lip corner depressor: corners below the middle of the lips, mouthFrown",
    "AU17": "chin raiser: mouthShrugLower",
    "AU18": "lip pucker: mouthPucker, narrow mouth",
    "AU20": "lip stretcher: mouthStretch beyond what the smile explains",
    "AU23": "lip tightener: thinner lips on a closed mouth without a smile",
    "AU24": "lip pressor: mouthPress",
    "AU25": "lips part: gap of the inner lips",
    "AU26": "jaw drop: jawOpen",
    "AU28": "lip suck: mouthRollLower and mouthRollUpper",
    "AU43": "eyes closed for half a second and more: lid gap, eyeBlink",
    "AU45": "blink: a closure that has not lasted half a second",
}
"""Action units in the order of the output, with their sources."""

LOWER_FACE = frozenset(
    {"AU9", "AU10", "AU12", "AU14", "AU15", "AU17", "AU18", "AU20", "AU23", "AU24", "AU25", "AU26", "AU28"}
)
"""Not reported while the face is occluded: a hand over the mouth leaves the mesh guessing there."""

SMOOTHING_MS = 80
"""Time constant of the causal exponential smoothing; closures of the eyes are too short for it and go unsmoothed."""

CLOSED_MS = 500
"""A closure of the eyes counts as AU43 from here on, and as AU45 before."""

NARROW, SHUT = 0.35, 0.85
"""Closure of the eyes that smiling and looking down reach, and that of shut eyes (blinks of three clips: 0.75–0.95)."""

TRACE = 0.08
"""Share of the full range below which a change is noise."""


class ActionUnitState(Struct):
    """State of one person."""

    baseline: Baseline
    smooth: dict[str, float] = {}
    last_ms: int = -1
    closed_since_ms: int = -1


def action_units(
    state: ActionUnitState, readings: NDArray[np.float64], ms: int, *, occluded: bool = False
) -> dict[str, float]:
    """Intensities 0–5 with two decimals at media time `ms`, and the state moved on.

    `readings`: vector of `readings.READINGS`. Frames with an occluded face do not teach the baseline.
    """
    elapsed = ms - state.last_ms if state.last_ms >= 0 else 40
    if not occluded:
        learn(state.baseline, readings, elapsed)
    raw = _activations(readings, neutral(state.baseline))
    closure = raw.pop("closure")
    weight = 1 - math.exp(-elapsed / SMOOTHING_MS)
    units: dict[str, float] = {}
    for name, value in raw.items():
        before = state.smooth.get(name)
        units[name] = value if before is None or elapsed > 1000 else before + weight * (value - before)
    state.smooth = dict(units)
    units["AU43"], units["AU45"] = _closure(state, closure, ms)
    state.last_ms = ms
    return {name: round(5 * units[name], 2) + 0.0 for name in RECIPES if not (occluded and name in LOWER_FACE)}


def _closure(state: ActionUnitState, closure: float, ms: int) -> tuple[float, float]:
    if closure < 0.5:
        state.closed_since_ms = -1
        return 0.0, closure
    if state.closed_since_ms < 0:
        state.closed_since_ms = ms
    return (closure, 0.0) if ms - state.closed_since_ms >= CLOSED_MS else (0.0, closure)


def _activations(now: NDArray[np.float64], rest: NDArray[np.float64]) -> dict[str, float]:
    """Shares 0–1 of the full range of each unit, and of eye closure."""

    def up(name: str, full: float) -> float:
        """Rise above neutral; 1 where the reading reaches `full` (the population's strongest hundredth)."""
        place = INDEX[name]
        return float((now[place] - rest[place]) / max(full - rest[place], 1e-3))

    def down(name: str, span: float) -> float:
        place = INDEX[name]
        return float((rest[place] - now[place]) / span)

    smile = _share(0.5 * up("mouthSmile", 0.92) + 0.3 * up("mouth_width", 0.80) + 0.2 * up("corner_height", 0.09))
    squint = _share(up("eyeSquint", 0.72))
    frown = [(0.5, 0.5 * down("brow_eye", 0.045) + 0.5 * down("nasal_root", 0.055)), (0.15, up("browDown", 0.76))]
    wrinkles = INDEX["glabella"]
    if math.isfinite(now[wrinkles]):
        frown.append((0.35, float(now[wrinkles] - rest[wrinkles]) / 0.18))
    raised = _share(0.7 * up("browOuterUp", 0.90) + 0.3 * up("outer_brow_height", 0.245))
    parted = _share(up("lip_gap", 0.33))
    closed = 0.5 * down("lid_gap", float(rest[INDEX["lid_gap"]]) * 0.85) + 0.5 * up("eyeBlink", 0.75)
    return {
        "AU1": _share(up("browInnerUp", 0.90)),
        "AU2": raised,
        "AU4": _share(sum(part * max(-0.5, min(1.2, value)) for part, value in frown) / sum(part for part, _ in frown)),
        "AU5": _share(up("eyeWide", 0.27)),
        "AU6": math.sqrt(squint * smile),
        "AU7": squint,
        "AU9": _share(down("nose_wing_eye", 0.10) - 0.5 * smile),
        "AU10": _share(up("mouthUpperUp", 0.85)),
        "AU12": smile,
        "AU14": _share(up("mouthDimple", 0.15)),
        "AU15": _share(0.7 * down("corner_height", 0.05) + 0.3 * up("mouthFrown", 0.53)),
        "AU17": _share(up("mouthShrugLower", 0.45)),
        "AU18": _share(0.7 * up("mouthPucker", 0.97) + 0.3 * down("mouth_width", 0.15)),
        "AU20": _share(up("mouthStretch", 0.72) - 0.7 * smile),
        "AU23": _share(down("lip_thickness", 0.05)) * (1 - parted) * (1 - smile),
        "AU24": _share(up("mouthPress", 0.40)) * (1 - parted),
        "AU25": parted,
        "AU26": _share(up("jawOpen", 0.62)),
        "AU28": _share(0.6 * up("mouthRollLower", 0.41) + 0.4 * up("mouthRollUpper", 0.27)) * (1 - parted),
        "closure": min(1.0, max(0.0, (closed - NARROW) / (SHUT - NARROW))),
    }


def _share(value: float) -> float:
    return min(1.0, max(0.0, (value - TRACE) / (1 - TRACE)))
