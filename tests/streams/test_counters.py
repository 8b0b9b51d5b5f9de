"""Counts of a worker process."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from streams import counters


def test_counts_from_many_threads_add_up() -> None:
    before = counters.snapshot().get("tests_of_threads_total", 0)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: [counters.count("tests_of_threads_total") for _ in range(500)], range(8)))
    assert counters.snapshot()["tests_of_threads_total"] == before + 4000


def test_a_snapshot_does_not_change_afterwards() -> None:
    counters.count("tests_of_snapshot_total", 2)
    taken = counters.snapshot()
    value = taken["tests_of_snapshot_total"]
    counters.count("tests_of_snapshot_total")
    assert taken["tests_of_snapshot_total"] == value
