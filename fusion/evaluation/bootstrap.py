"""Bootstrap intervals that respect who said what: whole groups (speakers, dialogues) are drawn, not single rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

REPEATS = 500
SEED = 20


def intervals(
    statistics: Callable[[NDArray[np.int64]], dict[str, float]],
    n: int,
    groups: Sequence[str] | None = None,
    *,
    repeats: int = REPEATS,
    seed: int = SEED,
) -> dict[str, tuple[float, float]]:
    """95 % percentile intervals of every figure that `statistics` computes from row indices.

    `groups` names the group of each of the `n` rows; groups are drawn with replacement (cluster bootstrap, Davison &
    Hinkley 1997). Without groups, or with only one, rows are drawn. Equal input gives equal intervals.
    """
    if n < 2:
        return {}
    members = _members(n, groups)
    rng = np.random.default_rng(seed)
    drawn: dict[str, list[float]] = {}
    for _ in range(repeats):
        picks = rng.integers(0, len(members), len(members))
        rows = np.concatenate([members[i] for i in picks])
        for name, value in statistics(rows).items():
            drawn.setdefault(name, []).append(value)
    return {name: _percentiles(values) for name, values in drawn.items() if np.isfinite(values).any()}


def _members(n: int, groups: Sequence[str] | None) -> list[NDArray[np.int64]]:
    if groups is not None and len(set(groups)) > 1:
        names = np.asarray(groups)
        order = np.argsort(names, kind="stable")
        cuts = np.flatnonzero(names[order][1:] != names[order][:-1]) + 1
        return list(np.split(order, cuts))
    return [np.array([i]) for i in range(n)]


def _percentiles(values: list[float]) -> tuple[float, float]:
    low, high = np.nanpercentile(values, [2.5, 97.5])
    return float(low), float(high)
