"""Counts of this process: what was taken in, sent out, dropped.

Stages and runtimes add to them from any thread; the worker's ``/metrics`` page reads them. A name is a metric's name
without the product's prefix, with labels where one thing is counted apart: ``records_in_total{stage="hear"}``.
Counts are for people: no stage ever reads one, so that results cannot depend on them.
"""

from __future__ import annotations

from collections import Counter
from threading import Lock

_lock = Lock()
_counts: Counter[str] = Counter()


def count(name: str, n: int = 1) -> None:
    """Add `n` to `name`. Thread-safe."""
    with _lock:
        _counts[name] += n


def snapshot() -> dict[str, int]:
    """A copy of all counts of this process, as they are at one moment."""
    with _lock:
        return dict(_counts)
