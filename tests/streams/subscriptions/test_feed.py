"""What the feed makes of sessions: states of calls, alerts, silence, and sessions whose events come first."""

from __future__ import annotations

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from fusion.events import PolicyStamp
from streams.alerts.engine import Alert
from streams.alerts.rules import parse as rules
from streams.records import SessionEnd, Watermark
from streams.subscriptions.feed import Feed
from streams.subscriptions.hub import Hub, HubLimits
from streams.subscriptions.reading import search
from tests.streams.subscriptions.conftest import begun, said

SILENCE = rules("rules:\n  - name: dead air\n    when: {metric: silence, at_least: 4s}\n    cooldown: 0s\n")


def heard(session: str, source: str, at_s: float) -> Watermark:
    return Watermark(session, source, "hear", round(at_s * 1000))


def test_silence_is_judged_as_far_as_every_source_has_been_analysed_never_as_far_as_it_was_read() -> None:
    feed = Feed(rules=SILENCE)
    feed.open(begun("a"))
    feed.event(said("a", 0, 2))
    feed.record(Watermark("a", "left", "segment", 60_000))
    for at in (10, 20):
        feed.record(heard("a", "left", at))
    assert feed.alerts() == []  # the other channel may still bring words
    feed.record(heard("a", "right", 5.5))
    assert feed.alerts() == []
    feed.record(heard("a", "right", 7.0))
    feed.record(heard("a", "right", 7.5))
    (fired,) = feed.alerts()
    assert (fired.alert.start_ms, fired.alert.fired_ms, fired.alert.status) == (2000, 6000, "open")
    feed.event(said("a", 8, 9))
    assert feed.alerts()[0].alert.status == "closed"


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.floats(0.3, 5), st.floats(0, 9)), min_size=1, max_size=10), st.integers(0, 5))
def test_alerts_are_the_same_live_and_from_the_archive(turns: list[tuple[float, float]], lag: int) -> None:
    events, now = [], 0.0
    for length, gap in turns:
        events.append(said("a", now, now + length))
        now += length + gap

    def fired(live: bool) -> list[tuple[str, int, int | None]]:
        seen: list[Alert] = []
        feed = Feed(rules=SILENCE, on_alert=seen.append)
        feed.open(begun("a"))
        for index, event in enumerate(events):
            if live:  # the analysis has come up to the start of what is being said, at most `lag` steps behind
                for step in range(8 - lag):
                    for source in ("left", "right"):
                        before = events[index - 1].end_ms if index else 0
                        feed.record(Watermark("a", source, "hear", before + (event.start_ms - before) * step // 8))
            feed.event(event)
        feed.end(SessionEnd("a"))
        return [(alert.status, alert.start_ms, alert.end_ms) for alert in seen]

    assert fired(True) == fired(False)


def test_a_session_whose_events_come_first_gets_its_people_when_it_is_announced() -> None:
    feed = Feed()
    feed.event(said("a", 0, 2))
    feed.open(begun("a"))
    state = feed.session("a")
    assert state is not None and [p.id for p in state.participants] == ["customer", "agent"] and state.media == "a.wav"
    assert state.participants[0].label == "neutral" and not state.participants[1].analysed


def test_delivering_twice_counts_once_and_a_revision_corrects() -> None:
    feed = Feed()
    feed.open(begun("a"))
    first = said("a", 0, 2)
    feed.event(first)
    feed.event(first)
    feed.event(msgspec.structs.replace(first, revision=1001, status="revised", label="sadness"))
    feed.event(first)
    state = feed.session("a")
    assert state is not None and state.events == 1 and state.participants[0].talk_ms == 2000 and state.participants[0].label == "sadness"
    feed.end(SessionEnd("a"))
    feed.open(begun("a"))
    assert state.state == "live"


def test_nobody_withheld_ever_gets_a_label_a_curve_or_a_place_in_the_order() -> None:
    feed = Feed()
    feed.open(begun("a"))
    quiet = msgspec.structs.replace(
        said("a", 0, 2), participant="agent", role="employee", status="withheld", label=None, probabilities={}, valence=None, confidence=None,
        policy=PolicyStamp("withheld", "employees are not emotion-analysed"),
    )
    feed.event(quiet)
    state = feed.session("a")
    assert state is not None
    agent = state.participants[1]
    assert (agent.label, agent.valence, agent.trend, agent.talk_ms, state.attention) == (None, None, [], 2000, 0.0)


def test_a_long_call_keeps_its_whole_curve_and_its_extremes() -> None:
    feed = Feed()
    feed.open(begun("a"))
    for k in range(2000):
        feed.event(msgspec.structs.replace(said("a", k * 2, k * 2 + 1), valence=-0.95 if k == 777 else 0.05))
    state = feed.session("a")
    assert state is not None
    trend = state.participants[0].trend
    assert len(trend) <= 120 and min(p.valence for p in trend) == -0.95 and trend[-1].at_ms - trend[0].at_ms > 3_900_000
    assert state.participants[0].measured == 2000


def test_what_the_hub_forgets_the_feed_forgets() -> None:
    feed = Feed(Hub(HubLimits(sessions=3)), rules=SILENCE)
    for k in range(50):
        feed.open(begun(f"s{k}"))
        feed.event(said(f"s{k}", 0, 1))
        feed.end(SessionEnd(f"s{k}"))
    assert len(feed.sessions()[0]) == 3 and len(feed._revisions) == len(feed._reached) == 3 and not feed._stages


def test_a_search_finds_the_newest_words_of_every_session_ended_or_not_newest_session_first() -> None:
    feed = Feed(Hub(HubLimits(sessions=4)))
    for k in range(6):
        feed.open(begun(f"s{k}"))
        for at in range(70):
            feed.event(said(f"s{k}", at * 2, at * 2 + 1, "anger" if at % 7 == 0 else "neutral", words=f"Parcel {at} of ÄRGER {k}"))
        if k < 5:
            feed.end(SessionEnd(f"s{k}"))
    found = search(feed, {"q": "parcel ärger", "label": "anger", "limit": "25"})
    assert found["total"] == 40 and [hit["session"] for hit in found["hits"]] == ["s5"] * 10 + ["s4"] * 10 + ["s3"] * 5
    assert [hit["event"]["start_ms"] for hit in found["hits"]][:10] == [at * 2000 for at in range(0, 70, 7)]
    assert search(feed, {"q": "ärger 1"})["total"] == 4 * 70 - sum("1" not in f"{at} {k}" for k in range(2, 6) for at in range(70))
    assert search(feed, {"q": "parcel", "session": "S4"})["total"] == 70 and search(feed, {"q": "of ärger 0"})["total"] == sum("0" in str(at) for at in range(70)) * 4
    corrected = msgspec.structs.replace(said("s4", 0, 1, words="refund"), revision=1001, status="revised")
    feed.event(corrected)
    assert search(feed, {"q": "refund"})["hits"][0]["event"]["revision"] == 1001
    assert search(feed, {"q": "parcel 0 of", "session": "s4"})["total"] == sum("0" in str(at) for at in range(1, 70))


def test_the_list_of_sessions_can_be_kept_short() -> None:
    feed = Feed()
    for k in range(10):
        feed.open(begun(f"s{k}"))
        if k % 2:
            feed.end(SessionEnd(f"s{k}"))
    assert [s["state"] for s in feed.sessions(most=2)[0]] == ["live"] * 5 + ["ended"] * 2
    assert [s["session"] for s in feed.sessions(named="S7")[0]] == ["s7"] and feed.sessions(named="s7")[1] == 1
    assert len(feed.sessions(live_only=True)[0]) == 5 and feed.sessions(most=2)[1] == 10 and len(feed.sessions(visible="s3")[0]) == 1
