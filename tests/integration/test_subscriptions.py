"""Subscriptions over a real broker: calls on the log are shown, alerts go onto it, a record nobody can read stops nothing."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

import msgspec
import pytest

from streams.alerts.rules import parse as rules
from streams.records import SessionEnd, encode
from streams.subscriptions import log
from streams.subscriptions.feed import Feed
from tests.integration.harness import Bench
from tests.streams.subscriptions.conftest import begun, said

pytestmark = pytest.mark.integration
RULES = rules("rules:\n  - name: angry customer\n    when: {label: anger, above: 0.6}\n    for: 5s\n")


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(40):
        while not true():
            await asyncio.sleep(0.05)


async def test_calls_on_the_log_are_followed_and_alerts_reach_everybody_over_it(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log, "END_AFTER_S", 0.5)
    await bench.create()
    bootstrap, namespace = bench.broker.bootstrap, bench.namespace
    alerts = log.AlertPublisher(bootstrap, namespace=namespace, enable_idempotence=bench.broker.idempotence)
    judging, watching = Feed(rules=RULES, on_alert=alerts.send), Feed()
    followers = [log.LogFeed(feed, bootstrap, namespace=namespace) for feed in (judging, watching)]
    tasks = [asyncio.create_task(part.run()) for part in (*followers, alerts)]
    try:
        await bench.raw("sessions", b"a", encode(begun("a")))
        await bench.raw("emotion.events", b"a", b'{"not": "an event"}')
        for event in (said("a", 0, 2), said("a", 2, 8, "anger"), said("a", 2, 8, "anger"), said("a", 9, 11)):
            await bench.raw("emotion.events", b"a", msgspec.json.encode(event))
        await until(lambda: len(watching.alerts()) == 1 and watching.alerts()[0].alert.status == "closed")
        assert watching.alerts()[0].alert == judging.alerts()[0].alert
        await bench.raw("sessions", b"a", encode(SessionEnd("a")))
        for feed in (judging, watching):
            await until(lambda feed=feed: (state := feed.session("a")) is not None and state.state == "ended")  # type: ignore[misc]
            state = feed.session("a")
            assert state is not None and state.events == 3 and [p.role for p in state.participants] == ["customer", "employee"]
        assert [follower.unreadable for follower in followers] == [1, 1]
    finally:
        for task in tasks:
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*tasks, return_exceptions=True)
