"""A real server on loopback with real clients: who is served, who is refused, and that nobody disturbs another."""

from __future__ import annotations

import asyncio
import json
import socket
from typing import Any
from urllib.parse import quote

import httpx
import pytest
import websockets
from jsonschema import Draft202012Validator

from streams.alerts.rules import parse as rules
from streams.records import SessionEnd
from streams.subscriptions import tokens
from streams.subscriptions.app import Service, create_app, routes
from streams.subscriptions.client import Client, SubscriptionRefused
from streams.subscriptions.feed import Feed
from streams.subscriptions.hub import Hub, HubLimits
from streams.subscriptions.messages import AlertMessage, EventMessage, LiveMessage
from streams.subscriptions.openapi import document
from tests.streams.subscriptions.conftest import begun, said, served

RULES = rules("rules:\n  - name: angry customer\n    when: {label: anger, above: 0.6}\n    role: customer\n    for: 5s\n    severity: critical\n")


def feed_with(*sessions: str, count: int = 5) -> Feed:
    feed = Feed(rules=RULES)
    for session in sessions:
        feed.open(begun(session))
        for k in range(count):
            feed.event(said(session, k * 3, k * 3 + 2))
    return feed


async def refused(url: str, **more: Any) -> dict[str, Any]:
    async with websockets.connect(url.replace("http", "ws", 1), **more) as socket_:
        message: dict[str, Any] = json.loads(await asyncio.wait_for(socket_.recv(), 10))
        await asyncio.wait_for(socket_.wait_closed(), 10)
        return message | {"code": socket_.close_code}


async def test_the_client_replays_goes_live_and_takes_only_its_filter() -> None:
    feed = feed_with("a", "b")
    with served(create_app(Service(feed))) as url:
        async with Client(url) as client:
            got = []
            async for event in client.subscribe(session="a", finals_only=True, after="start"):
                got.append(event)
                if len(got) == 5:
                    feed.event(said("b", 90, 91))
                    feed.event(said("a", 90, 91, partial=1))
                    feed.event(said("a", 90, 91))
                if len(got) == 6:
                    break
            assert [e.start_ms for e in got] == [0, 3000, 6000, 9000, 12000, 90000] and {e.session for e in got} == {"a"}
            assert {s.session for s in await client.sessions()} == {"a", "b"}
            state, events, position = await client.session("a")
            assert len(events) == 6 and state.participants[0].label == "neutral" and position.startswith(feed.hub.epoch)


async def test_a_broken_server_comes_back_and_the_client_goes_on_without_loss_or_repetition() -> None:
    feed = feed_with("a")
    got: list[int] = []
    client = Client("http://127.0.0.1:1", retry_s=(0.05, 0.2))

    async def follow(url: str) -> None:
        client._base = url
        async for event in client.subscribe(session="a", after="start"):
            got.append(event.start_ms)

    async def until(count: int) -> None:
        while len(got) < count:
            await asyncio.sleep(0.02)

    with served(create_app(Service(feed))) as url:
        task = asyncio.create_task(follow(url))
        await asyncio.wait_for(until(5), 15)
    feed.event(said("a", 50, 51))
    feed.event(said("a", 60, 61))
    with served(create_app(Service(feed)), int(url.rsplit(":", 1)[1])):
        await asyncio.wait_for(until(7), 15)
        feed.event(said("a", 70, 71))
        await asyncio.wait_for(until(8), 15)
    task.cancel()
    await client.__aexit__(None, None, None)
    assert got == [0, 3000, 6000, 9000, 12000, 50000, 60000, 70000]


async def test_server_sent_events_carry_ids_and_resume_by_the_last_one() -> None:
    feed = feed_with("a")
    with served(create_app(Service(feed, heartbeat_s=0.2))) as url:
        async with httpx.AsyncClient(base_url=url, timeout=10) as http:
            async def read(headers: dict[str, str], blocks: int) -> list[dict[str, str]]:
                async with http.stream("GET", "/v1/events?session=a&after=start", headers=headers) as answer:
                    assert answer.headers["content-type"].startswith("text/event-stream")
                    found: list[dict[str, str]] = [{}]
                    async for line in answer.aiter_lines():
                        if not line and found[-1]:
                            found.append({})
                        elif ": " in line and not line.startswith(":"):
                            found[-1] |= [line.split(": ", 1)]  # type: ignore[arg-type]
                        if len(found) > blocks:
                            return [b for b in found if "event" in b]
                return []

            first = await read({}, 9)
            events = [b for b in first if b["event"] == "event"]
            assert len(events) == 5 and json.loads(events[0]["data"])["event"]["start_ms"] == 0
            again = await read({"Last-Event-ID": events[2]["id"]}, 6)
            assert [json.loads(b["data"])["event"]["start_ms"] for b in again if b["event"] == "event"] == [9000, 12000]
            assert any(b["event"] == "heartbeat" for b in first + again)


async def test_bad_requests_get_a_clear_error_and_disturb_nobody() -> None:
    feed = feed_with("a")
    with served(create_app(Service(feed))) as url:
        async with websockets.connect(url.replace("http", "ws") + "/v1/events") as bystander:
            wrong = await refused(f"{url}/v1/events?sesion=a")
            assert wrong["code"] == 4400 and "did you mean `session`" in wrong["cure"]
            foreign = await refused(f"{url}/v1/events", origin="http://elsewhere.example")
            assert foreign["code"] == 4403
            for nonsense in ('{"type": ', "[" * 100_000, '{"type": "filter"}', b"\xff\xfe"):
                async with websockets.connect(url.replace("http", "ws") + "/v1/events") as talker:
                    await talker.send(nonsense)
                    assert "ping" in json.loads(await asyncio.wait_for(talker.recv(), 10))["cure"]
                    await asyncio.wait_for(talker.wait_closed(), 10)
            with pytest.raises(SubscriptionRefused, match="did you mean `anger`"):
                async with Client(url) as client:
                    async for _ in client.subscribe(label="angr"):
                        pass
            async with httpx.AsyncClient(base_url=url) as http:
                for path in ("/v1/sessions/..%2f..%2fetc%2fpasswd", "/v1/sessions/" + quote("<script>\x00'\"\u202e", safe=""), "/v1/sessions/a/nothing",
                             "/v1/sessions/" + "x" * 10_000, "/v1/sessions/%ff%fe", "/v1/sessions/..%2f..%2fetc", "/v1/sessions/%00",
                             "/v1/sessions/a%0d%0aX-Evil:1"):
                    answer = await http.get(path)
                    assert answer.status_code == 404 and answer.headers["content-type"] == "application/json" and answer.json()["cure"], path
                assert (await http.get("/v1/sessions?state=lve")).json()["cure"] == "did you mean `live`?"
                assert (await http.get("/v1/search?lable=anger")).json()["cure"].startswith("did you mean `label`")
                assert (await http.post("/v1/alerts/none/acknowledge", content=b"{")).status_code == 400
                assert (await http.post("/v1/alerts/none/acknowledge", content=b"x" * 100_000)).status_code == 413
                assert (await http.post("/v1/alerts/none/acknowledge", json={"by": "Ann"})).status_code == 404
            feed.event(said("a", 100, 101))
            assert json.loads(await asyncio.wait_for(bystander.recv(), 10))["event"]["start_ms"] == 100_000


async def test_sessions_with_hostile_names_are_served_by_their_exact_name() -> None:
    names = ["a/b", "../x", "../../etc", "<img src=x onerror=1>", "<script>alert(1)</script>", "ümläut 通話", "\u202etxt.exe", "%2e%2e", "a?b#c", "report",
             "x" * 10_000, "a\r\nX-Evil: 1", "\x00"]
    feed = feed_with(*names, count=1)
    with served(create_app(Service(feed))) as url:
        async with Client(url) as client:
            for name in names:
                state, events, _ = await client.session(name)
                assert state.session == name and len(events) == 1
                if len(name) > 256:
                    with pytest.raises(SubscriptionRefused, match="longer than|at most"):
                        await first(client, 1, session=name)
                else:
                    assert (await first(client, 1, session=name, after="start"))[0].session == name
        async with httpx.AsyncClient(base_url=url, timeout=20) as http:
            for name in names:
                for part in ("", "/report", "/curves", "/faces"):
                    answer = await http.get(f"/v1/sessions/{quote(name, safe='')}{part}")
                    assert answer.status_code == 200 and "x-evil" not in answer.headers, (name[:40], part)
                    assert answer.headers["content-type"].startswith("application/json" if part != "/report" else "text/html")
                    assert part != "/report" or ("<script>alert" not in answer.text and "<img src=x" not in answer.text)


async def test_tokens_open_expire_and_bind_to_a_session() -> None:
    feed = feed_with("a", "b")
    with served(create_app(Service(feed, token="s3cret-öffnet"))) as url:
        async with httpx.AsyncClient(base_url=url) as http:
            assert (await http.get("/v1/sessions")).status_code == 401
            assert "not valid" in (await http.get("/v1/sessions?token=wrong")).json()["error"]
            assert (await http.get("/v1/sessions", params={"token": "s3cret-öffnet"})).status_code == 200
            old = tokens.sign("s3cret-öffnet", valid_s=-5)
            assert "expired at" in (await http.get("/v1/sessions", headers={"Authorization": f"Bearer {old}"})).json()["error"]
            forged = tokens.sign("other", valid_s=50)
            assert (await http.get("/v1/sessions", headers={"Authorization": f"Bearer {forged}"})).status_code == 401
            for odd in ("..", "9999999999..", "9999999999.zz.00", "\u0661.2a.3", "x" * 10_000):
                assert (await http.get("/v1/sessions", params={"token": odd})).status_code == 401
        refusal = await refused(f"{url}/v1/events?token={old}")
        assert refusal["code"] == 4401 and "expired" in refusal["error"]
        async with Client(url, token=tokens.sign("s3cret-öffnet", valid_s=50, session="a")) as client:
            assert [s.session for s in await client.sessions()] == ["a"]
            async for event in client.subscribe(after="start"):
                assert event.session == "a"
                break
            with pytest.raises(SubscriptionRefused, match="another session"):
                async for _ in client.subscribe(session="b"):
                    pass
            with pytest.raises(SubscriptionRefused, match="no session"):
                await client.session("b")


async def test_a_token_that_ends_ends_its_streams_and_no_other() -> None:
    feed = feed_with("a", count=1)
    with served(create_app(Service(feed, token="the secret of all"))) as url:
        short = tokens.sign("the secret of all", valid_s=2)
        async with websockets.connect(f"{url.replace('http', 'ws')}/v1/events?token=the%20secret%20of%20all") as bystander:
            with pytest.raises(SubscriptionRefused, match="expired at"):
                async with Client(url, token=short) as client:
                    async with asyncio.timeout(15):
                        async for _ in client.subscribe(after="start"):
                            pass
            async with httpx.AsyncClient(base_url=url, timeout=10) as http:
                other = tokens.sign("the secret of all", valid_s=2)
                async with http.stream("GET", "/v1/events", params={"token": other}) as answer:
                    lines = [line async for line in answer.aiter_lines()]
                assert any(line.startswith("data: ") and "expired at" in line for line in lines)
            feed.event(said("a", 50, 51))
            assert json.loads(await asyncio.wait_for(bystander.recv(), 10))["event"]["start_ms"] == 50_000
    assert feed.hub.subscriber_count == 0


async def test_a_partial_is_followed_by_its_final_counted_nowhere_and_kept_nowhere() -> None:
    feed = feed_with("a", count=1)
    with served(create_app(Service(feed))) as url:
        async with Client(url) as client, httpx.AsyncClient(base_url=url, timeout=10) as http:
            _, _, position = await client.session("a")
            before = (await http.get("/v1/sessions/a")).json()
            for number in (1, 2, 3):
                feed.event(said("a", 10, 11 + number, "anger", partial=number))
            feed.event(said("a", 10, 12, "anger", partial=2))  # an older one comes late
            during = (await http.get("/v1/sessions/a")).json()
            for part in ("events", "metrics", "headline"):
                assert during[part] == before[part]
            assert feed.alerts() == [] and (await http.get("/v1/search?label=anger")).json()["total"] == 0
            assert during["state"]["events"] == 1 and during["state"]["participants"][0]["label"] == "neutral"
            (newest,) = await first(client, 1, session="a", after=position)
            assert (newest.status, newest.revision) == ("partial", 3), "who comes now gets the newest hypothesis alone"
            feed.event(said("a", 10, 16, "anger"))
            feed.event(said("a", 10, 15, "anger", partial=4))  # too late: the final one is there
            assert [e.status for e in await first(client, 1, session="a", after=position)] == ["final"]
            assert [e.start_ms for e in await first(client, 2, session="a", finals_only=True, after="start")] == [0, 10_000]
            after = (await http.get("/v1/sessions/a")).json()
            assert len(after["events"]) == 2 and after["events"][1]["status"] == "final" and feed.alerts()[0].alert.start_ms == 10_000
            assert (await http.get("/v1/search?label=anger")).json()["total"] == 1


async def first(client: Client, count: int, **filters: Any) -> list[Any]:
    got: list[Any] = []
    async with asyncio.timeout(15):
        async for event in client.subscribe(**filters):
            got.append(event)
            if len(got) == count:
                break
    return got


async def test_a_client_and_server_sent_events_show_a_partial_growing_into_its_final() -> None:
    feed = feed_with("a", count=0)
    with served(create_app(Service(feed))) as url:
        async with Client(url) as client, httpx.AsyncClient(base_url=url, timeout=10) as http:
            following = asyncio.create_task(first(client, 3, session="a"))
            finals = asyncio.create_task(first(client, 1, session="a", finals_only=True))
            async with http.stream("GET", "/v1/events?type=event") as answer:
                while feed.hub.subscriber_count < 3:
                    await asyncio.sleep(0.02)
                for event in (said("a", 0, 1, partial=1), said("a", 0, 2, partial=2), said("a", 0, 2, partial=2), said("a", 0, 3)):
                    feed.event(event)
                sent = []
                async for line in answer.aiter_lines():
                    if line.startswith("data: "):
                        sent.append(json.loads(line[6:])["event"]["revision"])
                    if len(sent) == 3:
                        break
            assert [e.revision for e in await following] == sent == [1, 2, 1000]
            assert [e.status for e in await finals] == ["final"] and {e.id for e in await following} == {said("a", 0, 3).id}


async def test_without_a_token_only_requests_that_name_this_machine_are_answered() -> None:
    with served(create_app(Service(feed_with("a"), loopback_only=True))) as url:
        async with httpx.AsyncClient(base_url=url) as http:
            assert (await http.get("/v1/sessions")).status_code == 200
            rebound = await http.get("/v1/sessions", headers={"Host": "rebound.example:80"})
            assert rebound.status_code == 403 and "127.0.0.1" in rebound.json()["cure"]
        refusal = await refused("http://rebound.example/v1/events", host="127.0.0.1", port=int(url.rsplit(":", 1)[1]))
        assert refusal["code"] == 4403


async def test_alerts_fire_are_acknowledged_once_and_close() -> None:
    feed = feed_with("a", count=0)
    told: list[Any] = []
    with served(create_app(Service(feed))) as url:
        async with Client(url) as client:
            async def watch() -> None:
                async for message in client.messages(type="alert", after="start"):
                    if isinstance(message, AlertMessage):
                        told.append(message)
                    if len(told) == 3:
                        return

            task = asyncio.create_task(watch())
            feed.event(said("a", 0, 6, "anger"))
            (open_alert,) = await client.alerts()
            assert (await client.acknowledge(open_alert.alert, "Ann  Lee")).acknowledged.by == "Ann Lee"  # type: ignore[union-attr]
            assert (await client.acknowledge(open_alert.alert, "Bob")).acknowledged.by == "Ann Lee"  # type: ignore[union-attr]
            with pytest.raises(SubscriptionRefused, match="needs a name"):
                await client.acknowledge(open_alert.alert, "\u202eevil")
            assert (await client.sessions())[0].attention_reason == "angry customer, taken by Ann Lee"
            feed.event(said("a", 10, 12))
            await asyncio.wait_for(task, 15)
            assert [(m.alert.status, m.acknowledged is not None) for m in told] == [("open", False), ("open", True), ("closed", True)]


async def test_five_hundred_subscribers_one_of_whom_never_reads() -> None:
    feed = feed_with("a", count=0)
    with served(create_app(Service(feed))) as url:
        host, port = url.removeprefix("http://").split(":")
        idle = socket.create_connection((host, int(port)))
        idle.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        idle.sendall(f"GET /v1/events HTTP/1.1\r\nHost: {host}:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                     "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode())

        async def follow() -> list[int]:
            async with websockets.connect(url.replace("http", "ws") + "/v1/events?type=event", compression=None, open_timeout=60) as socket_:
                joined.append(1)
                found: list[int] = []
                while len(found) < 40:
                    frame = await asyncio.wait_for(socket_.recv(), 60)
                    found += [m["event"]["start_ms"] for m in map(json.loads, str(frame).split("\n")) if m["type"] == "event"]
                return found

        joined: list[int] = []
        tasks = [asyncio.create_task(follow()) for _ in range(500)]
        while len(joined) < 500 or feed.hub.subscriber_count < 501:
            await asyncio.sleep(0.05)
        for k in range(40):
            feed.event(said("a", k, k + 1, words="word " * 1000))
        assert all(found == [k * 1000 for k in range(40)] for found in await asyncio.gather(*tasks))
        idle.close()


async def test_one_subscriber_too_many_is_told_to_come_back_and_is_served_when_there_is_room() -> None:
    feed = Feed(Hub(HubLimits(subscribers=2)))
    feed.open(begun("a"))
    feed.event(said("a", 0, 1))
    with served(create_app(Service(feed))) as url:
        address = url.replace("http", "ws") + "/v1/events"
        async with websockets.connect(address) as bystander:
            async with websockets.connect(address):
                while feed.hub.subscriber_count < 2:
                    await asyncio.sleep(0.02)
                told = await refused(f"{url}/v1/events")
                assert told["code"] == 1013 and told["retry"] and "try again later" in told["cure"]
                async with httpx.AsyncClient(base_url=url) as http:
                    assert (await http.get("/v1/events")).status_code == 503
                async with Client(url, retry_s=(0.05, 0.1)) as client:
                    waiting = asyncio.create_task(first(client, 1, after="start"))
                    await asyncio.sleep(0.3)
                    assert not waiting.done()
            async with Client(url, retry_s=(0.05, 0.1)) as client:
                assert (await waiting)[0].session == "a"
            feed.event(said("a", 5, 6))
            assert json.loads(await asyncio.wait_for(bystander.recv(), 10))["event"]["start_ms"] == 5000


async def test_a_session_that_ends_stays_readable_with_its_report() -> None:
    feed = feed_with("a")
    feed.event(said("a", 30, 31, words="</script><img src=x onerror=alert(1)>"))
    feed.end(SessionEnd("a"), duration_ms=40_000)
    with served(create_app(Service(feed))) as url:
        async with httpx.AsyncClient(base_url=url) as http:
            page = await http.get("/v1/sessions/a/report")
            assert page.status_code == 200 and "<img src=x" not in page.text and page.headers["content-security-policy"].startswith("sandbox")
            assert (await http.get("/v1/sessions/a")).json()["state"]["duration_ms"] == 40_000
            assert (await http.get("/v1/sessions/a/media")).status_code == 404
            hits = (await http.get("/v1/search", params={"q": "AS before"})).json()
            assert hits["total"] == 5 and hits["hits"][0]["session"] == "a"
            curves = (await http.get("/v1/sessions/a/curves")).json()
            assert curves["rows"] == ["customer"]


async def test_the_openapi_document_names_every_route_and_its_schemas_accept_what_is_sent() -> None:
    spec = document()
    served_paths = {getattr(route, "path", "").replace(":name", "") for route in routes(Service(Feed()))}
    assert served_paths == set(spec["paths"])
    feed = feed_with("a")
    with served(create_app(Service(feed))) as url:
        async with Client(url) as client:
            assert (await client._get("/v1/openapi.json"))["info"] == spec["info"]
            async for message in client.messages(after="start"):
                if isinstance(message, EventMessage):
                    import msgspec

                    schema = {"$ref": "#/components/schemas/EventMessage", "components": spec["components"]}
                    Draft202012Validator(schema).validate(json.loads(msgspec.json.encode(message)))
                if isinstance(message, LiveMessage):
                    break
            schema = spec["paths"]["/v1/sessions"]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
            Draft202012Validator(schema | {"components": spec["components"]}).validate(await client._get("/v1/sessions"))
