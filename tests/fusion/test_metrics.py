"""Conversation metrics on hand-built conversations whose figures can be counted on paper."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fusion.metrics import (
    ConversationMetrics,
    Interruption,
    Interval,
    MetricParameters,
    ParticipantMetrics,
    UtteranceSpan,
    conversation_metrics,
    spans_of,
)
from fusion.statistics import t_quantile, trend
from tests.streams.egress.scenario import support_call


def say(who: str, start: float, end: float, **more: object) -> UtteranceSpan:
    return UtteranceSpan(who, round(start * 1000), round(end * 1000), **more)  # type: ignore[arg-type]


def of(metrics: ConversationMetrics, name: str) -> ParticipantMetrics:
    return next(p for p in metrics.participants if p.participant == name)


TWO_CHANNELS = [
    say("customer", 2.0, 6.0, words=10, text="a b c d e f g h i j", loudness_lufs=-20.0, valence=0.2),
    say("agent", 5.0, 9.0, words=12, text="one two three four five six seven eight nine ten eleven twelve", role="employee", withheld=True),
    say("customer", 7.0, 7.4, words=1, text="Mhm."),  # a back-channel
    say("customer", 13.0, 17.0, words=8, text="a b c d e f g h", loudness_lufs=-16.0, valence=-0.4),
    say("agent", 17.5, 22.0, words=9, text="a b c d e f g h i", role="employee", withheld=True),
]


def test_the_two_channel_conversation_gives_exactly_these_figures() -> None:
    m = conversation_metrics(TWO_CHANNELS, 30_000)
    assert m.conversation == Interval(2000, 22000)
    assert m.talk_ms == (9000 - 2000) + 4000 + 4500
    assert m.silence_ms == 4000 + 500
    assert m.non_talk == (Interval(9000, 13000),) and m.non_talk_ms == 4000
    assert m.overlaps == (Interval(5000, 6000), Interval(7000, 7400)) and m.overlap_ms == 1400
    assert m.interruptions == (Interruption(5000, "agent", "customer", 1000, "success"),)
    customer, agent = of(m, "customer"), of(m, "agent")
    assert (customer.talk_ms, agent.talk_ms) == (8400, 8500)
    assert (customer.talk_ratio, agent.talk_ratio) == (round(8400 / 16900, 4), round(8500 / 16900, 4))
    assert customer.words_per_min == round(19 / 8.4 * 60, 1) and customer.words == 19
    assert customer.loudness_lufs == -18.0 and customer.loudness_count == 2
    assert (customer.turns, agent.turns) == (2, 2) and customer.utterances == 3
    assert agent.response.count == 2 and agent.response.mean_ms == (-1000 + 500) / 2 == agent.response.median_ms
    assert customer.response.count == 1 and customer.response.mean_ms == 4000
    assert (agent.interruptions_made, agent.interruption_attempts, customer.interrupted) == (1, 0, 1)
    assert (agent.overlap_ms, customer.overlap_ms) == (1400, 1400), "both voices are on"
    assert (agent.overlaps_begun, customer.overlaps_begun) == (1, 1) and (agent.interruption_ms, customer.interruption_ms) == (1000, 0)


def test_valence_by_quarter_is_weighted_by_voiced_time_and_empty_quarters_are_null() -> None:
    valence = of(conversation_metrics(TWO_CHANNELS, 30_000), "customer").valence
    assert valence is not None
    assert [(q.start_ms, q.end_ms) for q in valence.quarters] == [(2000, 7000), (7000, 12000), (12000, 17000), (17000, 22000)]
    assert [(q.valence, q.count) for q in valence.quarters] == [(0.2, 1), (None, 0), (-0.4, 1), (None, 0)]
    assert valence.mean == -0.1 and valence.count == 2 and valence.change is None
    assert valence.trend.slope_per_min is None and valence.trend.count == 2

    straddling = [say("a", 0, 4, valence=1.0), say("a", 4, 12, valence=0.0), say("a", 12, 16, valence=-1.0), say("a", 3, 5, valence=0.5)]
    quarters = of(conversation_metrics(straddling, 16_000), "a").valence.quarters  # type: ignore[union-attr]
    assert quarters[0].valence == round((4 * 1.0 + 1 * 0.5) / 5, 4) and quarters[1].valence == round((4 * 0.0 + 1 * 0.5) / 5, 4)


def test_a_line_gives_its_slope_with_an_interval_of_no_width() -> None:
    line = [say("a", 60 * i, 60 * i + 10, valence=0.6 - 0.1 * i) for i in range(6)]
    found = of(conversation_metrics(line, 400_000), "a").valence
    assert found is not None and found.trend.slope_per_min == -0.1
    assert found.trend.low == pytest.approx(-0.1, abs=1e-4) and found.trend.high == pytest.approx(-0.1, abs=1e-4)
    assert found.change is not None and found.change < 0


def test_the_slope_and_its_interval_are_those_of_the_textbook() -> None:
    # x = 0..4, y = 1, 3, 2, 5, 4: slope 0.8, residual sum 3.6, s² = 1.2, s.e. = sqrt(1.2 / 10), t(0.975; 3) = 3.182446
    slope, low, high = trend([(0, 1), (1, 3), (2, 2), (3, 5), (4, 4)], 3, 0.95)
    assert slope == pytest.approx(0.8) and low == pytest.approx(0.8 - 3.182446 * 0.12**0.5, abs=1e-6)
    assert high == pytest.approx(0.8 + 3.182446 * 0.12**0.5, abs=1e-6)


@pytest.mark.parametrize(("degrees", "expected"), [(1, 12.7062), (2, 4.30265), (3, 3.18245), (10, 2.22814), (30, 2.04227), (1000, 1.96234)])
def test_t_values_are_those_of_the_tables(degrees: int, expected: float) -> None:
    assert t_quantile(0.95, degrees) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("spans", "expected"),
    [
        ([say("a", 0, 4), say("b", 2, 6)], "success"),
        ([say("a", 0, 9), say("b", 2, 6)], "attempt"),
        ([say("a", 0, 4.001), say("b", 2, 6)], "attempt"),
        ([say("a", 0, 4), say("b", 0.999, 6)], None),  # a has not spoken for a second
        ([say("a", 0, 4), say("b", 3.501, 6)], None),  # overlap below half a second
        ([say("a", 0, 4), say("b", 3.5, 6)], "success"),
        ([say("a", 0, 4), say("b", 2, 3, text="Yeah, okay.")], None),  # back-channel
        ([say("a", 0, 4), say("b", 2, 3, text="No, stop!")], "success"),  # short, but not a listening word
        ([say("a", 0, 4), say("b", 2, 3.5, text="Yeah, okay.")], "success"),  # listening words, but too long
        ([say("a", 0, 4), say("a", 2, 6)], None),  # nobody interrupts himself
    ],
)
def test_what_counts_as_an_interruption(spans: list[UtteranceSpan], expected: str | None) -> None:
    found = conversation_metrics(spans, 10_000).interruptions
    assert [i.outcome for i in found] == ([expected] if expected else [])
    assert all((i.by, i.of) == ("b", "a") for i in found)


def test_of_two_speakers_the_one_who_spoke_longer_is_interrupted_once() -> None:
    spans = [say("a", 0, 5), say("b", 1.2, 5), say("c", 3, 7)]
    assert [(i.by, i.of) for i in conversation_metrics(spans, 9000).interruptions] == [("b", "a"), ("c", "a")]


def test_thresholds_are_honoured_and_travel_with_the_figures() -> None:
    params = MetricParameters(non_talk_min_ms=5000, overlap_min_ms=500)
    m = conversation_metrics(TWO_CHANNELS, 30_000, params)
    assert m.non_talk == () and m.overlaps == (Interval(5000, 6000),) and m.parameters == params


def test_nothing_is_said_about_the_emotion_of_a_withheld_participant_even_if_a_value_slips_in() -> None:
    spans = [*TWO_CHANNELS, say("agent", 23, 25, valence=-0.9, role="employee", withheld=True)]
    m = conversation_metrics(spans, 30_000)
    assert of(m, "agent").valence is None
    assert b"-0.9" not in msgspec.json.encode(m)


def test_silence_has_no_figures_and_no_error() -> None:
    m = conversation_metrics([], 5000)
    assert m.conversation is None and m.participants == () and m.talk_ms == m.non_talk_ms == 0


def test_one_who_never_answers_and_one_without_words_have_null_with_count_zero() -> None:
    only = of(conversation_metrics([say("a", 1, 2.5), say("a", 3, 5)], 6000), "a")
    assert only.talk_ratio == 1.0 and only.words_per_min is None and only.worded_utterances == 0
    assert only.response.count == 0 and only.response.mean_ms is None and only.loudness_count == 0 and only.loudness_lufs is None
    assert only.valence is not None and only.valence.count == 0 and only.valence.mean is None


spans_strategy = st.lists(
    st.builds(
        lambda who, start, length, valence, words: UtteranceSpan(
            who, start, start + length, words=words, text=None if words is None else " ".join(["yeah"] * words),
            valence=None if valence is None else valence / 100, loudness_lufs=-20.0),
        st.sampled_from("abc"), st.integers(0, 60_000), st.integers(0, 9000), st.none() | st.integers(-100, 100), st.none() | st.integers(0, 20),
    ),
    max_size=14,
)


def moved(value: object, by: int) -> object:
    """The same result with every time shifted."""
    if isinstance(value, msgspec.Struct):
        times = {"start_ms", "end_ms", "at_ms"}
        return type(value)(**{
            n: (getattr(value, n) + by if n in times else moved(getattr(value, n), by)) for n in value.__struct_fields__
        })
    return tuple(moved(v, by) for v in value) if isinstance(value, tuple) else value


@given(spans=spans_strategy, lead_in=st.integers(0, 20_000_000))
@settings(max_examples=150, deadline=None)
def test_a_lead_in_shifts_times_and_changes_nothing_else(spans: list[UtteranceSpan], lead_in: int) -> None:
    plain = conversation_metrics(spans, 80_000)
    later = [msgspec.structs.replace(u, start_ms=u.start_ms + lead_in, end_ms=u.end_ms + lead_in) for u in spans]
    shifted = conversation_metrics(later, 80_000)
    assert shifted == moved(plain, lead_in)


@given(spans=spans_strategy, data=st.data())
@settings(max_examples=100, deadline=None)
def test_times_add_up_and_order_does_not_matter(spans: list[UtteranceSpan], data: st.DataObject) -> None:
    m = conversation_metrics(spans, 80_000)
    assert conversation_metrics(data.draw(st.permutations(spans)), 80_000).conversation == m.conversation
    if m.conversation is not None:
        assert m.talk_ms + m.silence_ms == m.conversation.end_ms - m.conversation.start_ms
        assert m.non_talk_ms <= m.silence_ms and sum(p.talk_ms for p in m.participants) >= m.talk_ms
        assert all(0 <= p.overlap_ms <= p.talk_ms and p.overlaps_begun <= len(m.overlaps) for p in m.participants)
        assert sum(p.overlap_ms for p in m.participants) >= 2 * m.overlap_ms
        assert sum(p.talk_ratio or 0 for p in m.participants) == pytest.approx(1, abs=1e-3)


def test_events_of_a_call_give_spans_without_a_word_about_the_employees_emotion() -> None:
    spans = spans_of(support_call())
    assert {s.participant: s.withheld for s in spans} == {"customer": False, "agent": True}
    m = conversation_metrics(spans, 600_000)
    assert of(m, "customer").valence.count > 20 and of(m, "agent").valence is None  # type: ignore[union-attr]
    assert m.interruptions, "the angry customer interrupts"
