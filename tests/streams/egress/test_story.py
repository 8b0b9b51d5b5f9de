"""The words and groupings of the report, without a browser."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusion.events import EmotionEvent
from fusion.metrics import conversation_metrics, spans_of
from fusion.naming import clock
from fusion.shifts import dialogues, phases
from streams.egress import report_view
from streams.egress.chart import Curve, charts
from streams.egress.headline import headline
from streams.records import Decision, Participant
from tests.streams.egress.scenario import VALENCE, right_to_left, support_call


def sequence(labels: list[str], *, who: str = "customer", every_ms: int = 10_000) -> list[EmotionEvent]:
    """Events of four seconds each with these labels."""
    base = next(e for e in support_call() if e.label == "anger")
    return [
        msgspec.structs.replace(
            base, id=f"{who}-{i}", participant=who, label=label, start_ms=i * every_ms, end_ms=i * every_ms + 4000, valence=VALENCE.get(label), confidence=0.8,
            probabilities={label: 0.8, "neutral" if label != "neutral" else "anger": 0.2},
        )
        for i, label in enumerate(labels)
    ]


@pytest.mark.parametrize(
    ("labels", "expected", "at_ms"),
    [
        (["neutral"] * 8, "The customer was neutral throughout (8 events).", None),
        (["neutral"] * 3 + ["anger"] * 3, "The customer turned from neutral to angry at 0:30 and stayed so to the end.", 30_000),
        (["neutral"] * 3 + ["anger"] * 3 + ["neutral"] * 2, "The customer turned from neutral to angry at 0:30; calmer from 1:00.", 30_000),
        (["anger"] * 3 + ["neutral"] * 2 + ["happiness"] * 2, "The customer was angry from the start; calmer from 0:30, happy at the end.", 0),
        (["neutral"] * 3 + ["happiness"] * 4, "The customer turned from neutral to happy at 0:30 and stayed so to the end.", 30_000),
        (["neutral", "neutral", "anger", "neutral", "neutral", "neutral"], "The customer was neutral but for single moments (5 of 6 events).", None),
        ([*["neutral"] * 2, "unknown", "sadness", "unknown", "sadness"], "The customer turned from neutral to sad at 0:30 and stayed so to the end.", 30_000),
        (["unknown"] * 4, "No expression could be read with enough confidence; transcript and figures are below.", None),
        (["neutral", "sadness"], "The customer showed no lasting expression; sadness stands out at 0:10.", 10_000),
        (["sadness"], "The customer was sad throughout (1 event).", 0),
        (["sadness", "neutral", "happiness", "happiness"], "The customer was happy from 0:20 on (2 of 4 events), after single moments of sadness and neutral.", 20_000),
        (["neutral"] * 2 + ["anger", "anger", "sadness", "sadness", "sadness"], "The customer turned from neutral to sad at 0:20 and stayed so to the end.", 20_000),
        (["anger"] * 3 + ["sadness"] * 2, "The customer was angry from the start; sad from 0:30.", 0),
        (["neutral"] * 3 + ["surprise"] * 2, "The customer turned from neutral to surprised at 0:30 and stayed so to the end.", 30_000),
    ],
)
def test_the_headline_says_when_it_turned_and_what_became_of_it(labels: list[str], expected: str, at_ms: int | None) -> None:
    told = headline(sequence(labels), ["customer"], None)
    assert (told.text, told.at_ms) == (expected, at_ms)


def test_the_turn_that_matters_most_comes_first_and_even_people_are_not_told_one_by_one() -> None:
    calm, upset = sequence(["neutral"] * 6, who="ann"), sequence(["neutral"] * 3 + ["fear"] * 3, who="bea")
    assert headline([*calm, *upset], ["ann", "bea"], None).text == "Bea turned from neutral to fearful at 0:30 and stayed so to the end."
    assert headline([*calm, *sequence(["neutral"] * 6, who="bea")], ["ann", "bea"], None).text.startswith("All 2 participants")


labels = st.lists(st.sampled_from(["anger", "disgust", "happiness", "neutral", "sadness", "surprise", "unknown", "awe"]), max_size=30)


@given(shown=labels)
def test_every_phase_is_borne_out_by_events_and_neighbours_differ(shown: list[str]) -> None:
    events = sequence(shown)
    found = phases(dialogues(events).get("customer", []))
    assert all((a.tone, a.label) != (b.tone, b.label) and a.start_ms < b.start_ms for a, b in zip(found, found[1:], strict=False))
    for phase in found:
        assert any(e.start_ms == phase.start_ms for e in events) and phase.label in shown and phase.label != "unknown"
    assert headline(events, ["customer"], None).text.endswith(".")


@given(shown=labels)
def test_episodes_cover_every_event_once(shown: list[str]) -> None:
    events = sequence(shown)
    found = report_view.episodes(events)
    bridged = sum(not any(e.state == "unknown" and e.start_ms <= event.start_ms <= e.end_ms for e in found) for event in events if event.label == "unknown")
    assert sum(e.count for e in found) == len(events) - bridged
    for event in events:
        if event.label != "unknown":
            assert sum(e.start_ms <= event.start_ms and event.end_ms <= e.end_ms and e.state == event.label for e in found) == 1


def test_windows_of_a_silent_face_that_show_the_same_are_one_entry() -> None:
    def face(labels: list[str]) -> list[EmotionEvent]:
        return [msgspec.structs.replace(e, kind="face", transcript=None) for e in sequence(labels)]

    assert report_view.leads(face(["neutral", "neutral", "anger", "anger", "neutral"])) == [0, 0, 2, 2, 4]
    assert report_view.leads(sequence(["neutral", "neutral"])) == [0, 1], "words are never folded away"
    events = face(["neutral", "neutral"])
    listed = report_view.turns(events, report_view.rows(events, (), {}))
    assert len(listed) == 1 and "to 0:14" in listed[0]["silent"]


def test_no_turn_is_smoothed_away_in_the_overview() -> None:
    events = sequence(["neutral"] * 200 + ["anger"] + ["neutral"] * 200)
    built = report_view.rows(events, (), {})
    bins = report_view.overview(events, built, 401 * 10_000)
    assert [b.label for b in bins].count("anger") >= 1 and len(bins) <= 2 * report_view.OVERVIEW_BINS


def test_policy_decides_over_what_an_event_says() -> None:
    built = report_view.rows(sequence(["anger"] * 3), (Participant("customer", "unknown"),), {"customer": Decision(True, True, False, "role unknown")})
    assert not built[0].analysed and built[0].curve is None and built[0].note == "withheld: role unknown"
    m = conversation_metrics(spans_of(sequence(["anger"] * 3)), 60_000)
    assert report_view.valence_table(m, built)[0]["quarters"] == []


@given(duration=st.integers(0, 20_000_000), turn=st.none() | st.integers(0, 20_000_000))
def test_the_first_window_lies_on_the_recording_and_shows_the_turn(duration: int, turn: int | None) -> None:
    turn = None if turn is None else min(turn, duration)
    (start, end), (low, high) = report_view.window(duration, turn)
    assert start < end and low <= start + 1e-6 and end <= high + 1e-6
    assert turn is None or start <= turn / 1000 <= end


def test_the_curve_breaks_at_a_long_silence_and_is_the_same_on_every_call() -> None:
    events = tuple(sequence(["anger", "neutral"], every_ms=60_000))
    first, second = (charts([Curve("customer", events)], [], 1, (0, 100), (0, 100), 56) for _ in range(2))
    assert first == second and '"nan"' in msgspec.json.encode(first).decode()


@pytest.mark.parametrize(("ms", "text"), [(0, "0:00"), (192_400, "3:12"), (3_600_000, "1:00:00"), (-5, "0:00")])
def test_clock(ms: int, text: str) -> None:
    assert clock(ms) == text


def test_one_row_for_everybody_who_was_declared_or_heard() -> None:
    built = report_view.rows(right_to_left(), (Participant("agent", "employee"),), {"agent": Decision(True, True, False, "no")})
    assert [r.id for r in built] == ["agent", "customer"] and "nothing was said" in built[0].summary
