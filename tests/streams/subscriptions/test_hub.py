"""Every subscriber gets its filter's messages once and in order, or is told exactly how many it missed."""

from __future__ import annotations

import asyncio
import json
import threading
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extractors.errors import InputError
from streams.subscriptions.filters import Filter, Start, parse
from streams.subscriptions.hub import Hub, HubLimits, Subscriber
from tests.streams.subscriptions.conftest import said


def drained(subscriber: Subscriber) -> list[dict[str, Any]]:
    got: list[dict[str, Any]] = []
    while batch := subscriber.take():
        got += [json.loads(payload) for payload in batch]
    return got


def starts(messages: list[dict[str, Any]]) -> list[int]:
    return [m["event"]["start_ms"] for m in messages if m["type"] == "event"]


async def test_a_replay_goes_live_without_gap_or_repetition_while_others_publish() -> None:
    hub = Hub()
    for k in range(50):
        hub.publish(said("a", k, k + 1))
    writers = [threading.Thread(target=lambda base=base: [hub.publish(said("a", base + k, base + k + 1)) for k in range(300)]) for base in (1000, 2000)]
    for writer in writers:
        writer.start()
    readers = [hub.subscribe(Filter(sessions=frozenset("a")), Start(after="start")) for _ in range(3)]
    for writer in writers:
        writer.join()
    for reader in readers:
        got = drained(reader)
        assert len(starts(got)) == len(set(starts(got))) == 650
        assert sorted(starts(got)[:50]) == [k * 1000 for k in range(50)]
        assert got[0]["type"] == "replay" and [m["type"] for m in got].count("live") == 1


async def test_coming_back_behind_the_last_position_or_event_id_repeats_nothing() -> None:
    hub = Hub()
    positions = [hub.publish(said("a", k, k + 1)) for k in range(10)]
    assert starts(drained(hub.subscribe(Filter(), Start(after=positions[6])))) == [7000, 8000, 9000]
    assert starts(drained(hub.subscribe(Filter(), Start(after=said("a", 4, 5).id)))) == [5000, 6000, 7000, 8000, 9000]
    assert starts(drained(hub.subscribe(Filter(sessions=frozenset("a")), Start(from_ms=8500)))) == [8000, 9000]
    restarted = drained(hub.subscribe(Filter(), Start(after="deadbeef-3")))
    assert len(starts(restarted)) == 10 and "another run" in restarted[0]["reason"]
    with pytest.raises(InputError, match="no event"):
        hub.subscribe(Filter(), Start(after="0" * 16))


async def test_a_subscriber_that_never_reads_is_told_how_many_it_missed_and_holds_nobody_back() -> None:
    hub = Hub(HubLimits(log=400, lag=100))
    sleeper, reader = hub.subscribe(Filter()), hub.subscribe(Filter())
    seen: list[dict[str, Any]] = []
    for k in range(1000):
        hub.publish(said("a", k, k + 1, partial=1))
        hub.publish(said("a", k, k + 1))
        seen += drained(reader)
    assert len(starts(seen)) == 2000 and not any(m["type"] == "missed" for m in seen)
    late = drained(sleeper)
    told = [m for m in late if m["type"] == "missed"]
    assert sum(m["settled"] for m in told) + sum(m["event"]["status"] == "final" for m in late if m["type"] == "event") == 1000
    assert sum(m["partials"] for m in told) + sum(m["event"]["status"] == "partial" for m in late if m["type"] == "event") == 1000
    assert len(hub._log) <= 400
    caught_up = drained(hub.subscribe(Filter(finals_only=True), Start(after=told[0]["resume"])))
    finals = {m["event"]["start_ms"] for m in late + caught_up if m["type"] == "event" and m["event"]["status"] == "final"}
    assert sorted(finals) == [k * 1000 for k in range(1000)]


async def test_partials_go_first_when_a_subscriber_lags() -> None:
    hub = Hub(HubLimits(log=10_000, lag=50))
    slow = hub.subscribe(Filter())
    for k in range(100):
        hub.publish(said("a", k, k + 1, partial=1))
        hub.publish(said("a", k, k + 1))
    got = drained(slow)
    assert sum(m["event"]["status"] == "final" for m in got if m["type"] == "event") == 100
    assert next(m for m in got if m["type"] == "missed")["settled"] == 0


async def test_what_is_kept_is_bounded_and_a_replay_says_when_it_is_not_complete() -> None:
    hub = Hub(HubLimits(session_events=100, sessions=3))
    for k in range(300):
        hub.publish(said("a", k, k + 1))
    got = drained(hub.subscribe(Filter(sessions=frozenset("a")), Start(after="start")))
    assert got[0]["complete"] is False and starts(got)[-1] == 299_000 and len(starts(got)) <= 113
    for name in "bcdefg":
        hub.publish(said(name, 0, 1))
    assert len(hub.sessions()) == 3 and len(hub._events) <= 113
    assert drained(hub.subscribe(Filter(), Start(after="start")))[0]["complete"] is False


async def test_a_waiting_subscriber_wakes_for_a_message_from_another_thread_and_for_the_heartbeat() -> None:
    hub = Hub()
    reader = hub.subscribe(Filter())
    assert await reader.wait(0.02) is False
    threading.Timer(0.05, lambda: hub.publish(said("a", 0, 1))).start()
    assert await asyncio.wait_for(reader.wait(10), 5) is True
    assert starts(drained(reader)) == [0]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("ab"), st.booleans(), st.integers(0, 3)), max_size=120), st.booleans())
def test_read_plus_missed_is_what_was_published_whatever_the_pace(steps: list[tuple[str, bool, int]], finals_only: bool) -> None:
    async def run() -> None:
        hub = Hub(HubLimits(log=16, lag=6, batch_bytes=2000))
        reader = hub.subscribe(Filter(sessions=frozenset("a"), finals_only=finals_only))
        got: list[dict[str, Any]] = []
        for number, (session, partial, reads) in enumerate(steps):
            hub.publish(said(session, number, number + 1, partial=int(partial)))
            for _ in range(reads if number % 7 == 0 else 0):
                got += [json.loads(p) for p in reader.take()]
        got += drained(reader)
        wanted = [(n, p) for n, (s, p, _) in enumerate(steps) if s == "a"]
        told = [m for m in got if m["type"] == "missed"]
        assert starts(got) == sorted(starts(got))
        finals = [m for m in got if m["type"] == "event" and m["event"]["status"] == "final"]
        assert len(finals) + sum(m["settled"] for m in told) == sum(not p for _, p in wanted)
        if not finals_only:
            assert len(starts(got)) - len(finals) + sum(m["partials"] for m in told) == sum(p for _, p in wanted)

    asyncio.run(run())


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from(["event", "end", "again"])), max_size=90), st.integers(1, 40))
def test_what_is_packed_reads_as_it_was(steps: list[tuple[str, str]], most: int) -> None:
    hubs = [Hub(HubLimits(session_events=most)) for _ in range(2)]
    for number, (session, what) in enumerate(steps):
        for packing, hub in zip((True, False), hubs, strict=True):
            if what == "event":
                hub.publish(said(session, number, number + 1))
            elif packing and what == "end":
                hub.close(session)
            else:  # the same message, and nothing is packed
                hub._session_message(session, "ended" if what == "end" else "live", (), "")
    for session in "ab":
        (ours, _), (plain, _) = (hub.kept(session) for hub in hubs)
        both = sorted({e.number for e in ours} & {e.number for e in plain})
        assert [e.event for e in ours if e.number in both] == [e.event for e in plain if e.number in both]
        assert len(ours) <= most + most // 8 + 1 and (not plain or (ours and ours[-1].number == plain[-1].number))
        events = [e for e in ours if e.event is not None]
        assert hubs[0].events_at(session, [e.number for e in reversed(events)]) == [e.event for e in reversed(events)]
        assert hubs[0].events_at(session, [10_000]) == []


async def test_ended_sessions_are_packed_and_forgotten_when_they_take_too_much_and_a_replay_of_them_is_complete() -> None:
    hub = Hub(HubLimits(packed_bytes=60_000))
    for name in range(40):
        for k in range(50):
            hub.publish(said(f"s{name}", k, k + 1))
        hub.close(f"s{name}")
    assert 5 < len(hub.sessions()) < 40 and hub._packed <= 60_000 and hub.sessions()[-1] == "s39"
    assert hub._packed == sum(kept.packed_bytes for kept in hub._kept.values()) and len(hub._events) == 50 * len(hub.sessions())
    got = drained(hub.subscribe(Filter(sessions=frozenset(["s39"])), Start(after="start")))
    assert starts(got) == [k * 1000 for k in range(50)] and got[0]["complete"] is True
    hub.publish(said("s39", 60, 61))
    assert starts(drained(hub.subscribe(Filter(), Start(after=said("s39", 48, 49).id)))) == [49_000, 60_000]


@pytest.mark.parametrize(
    ("query", "what"),
    [
        ([("sesion", "a")], "did you mean `session`"),
        ([("label", "angr")], "did you mean `anger`"),
        ([("role", "custmer")], "did you mean `customer`"),
        ([("confidence", "high")], "number from 0 to 1"),
        ([("confidence", "nan")], "number from 0 to 1"),
        ([("from_ms", "10")], "add session"),
        ([("after", "../../etc")], "no position"),
        ([("after", "start"), ("since", "5")], "two starts"),
        ([("since", "yesterday")], "no time"),
        ([("finals_only", "maybe")], "true nor false"),
        ([("session", "x" * 300)], "longer than"),
        ([("after", "start"), ("after", "start")], "given 2 times"),
    ],
)
def test_a_filter_that_cannot_be_used_is_refused_with_the_cure(query: list[tuple[str, str]], what: str) -> None:
    with pytest.raises(InputError, match=what):
        parse(query)


def test_filters_are_read_as_written() -> None:
    chosen, start = parse([("session", "a"), ("session", "b"), ("role", "agent"), ("finals_only", "true"), ("since", "2031-01-01T00:00:00Z"), ("token", "t")])
    assert chosen.sessions == {"a", "b"} and chosen.roles == {"employee"} and chosen.finals_only and start.since_ms == 1924992000000
