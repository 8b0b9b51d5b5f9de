"""Stamps of real files jitter, jump and start again; positions on the media clock do not go back."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from streams.ingest.clock import PictureClock, SampleClock

RATE = 1000  # one sample is one millisecond


def place(stamps: list[int | None], count: int = 100) -> list[tuple[int, int]]:
    clock = SampleClock(RATE)
    return [(placed.start, placed.drop) for placed in (clock.place(stamp, count) for stamp in stamps)]


def test_jitter_is_absorbed() -> None:
    assert place([0, 103, 195, 318, 400]) == [(0, 0), (100, 0), (200, 0), (300, 0), (400, 0)]


def test_a_jump_forward_is_a_gap() -> None:
    assert place([0, 100, 950, 1050]) == [(0, 0), (100, 0), (950, 0), (1050, 0)]


def test_a_late_start_is_kept() -> None:
    assert place([1500, 1600]) == [(1500, 0), (1600, 0)]


def test_what_lies_before_time_zero_is_dropped() -> None:
    assert place([-30, 70]) == [(0, 30), (70, 0)]


def test_an_overlap_is_dropped_once() -> None:
    clock = SampleClock(RATE)
    placed = [clock.place(stamp, 400) for stamp in (0, 100, 500)]
    assert [(one.start, one.drop) for one in placed] == [(0, 0), (400, 300), (500, 0)]
    assert clock.notes == [("overlap", 400, 300)]


def test_stamps_that_start_again_go_on() -> None:
    assert place([0, 100, *range(200, 3000, 100), 0, 100]) [-2:] == [(3000, 0), (3100, 0)]


def test_a_jump_of_a_day_is_a_broken_stamp() -> None:
    assert place([0, 100, 86_400_000, 86_400_100]) == [(0, 0), (100, 0), (200, 0), (300, 0)]


def test_missing_stamps_continue() -> None:
    assert place([None, None, 200, None]) == [(0, 0), (100, 0), (200, 0), (300, 0)]


@given(st.lists(st.tuples(st.one_of(st.none(), st.integers(-5_000, 10_000_000)), st.integers(0, 5_000)), max_size=50))
def test_positions_never_overlap_and_never_are_negative(runs: list[tuple[int | None, int]]) -> None:
    clock, end = SampleClock(RATE), 0
    for stamp, count in runs:
        placed = clock.place(stamp, count)
        assert 0 <= placed.drop <= count
        assert placed.start >= end >= 0
        end = placed.start + count - placed.drop
        assert clock.next == end


@given(st.lists(st.integers(-10_000_000, 10_000_000_000), max_size=50))
def test_pictures_come_in_order(stamps: list[int]) -> None:
    clock = PictureClock()
    times = [time for time in map(clock.place, stamps) if time is not None]
    assert times == sorted(set(times)) and all(time >= 0 for time in times)


def test_pictures_of_a_second_recording_follow_the_first() -> None:
    clock = PictureClock()
    times = [clock.place(stamp) for stamp in (0, 40_000, 5_000_000, 0, 40_000)]
    assert times[:3] == [0, 40_000, 5_000_000]
    assert times[3] is not None and times[4] == times[3] + 40_000 and times[3] > 5_000_000
