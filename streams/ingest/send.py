"""Plays recordings as live calls: the load generator, and proof that a live call gives what a replay gives.

The samples sent are those of a replay (s16 at the recording's own rate, channel by channel); pictures travel as JPEG.
"""

from __future__ import annotations

import asyncio
import itertools
import math
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import cv2
import numpy as np
from msgspec import Struct

from extractors.errors import InputError
from streams.ingest.channels import ChannelPlan
from streams.ingest.client import CallRefused, IngestClient, Person, Source
from streams.ingest.files import MediaReader, open_media
from streams.ingest.gateway.people import audio_name, video_name
from streams.records import AudioChunk, Notice, VideoFrame

JPEG_QUALITY = 95
_READ_AHEAD = 32
_PICTURE_BYTES = 1_000_000  # below what gateways take


class SendReport(Struct, frozen=True):
    """What became of a `send`. `late_ms`: the longest that a frame left after its moment (a machine or a gateway that does
    not keep up). `failures`: one sentence per call that did not end as it should. `began_ms`: when the media of each call
    began, in milliseconds since the epoch."""

    calls: int
    completed: int
    media_ms: int
    wall_s: float
    sent_bytes: int
    reconnects: int
    pictures_dropped: int
    late_ms: int
    sessions: tuple[str, ...]
    failures: tuple[str, ...]
    began_ms: tuple[int, ...] = ()


class _Frame(Struct, frozen=True):
    """`due_ms`: when a live source would have it, which is when its last sample has been spoken."""

    source: int
    due_ms: int
    start: int
    payload: bytes
    video: bool


class _Recording:
    """A recording as declared to the gateway, and its frames."""

    def __init__(self, reader: MediaReader) -> None:
        self._reader = reader
        audio = reader.info.audio
        rate = audio.rate if audio else 0
        self.sources = [Source(i, "audio", "pcm16", rate) for i in range(len(reader.audio_sources))]
        self.sources += [Source(len(self.sources) + i, "video", "jpeg") for i in range(len(reader.video_sources))]
        names = {name: audio_name(i) for i, name in enumerate(reader.audio_sources)}
        names |= {name: video_name(i) for i, name in enumerate(reader.video_sources)}
        self._index = {name: i for i, name in enumerate([*reader.audio_sources, *reader.video_sources])}
        self.participants = [
            Person(person.id, person.role, names.get(person.channel or ""), names.get(person.video or "")) for person in reader.participants
        ]

    def frames(self) -> Iterator[_Frame]:
        for record in self._reader:
            if isinstance(record, AudioChunk):
                end = record.start_sample + len(record.payload) // 2
                yield _Frame(self._index[record.source], end * 1000 // record.rate, record.start_sample, record.payload, False)
            elif isinstance(record, VideoFrame):
                yield _Frame(self._index[record.source], record.media_ms, record.media_ms, _jpeg(record), True)


def _jpeg(frame: VideoFrame) -> bytes:
    if frame.codec == "jpeg":
        return frame.payload
    pixels = np.frombuffer(frame.payload, np.uint8).reshape(frame.height, frame.width, 3)
    for quality in (JPEG_QUALITY, 80, 50):
        _, encoded = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])
        if len(encoded) < _PICTURE_BYTES:
            break
    return encoded.tobytes()


async def send(
    path: str | os.PathLike[str],
    url: str,
    *,
    speed: float = 1.0,
    calls: int = 1,
    channels: ChannelPlan | str | Mapping[str, str] | None = None,
    fps: float | None = 10.0,
    from_ms: int | None = None,
    to_ms: int | None = None,
    session: str | None = None,
    language: str | None = None,
    notice: Notice | None = None,
    token: str | None = None,
    lossless: bool | None = None,
    stagger_s: float = 0.0,
) -> SendReport:
    """Play `path` as `calls` live calls at `speed` times real time (0 or infinite: as fast as the gateway takes it).

    `session` names the call (with several calls: ``NAME-0``, ``NAME-1`` …). `lossless` (default: at unlimited speed) makes
    the sender wait instead of dropping pictures. `stagger_s` spreads the beginnings. Several calls share one reading of the
    recording, kept in memory. Raises `InputError` for a file or an address that cannot be used.
    """
    if calls < 1 or not speed >= 0:
        raise InputError(f"{calls} calls at speed {speed:g} cannot be", where="--calls/--speed", cure="give a number above 0")
    if not url.startswith(("ws://", "wss://")):
        raise InputError(f"{url} is no WebSocket address", where="--to", cure="use ws://HOST:PORT/v1/ingest")
    name = session or Path(path).stem.replace(" ", "_")
    reader = await asyncio.to_thread(open_media, path, session=name, channels=channels, fps=fps, from_ms=from_ms, to_ms=to_ms)
    recording = _Recording(reader)
    kept = await asyncio.to_thread(lambda: list(recording.frames())) if calls > 1 else None
    pace = 0.0 if not speed or math.isinf(speed) else 1 / speed
    ids: list[str | None] = [f"{name}-{i}" for i in range(calls)] if session and calls > 1 else [session] * calls
    begun = time.monotonic()
    players = [
        _Player(
            IngestClient(
                url, sources=recording.sources, participants=recording.participants, session=ids[i], language=language, notice=notice,
                token=token, lossless=not pace if lossless is None else lossless, attributes={"recording": Path(path).name},
            ),
            pace, i * stagger_s,
        )
        for i in range(calls)
    ]
    await asyncio.gather(*(player.play(iter(kept) if kept is not None else recording.frames()) for player in players))
    return SendReport(
        calls=calls,
        completed=sum(not player.failure for player in players),
        media_ms=reader.end_ms,
        wall_s=round(time.monotonic() - begun, 3),
        sent_bytes=sum(player.sent_bytes for player in players),
        reconnects=sum(player.client.reconnects for player in players),
        pictures_dropped=sum(player.client.pictures_dropped for player in players),
        late_ms=max(player.late_ms + round(1000 * player.client.longest_wait_s) for player in players),
        sessions=tuple(player.client.session or "" for player in players),
        failures=tuple(player.failure for player in players if player.failure),
        began_ms=tuple(player.began_ms for player in players),
    )


class _Player:
    """One call: sends each frame at its moment."""

    def __init__(self, client: IngestClient, pace: float, delay_s: float) -> None:
        self.client, self._pace, self._delay_s = client, pace, delay_s
        self.failure = ""
        self.sent_bytes = self.late_ms = self.began_ms = 0

    async def play(self, frames: Iterator[_Frame]) -> None:
        await asyncio.sleep(self._delay_s)
        try:
            async with self.client:
                await self._send_all(frames)
            if self.client.ended is not None and self.client.ended.reason != "completed":
                self.failure = f"{self.client.session}: the gateway ended the call: {self.client.ended.reason}"
        except CallRefused as error:
            self.failure = f"{self.client.session or 'a call'}: {error}"

    async def _send_all(self, frames: Iterator[_Frame]) -> None:
        clock = asyncio.get_running_loop().time
        begun, self.began_ms = clock(), round(time.time() * 1000)
        # Reading decodes: in a thread, a few frames ahead, so that other calls are not held up.
        while batch := await asyncio.to_thread(lambda: list(itertools.islice(frames, _READ_AHEAD))):
            for frame in batch:
                due = begun + frame.due_ms / 1000 * self._pace
                if self._pace and due > clock():
                    await asyncio.sleep(due - clock())
                await self._send(frame)
                if self._pace:
                    self.late_ms = max(self.late_ms, round((clock() - due) * 1000))

    async def _send(self, frame: _Frame) -> None:
        self.sent_bytes += len(frame.payload)
        if frame.video:
            await self.client.video(frame.payload, frame.start, source=frame.source)
        else:
            await self.client.audio(frame.payload, source=frame.source, at=frame.start)
