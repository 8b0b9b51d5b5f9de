"""Dialogue state: shifts with hysteresis, running valence, nothing of the future."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from extractors.cues import LABELS
from fusion.conversation import DialogueState, Turn, step

Event = tuple[str, dict[str, float], float | None, int]


def shown(label: str, p: float, against: str, q: float, valence: float | None = None, at: int = 0) -> Event:
    return label, {label: p, against: q}, valence, at


def run(events: list[Event]) -> tuple[list[Turn], DialogueState]:
    state, turns = DialogueState(), []
    for label, probabilities, valence, end_ms in events:
        turn, state = step(state, label=label, probabilities=probabilities, valence=valence, end_ms=end_ms)
        turns.append(turn)
    return turns, state


def test_the_first_label_is_no_shift() -> None:
    turns, state = run([shown("neutral", 0.9, "anger", 0.1)])
    assert turns == [Turn(None, False, None)] and state.shown == "neutral"


def test_a_clear_change_is_a_shift_at_once() -> None:
    turns, state = run([shown("neutral", 0.9, "anger", 0.1), shown("anger", 0.6, "neutral", 0.4)])
    assert turns[1].shift and turns[1].previous == "neutral" and state.shown == "anger"


def test_a_narrow_change_must_happen_twice() -> None:
    narrow = shown("anger", 0.5, "neutral", 0.4)
    turns, _ = run([shown("neutral", 0.9, "anger", 0.1), narrow, narrow])
    assert [turn.shift for turn in turns] == [False, False, True]


def test_a_flicker_is_no_shift() -> None:
    neutral, narrow = shown("neutral", 0.5, "anger", 0.4), shown("anger", 0.5, "neutral", 0.4)
    turns, state = run([neutral, narrow, neutral, narrow, neutral])
    assert not any(turn.shift for turn in turns) and state.shown == "neutral"


def test_unknown_says_nothing_about_labels() -> None:
    narrow, unknown = shown("anger", 0.5, "neutral", 0.4), shown("unknown", 0.3, "anger", 0.3)
    turns, _ = run([unknown, shown("neutral", 0.9, "anger", 0.1), narrow, unknown, narrow])
    assert [turn.shift for turn in turns] == [False, False, False, False, True]
    assert turns[1].previous is None


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
