"""Both ends of the Kafka runtime for everybody else: put the media of a session in, get its events out."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from fusion.events import EmotionEvent
from streams import topics
from streams.records import AudioChunk, DeadLetter, SessionEnd, SessionStart, SourceEnd, VideoFrame, encode
from streams.runtimes.kafka_wire import Emission, headers_of, media_headers


class MediaPublisher:
    """Writes sessions to the broker. `origin` names the writer in the headers; `settings` go to the producer.

    Records of a session must be sent in the order of their sequence numbers; sending one twice is harmless.
    """

    def __init__(self, bootstrap: str, *, namespace: str = "", origin: str = "gateway", **settings: Any) -> None:
        defaults: dict[str, Any] = {
            "acks": "all", "enable_idempotence": True, "linger_ms": 5, "max_request_size": topics.MAX_RECORD_BYTES + 4096,
        }
        self._settings = {"bootstrap_servers": bootstrap} | defaults | settings
        self._namespace, self._origin = namespace, origin
        self._producer: AIOKafkaProducer | None = None
        self._media: dict[str, dict[str, str]] = {}

    async def __aenter__(self) -> MediaPublisher:
        self._producer = AIOKafkaProducer(**self._settings)
        await self._producer.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._producer is not None:
            await self._producer.stop()

    async def open(self, start: SessionStart) -> None:
        """Announce a session on every media topic that it uses; returns when the broker has it."""
        self._media[start.session] = {source: "media.audio" for source in start.audio_sources} | {
            source: "media.video" for source in start.video_sources
        }
        await self._everywhere(start)

    async def send(self, record: AudioChunk | VideoFrame | SourceEnd) -> asyncio.Future[Any]:
        """Hand a record over; the result is done when the broker has acknowledged it. Raises KeyError for a source that
        the session did not declare."""
        return await self._put(self._media[record.session][record.source], record)

    async def dead_letter(self, letter: DeadLetter) -> None:
        """Put what a source could not use where it can be looked at; returns when the broker has it."""
        assert self._producer is not None, "use `async with`"
        emission = Emission(topics.DEAD_LETTERS, letter.session or "", letter, f"{self._origin}.{uuid.uuid4().hex}")
        await self._producer.send_and_wait(
            self._namespace + topics.DEAD_LETTERS, topics.encode_for(topics.DEAD_LETTERS, letter),
            key=emission.session.encode("utf-8"), headers=headers_of(emission, self._origin),
        )

    async def close(self, session: str, reason: str = "completed") -> None:
        """End a session; returns when the broker has it and everything sent before."""
        await self._everywhere(SessionEnd(session, reason))
        del self._media[session]

    async def _everywhere(self, record: SessionStart | SessionEnd) -> None:
        media = sorted(set(self._media[record.session].values()))
        for sent in [await self._put(topic, record) for topic in ["sessions", *media]]:
            await sent

    async def _put(self, topic: str, record: Any) -> asyncio.Future[Any]:
        assert self._producer is not None, "use `async with`"
        future: asyncio.Future[Any] = await self._producer.send(
            self._namespace + topic, encode(record), key=record.session.encode("utf-8"), headers=media_headers(self._origin)
        )
        return future


class EventReader:
    """Emotion events as they come. An event is yielded once per revision, and never again after a higher one."""

    def __init__(self, bootstrap: str, *, namespace: str = "", from_start: bool = False, **settings: Any) -> None:
        self._topic = namespace + "emotion.events"
        self._settings = {
            "bootstrap_servers": bootstrap, "auto_offset_reset": "earliest" if from_start else "latest", "enable_auto_commit": False,
        } | settings
        self._newest: dict[str, int] = {}

    async def __aiter__(self) -> AsyncIterator[EmotionEvent]:
        consumer = AIOKafkaConsumer(self._topic, **self._settings)
        await consumer.start()
        try:
            async for message in consumer:
                event: EmotionEvent = topics.decode_from("emotion.events", message.value)
                if event.revision > self._newest.get(event.id, -1):
                    self._newest[event.id] = event.revision
                    yield event
        finally:
            await consumer.stop()
