"""What fires, when, why, and when it is over."""

from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from extractors.errors import InputError
from fusion.events import EmotionEvent, EventTranscript, event_id
from streams.alerts.engine import Alert, AlertStage
from streams.alerts.rules import DEFAULT, load, parse
from streams.records import Participant, SessionEnd, SessionStart

START = SessionStart("s", (Participant("customer", "customer"), Participant("agent", "employee")), {})
RULES = parse(
    """
rules:
  - name: angry
    when: {label: anger, above: 0.6}
    role: customer
    for: 10s
    release: 0.4
    cooldown: 30s
  - name: falling
    when: {measure: valence, falls_by: 0.5}
    within: 30s
  - name: talking over
    when: {metric: interruptions, at_least: 3}
    within: 60s
  - name: dead air
    when: {metric: silence, at_least: 20s}
    cooldown: 0s
"""
)


def said(
    start_s: float,
    end_s: float,
    *,
    anger: float = 0.0,
    valence: float = 0.0,
    who: str = "customer",
    words: str = "well this is what I said",
    status: str = "final",
) -> EmotionEvent:
    start, end = round(start_s * 1000), round(end_s * 1000)
    role = "customer" if who == "customer" else "employee"
    withheld = who == "agent"
    return EmotionEvent(
        event_id("s", who, start, "utterance"),
        1000,
        "withheld" if withheld else status,
        "s",
        who,
        role,
        "utterance",
        start,
        end,  # type: ignore[arg-type]
        label=None if withheld else "anger" if anger > 0.5 else "neutral",
        probabilities={} if withheld else {"anger": anger, "neutral": 1 - anger},
        valence=None if withheld else valence,
        transcript=EventTranscript(words, "en"),
        explanation="" if withheld else f"anger at {anger}",
    )


def fired(events: list[EmotionEvent], rules: tuple = RULES) -> list[Alert]:
    stage = AlertStage(START, rules)
    return [*stage.feed_many(events), *stage.feed(SessionEnd("s"))]


def named(alerts: list[Alert], rule: str) -> list[tuple[str, int, int | None]]:
    return [(alert.status, alert.fired_ms, alert.end_ms) for alert in alerts if alert.rule == rule]


def test_anger_fires_after_ten_seconds_without_a_break_and_closes_below_the_release() -> None:
    calm_between = [said(0, 6, anger=0.7), said(6, 8, anger=0.3), said(8, 14, anger=0.7)]
    assert named(fired(calm_between), "angry") == []
    lasting = [said(0, 6, anger=0.7), said(6, 11, anger=0.9), said(12, 14, anger=0.5), said(15, 18, anger=0.2)]
    assert named(fired(lasting), "angry") == [("open", 11000, None), ("closed", 11000, 15000)]
    opened = fired(lasting)[0]
    assert (
        opened.value == 0.9
        and opened.start_ms == 0
        and len(opened.evidence) == 2
        and "anger at 0.9" in opened.explanation
    )


def test_cooldown_holds_back_a_second_alert() -> None:
    again = [
        said(0, 11, anger=0.9),
        said(12, 14, anger=0.1),
        said(15, 27, anger=0.9),
        said(28, 29, anger=0.1),
        said(30, 45, anger=0.9),
    ]
    assert [status for status, *_ in named(fired(again), "angry")] == ["open", "closed", "open", "closed"]
    assert named(fired(again), "angry")[2][1] == 45000


def test_valence_falling_is_judged_within_its_window() -> None:
    assert [s for s, *_ in named(fired([said(0, 5, valence=0.4), said(20, 25, valence=-0.2)]), "falling")] == [
        "open",
        "closed",
    ]
    assert named(fired([said(0, 5, valence=0.4), said(40, 45, valence=-0.2)]), "falling") == []


def test_silence_fires_when_it_has_lasted_and_closes_with_the_next_word() -> None:
    events = [said(0, 5), said(30, 32, who="agent")]
    assert named(fired(events), "dead air") == [("open", 25000, None), ("closed", 25000, 30000)]
    live = AlertStage(START, RULES)
    early = [*live.feed(events[0]), *live.tick(24000), *live.tick(26000), *live.feed(events[1])]
    assert [alert.id for alert in early] == [alert.id for alert in fired(events)]


def test_three_interruptions_in_a_minute() -> None:
    events = []
    for k in range(3):
        events += [said(10 * k, 10 * k + 5), said(10 * k + 4, 10 * k + 8, who="agent")]
    alerts = [alert for alert in fired(events) if alert.rule == "talking over"]
    assert alerts[0].status == "open" and alerts[0].value == 3 and len(alerts[0].evidence) == 3


def test_partial_repeated_and_withheld_events_fire_nothing() -> None:
    loud = said(0, 30, anger=0.9)
    assert fired([msgspec.structs.replace(loud, status="partial", revision=3)]) == []
    once, twice = fired([loud]), fired([loud, loud])
    assert once == twice
    assert [a for a in fired([said(0, 30, who="agent", anger=0.9)]) if a.rule == "angry"] == []


@given(
    st.lists(
        st.tuples(st.floats(0.5, 12), st.floats(0, 8), st.floats(0, 1), st.floats(-1, 1), st.booleans()), max_size=14
    ),
    st.integers(0, 14),
)
def test_a_restart_anywhere_gives_the_same_alerts(
    turns: list[tuple[float, float, float, float, bool]], cut: int
) -> None:
    events, now = [], 0.0
    for length, gap, anger, valence, agent in turns:
        events.append(said(now, now + length, anger=anger, valence=valence, who="agent" if agent else "customer"))
        now += length + gap
    whole = fired(events)
    first, second = AlertStage(START, RULES), AlertStage(START, RULES)
    before = list(first.feed_many(events[:cut]))
    second.restore(first.snapshot())
    assert [*before, *second.feed_many(events[cut:]), *second.feed(SessionEnd("s"))] == whole


@pytest.mark.parametrize(
    ("text", "line", "cure"),
    [
        ("rules:\n  - name: a\n    when: {label: angr, above: 0.6}", 3, "anger"),
        ("rules:\n  - name: a\n    when: {label: anger, above: 1.6}", 3, "from 0 to 1"),
        ("rules:\n  - name: a\n    when: {label: anger, above: 0.6}\n    for: soon", 4, "10s"),
        ("rules:\n  - name: a\n    when: {measure: valence, above: 0.6}\n    role: agent", 4, "leave the rule out"),
        (
            "rules:\n  - name: a\n    when: {metric: silence, at_least: 3s}\n  - name: a\n    when: {metric: silence, at_least: 3s}",
            2,
            "own name",
        ),
        ("rules:\n  - nam: a", 2, "did you mean `name`"),
        ("rules: [", 1, "alerts --help"),
        ("- a", 1, "key: value"),
        ("", None, ""),
    ],
)
def test_a_faulty_rules_file_names_line_and_cure(text: str, line: int | None, cure: str) -> None:
    with pytest.raises(InputError) as caught:
        parse(text, "rules.yaml")
    assert cure in str(caught.value) and (line is None or f"line {line}" in str(caught.value))


def test_the_rules_that_come_with_the_product_are_called_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert load(Path("default")) == load(DEFAULT)
    Path("default").write_text("rules: 7", "utf-8")
    with pytest.raises(InputError):  # a file of that name is what is meant
        load(Path("default"))
