"""A live call in one process: partial events, slow pictures, too much load."""

from __future__ import annotations

import time
from pathlib import Path

import msgspec
import numpy as np
import pytest

from fusion.events import EmotionEvent
from fusion.settle import settled
from streams.records import Decision, FaceCueRecord, Output, Participant, SessionStart, VideoFrame, Watermark
from streams.runtimes.embedded import EmbeddedSession, run
from streams.stages.look import LookStage
from streams.topology import Resources
from tests.integration.recordings import load

pytestmark = [pytest.mark.models, pytest.mark.usefixtures("bundled_models")]


def plain(events: list[EmotionEvent]) -> list[bytes]:
    return sorted(msgspec.json.encode(msgspec.structs.replace(event, latency={})) for event in events)


def test_partial_events_come_before_and_leave_the_final_ones_alone(sample_call: Path) -> None:
    start, records = load(sample_call, channels="left=customer,right=agent", to_ms=12_000)
    resources, replayed, live = Resources(), list[EmotionEvent](), list[EmotionEvent]()
    run(start, records, resources, replayed.append)
    session = EmbeddedSession(msgspec.structs.replace(start, live=True), resources, live.append)
    for record in records:
        time.sleep(0.02)
        session.feed(record)
    session.close()
    partial = [event for event in live if event.status == "partial"]
    assert plain(settled(live)) == plain(replayed)
    assert partial and all(event.revision < 1000 and event.kind == "utterance" for event in partial)
    assert {event.id for event in partial} & {event.id for event in replayed}


def test_words_do_not_wait_for_pictures_that_do_not_come(sample_call: Path) -> None:
    start, records = load(sample_call, channels="left=customer,right=agent", to_ms=8_000)
    customer = next(person for person in start.participants if person.id == "customer")
    filmed = [msgspec.structs.replace(person, video="video/0") if person is customer else person for person in start.participants]
    start = msgspec.structs.replace(start, live=True, video_sources=("video/0",), participants=tuple(filmed))
    events: list[EmotionEvent] = []
    session = EmbeddedSession(start, Resources(), events.append)
    for record in records:
        session.feed(record)
    until = time.monotonic() + 30
    while time.monotonic() < until and not any(e.status != "partial" and e.participant == "customer" for e in events):
        time.sleep(0.1)
    early = [event for event in events if event.status != "partial" and event.participant == "customer"]
    session.close()
    assert early and {event.id for event in early} <= {event.id for event in settled(events)}


def test_a_stage_behind_looks_at_fewer_pictures_and_answers_every_one() -> None:
    start = SessionStart(
        "s", (Participant("a", video="video/0"),), {"a": Decision(True, True, True, "test")}, video_sources=("video/0",), live=True
    )
    grey = np.full((64, 64, 3), 127, np.uint8).tobytes()
    frames: list[Output] = [VideoFrame("s", "video/0", seq, seq * 100, 64, 64, "bgr24", grey) for seq in range(16)]
    seen = {}
    for lag in (0, 1_500, 60_000):
        stage = LookStage(start)
        stage.pressed(lag)
        outputs = list(stage.feed_many(frames))
        marks = [output for output in outputs if isinstance(output, Watermark)]
        seen[lag] = sum(isinstance(output, FaceCueRecord) for output in outputs)
        assert len(outputs) == 16 + 3 and marks[-1].media_ms == 1500
    assert seen == {0: 16, 1_500: 8, 60_000: 2}
