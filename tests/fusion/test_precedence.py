"""What precedes shifts over many conversations: counted fairly, and silent where there is too little."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings

from fusion.events import EmotionEvent
from fusion.precedence import KINDS, KindRate, Precedence, moments, precedence
from fusion.statistics import normal_quantile, stratified_difference, wilson
from tests.fusion.test_shifts import says, utterances


def call(seed: int, *, cut_before_shift: float, cut_elsewhere: float, minutes: int = 20) -> list[EmotionEvent]:
    """A customer who turns every two minutes; the agent interrupts him 10 s before a turn, or before another moment, as often as stated."""
    rng, events, label = random.Random(seed), [], "neutral"
    for block in range(minutes):
        start = 60.0 * block
        turns = block % 2 == 1
        if turns:
            label = "anger" if label == "neutral" else "neutral"
        if rng.random() < (cut_before_shift if turns else cut_elsewhere):
            events += [says("customer", start + 20, start + 24, "unknown"), says("agent", start + 22, start + 25, text="No, wait a moment please.")]
        events += [says("customer", start + 35 + 3 * i, start + 37 + 3 * i, label) for i in range(4)]
    return events


def of(study: Precedence, kind: str) -> KindRate:
    return next(k for k in study.kinds if k.kind == kind)


def test_what_stands_before_shifts_more_often_is_found_with_counts() -> None:
    study = precedence([call(seed, cut_before_shift=0.8, cut_elsewhere=0.2) for seed in range(4)])
    cut = of(study, "interruption")
    assert study.conversations == 4 and cut.verdict == "more often" and cut.low is not None and cut.low > 0
    assert cut.shifts == study.shifts >= 30 and cut.before_rate == pytest.approx(0.8, abs=0.2) and cut.elsewhere_rate == pytest.approx(0.2, abs=0.2)
    assert cut.before_low <= cut.before / cut.shifts <= cut.before_high


def test_what_stands_everywhere_as_often_is_not() -> None:
    study = precedence([call(seed, cut_before_shift=0.5, cut_elsewhere=0.5) for seed in range(4)])
    assert of(study, "interruption").verdict == "no difference shown"


def test_a_call_in_which_everything_is_more_frequent_does_not_pass_for_an_effect() -> None:
    """Pooled over calls the shares differ; within each call they do not."""
    heated = [call(s, cut_before_shift=0.9, cut_elsewhere=0.9, minutes=40) for s in range(2)]
    calm = [[says("customer", 40 * i, 40 * i + 3, "neutral") for i in range(60)] for _ in range(4)]
    study = precedence([*heated, *calm])
    cut = of(study, "interruption")
    assert cut.before_rate is not None and cut.elsewhere_rate is not None and cut.before_rate - cut.elsewhere_rate > 0.3
    assert cut.verdict == "no difference shown"


def test_few_shifts_are_said_to_be_too_few_and_none_is_no_error() -> None:
    study = precedence([call(1, cut_before_shift=1, cut_elsewhere=0, minutes=8)])
    assert {k.verdict for k in study.kinds} == {"too few"} and [k.kind for k in study.kinds] == list(KINDS)
    empty = precedence([[], [says("agent", 0, 4)]])
    assert empty.shifts == empty.moments == 0 and of(empty, "silence").before_rate is None


def test_only_turns_into_one_tone_can_be_asked_for() -> None:
    calls = [call(seed, cut_before_shift=0.8, cut_elsewhere=0.2) for seed in range(2)]
    both, worse, better = precedence(calls), precedence(calls, into="negative"), precedence(calls, into="neutral")
    assert worse.found + better.found == both.found and worse.shifts and better.shifts


@given(events=utterances)
@settings(max_examples=100, deadline=None)
def test_windows_are_whole_never_overlap_and_are_of_nobody_withheld(events: list[EmotionEvent]) -> None:
    found = moments(events)
    begun = min((e.start_ms for e in events), default=0)
    for name in {m.participant for m in found}:
        times = sorted(m.at_ms for m in found if m.participant == name)
        assert name != "agent" and times[0] - 30_000 >= begun
        assert all(b - a >= 30_000 for a, b in zip(times, times[1:], strict=False))


def test_the_interval_of_a_difference_covers_it_as_often_as_it_says() -> None:
    rng, z, covered = random.Random(3), normal_quantile(0.95), 0
    for _ in range(600):
        strata = [(sum(rng.random() < 0.4 for _ in range(2)), 2, sum(rng.random() < 0.25 for _ in range(4)), 4) for _ in range(40)]
        found = stratified_difference(strata, z)
        covered += found is not None and found[1] <= 0.15 <= found[2]
    assert 0.92 < covered / 600 < 0.975


def test_proportions_have_the_intervals_of_the_textbook() -> None:
    assert normal_quantile(0.95) == pytest.approx(1.959964, abs=1e-6)
    assert wilson(8, 10, normal_quantile(0.95)) == pytest.approx((0.4902, 0.9433), abs=1e-4)  # Newcombe 1998
    assert wilson(0, 0, 1.96) == (0.0, 1.0) and wilson(0, 20, 1.96)[0] == 0.0
    assert stratified_difference([(1, 2, 0, 0)], 1.96) is None
