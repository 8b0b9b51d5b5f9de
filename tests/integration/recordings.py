"""Recordings as sessions for the broker, and the events of the embedded run on the same media."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np

from fusion.events import EmotionEvent
from streams import policy
from streams.ingest.channels import plan
from streams.ingest.files import open_media
from streams.ingest.media import probe
from streams.records import DeadLetter, Output, SessionStart, VideoFrame
from streams.replay import ReplayOptions, session_start
from streams.runtimes import embedded


def load(media: Path, *, channels: str | None = None, from_ms: int | None = None, to_ms: int | None = None) -> tuple[SessionStart, list[Output]]:
    """The session of a recording (or of a part of it) and its records; pictures as JPEG, as they travel on a broker."""
    info = probe(media)
    layout = plan(info.audio.channels if info.audio else 0, info.stereo, bool(info.video), channels, where=str(media))
    start = session_start(info, layout, ReplayOptions(channels=channels), policy.load(None))
    reader = open_media(media, session=start.session, info=info, channels=layout, from_ms=from_ms, to_ms=to_ms)
    return start, [jpeg(record) if isinstance(record, VideoFrame) else record for record in reader]


def jpeg(frame: VideoFrame) -> VideoFrame:
    """The same picture as JPEG of quality 90."""
    pixels = np.frombuffer(frame.payload, np.uint8).reshape(frame.height, frame.width, 3)
    payload = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes()
    return msgspec.structs.replace(frame, codec="jpeg", payload=payload)


def embedded_events(start: SessionStart, records: list[Output], resources: Any) -> tuple[list[EmotionEvent], list[DeadLetter]]:
    """Events and dead letters of the run without a broker."""
    events: list[EmotionEvent] = []
    letters: list[DeadLetter] = []
    embedded.run(start, records, resources, events.append, on_dead_letter=letters.append)
    return events, letters
