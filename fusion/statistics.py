"""The little statistics that the figures of conversations need: means, slopes, proportions and their intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist


def mean(weighted: Sequence[tuple[float, int]]) -> float | None:
    """Mean of (value, weight) pairs; None without any weight."""
    total = sum(weight for _, weight in weighted)
    return math.fsum(value * weight for value, weight in weighted) / total if total else None


def trend(
    points: Sequence[tuple[float, float]], minimum: int, confidence: float
) -> tuple[float | None, float | None, float | None]:
    """Least-squares slope of (x, y) with the ends of its confidence interval.

    All None with fewer than `minimum` points or no spread in x; the interval is None below three points (no degree of
    freedom). Interval: slope ± t(confidence, n − 2) · s / sqrt(Σ(x − x̄)²), s² the residual variance.
    """
    count = len(points)
    if count < max(minimum, 2):
        return None, None, None
    middle_x = math.fsum(x for x, _ in points) / count
    middle_y = math.fsum(y for _, y in points) / count
    spread = math.fsum((x - middle_x) ** 2 for x, _ in points)
    if spread <= 0:
        return None, None, None
    slope = math.fsum((x - middle_x) * (y - middle_y) for x, y in points) / spread
    if count < 3:
        return slope, None, None
    residual = math.fsum((y - middle_y - slope * (x - middle_x)) ** 2 for x, y in points)
    half = t_quantile(confidence, count - 2) * math.sqrt(residual / (count - 2) / spread)
    return slope, slope - half, slope + half


def t_quantile(confidence: float, degrees: int) -> float:
    """t with P(|T| <= t) = `confidence` for Student's T with an integer number of degrees of freedom (>= 1).

    Bisection on the finite series of Abramowitz & Stegun 26.7.3 and 26.7.4; accurate to about 1e-12.
    """
    low, high = 0.0, 1.0
    while _t_within(high, degrees) < confidence:
        high *= 2
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if _t_within(middle, degrees) < confidence else (low, middle)
    return (low + high) / 2


def _t_within(t: float, degrees: int) -> float:
    """P(|T| <= t)."""
    angle = math.atan(t / math.sqrt(degrees))
    sine, cosine = math.sin(angle), math.cos(angle)
    odd = degrees % 2
    term, series = (cosine if odd else 1.0), 0.0
    for k in range(1 if odd else 0, degrees - 1, 2):
        series += term
        term *= cosine * cosine * (k + 1) / (k + 2)
    return 2 / math.pi * (angle + sine * series) if odd else sine * series


def normal_quantile(confidence: float) -> float:
    """z with P(|Z| <= z) = `confidence` for the standard normal."""
    return NormalDist().inv_cdf((1 + confidence) / 2)


def wilson(count: int, of: int, z: float) -> tuple[float, float]:
    """Wilson's score interval of a proportion (Wilson 1927); (0, 1) without any trial."""
    if not of:
        return 0.0, 1.0
    share, square = count / of, z * z
    middle = (share + square / (2 * of)) / (1 + square / of)
    half = z / (1 + square / of) * math.sqrt(share * (1 - share) / of + square / (4 * of * of))
    return max(0.0, middle - half), min(1.0, middle + half)


def stratified_difference(strata: Sequence[tuple[int, int, int, int]], z: float) -> tuple[float, float, float] | None:
    """Difference of two proportions within strata, with its interval: (difference, low, high).

    A stratum is (a, n, b, m): a of n in the first group, b of m in the second. Mantel-Haenszel weights with the variance of
    Sato (1989), which holds for many small strata as well as for a few large ones. None where no stratum has both groups.
    """
    weight = difference = p_sum = q_sum = 0.0
    for a, n, b, m in strata:
        total = n + m
        if not n or not m:
            continue
        weight += n * m / total
        difference += (a * m - b * n) / total
        p_sum += (n * n * b - m * m * a + n * m * (m - n) / 2) / total**2
        q_sum += (a * (m - b) + b * (n - a)) / (2 * total)
    if not weight:
        return None
    difference /= weight
    half = z * math.sqrt(max(difference * p_sum + q_sum, 0.0)) / weight
    return difference, max(-1.0, difference - half), min(1.0, difference + half)
