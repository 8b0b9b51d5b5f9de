"""Where a gateway's records go: to Kafka, or through the topology in this process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from fusion.events import EmotionEvent
from streams.records import AudioChunk, DeadLetter, Output, Record, SessionEnd, SessionStart, SourceEnd, VideoFrame
from streams.runtimes.embedded import EmbeddedSession
from streams.runtimes.kafka_client import MediaPublisher
from streams.topology import Resources


class KafkaSink:
    """Publishes to the broker and returns when it has acknowledged (`publisher` is entered by the caller)."""

    def __init__(self, publisher: MediaPublisher) -> None:
        self._publisher = publisher

    async def publish(self, record: Record) -> None:
        if isinstance(record, SessionStart):
            await self._publisher.open(record)
        elif isinstance(record, SessionEnd):
            await self._publisher.close(record.session, record.reason)
        elif isinstance(record, AudioChunk | VideoFrame | SourceEnd):
            await (await self._publisher.send(record))
        elif isinstance(record, DeadLetter):
            await self._publisher.dead_letter(record)


class EmbeddedSink:
    """Runs each call through an `EmbeddedSession` of its own; models are shared.

    Stages block while they are busy, so every call has a thread of its own; a full stage holds back that call's socket
    and no other. Events arrive through `on_event` in the threads of the stages; `on_media` hears of the media as they come in.
    """

    def __init__(
        self, resources: Resources, on_event: Callable[[EmotionEvent], None], *, on_start: Callable[[SessionStart], None] = lambda start: None,
        on_end: Callable[[SessionEnd], None] = lambda end: None, on_dead_letter: Callable[[DeadLetter], None] = lambda letter: None, most_calls: int = 64,
        on_record: Callable[[Output], None] | None = None, on_media: Callable[[str, int], None] = lambda session, media_ms: None,
    ) -> None:
        self._resources, self._on_event, self._on_start, self._on_end, self._dead = resources, on_event, on_start, on_end, on_dead_letter
        self._on_record, self._on_media = on_record, on_media
        self._calls: dict[str, EmbeddedSession] = {}
        self._threads = ThreadPoolExecutor(most_calls, thread_name_prefix="call")

    async def publish(self, record: Record) -> None:
        await asyncio.get_running_loop().run_in_executor(self._threads, self._publish, record)

    def _publish(self, record: Record) -> None:
        if isinstance(record, DeadLetter):
            self._dead(record)
        elif isinstance(record, SessionStart):
            self._on_start(record)
            self._calls[record.session] = EmbeddedSession(record, self._resources, self._on_event, self._dead, self._on_record)
        elif isinstance(record, SessionEnd):
            call = self._calls.pop(record.session, None)
            if call:
                call.close(record.reason)
                self._on_end(record)
        elif isinstance(record, AudioChunk | VideoFrame | SourceEnd):
            call = self._calls.get(record.session)
            if call:
                if not isinstance(record, SourceEnd):
                    self._on_media(record.session, record.start_ms if isinstance(record, AudioChunk) else record.media_ms)
                call.feed(record)
