"""Dashboards and gateways as real processes: who took an alert is known after a restart; what cannot be used is named."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from click.testing import CliRunner

from streams.alerts.rules import load
from streams.alerts.rules import parse as load_text
from streams.cli import cli
from streams.commands.serve import serve_replay
from streams.egress.jsonl import JsonlWriter, read_events
from streams.ingest.gateway.sinks import EmbeddedSink
from streams.records import AudioChunk, SessionEnd, Watermark
from streams.runtimes.embedded import EmbeddedSession
from streams.subscriptions import archive
from streams.subscriptions.feed import Feed
from tests.streams.dashboard.test_commands import results
from tests.streams.subscriptions.conftest import begun, said

ROOT = Path(__file__).resolve().parents[2]
RULES = "rules:\n  - name: angry customer\n    when: {label: anger, above: 0.6}\n    role: customer\n    for: 2s\n"


@contextmanager
def dashboard(*arguments: str) -> Iterator[httpx.Client]:
    command = [sys.executable, "-m", "streams.cli", "dashboard", "--port", "0", *arguments]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
    try:
        assert process.stderr is not None
        found = re.search(r"http://\S+", process.stderr.readline())
        assert found
        with httpx.Client(base_url=found[0], timeout=20) as http:
            yield http
    finally:
        process.terminate()
        process.wait(20)


def until(true: Any, within_s: float = 20) -> Any:
    deadline = time.monotonic() + within_s
    while not (value := true()):
        assert time.monotonic() < deadline, "did not come true"
        time.sleep(0.05)
    return value


def taken(http: httpx.Client) -> dict[str, Any]:
    return {entry["alert"]["id"]: entry["acknowledged"] for entry in http.get("/v1/alerts").json()["alerts"]}


@pytest.mark.integration
def test_who_took_an_alert_is_known_after_a_restart_and_to_a_second_dashboard_at_once(tmp_path: Path) -> None:
    out = tmp_path / "out"
    for name in ("one", "two"):
        results(out, name)
    (tmp_path / "rules.yaml").write_text(RULES)
    rules = ("--rules", str(tmp_path / "rules.yaml"))
    with dashboard("--dir", str(out), *rules) as first, dashboard("--dir", str(out), *rules) as second:
        alerts = list(taken(first))
        assert alerts and taken(second) == taken(first) and not any(taken(first).values())
        answer = first.post(f"/v1/alerts/{alerts[0]}/acknowledge", json={"by": "Ann"}).json()
        assert answer["acknowledged"]["by"] == "Ann"
        again = second.post(f"/v1/alerts/{alerts[0]}/acknowledge", json={"by": "Bob"}).json()
        assert again["acknowledged"] == answer["acknowledged"], "the first one counts, whichever server is asked"
        if len(alerts) > 1:
            second.post(f"/v1/alerts/{alerts[1]}/acknowledge", json={"by": "Bob"})
            assert until(lambda: taken(first)[alerts[1]])["by"] == "Bob"
        before = taken(second)
    (file,) = {path for path in out.glob("*/acknowledgements.jsonl") if alerts[0] in path.read_text()}
    with file.open("ab") as torn:  # the power went while a line was written
        torn.write(b'{"type":"acknowledgement","alert":"')
    with dashboard("--dir", str(out), *rules) as restarted:
        assert taken(restarted) == before
    with dashboard("--dir", str(file.parent), *rules) as one_recording:
        assert taken(one_recording)[alerts[0]] == before[alerts[0]]


def test_an_alert_taken_while_a_replay_is_watched_is_taken_in_the_archive(tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text(RULES)
    folder = tmp_path / "out" / "one"
    session = results(tmp_path / "out", "one")
    start, _ = archive.start_of(folder)
    with serve_replay(port=0, rules=tmp_path / "rules.yaml") as watching, httpx.Client(base_url=watching.url, timeout=20) as http:
        watching.opened(start, tmp_path / "one.wav", folder)
        for event in read_events(folder / "events.jsonl"):
            watching.feed.event(event)
        name = next(iter(taken(http)))
        assert http.post(f"/v1/alerts/{name}/acknowledge", json={"by": "Ann"}).status_code == 200
        watching.ended(session, 180_000)
        before = taken(http)
    for _ in range(2):  # watched once more, and in the archive
        with serve_replay(port=0, rules=tmp_path / "rules.yaml") as watching, httpx.Client(base_url=watching.url, timeout=20) as http:
            watching.opened(start, tmp_path / "one.wav", folder)
            for event in read_events(folder / "events.jsonl"):
                watching.feed.event(event)
            assert taken(http)[name] == before[name] and before[name]["by"] == "Ann"
    feed = Feed(rules=load(tmp_path / "rules.yaml"))
    assert list(archive.load(feed, folder)) == []
    assert feed.held(name).acknowledged is not None


def test_alerts_that_the_replay_judged_are_shown_where_no_other_rules_are_given(tmp_path: Path) -> None:
    results(tmp_path, "one")
    judged = Feed(rules=load_text(RULES))
    assert list(archive.load(judged, tmp_path)) == []
    lines = [msgspec.json.encode(entry.alert) + b"\n" for entry in judged.alerts()]
    (tmp_path / "one" / "alerts.jsonl").write_bytes(b"".join(lines))
    shown = Feed()
    assert list(archive.load(shown, tmp_path)) == []
    assert [e.alert for e in shown.alerts()] == [e.alert for e in judged.alerts()] != []
    (state,) = shown.sessions()[0]
    assert [entry["alert"]["rule"] for entry in state["alerts"]] == ["angry customer"] * len(lines)
    (tmp_path / "one" / "alerts.jsonl").write_bytes(lines[0] + b"{}\n")
    (problem,) = archive.load(Feed(), tmp_path)
    assert "alerts.jsonl, line 2" in problem


@pytest.mark.integration
def test_an_archive_is_looked_at_while_it_is_still_read(tmp_path: Path) -> None:
    """Far more recordings than were once kept; the server answers at once, and in the end every one can be found."""
    for number in range(700):
        folder = tmp_path / f"call-{number:04d}"
        with JsonlWriter(folder / "events.jsonl") as writer:
            for k in range(4):
                words = "the zeppelin" if number == 3 and k == 2 else "as I said"
                writer.write(msgspec.structs.replace(said("x", k * 3, k * 3 + 2, words=words), session=f"call-{number:04d}"))
        (folder / "summary.json").write_text(f'{{"session": "call-{number:04d}", "media": "{number}.wav", "participants": [{{"id": "customer", "role": "customer"}}]}}')
    with dashboard("--dir", str(tmp_path)) as http:
        until(lambda: http.get("/v1/sessions?limit=1").json()["total"] == 700, 60)
        assert len(http.get("/v1/sessions").json()["sessions"]) == 500
        assert [s["session"] for s in http.get("/v1/sessions?q=call-0003").json()["sessions"]] == ["call-0003"]
        (hit,) = http.get("/v1/search?q=ZEPPELIN").json()["hits"]
        assert hit["session"] == "call-0003" and hit["event"]["start_ms"] == 6000
        assert len(http.get("/v1/sessions/call-0000").json()["events"]) == 4


def refused(*arguments: str) -> str:
    result = CliRunner().invoke(cli, list(arguments))
    assert result.exit_code != 0
    return f"{result.output} {result.exception}"


def test_webhooks_that_would_never_be_called_and_secrets_that_cannot_be_used_are_refused(tmp_path: Path) -> None:
    url = "http://127.0.0.1:9/x"
    (tmp_path / "rules.yaml").write_text(RULES)
    (tmp_path / "short").write_text("short\n")
    rules = ("--rules", str(tmp_path / "rules.yaml"))
    assert "give --rules FILE" in refused("gateway", "--webhook", url, "--webhook-secret", "x" * 16)
    assert "give --bootstrap" in refused("dashboard", "--dir", str(tmp_path), "--webhook", url, "--webhook-secret", "x" * 16)
    assert "16 characters" in refused("gateway", *rules, "--webhook", url, "--webhook-secret-file", str(tmp_path / "short"))
    assert "cannot be read" in refused("gateway", *rules, "--webhook", url, "--webhook-secret-file", str(tmp_path / "none"))
    assert "given twice" in refused("gateway", *rules, "--webhook", url, "--webhook-secret", "x" * 16, "--webhook-secret-file", str(tmp_path / "short"))
    assert "not the address" in refused("gateway", *rules, "--webhook", "ftp://host/x", "--webhook-secret", "x" * 16)


async def test_the_gateway_knows_how_far_the_analysis_of_a_call_is_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """Media come in every 100 ms; the analysis is told to stand still, then to catch up."""
    clock = [1_900_000_000_000]
    monkeypatch.setattr("streams.subscriptions.feed._now", lambda: clock[0])
    monkeypatch.setattr(EmbeddedSession, "__init__", lambda self, *_: None)
    fed: list[AudioChunk] = []
    monkeypatch.setattr(EmbeddedSession, "feed", lambda self, record: fed.append(record))
    feed = Feed()
    sink = EmbeddedSink(None, feed.event, on_start=feed.open, on_end=feed.end, on_record=feed.record, on_media=feed.arrived)  # type: ignore[arg-type]
    await sink.publish(begun("a"))

    async def minutes(start: int, end: int) -> None:
        for number in range(start * 10, end * 10):
            for source in ("left", "right"):
                await sink.publish(AudioChunk("a", source, number, number * 1600, 16_000, bytes(3200)))
            clock[0] += 100

    assert feed.state_of("a")["behind_ms"] is None, "nothing has come in: nothing is behind"
    await minutes(0, 10)
    for source in ("left", "right", "left", "right"):
        feed.record(Watermark("a", source, "hear", 9_500))
    assert feed.state_of("a")["behind_ms"] <= 1000
    await minutes(10, 40)
    assert 30_000 <= feed.state_of("a")["behind_ms"] <= 31_000, "the analysis stands still"
    feed.event(msgspec.structs.replace(said("a", 20, 38, partial=1), latency={"after_end_ms": 2100.0}))
    told = feed.state_of("a")
    assert told["delay_ms"] == 2100 and 2000 <= told["behind_ms"] <= 2600 and told["position_ms"] == 9_500, "a hypothesis is a result"
    feed.event(msgspec.structs.replace(said("a", 20, 39.5), latency={"after_end_ms": 700.0}))
    assert feed.state_of("a")["behind_ms"] <= 1000 and feed.state_of("a")["delay_ms"] == 700 and len(fed) == 800
    feed.end(SessionEnd("a"))
    assert feed.state_of("a")["behind_ms"] is None
