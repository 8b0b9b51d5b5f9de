"""Dialogue state of each participant: what was shown before, whether this is a shift, and where valence is heading.

Causal: a step sees earlier events of the same participant and nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from msgspec import Struct

from fusion.models.pool import UNKNOWN

SHIFT_MARGIN = 0.2
"""A new label is a shift at once when it is more probable than the previous one by at least this much …"""
SHIFT_REPEATS = 2
"""… or when it wins this many events in a row. Less is noise: the participant is still said to show the previous."""
VALENCE_SECONDS = 30.0
"""Time constant of the running valence, a mean in which an event so much media time ago has 1/e of its weight left."""


class DialogueState(Struct, frozen=True):
    """State of one participant. `shown` is the label of the last shift (or the first label); `contender` won the last
    `repeats` events without being a shift yet."""

    shown: str | None = None
    contender: str | None = None
    repeats: int = 0
    valence_sum: float = 0.0
    valence_weight: float = 0.0
    at_ms: int = 0


class Turn(Struct, frozen=True):
    """What an event says about its place in the dialogue."""

    previous: str | None
    shift: bool
    running_valence: float | None


def step(
    state: DialogueState, *, label: str, probabilities: Mapping[str, float], valence: float | None, end_ms: int
) -> tuple[Turn, DialogueState]:
    """Place one event of a participant and give the state after it. ``unknown`` is no statement: it changes no label,
    makes no shift and does not break a row of repeats; its valence still counts."""
    decay = math.exp(-max(0, end_ms - state.at_ms) / 1000 / VALENCE_SECONDS)
    total = state.valence_sum * decay + (valence or 0.0)
    weight = state.valence_weight * decay + (valence is not None)
    shown, contender, repeats, shift = state.shown, state.contender, state.repeats, False
    if label != UNKNOWN:
        if shown is None:
            shown = label
        elif label == shown:
            contender, repeats = None, 0
        else:
            repeats = repeats + 1 if contender == label else 1
            contender = label
            margin = probabilities.get(label, 0.0) - probabilities.get(shown, 0.0)
            if round(margin, 4) >= SHIFT_MARGIN or repeats >= SHIFT_REPEATS:
                shown, contender, repeats, shift = label, None, 0, True
    running = round(total / weight, 4) + 0.0 if weight > 1e-9 else None
    after = DialogueState(shown, contender, repeats, total, weight, max(state.at_ms, end_ms))
    return Turn(state.shown, shift, running), after
