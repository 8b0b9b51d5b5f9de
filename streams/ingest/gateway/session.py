"""From call events to a sink: one bounded queue a call, and what gives way under load."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from streams.ingest.gateway.assembler import Assembler
from streams.ingest.gateway.calls import CallEnded, CallEvent, Video
from streams.ingest.gateway.settings import GatewaySettings
from streams.policy import Policy
from streams.records import Record

log = logging.getLogger(__name__)


class Sink(Protocol):
    """Where records go. `publish` returns when the record is safe (a broker has acknowledged it): the gateway
    acknowledges to the client after that, and a slow sink slows the socket. It raises only when it has given up."""

    async def publish(self, record: Record) -> None: ...


@dataclass(frozen=True, slots=True)
class Mark:
    """Travels in the queue behind records; `reached` is called when all of them have been published."""

    reached: Callable[[], None]


class CallSession:
    """One call on its way to the sink.

    Audio and the records of a session's life wait for room in the queue, and with them the socket. Pictures wait for
    `video_patience_s`; when that was not enough, pictures are dropped (and counted) until the queue is nearly empty. With
    `lossless` pictures wait as well. A burst is not an overload: the queue of a healthy sink drains faster than that.
    """

    def __init__(self, sink: Sink, settings: GatewaySettings, counters: Counter[str], policy: Policy | None = None) -> None:
        self.assembler = Assembler(policy, counters=counters)
        self.counters = counters
        self.lossless = False
        self.failed: Exception | None = None
        self._sink = sink
        self._size = settings.queue_records
        self._patience_s = settings.video_patience_s
        self._queue: asyncio.Queue[Record | Mark | None] = asyncio.Queue(settings.queue_records)
        self._room = asyncio.Event()
        self._room.set()
        self._overloaded = False
        self._publisher: asyncio.Task[None] | None = None
        self._closed = False

    @property
    def ended(self) -> bool:
        return self.assembler.ended

    @property
    def queued(self) -> int:
        return self._queue.qsize()

    async def handle(self, event: CallEvent) -> None:
        """Queue the records that `event` completes; waits while the queue is full."""
        if isinstance(event, Video) and not await self._room_for_picture():
            self.counters["video_frames_dropped"] += 1
            return
        for record in self.assembler.feed(event):
            await self._put(record)

    async def mark(self, reached: Callable[[], None]) -> None:
        """Have `reached` called when everything handled so far has been published."""
        await self._put(Mark(reached))

    async def drain(self) -> None:
        """Wait until everything handled so far has been published (or the sink has given up)."""
        await self._queue.join()

    async def finish(self, reason: str) -> None:
        """End the call (if it has not ended) and wait until everything has been published."""
        await self.handle(CallEnded(reason))
        self._closed = True
        if self._publisher is not None:
            await self._queue.put(None)
            await self._publisher
            self._publisher = None

    async def _put(self, item: Record | Mark) -> None:
        if self._closed:
            return
        if self._publisher is None:
            self._publisher = asyncio.create_task(self._publish(), name=f"publish {self.assembler.session}")
        await self._queue.put(item)
        if self._queue.qsize() > self._size // 2:
            self._room.clear()

    async def _room_for_picture(self) -> bool:
        if self.lossless or (self._room.is_set() and not self._overloaded):
            return True
        if self._overloaded:
            self._overloaded = self._queue.qsize() > self._size // 8
            return not self._overloaded
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._patience_s):
                await self._room.wait()
                return True
        self._overloaded = True
        return False

    async def _publish(self) -> None:
        while (item := await self._queue.get()) is not None:
            if self.failed is None:
                await self._hand_on(item)
            self._queue.task_done()
            if self._queue.qsize() <= self._size // 2:
                self._room.set()

    async def _hand_on(self, item: Record | Mark) -> None:
        if isinstance(item, Mark):
            item.reached()
            return
        try:
            await self._sink.publish(item)
            self.counters["records_published"] += 1
        except Exception as error:  # whatever the sink gave up on, the connection must end, not hang
            self.failed = error
            self.counters["publish_failures"] += 1
            log.error("publishing of a session failed: %s", type(error).__name__)
