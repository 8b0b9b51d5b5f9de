"""Turns of expression over the API: as the recording is heard, and after it."""

from __future__ import annotations

import json

import httpx
import msgspec
from jsonschema import Draft202012Validator

from fusion.metrics import ConversationMetrics
from streams.alerts.rules import DEFAULT, load
from streams.records import Decision, Participant, SessionEnd, SessionStart
from streams.subscriptions.app import Service, create_app
from streams.subscriptions.feed import Feed
from streams.subscriptions.openapi import document
from tests.streams.egress.scenario import support_call
from tests.streams.subscriptions.conftest import served

EVENTS = support_call()
START = SessionStart(
    "call-1", (Participant("customer", "customer", "left"), Participant("agent", "employee", "right")),
    {"customer": Decision(True, True, True, "customers are analysed"), "agent": Decision(True, True, False, "employees are not emotion-analysed")},
    ("left", "right"), media="call.wav",
)  # fmt: skip


async def test_a_call_lists_its_turns_with_what_preceded_them_and_the_document_describes_them() -> None:
    feed = Feed(rules=load(DEFAULT))
    feed.open(START)
    with served(create_app(Service(feed))) as url:
        async with httpx.AsyncClient(base_url=url) as http:
            half = [e for e in EVENTS if e.end_ms < 300_000]
            for event in half:
                feed.event(event)
            live = (await http.get("/v1/sessions/call-1", params={"events": "false"})).json()["metrics"]["shifts"]
            for event in EVENTS[len(half) :]:
                feed.event(event)
            feed.end(SessionEnd("call-1"), duration_ms=600_000)
            found = (await http.get("/v1/sessions/call-1")).json()
            page = (await http.get("/v1/sessions/call-1/report")).text
    shifts = found["metrics"]["shifts"]
    assert len(shifts) > len(live) > 0 and [s["at_ms"] for s in live] == [s["at_ms"] for s in shifts[: len(live)]]
    texts = {e["id"]: e["transcript"]["text"] for e in found["events"] if e["transcript"]}
    for shift in shifts:
        assert shift["participant"] == "customer" and shift["text"] in page.replace("&#39;", "'")
        assert all(texts[last["event"]] for last in shift["last_words"])
    assert page.count('class="alertflag') == len(found["state"]["alerts"]) > 0, "the report of a call draws its alerts"
    assert msgspec.convert(found["metrics"], ConversationMetrics).shifts
    turned = [e for e in EVENTS if e.context.shift][-1]
    customer = next(p for p in found["state"]["participants"] if p["id"] == "customer")
    assert (customer["turned_from"], customer["turned_ms"]) == (turned.context.previous, turned.end_ms)
    spec = document()
    schema = spec["paths"]["/v1/sessions/{session}"]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
    Draft202012Validator(schema["properties"]["metrics"] | {"components": spec["components"]}).validate(found["metrics"])
    assert "EmotionShift" in spec["components"]["schemas"] and "Antecedent" in json.dumps(spec["components"]["schemas"])
