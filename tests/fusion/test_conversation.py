"""Dialogue state: shifts with hysteresis, running valence, nothing of the future."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from extractors.cues import LABELS
from fusion.conversation import DialogueState, Turn, step, tone

Event = tuple[str, dict[str, float], float | None, int]


def shown(label: str, p: float, against: str, q: float, valence: float | None = None, at: int = 0) -> Event:
    return label, {label: p, against: q}, valence, at


def run(events: list[Event]) -> tuple[list[Turn], DialogueState]:
    state, turns = DialogueState(), []
    for label, probabilities, valence, end_ms in events:
        turn, state = step(state, label=label, probabilities=probabilities, valence=valence, end_ms=end_ms)
        turns.append(turn)
    return turns, state


NEUTRAL, ANGER = shown("neutral", 0.9, "anger", 0.1), shown("anger", 0.6, "neutral", 0.4)


def test_the_first_label_is_no_shift() -> None:
    turns, state = run([NEUTRAL])
    assert turns == [Turn(None, False, None)] and state.shown == "neutral"


def test_a_turn_is_a_shift_when_it_has_shown_twice_in_a_row() -> None:
    turns, state = run([NEUTRAL, NEUTRAL, ANGER, ANGER])
    assert [turn.shift for turn in turns] == [False, False, False, True]
    assert turns[3].previous == "neutral" and state.shown == "anger"


@pytest.mark.parametrize("odd", [ANGER, shown("anger", 1.0, "neutral", 0.0)])
def test_one_odd_utterance_is_no_shift_however_sure(odd: Event) -> None:
    turns, state = run([NEUTRAL, NEUTRAL, odd, NEUTRAL, odd, NEUTRAL])
    assert not any(turn.shift for turn in turns) and state.shown == "neutral"
    turns, state = run([odd, NEUTRAL, NEUTRAL])
    assert not any(turn.shift for turn in turns) and state.shown == "neutral", "nor is an odd one at the beginning"


def test_a_turn_on_a_knifes_edge_waits_for_more() -> None:
    narrow = shown("anger", 0.42, "neutral", 0.38)
    turns, _ = run([NEUTRAL, NEUTRAL, narrow, narrow, narrow])
    assert [turn.shift for turn in turns] == [False, False, False, False, True]


def test_different_labels_on_one_side_of_valence_settle_a_turn_together() -> None:
    disgust, sadness = shown("disgust", 0.6, "neutral", 0.4), shown("sadness", 0.5, "neutral", 0.3)
    turns, state = run([NEUTRAL, NEUTRAL, disgust, sadness])
    assert turns[3].shift and state.shown == "disgust" and state.tone == "negative"
    turns, state = run([NEUTRAL, NEUTRAL, disgust, ANGER, ANGER])
    assert [t.shift for t in turns] == [False, False, False, True, False] and state.shown == "anger", "a label shown once was never settled"
    turns, _ = run([NEUTRAL, NEUTRAL, disgust, shown("happiness", 0.9, "neutral", 0.1)])
    assert not any(turn.shift for turn in turns)


def test_another_label_of_the_same_side_is_a_shift_too() -> None:
    sadness = shown("sadness", 0.7, "anger", 0.2)
    turns, state = run([ANGER, ANGER, sadness, sadness])
    assert turns[3].shift and turns[3].previous == "anger" and state.shown == "sadness"


def test_unknown_says_nothing_about_labels() -> None:
    unknown = shown("unknown", 0.3, "anger", 0.3)
    turns, _ = run([unknown, NEUTRAL, unknown, NEUTRAL, ANGER, unknown, ANGER])
    assert [turn.shift for turn in turns] == [False] * 6 + [True]
    assert turns[1].previous is None


@pytest.mark.parametrize(
    ("label", "valence", "expected"),
    [("anger", 0.9, "negative"), ("happiness", None, "positive"), ("surprise", -0.8, "neutral"), ("awe", 0.5, "positive"), ("boredom", -0.3, "negative"), ("awe", None, "neutral")],
)
def test_the_tone_of_a_label(label: str, valence: float | None, expected: str) -> None:
    assert tone(label, valence) == expected


def test_running_valence_forgets_with_media_time() -> None:
    def after(gap_ms: int) -> float:
        events = [shown("neutral", 1, "anger", 0, 1.0, 0), shown("neutral", 1, "anger", 0, -1.0, gap_ms)]
        value = run(events)[0][1].running_valence
        assert value is not None
        return value

    assert after(0) == 0.0
    assert after(0) > after(10_000) > after(120_000) > -1.0
    assert after(120_000) == pytest.approx(-0.964, abs=0.01)


labels = st.sampled_from([*LABELS, "unknown"])
events = st.lists(
    st.tuples(
        labels,
        st.dictionaries(st.sampled_from(LABELS), st.floats(0, 1)),
        st.one_of(st.none(), st.floats(-1, 1)),
        st.integers(0, 10**7),
    ),
    max_size=12,
)


@given(events, st.integers(0, 12))
def test_a_turn_is_the_same_when_later_turns_are_deleted(dialogue: list[Event], cut: int) -> None:
    assert run(dialogue[:cut])[0] == run(dialogue)[0][:cut]


@given(events, st.integers(0, 12))
def test_a_state_stored_and_read_goes_on_as_if_nothing_had_happened(dialogue: list[Event], cut: int) -> None:
    _, state = run(dialogue[:cut])
    state = msgspec.msgpack.decode(msgspec.msgpack.encode(state), type=DialogueState)
    turns = []
    for label, probabilities, valence, end_ms in dialogue[cut:]:
        turn, state = step(state, label=label, probabilities=probabilities, valence=valence, end_ms=end_ms)
        turns.append(turn)
    assert turns == run(dialogue)[0][cut:]
