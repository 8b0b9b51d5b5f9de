"""A real server on loopback, and short events."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from fusion.events import FINAL_REVISION, EmotionEvent, EventTranscript, event_id
from streams.records import Decision, Participant, SessionStart

PEOPLE = (Participant("customer", "customer", "left"), Participant("agent", "employee", "right"))
DECISIONS = {"customer": Decision(True, True, True, "customers are analysed"), "agent": Decision(True, True, False, "employees are not emotion-analysed")}


def begun(session: str) -> SessionStart:
    return SessionStart(session, PEOPLE, DECISIONS, ("left", "right"), media=f"{session}.wav")


def said(
    session: str, start_s: float, end_s: float, label: str = "neutral", *, words: str = "as I said before", partial: int = 0, confidence: float = 0.8,
) -> EmotionEvent:
    start, end = round(start_s * 1000), round(end_s * 1000)
    sure = dict.fromkeys(("anger", "neutral", "sadness"), 0.1) | {label: 0.8}
    return EmotionEvent(
        event_id(session, "customer", start, "utterance"), partial or FINAL_REVISION, "partial" if partial else "final", session, "customer", "customer",
        "utterance", start, end, label=label, probabilities=sure, valence=-0.7 if label == "anger" else 0.1, arousal=0.1, confidence=confidence,
        intensity=0.5, transcript=EventTranscript(words, "en"), explanation=f"perceived as {label}",
    )


@contextmanager
def served(app: Any, port: int = 0) -> Iterator[str]:
    """A uvicorn server in a thread; its address."""
    import uvicorn

    from streams.http import BoundedHttp

    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    config = uvicorn.Config(app, log_level="error", lifespan="off", timeout_graceful_shutdown=1, ws_per_message_deflate=False, http=BoundedHttp)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=lambda: asyncio.run(server.serve([listener])), daemon=True)
    thread.start()
    deadline = time.monotonic() + 20
    while not server.started and time.monotonic() < deadline:
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = server.force_exit = True
        thread.join(10)
        listener.close()


@pytest.fixture
def eventually() -> Callable[[Callable[[], bool]], None]:
    def wait(true: Callable[[], bool], within_s: float = 15.0) -> None:
        deadline = time.monotonic() + within_s
        while not true():
            assert time.monotonic() < deadline, "did not come true"
            time.sleep(0.02)

    return wait
