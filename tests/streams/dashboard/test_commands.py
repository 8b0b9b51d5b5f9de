"""`affectstream dashboard` and `affectstream alerts` on the results of replays, as a user calls them."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import wave
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from click.testing import CliRunner

from streams.cli import cli
from streams.egress.jsonl import JsonlWriter
from streams.records import Participant
from streams.subscriptions import archive
from streams.subscriptions.client import Client
from streams.subscriptions.feed import Feed
from streams.subscriptions.messages import EventMessage, SessionMessage
from tests.streams.egress.scenario import support_call

ROOT = Path(__file__).resolve().parents[3]
RULES = """
rules:
  - name: angry customer
    when: {label: anger, above: 0.6}
    role: customer
    for: 2s
  - name: terror
    when: {label: fear, above: 0.9}
"""


def results(folder: Path, name: str, media: bytes = b"sound") -> str:
    """A results folder as a replay leaves it; the session."""
    session = f"{name}-{hashlib.sha256(media).hexdigest()[:8]}"
    with JsonlWriter(folder / name / "events.jsonl") as writer:
        for event in support_call(3):
            writer.write(msgspec.structs.replace(event, session=session))
    people = [msgspec.to_builtins(Participant("customer", "customer", "left")), msgspec.to_builtins(Participant("agent", "employee", "right"))]
    decisions = {"customer": {"transcribe": True, "measure": True, "emotion": True, "reason": "r"},
                 "agent": {"transcribe": True, "measure": True, "emotion": False, "reason": "employees are not emotion-analysed"}}
    summary = {"media": f"{name}.wav", "session": session, "status": "complete", "duration_ms": 180_000, "participants": people, "decisions": decisions}
    (folder / name / "summary.json").write_text(json.dumps(summary), "utf-8")
    return session


def run(*arguments: str) -> Any:
    return CliRunner().invoke(cli, list(arguments), env={"COLUMNS": "250"}, catch_exceptions=True)


def test_alerts_test_shows_what_would_have_fired_and_how_near_the_others_came(tmp_path: Path) -> None:
    results(tmp_path, "call")
    (tmp_path / "rules.yaml").write_text(RULES)
    shown = run("alerts", "test", str(tmp_path / "rules.yaml"), str(tmp_path / "call"))
    assert shown.exit_code == 0 and "angry customer" in shown.output
    assert re.search(r"terror: did not fire: the highest fear was 0\.\d\d at \d:\d\d", shown.output)
    lines = run("alerts", "test", "--json", str(tmp_path / "rules.yaml"), str(tmp_path / "call" / "events.jsonl")).output.splitlines()
    fired = [json.loads(line) for line in lines]
    assert fired and {alert["rule"] for alert in fired} == {"angry customer"} and all(alert["evidence"] for alert in fired)
    assert "anger above 0.6 for 2 s of customer; closes below 0.5" in run("alerts", "check", str(tmp_path / "rules.yaml")).output


def test_rules_and_recordings_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    rules = tmp_path / "rules.yaml"
    rules.write_text(RULES.replace("anger", "angr"))
    wrong = run("alerts", "check", str(rules)).exception
    assert "line 4" in str(wrong) and "did you mean `anger`" in str(wrong)
    rules.write_text(RULES)
    (tmp_path / "empty").mkdir()
    assert "events.jsonl" in str(run("alerts", "test", str(rules), str(tmp_path / "empty")).exception)
    assert "--bootstrap" in str(run("dashboard").exception)
    assert "no such folder" in str(run("dashboard", "--dir", str(tmp_path / "nowhere")).exception)
    assert "--token" in str(run("dashboard", "--dir", str(tmp_path), "--host", "0.0.0.0").exception)
    assert "16 characters" in str(run("dashboard", "--bootstrap", "127.0.0.1:1", "--webhook", "http://127.0.0.1/x").exception)


def test_results_are_sessions_and_a_recording_is_served_only_with_its_own_content(tmp_path: Path) -> None:
    one, two = results(tmp_path / "out", "one"), results(tmp_path / "out", "two")
    (tmp_path / "out" / "broken").mkdir()
    (tmp_path / "out" / "broken" / "summary.json").write_text("{")
    (tmp_path / "out" / "broken" / "events.jsonl").write_text("")
    (tmp_path / "media").mkdir()
    (tmp_path / "media" / "one.wav").write_bytes(b"sound")
    (tmp_path / "media" / "two.wav").write_bytes(b"another recording of the same name")
    feed = Feed()
    problems = list(archive.load(feed, tmp_path / "out", media=[tmp_path / "media"]))
    assert len(problems) == 1 and "broken" in problems[0]
    assert feed.media_of(one) == tmp_path / "media" / "one.wav" and feed.media_of(two) is None
    state = feed.session(one)
    assert state is not None and state.state == "ended" and state.duration_ms == 180_000 and not state.participants[1].analysed


@pytest.mark.integration
@pytest.mark.models
async def test_a_replay_can_be_watched_while_it_runs(tmp_path: Path, sample_call: Path, bundled_models: None) -> None:
    command = [sys.executable, "-m", "streams.cli", "replay", str(sample_call), "--out", str(tmp_path / "out"), "--channels", "left=customer,right=agent",
               "--to", "8", "--speed", "4", "--serve", "--port", "0", "--format", "jsonl"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)},
                               # A test run in the background of a shell ignores Ctrl-C, and its children would inherit that.
                               preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
    try:
        assert process.stderr is not None
        url = re.search(r"http://\S+", process.stderr.readline())[0]  # type: ignore[index]
        seen = []
        async with Client(url) as client:
            async with asyncio.timeout(90):
                async for message in client.messages(after="start"):
                    seen.append(message)
                    if isinstance(message, SessionMessage) and message.state == "ended":
                        break
            state, events, _ = await client.session((await client.sessions())[0].session)
        finals = [m.event.id for m in seen if isinstance(m, EventMessage) and m.event.status != "partial"]
        assert finals and sorted(finals) == sorted(event.id for event in events)
        assert state.state == "ended" and state.has_media and state.paced and not state.participants[1].analysed
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(30) in (0, 130)


@pytest.mark.integration
@pytest.mark.models
async def test_a_call_sent_to_the_gateway_is_on_its_dashboard(tmp_path: Path, sample_call: Path, bundled_models: None) -> None:
    with wave.open(str(sample_call)) as whole, wave.open(str(tmp_path / "short.wav"), "wb") as short:
        short.setparams(whole.getparams())
        short.writeframes(whole.readframes(whole.getframerate() * 8))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    run_it = [sys.executable, "-m", "streams.cli"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [*run_it, "gateway", "--port", str(port), "--events", str(tmp_path / "events.jsonl")]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
    try:
        assert process.stderr is not None and "dashboard" in process.stderr.readline()
        async with Client(f"http://127.0.0.1:{port}", retry_s=(0.1, 0.5)) as client:
            messages = client.messages(after="start")
            waiting = asyncio.ensure_future(anext(messages))
            await asyncio.wait_for(asyncio.shield(waiting), 60)
            send = [*run_it, "send", str(tmp_path / "short.wav"), "--to", f"ws://127.0.0.1:{port}/v1/ingest", "--speed", "0", "--session", "call-1",
                    "--channels", "left=customer,right=agent", "--notice", "announcement"]
            sent = await asyncio.to_thread(subprocess.run, send, capture_output=True, text=True, env=environment, timeout=90)
            assert sent.returncode == 0, sent.stderr
            states = []
            async with asyncio.timeout(60):
                async for message in messages:
                    if isinstance(message, SessionMessage):
                        states.append(message.state)
                    if states == ["live", "ended"]:
                        break
            state, events, _ = await client.session("call-1")
            assert events and state.participants[0].role == "customer" and not state.participants[1].analysed
            assert len((tmp_path / "events.jsonl").read_text().splitlines()) >= len(events)
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(30)


@pytest.mark.integration
def test_the_dashboard_command_serves_results_until_interrupted(tmp_path: Path) -> None:
    session = results(tmp_path / "out", "one")
    (tmp_path / "out" / "one.wav").write_bytes(b"sound")
    command = [sys.executable, "-m", "streams.cli", "dashboard", "--dir", str(tmp_path / "out"), "--port", "0"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
    try:
        assert process.stderr is not None
        url = re.search(r"http://\S+", process.stderr.readline())[0]  # type: ignore[index]
        with httpx.Client(base_url=url, timeout=20) as http:
            assert [s["session"] for s in http.get("/v1/sessions").json()["sessions"]] == [session]
            part = http.get(f"/v1/sessions/{session}/media", headers={"Range": "bytes=1-3"})
            assert part.status_code == 206 and part.content == b"oun"
            assert http.get("/").status_code == 200 and http.get("/static/../pages.py").status_code == 404
            assert http.get("/static/pages.py").status_code == 404
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(20) in (0, 130)
