"""The Kafka side: what the log says of sessions, events and alerts into a feed; acknowledgements and alerts onto the log."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections.abc import Iterable
from contextlib import aclosing
from typing import Any

import msgspec
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.errors import KafkaError

from fusion.events import EmotionEvent
from streams import topics
from streams.alerts.acknowledgements import NotStored
from streams.records import Alert, AlertAcknowledged, SessionEnd, SessionStart, Watermark
from streams.runtimes.kafka_log import LogReader
from streams.runtimes.kafka_security import Security
from streams.runtimes.kafka_wire import Emission, headers_of
from streams.subscriptions.feed import Feed

GIVE_UP_S = 900.0
"""The end of a call is read behind its last event. Where the stages never come to it, the call counts as ended so long after."""
SETTLE_S = 10.0
STORE_S = 10.0
_REMEMBERED = 100_000
_clock = msgspec.json.Decoder(list[tuple[str, int]])


class LogFeed:
    """Follows the log of a broker until cancelled, with everything that still lies there, and keeps acknowledgements on it.

    Events, progress and the end of a call come from `fused`, in order; events that are older than what this topic keeps
    come from `emotion.events`, once; a call that the stages have not come to yet is known from `sessions`. A record that
    cannot be read is counted in `unreadable` and left out; a broker that goes away is asked again.
    """

    def __init__(self, feed: Feed, bootstrap: str, *, namespace: str = "", security: Security = Security()) -> None:  # noqa: B008  (frozen)
        self._feed, self._namespace, self._bootstrap, self._security = feed, namespace, bootstrap, security
        self._producer: AIOKafkaProducer | None = None
        self._first: dict[str, AlertAcknowledged] = {}
        self._waiting: dict[str, list[asyncio.Future[AlertAcknowledged]]] = {}
        self._over: dict[str, None] = {}
        self._heard: dict[str, float] = {}
        self.unreadable = 0
        feed.keeper = self.take

    async def run(self) -> None:
        """Until cancelled."""
        client = {"bootstrap_servers": self._bootstrap, **self._security.client()}
        producer = AIOKafkaProducer(acks="all", **client)
        followed = ["sessions", "fused", "acknowledgements", *([] if self._feed.rules else ["alerts"])]
        consumer = AIOKafkaConsumer(*(self._namespace + name for name in followed), enable_auto_commit=False, auto_offset_reset="earliest", **client)
        try:
            await producer.start()
            self._producer = producer
            await consumer.start()
            await self._history(sorted(place.partition for place in consumer.assignment() if place.topic == self._namespace + "fused"))
            task = asyncio.current_task()
            while not (task and task.cancelling()):  # closing a reader can swallow that this was cancelled
                for messages in (await consumer.getmany(timeout_ms=1000, max_records=200)).values():
                    self._take_in(messages)
                await asyncio.sleep(0)  # a long log must not keep the server from answering
        finally:
            self._producer = None
            await consumer.stop()
            await producer.stop()

    async def _history(self, partitions: Iterable[int]) -> None:
        """Events from before what `fused` still has, partition by partition."""
        events, fused = self._namespace + "emotion.events", self._namespace + "fused"
        reader = LogReader(self._bootstrap, **self._security.client())
        try:
            ends = await reader.ends((topic, number) for topic in (events, fused) for number in partitions)
            for number in partitions:
                until: float = math.inf
                async with aclosing(reader.read(fused, number, 0, ends[fused, number])) as records:
                    async for record in records:
                        until = record.timestamp
                        break
                async with aclosing(reader.read(events, number, 0, ends[events, number])) as records:
                    async for record in records:
                        if record.timestamp >= until:
                            break
                        self._take_in([record])
        finally:
            await reader.close()
        for session in self._feed.live():  # those whose end is not on the log any more
            asyncio.get_running_loop().call_later(SETTLE_S, self._give_up, SessionEnd(session))

    def _take_in(self, messages: Iterable[Any]) -> None:
        for message in messages:
            topic = message.topic.removeprefix(self._namespace)
            try:
                record = topics.decode_from(topic, message.value or b"")
            except (msgspec.MsgspecError, ValueError):  # ValueError: not UTF-8
                self.unreadable += 1
                continue
            if topic == "sessions":
                self._announced(record, message.timestamp)
            elif isinstance(record, AlertAcknowledged):
                self._acknowledged(record)
            elif isinstance(record, Alert):
                self._feed.alert(record)
            elif topic == "fused":
                self._heard[record.session] = time.monotonic()
                self._analysed(record, dict(message.headers).get("clock"))
            else:
                self._feed.event(record)

    def _announced(self, record: SessionStart | SessionEnd, time_ms: int) -> None:
        """A call began or ended at the gateway; its analysis follows."""
        if record.session in self._over:
            return
        if isinstance(record, SessionStart):
            known = self._feed.session(record.session)
            if known is None or not known.decisions:
                self._feed.open(record)
                self._feed.timed(record.session, time_ms)
        else:
            wait = time_ms / 1000 + GIVE_UP_S - time.time()
            asyncio.get_running_loop().call_later(max(SETTLE_S, wait), self._give_up, record)

    def _give_up(self, end: SessionEnd) -> None:
        """End a call to whose end the stages have not come, unless they are still at it."""
        left = self._heard.get(end.session, -GIVE_UP_S) + GIVE_UP_S - time.monotonic()
        if end.session in self._over:
            return
        if left > 0:
            asyncio.get_running_loop().call_later(left, self._give_up, end)
        else:
            self._feed.end(end)

    def _analysed(self, record: SessionStart | SessionEnd | Watermark | EmotionEvent, clock: bytes | None) -> None:
        if isinstance(record, SessionStart):
            self._feed.open(record)
        elif isinstance(record, SessionEnd):
            self._feed.end(record)
            self._heard.pop(record.session, None)
            self._over[record.session] = None
            if len(self._over) > _REMEMBERED:
                del self._over[next(iter(self._over))]
        else:
            if isinstance(record, EmotionEvent):
                self._feed.event(record)
            else:
                self._feed.progress(record.session, record.media_ms)
            try:
                steps = _clock.decode(clock) if clock else []
            except (msgspec.MsgspecError, ValueError):
                steps = []
            if steps:
                self._feed.timed(record.session, steps[0][1], steps[-1][1] - steps[0][1])

    # Acknowledgements

    async def take(self, record: AlertAcknowledged) -> AlertAcknowledged:
        """Write an acknowledgement and wait until it is read back; the one that counts is the first of the alert on the log."""
        known = self._first.get(record.alert)
        if known is not None:
            return known
        read: asyncio.Future[AlertAcknowledged] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(record.alert, []).append(read)
        try:
            async with asyncio.timeout(STORE_S):
                if self._producer is None:
                    raise KafkaError("not connected")
                emission = Emission("acknowledgements", record.session, record, record.alert)
                await self._producer.send_and_wait(
                    self._namespace + "acknowledgements", topics.encode_for("acknowledgements", record), key=record.session.encode(),
                    headers=headers_of(emission, "dashboard"),
                )
                return await read
        except (TimeoutError, KafkaError) as error:
            raise NotStored("the acknowledgement could not be stored", where=f"{self._bootstrap}: {error or 'no answer'}", cure="try again when the broker runs") from error
        finally:
            waiting = self._waiting.get(record.alert, [])
            if read in waiting:
                waiting.remove(read)
            if not waiting:
                self._waiting.pop(record.alert, None)

    def _acknowledged(self, record: AlertAcknowledged) -> None:
        first = self._first.setdefault(record.alert, record)
        if len(self._first) > _REMEMBERED:
            del self._first[next(iter(self._first))]
        self._feed.acknowledged(first)
        for waiting in self._waiting.pop(record.alert, []):
            if not waiting.done():
                waiting.set_result(first)


class AlertPublisher:
    """Writes alerts that are judged here onto the `alerts` topic, each revision once: what lies there already, written before a
    restart or by another judge, is not written again.

    `send` may be called from any thread and never waits. `settings` go to the producer.
    """

    def __init__(self, bootstrap: str, *, namespace: str = "", security: Security = Security(), **settings: Any) -> None:  # noqa: B008  (frozen)
        self._client = {"bootstrap_servers": bootstrap, **security.client()}
        self._settings = {"acks": "all", "enable_idempotence": True} | settings
        self._topic = namespace + "alerts"
        self._queue: asyncio.Queue[Alert] = asyncio.Queue(10_000)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiting: list[Alert] = []
        self._lock = threading.Lock()
        self._known: dict[str, None] = {}
        self.dropped = 0

    def send(self, alert: Alert) -> None:
        with self._lock:
            if self._loop is None:
                self._waiting.append(alert)
                return
            self._loop.call_soon_threadsafe(self._put, alert)

    def _put(self, alert: Alert) -> None:
        try:
            self._queue.put_nowait(alert)
        except asyncio.QueueFull:
            self.dropped += 1

    async def run(self) -> None:
        """Until cancelled."""
        producer = AIOKafkaProducer(**(self._client | self._settings))
        consumer = AIOKafkaConsumer(self._topic, enable_auto_commit=False, auto_offset_reset="earliest", **self._client)
        try:
            await producer.start()
            await consumer.start()
            for place, end in (await consumer.end_offsets(list(consumer.assignment()))).items():
                while await consumer.position(place) < end:
                    await self._read(consumer, 500)
            with self._lock:
                self._loop = asyncio.get_running_loop()
                for alert in self._waiting:
                    self._put(alert)
                self._waiting.clear()
            while True:
                alert = await self._queue.get()
                await self._read(consumer, 0)
                identity = f"{alert.id}.{alert.revision}"
                if identity in self._known:
                    continue
                headers = headers_of(Emission("alerts", alert.session, alert, identity), "alert")
                await producer.send_and_wait(self._topic, topics.encode_for("alerts", alert), key=alert.session.encode(), headers=headers)
                self._known[identity] = None
        finally:
            await consumer.stop()
            await producer.stop()

    async def _read(self, consumer: AIOKafkaConsumer, timeout_ms: int) -> None:
        for messages in (await consumer.getmany(timeout_ms=timeout_ms)).values():
            for message in messages:
                identity = dict(message.headers).get("ce_id", b"").decode("utf-8", "replace")
                self._known[identity] = None
        while len(self._known) > 10 * _REMEMBERED:
            del self._known[next(iter(self._known))]
