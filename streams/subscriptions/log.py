"""The Kafka side: sessions, events and alerts of the log into a feed; alerts judged here back onto the log."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import msgspec
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from streams import topics
from streams.alerts.engine import Alert
from streams.records import SessionEnd, SessionStart
from streams.subscriptions.feed import Feed

END_AFTER_S = 10.0
_alert = msgspec.json.Decoder(Alert)


class LogFeed:
    """Follows the public topics of a broker until cancelled. `since_start`: with everything that is still on the log.

    A record that cannot be read is counted in `unreadable` and left out; a broker that goes away is asked again.
    """

    def __init__(self, feed: Feed, bootstrap: str, *, namespace: str = "", since_start: bool = True) -> None:
        self._feed, self._bootstrap, self._namespace, self._since_start = feed, bootstrap, namespace, since_start
        self.unreadable = 0

    async def run(self) -> None:
        """Until cancelled."""
        followers = [self._follow("sessions", self._session), self._follow("emotion.events", self._event)]
        if not self._feed.rules:
            followers.append(self._follow("alerts", self._alert))
        await asyncio.gather(*followers)

    async def _follow(self, topic: str, take: Callable[[bytes], None]) -> None:
        consumer = AIOKafkaConsumer(
            self._namespace + topic, bootstrap_servers=self._bootstrap, enable_auto_commit=False,
            auto_offset_reset="earliest" if self._since_start else "latest",
        )
        try:
            await consumer.start()
            async for message in consumer:
                try:
                    take(message.value or b"")
                except msgspec.MsgspecError:
                    self.unreadable += 1
        finally:
            await consumer.stop()

    def _session(self, value: bytes) -> None:
        record = topics.decode_from("sessions", value)
        if isinstance(record, SessionStart):
            self._feed.open(record)
        elif isinstance(record, SessionEnd):
            # Its last events may still be in work: the end is shown a little later.
            asyncio.get_running_loop().call_later(END_AFTER_S, self._feed.end, record)

    def _event(self, value: bytes) -> None:
        self._feed.event(topics.decode_from("emotion.events", value))

    def _alert(self, value: bytes) -> None:
        self._feed.alert(_alert.decode(value))


class AlertPublisher:
    """Writes alerts onto the `alerts` topic; `send` may be called from any thread and never waits. `settings` go to the producer."""

    def __init__(self, bootstrap: str, *, namespace: str = "", **settings: Any) -> None:
        self._settings = {"bootstrap_servers": bootstrap, "acks": "all", "enable_idempotence": True} | settings
        self._topic = namespace + "alerts"
        self._queue: asyncio.Queue[Alert] = asyncio.Queue(10_000)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._early: list[Alert] = []
        self._lock = threading.Lock()
        self.dropped = 0

    def send(self, alert: Alert) -> None:
        with self._lock:
            if self._loop is None:
                self._early.append(alert)
                return
            self._loop.call_soon_threadsafe(self._put, alert)

    def _put(self, alert: Alert) -> None:
        try:
            self._queue.put_nowait(alert)
        except asyncio.QueueFull:
            self.dropped += 1

    async def run(self) -> None:
        """Until cancelled."""
        producer = AIOKafkaProducer(**self._settings)
        try:
            await producer.start()
            with self._lock:
                self._loop = asyncio.get_running_loop()
                for alert in self._early:
                    self._put(alert)
            while True:
                alert = await self._queue.get()
                headers = [("schema", b"1.0"), ("codec", b"json"), ("content-type", b"application/json"), ("ce_specversion", b"1.0"),
                           ("ce_id", f"{alert.id}.{alert.revision}".encode()), ("ce_source", b"affectstream/alert"), ("ce_type", b"affectstream.alert.v1"),
                           ("ce_subject", alert.session.encode())]
                await producer.send_and_wait(self._topic, msgspec.json.encode(alert), key=alert.session.encode(), headers=headers)
        finally:
            await producer.stop()
