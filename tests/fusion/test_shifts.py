"""Emotion shifts and what preceded them, on conversations that can be read on paper."""

from __future__ import annotations

import statistics

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extractors.cues import LABELS
from fusion.events import FINAL_REVISION, EmotionEvent, EventTranscript, ModalityUse, event_id
from fusion.metrics import ConversationMetrics
from fusion.preceding import _median, conversation_figures
from fusion.shifts import Antecedent, EmotionShift, dialogues, phases
from tests.streams.egress.scenario import VALENCE, support_call


def says(
    who: str, start: float, end: float, label: str | None = None, *, p: float = 0.8, text: str = "so many words here", loud: float | None = None,
    kind: str = "utterance", units: dict[str, float] | None = None, valence: float | None = None,
) -> EmotionEvent:
    """An utterance (seconds); without a label it is withheld."""
    start_ms, end_ms = round(start * 1000), round(end * 1000)
    rest = "neutral" if label != "neutral" else "anger"
    observables = {**(units or {}), **({} if loud is None else {"loudness_lufs": loud})}
    return EmotionEvent(
        id=event_id("call", who, start_ms, kind), revision=FINAL_REVISION, status="final" if label else "withheld", session="call", participant=who,
        role="customer" if label else "employee", kind=kind, start_ms=start_ms, end_ms=end_ms, label=label,  # type: ignore[arg-type]
        probabilities={} if label in (None, "unknown") else {label: p, rest: round(1 - p, 4)},
        valence=(VALENCE.get(label) if valence is None else valence) if label else None, confidence=p if label else None,
        transcript=EventTranscript(text, "en") if kind == "utterance" else None, observables=observables,
        modalities={"face": ModalityUse(True, 0.9, 1.0)} if units else {},
    )  # fmt: skip


def figures(*events: EmotionEvent, duration: float = 300) -> ConversationMetrics:
    return conversation_figures(events, round(duration * 1000))


def kinds(shift: EmotionShift) -> list[tuple[str, str]]:
    return [(a.kind, a.participant) for a in shift.preceded_by if a.kind != "withheld"]


CALM = [says("customer", 10 * i, 10 * i + 4, "neutral", loud=-22.0) for i in range(5)]


def test_a_turn_that_stays_is_a_shift_dated_back_to_its_first_event_with_both_sides_measured() -> None:
    m = figures(*CALM, says("customer", 50, 54, "anger", p=0.6), says("customer", 60, 68, "anger", p=0.9))
    (shift,) = m.shifts
    assert (shift.participant, shift.kind, shift.at_ms, shift.settled_ms) == ("customer", "tone", 50_000, 68_000)
    assert shift.event == event_id("call", "customer", 50_000, "utterance") == shift.after.event
    assert (shift.before.label, shift.before.count, shift.before.valence, shift.before.confidence) == ("neutral", 5, 0.0, 0.8)
    assert (shift.after.label, shift.after.tone, shift.after.count) == ("anger", "negative", 2)
    assert shift.after.confidence == round((0.6 * 4 + 0.9 * 8) / 12, 4) and shift.after.valence == -0.7
    assert "turned from neutral (valence +0.00, 5 events) to anger (valence −0.70, 2 events)" in shift.text


@pytest.mark.parametrize("odd", [["anger"], ["unknown", "anger", "unknown"], ["happiness", "anger"], ["unknown"] * 4])
def test_one_odd_utterance_and_abstentions_are_no_shift(odd: list[str]) -> None:
    labels = ["neutral", "neutral", *odd, "neutral", "neutral"]
    assert figures(*(says("customer", 10 * i, 10 * i + 4, label, p=0.95) for i, label in enumerate(labels))).shifts == ()


def test_nobody_whose_emotion_is_withheld_has_a_shift_even_if_a_label_slips_in() -> None:
    slipped = [says("agent", 100 + 10 * i, 104 + 10 * i, label) for i, label in enumerate(["neutral"] * 3 + ["anger"] * 3)]
    assert figures(says("agent", 90, 92), *slipped).shifts == ()


def test_what_preceded_is_listed_by_distance_with_its_measure() -> None:
    m = figures(
        *CALM, says("customer", 50, 56, "neutral", loud=-16.0, text="five six seven eight nine ten"), says("agent", 54.5, 58, text="No, I have to stop you there."),
        says("customer", 64, 68, "anger"), says("agent", 69, 70), says("customer", 71, 75, "anger"),
    )  # fmt: skip
    (shift,) = m.shifts
    assert shift.at_ms == 64_000
    assert [(a.kind, a.participant, a.before_ms) for a in shift.preceded_by] == [
        ("silence", "", 0), ("slow_response", "customer", 0), ("withheld", "agent", 6000), ("interruption", "agent", 8000), ("loudness", "customer", 8000),
        ("overlap", "", 8000), ("silence", "", 14_000), ("silence", "", 24_000),
    ]  # fmt: skip
    found = {a.kind: a for a in shift.preceded_by}
    assert found["loudness"].value == 6.0 and found["loudness"].baseline == -22.0 and found["loudness"].count == 5
    assert found["interruption"].of == "customer" and found["interruption"].outcome == "success" and found["interruption"].value == 1500
    assert found["slow_response"].value == 6000 and found["slow_response"].of == "agent"
    assert [(w.participant, w.event) for w in shift.last_words] == [
        ("agent", event_id("call", "agent", 54_500, "utterance")), ("customer", event_id("call", "customer", 50_000, "utterance")),
    ]  # fmt: skip
    assert shift.text.endswith(
        "Preceded, within 30 s, by: the customer answers the agent after 6 s (just before); the agent interrupts the customer (8 s before); "
        "the customer speaks 6 LU louder than before (8 s before); nobody speaks for 6 s (14 s before); nobody speaks for 6 s (24 s before)."
    )
    assert "so many words" not in msgspec.json.encode(m.shifts).decode(), "no words of the transcript are copied"
    assert "because" not in shift.text


def test_a_face_that_changes_and_a_faster_voice_precede_a_turn() -> None:
    still = [says("customer", 10 * i, 10 * i + 6, "neutral", units={"AU4": 0.2, "AU25": 3.0}, text=" ".join(["word"] * 12)) for i in range(4)]
    m = figures(
        *still, says("customer", 40, 46, "neutral", text=" ".join(["word"] * 20), units={"AU4": 2.0}), says("customer", 48, 50, "anger"), says("customer", 52, 54, "anger")
    )
    found = {a.kind: a for a in m.shifts[0].preceded_by}
    assert found["face"].unit == "AU4" and found["face"].value == 1.8 and "brows lowered" in found["face"].text
    assert found["speed"].value == pytest.approx(20 / 12 - 1, abs=0.001) and "67% faster" in found["speed"].text


def test_what_happens_with_or_after_the_turn_does_not_precede_it() -> None:
    m = figures(*CALM, says("customer", 46, 50, "anger", loud=-10.0), says("agent", 48, 52, text="Now listen to me, please."), says("customer", 53, 57, "anger", loud=-9.0))
    assert m.shifts[0].at_ms == 46_000 and ("interruption", "agent") not in kinds(m.shifts[0]) and ("loudness", "customer") not in kinds(m.shifts[0])


def test_the_shifts_of_a_call_are_those_that_its_events_would_carry() -> None:
    """The rule over a whole conversation and the rule of the running dialogue are one."""
    from fusion.conversation import DialogueState, step

    for name, mine in dialogues(support_call()).items():
        state, settled_at = DialogueState(), []
        for e in mine:
            turn, state = step(state, label=e.label or "", probabilities=e.probabilities, valence=e.valence, end_ms=e.end_ms)
            settled_at += [e.end_ms] if turn.shift else []
        assert settled_at == [s.settled_ms for s in figures(*support_call()).shifts if s.participant == name]
        assert len(settled_at) == len(phases(mine)) - 1 > 3


utterances = st.lists(
    st.builds(
        lambda who, start, length, label, p, loud, units: says(
            who, start / 10, (start + length) / 10, None if who == "agent" else label, p=p / 100, loud=loud, units=units and {"AU4": units / 10}
        ),
        st.sampled_from(["agent", "ann", "bea"]), st.integers(0, 1200), st.integers(1, 80), st.sampled_from([*LABELS, "unknown"]), st.integers(30, 99),
        st.none() | st.integers(-40, -10), st.none() | st.integers(1, 50),
    ),
    max_size=25, unique_by=lambda e: (e.participant, e.start_ms),
)  # fmt: skip
TIMES = {"start_ms", "end_ms", "at_ms", "settled_ms"}


def moved(value: object, by: int) -> object:
    if isinstance(value, msgspec.Struct):
        return type(value)(**{n: getattr(value, n) + by if n in TIMES else moved(getattr(value, n), by) for n in value.__struct_fields__})
    return tuple(moved(v, by) for v in value) if isinstance(value, tuple) else value


@given(events=utterances, lead_in=st.integers(0, 10_000_000))
@settings(max_examples=120, deadline=None)
def test_a_lead_in_shifts_times_and_changes_nothing_else(events: list[EmotionEvent], lead_in: int) -> None:
    plain = conversation_figures(events, 200_000).shifts
    later = [msgspec.structs.replace(e, start_ms=e.start_ms + lead_in, end_ms=e.end_ms + lead_in) for e in events]
    assert conversation_figures(later, 200_000 + lead_in).shifts == moved(plain, lead_in)


@given(events=utterances, data=st.data())
@settings(max_examples=120, deadline=None)
def test_the_order_of_arrival_and_of_participants_does_not_matter(events: list[EmotionEvent], data: st.DataObject) -> None:
    shuffled = data.draw(st.permutations([*events, *events[:3]]))
    assert conversation_figures(shuffled, 200_000).shifts == conversation_figures(events, 200_000).shifts


@given(events=utterances)
@settings(max_examples=200, deadline=None)
def test_every_shift_is_borne_out_by_events_and_says_nothing_of_who_is_withheld(events: list[EmotionEvent]) -> None:
    m = conversation_figures(events, 200_000)
    by_id = {e.id: e for e in events}
    for shift in m.shifts:
        assert shift.participant != "agent" and shift.before.count >= 2 <= shift.after.count
        assert (shift.before.label, shift.before.tone) != (shift.after.label, shift.after.tone)
        first = by_id[shift.event]
        assert first.start_ms == shift.at_ms and first.label != shift.before.label and shift.settled_ms >= first.end_ms
        distances = [a.before_ms for a in shift.preceded_by]
        assert distances == sorted(distances) and all(0 <= d < 30_000 for d in distances)
        for fact in shift.preceded_by:
            assert isinstance(fact, Antecedent) and fact.start_ms < shift.at_ms
            assert not (fact.kind == "face" and fact.participant == "agent")
            if fact.event:
                assert by_id[fact.event].participant == fact.participant and by_id[fact.event].end_ms <= shift.at_ms
        assert all(by_id[w.event].start_ms < shift.at_ms for w in shift.last_words)


@given(values=st.lists(st.floats(0, 5), max_size=20), zeros=st.integers(0, 20))
def test_the_own_median_counts_events_that_do_not_name_a_unit_as_zero(values: list[float], zeros: int) -> None:
    if values or zeros:
        assert _median(sorted(values), zeros) == pytest.approx(statistics.median([0.0] * zeros + values))
