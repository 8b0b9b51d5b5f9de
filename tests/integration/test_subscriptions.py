"""Subscriptions over a real broker: calls on the log are shown, alerts go onto it, who took one is known to everybody."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from streams import topics
from streams.alerts.delivery import AlertDelivery
from streams.alerts.rules import parse as rules
from streams.alerts.webhooks import WebhookSender, checked, verify
from streams.records import FusedEvent, SessionEnd, SessionStart, Watermark, encode
from streams.subscriptions import log
from streams.subscriptions.feed import Feed
from tests.integration.brokers import free_port
from tests.integration.harness import ROOT, Bench
from tests.streams.alerts.test_webhooks import QUICK, SECRET, alert, receiver
from tests.streams.subscriptions.conftest import begun, said

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]
TEXT = "rules:\n  - name: angry customer\n    when: {label: anger, above: 0.6}\n    for: 5s\n"
RULES = rules(TEXT + "  - name: dead air\n    when: {metric: silence, at_least: 8s}\n")


async def until(true: Callable[[], Any], within_s: float = 40) -> None:
    async with asyncio.timeout(within_s):
        while not true():
            await asyncio.sleep(0.05)


@contextlib.asynccontextmanager
async def running(*parts: Coroutine[Any, Any, None]) -> AsyncIterator[list[asyncio.Task[None]]]:
    tasks = [asyncio.create_task(part) for part in parts]
    try:
        yield tasks
        for task in tasks:
            assert not task.done() or task.result() is None
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def fused(bench: Bench, *records: Any, clock: str = "") -> None:
    for record in records:
        session = record.session
        value = encode(FusedEvent(record) if not isinstance(record, Watermark | SessionStart | SessionEnd) else record)
        headers = [("clock", clock.encode())] if clock else []
        await bench.raw("fused", session.encode(), value, headers)


def state_of(feed: Feed, session: str = "a") -> Any:
    return feed.session(session)


async def test_calls_on_the_log_are_followed_and_alerts_reach_everybody_over_it(bench: Bench) -> None:
    await bench.create()
    bootstrap, namespace = bench.broker.bootstrap, bench.namespace
    alerts = log.AlertPublisher(bootstrap, namespace=namespace, enable_idempotence=bench.broker.idempotence)
    judging, watching = Feed(rules=RULES, on_alert=alerts.send), Feed()
    followers = [log.LogFeed(feed, bootstrap, namespace=namespace) for feed in (judging, watching)]
    async with running(*(part.run() for part in (*followers, alerts))):
        await bench.raw("sessions", b"a", encode(begun("a")))
        await until(lambda: state_of(watching) and state_of(watching).state == "live")
        assert watching.state_of("a")["behind_ms"] >= 0, "a call that nobody has analysed yet falls behind"
        await bench.raw("fused", b"a", b"\x00 not a record")
        await fused(bench, begun("a"), said("a", 0, 2), said("a", 2, 8, "anger"), said("a", 2, 8, "anger"), said("a", 9, 11))
        await until(lambda: len(watching.alerts()) == 1 and watching.alerts()[0].alert.status == "closed")
        assert watching.alerts()[0].alert == judging.alerts()[0].alert
        now = int(time.time() * 1000)
        await fused(bench, Watermark("a", "", "fuse", 20_000), clock=f'[["ingest",{now}],["fuse",{now + 700}]]')
        await until(lambda: len(watching.alerts()) == 2)
        silence = next(entry.alert for entry in watching.alerts() if entry.alert.rule == "dead air")
        assert (silence.status, silence.start_ms, silence.fired_ms) == ("open", 11_000, 19_000), "silence is told while it lasts"
        told = watching.state_of("a")
        assert (told["position_ms"], told["delay_ms"], told["arrived_wall_ms"]) == (20_000, 700, now) and told["behind_ms"] >= 0
        await bench.raw("sessions", b"a", encode(SessionEnd("a")))
        await fused(bench, said("a", 22, 24))
        await until(lambda: state_of(judging).events == 4)
        assert state_of(judging).state == "live", "the call ended at the gateway; its analysis has not"
        await fused(bench, SessionEnd("a"))
        for feed in (judging, watching):
            await until(lambda feed=feed: state_of(feed).state == "ended")  # type: ignore[misc]
            assert state_of(feed).events == 4 and [p.role for p in state_of(feed).participants] == ["customer", "employee"]
        assert [follower.unreadable for follower in followers] == [1, 1]
    # The same again after a restart: nothing is written twice, nothing that is over comes back to life.
    alerts = log.AlertPublisher(bootstrap, namespace=namespace, enable_idempotence=bench.broker.idempotence)
    again = Feed(rules=RULES, on_alert=alerts.send)
    async with running(log.LogFeed(again, bootstrap, namespace=namespace).run(), alerts.run()):
        await until(lambda: state_of(again) and state_of(again).state == "ended" and len(again.alerts()) == 2)
        await asyncio.sleep(1.0)
        assert state_of(again).state == "ended" and sorted(e.alert.id for e in again.alerts()) == sorted(e.alert.id for e in watching.alerts())
    written = [dict(message.headers)["ce_id"] for message in await bench.read("alerts")]
    assert len(written) == len(set(written)) == 4


async def test_events_older_than_the_inner_topic_are_read_once_from_the_public_one(bench: Bench) -> None:
    await bench.create()
    await bench.raw("emotion.events", b"old", msgspec.json.encode(said("old", 0, 2)))
    await bench.raw("emotion.events", b"a", msgspec.json.encode(said("a", 0, 2)))
    await asyncio.sleep(0.02)
    await fused(bench, begun("a"), said("a", 3, 4), SessionEnd("a"))
    await bench.raw("emotion.events", b"a", msgspec.json.encode(said("a", 3, 4)))
    feed = Feed()
    seen: list[tuple[str, int]] = []
    publish = feed.hub.publish
    feed.hub.publish = lambda event: (seen.append((event.session, event.start_ms)), publish(event))[1]  # type: ignore[method-assign]
    async with running(log.LogFeed(feed, bench.broker.bootstrap, namespace=bench.namespace).run()):
        await until(lambda: state_of(feed) and state_of(feed).state == "ended" and state_of(feed, "old"))
    assert sorted(seen) == [("a", 0), ("a", 3000), ("old", 0)]


async def test_the_first_acknowledgement_on_the_log_counts_for_all_dashboards_and_after_a_restart(bench: Bench) -> None:
    await bench.create()
    feeds = [Feed(), Feed()]
    await bench.raw("alerts", b"s", msgspec.json.encode(alert(1)))
    followers = [log.LogFeed(feed, bench.broker.bootstrap, namespace=bench.namespace) for feed in feeds]
    async with running(*(follower.run() for follower in followers)):
        for feed in feeds:
            await until(lambda feed=feed: feed.alerts())  # type: ignore[misc]
        name = alert(1).id
        both = await asyncio.gather(feeds[0].acknowledge(name, "Ann"), feeds[1].acknowledge(name, "Bob"))
        takers = {entry.acknowledged.by for entry in both if entry.acknowledged}
        assert len(takers) == 1, "two at once: one of them counts, for both"
        assert (await feeds[1].acknowledge(name, "Cem")).acknowledged == both[0].acknowledged
    records = [topics.decode_from("acknowledgements", message.value) for message in await bench.read("acknowledgements")]
    assert records[0].by in takers and len(records) <= 2
    restarted = Feed()
    async with running(log.LogFeed(restarted, bench.broker.bootstrap, namespace=bench.namespace).run()):
        await until(lambda: restarted.alerts() and restarted.alerts()[0].acknowledged)
        assert restarted.alerts()[0].acknowledged == both[0].acknowledged


async def test_of_many_deliverers_one_delivers_each_alert_and_who_comes_next_goes_on_where_it_stopped(bench: Bench) -> None:
    await bench.create()
    bootstrap, namespace = bench.broker.bootstrap, bench.namespace
    wait = {"fetch_max_wait_ms": bench.broker.fetch_wait_ms} if bench.broker.fetch_wait_ms else {}
    await bench.raw("alerts", b"s", msgspec.json.encode(alert(999)))
    with receiver([200, 500, 503, 200]) as (url, got):
        def keys() -> list[str]:
            return [headers["x-affectstream-idempotency-key"] for headers, _ in got]

        async def put(*numbers: int) -> None:
            for number in numbers:
                await bench.raw("alerts", f"s{number}".encode(), msgspec.json.encode(msgspec.structs.replace(alert(number), session=f"s{number}")))

        senders = [WebhookSender([checked(url, SECRET)], QUICK) for _ in range(2)]
        deliveries = [AlertDelivery(sender, bootstrap, namespace=namespace, **wait) for sender in senders]
        async with running(*(delivery.run() for delivery in deliveries)):
            await until(lambda: all(d._consumer is not None and d._consumer.assignment() and not d._new for d in deliveries))
            await put(1, 2, 3, 4, 5, 6, 7, 8)
            await bench.raw("alerts", b"s3", msgspec.json.encode(msgspec.structs.replace(alert(3), session="s3")))  # another judge wrote it too
            await bench.raw("alerts", b"s3", b"{}")
            await until(lambda: len(set(keys())) == 8 and sum(d.unreadable for d in deliveries) == 1)
            await until(lambda: not any(d._in_hand for d in deliveries))
            assert len(keys()) == 10, "two attempts failed and were repeated, nothing else came twice"
            assert all(sender.delivered > 0 for sender in senders), "each has its share"
            assert f"{999:016x}.1" not in keys(), "nobody is called for what was before the first start"
        await put(11, 12)
        await asyncio.sleep(0.3)
        assert len(keys()) == 10
        async with running(AlertDelivery(senders[0], bootstrap, namespace=namespace, **wait).run()):
            await until(lambda: len(keys()) == 12)
            await asyncio.sleep(0.6)
        assert sorted(keys())[-2:] == [f"{11:016x}.1", f"{12:016x}.1"] and len(keys()) == 12
        for sender in senders:
            sender.close()


async def test_a_gateway_that_is_killed_before_the_receiver_took_the_alert_loses_nothing(bench: Bench, tmp_path: Path) -> None:
    """Real gateways, a real receiver: the first one is killed while the receiver is in trouble, the second one delivers."""
    if not bench.broker.idempotence:
        pytest.skip(f"{bench.broker.kind} does not number the records of a producer (InitProducerId), which the gateway asks of a broker")
    await bench.create()
    (tmp_path / "secret").write_text(SECRET)
    answers = [500]

    def start(url: str) -> tuple[subprocess.Popen[bytes], str]:
        port = free_port()
        command = [sys.executable, "-m", "streams.cli", "gateway", "--bootstrap", bench.broker.bootstrap, "--namespace", bench.namespace, "--port", str(port),
                   "--webhook", url, "--webhook-secret-file", str(tmp_path / "secret")]
        with (tmp_path / f"gateway-{port}.log").open("wb") as sink:
            process = subprocess.Popen(command, cwd=ROOT, stdout=sink, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, env={**os.environ})
        return process, f"http://127.0.0.1:{port}"

    async def ready(url: str) -> None:
        async with httpx.AsyncClient(base_url=url, timeout=5) as http:
            for _ in range(400):
                with contextlib.suppress(httpx.HTTPError):
                    if (await http.get("/v1/alerts")).json()["alerts"]:
                        return
                await asyncio.sleep(0.1)
        raise AssertionError("the gateway did not come up")

    with receiver(answers) as (url, got):
        await bench.raw("alerts", b"before", msgspec.json.encode(msgspec.structs.replace(alert(1), session="before")))
        first, address = start(url)
        processes = [first]
        try:
            await ready(address)
            await asyncio.sleep(4)  # its group has formed
            await bench.raw("alerts", b"s", msgspec.json.encode(alert(7)))
            await until(lambda: got)
            first.kill()
            first.wait()
            failed = len(got)
            answers[:] = [500] * failed + [200]
            second, address = start(url)
            processes.append(second)
            await until(lambda: len(got) > failed, 60)
            headers, body = got[-1]
            assert {h["x-affectstream-idempotency-key"] for h, _ in got} == {f"{7:016x}.1"} and len({b for _, b in got}) == 1
            assert verify(SECRET, headers["x-affectstream-timestamp"], body, headers["x-affectstream-signature"])
            assert msgspec.json.decode(body)["alert"]["id"] == alert(7).id
            async with httpx.AsyncClient(base_url=address, timeout=15) as http:
                await ready(address)
                assert "affectstream_gateway_webhooks_delivered 1\n" in (await http.get("/metrics")).text
                answer = await http.post(f"/v1/alerts/{alert(7).id}/acknowledge", json={"by": "Ann"})
                assert answer.status_code == 200 and answer.json()["acknowledged"]["by"] == "Ann"
            second.send_signal(signal.SIGTERM)
            assert second.wait(20) == 0
            third, address = start(url)
            processes.append(third)
            await ready(address)
            async with httpx.AsyncClient(base_url=address, timeout=15) as http:
                async with asyncio.timeout(20):
                    while True:
                        kept = {e["alert"]["id"]: e["acknowledged"] for e in (await http.get("/v1/alerts")).json()["alerts"]}
                        if kept.get(alert(7).id):
                            break
                        await asyncio.sleep(0.1)
                assert kept[alert(7).id]["by"] == "Ann" and len(got) == failed + 1
        finally:
            for process in processes:
                if process.poll() is None:
                    process.terminate()
                    try:
                        process.wait(15)
                    except subprocess.TimeoutExpired:
                        process.kill()
                        process.wait(5)


