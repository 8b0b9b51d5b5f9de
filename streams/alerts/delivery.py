"""Alerts of a Kafka log to webhooks, by one of many processes.

All that deliver are one consumer group on the topic `alerts`: each alert is taken by one of them, and its place on the log is
committed when every receiver has it (or was given up after the last attempt). When a process dies in between, another one
delivers again what was not committed, under the same idempotency key: at least once, and a receiver that keeps the keys takes
it once.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Iterable
from typing import Any

import msgspec
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import CommitFailedError, KafkaError

from streams import topics
from streams.alerts.webhooks import WebhookSender
from streams.runtimes.kafka_security import Security

GROUP = "affectstream-webhooks"
MOST_WAITING = 500
"""Alerts that are taken and not yet delivered: fewer than the queue of a receiver holds, so that none is dropped."""
_REMEMBERED = 50_000
_FAREWELL_S = 3.0


class _Item:
    """A record in hand. `finish` may be called from any thread."""

    def __init__(self, offset: int, identity: str = "") -> None:
        self.offset, self.identity, self.done = offset, identity, not identity

    def finish(self) -> None:
        self.done = True


class _Place:
    """What is in hand of one partition, for as long as it is ours."""

    def __init__(self) -> None:
        self.waiting: deque[_Item] = deque()
        self.committed = -1

    def due(self) -> int:
        """Offset up to which everything is delivered; -1 as long as that is nothing."""
        while self.waiting and self.waiting[0].done:
            self.committed = self.waiting.popleft().offset + 1
        return self.committed


class AlertDelivery(ConsumerRebalanceListener):  # type: ignore[misc]
    """Delivers until cancelled. The first process of a new group begins with the alerts from then on; whatever comes later is
    delivered however long nobody was there. `unreadable` counts records that are no alerts."""

    def __init__(
        self, sender: WebhookSender, bootstrap: str, *, namespace: str = "", security: Security = Security(), **settings: Any,  # noqa: B008  (frozen)
    ) -> None:
        self._sender, self._topic = sender, f"{namespace}alerts"
        self._settings: dict[str, Any] = {
            "bootstrap_servers": bootstrap, "group_id": f"{namespace}{GROUP}", "enable_auto_commit": False, "auto_offset_reset": "latest",
            "session_timeout_ms": 10_000, "heartbeat_interval_ms": 2_000,
        } | security.client() | settings
        self._places: dict[TopicPartition, _Place] = {}
        self._new: set[TopicPartition] = set()
        self._seen: OrderedDict[str, None] = OrderedDict()
        self._consumer: AIOKafkaConsumer | None = None
        self.unreadable = 0

    async def run(self) -> None:
        """Until cancelled."""
        consumer = self._consumer = AIOKafkaConsumer(**self._settings)
        consumer.subscribe([self._topic], listener=self)
        try:
            await consumer.start()
            while True:
                await self._begin(consumer)
                room = MOST_WAITING - self._in_hand
                if room <= 0:  # its membership needs a poll now and then
                    consumer.pause(*consumer.assignment())
                found = await consumer.getmany(timeout_ms=300, max_records=max(room, 1))
                if room <= 0:
                    consumer.resume(*consumer.assignment())
                for place, messages in found.items():
                    self._take(self._places.get(place), messages)
                await self._commit(consumer)
        finally:
            await self._leave(consumer)

    @property
    def _in_hand(self) -> int:
        return sum(len(place.waiting) for place in self._places.values())

    async def _begin(self, consumer: AIOKafkaConsumer) -> None:
        """Write down where a partition begins that nobody has committed yet: what comes while nobody is there is not passed over."""
        while self._new:
            place = self._new.pop()
            if place in consumer.assignment() and await consumer.committed(place) is None:
                await self._save(consumer, {place: await consumer.position(place)})

    def _take(self, place: _Place | None, messages: Iterable[Any]) -> None:
        if place is None:  # taken away in between
            return
        for message in messages:
            try:
                alert = topics.decode_from("alerts", message.value or b"")
            except (msgspec.MsgspecError, ValueError):  # ValueError: not UTF-8
                self.unreadable += 1
                place.waiting.append(_Item(message.offset))
                continue
            identity = f"{alert.id}.{alert.revision}"
            if identity in self._seen:  # two judges wrote it: the first copy lies before this one and is not committed without it
                place.waiting.append(_Item(message.offset))
                continue
            self._seen[identity] = None
            if len(self._seen) > _REMEMBERED:
                self._seen.popitem(last=False)
            item = _Item(message.offset, identity)
            place.waiting.append(item)
            self._sender.send(alert, item.finish)

    async def _commit(self, consumer: AIOKafkaConsumer) -> None:
        due = {}
        for name, place in self._places.items():
            before, now = place.committed, place.due()
            if now > before:
                due[name] = now
        await self._save(consumer, due)

    async def _save(self, consumer: AIOKafkaConsumer, offsets: dict[TopicPartition, int]) -> None:
        if offsets:
            try:
                await consumer.commit(offsets)
            except CommitFailedError:
                pass  # the partitions have gone to another process, which delivers again what was in hand here
            except KafkaError as error:
                if not error.retriable:
                    raise

    async def _leave(self, consumer: AIOKafkaConsumer) -> None:
        """Wait a moment for what is under way, so that nobody has to deliver it again."""
        until = asyncio.get_running_loop().time() + _FAREWELL_S
        try:
            while self._in_hand and asyncio.get_running_loop().time() < until:
                await asyncio.sleep(0.05)
                await self._commit(consumer)
        finally:
            await consumer.stop()

    async def on_partitions_revoked(self, revoked: Any) -> None:
        if self._consumer is not None:
            await self._commit(self._consumer)
        for name in revoked:
            place = self._places.pop(name, None)
            for item in place.waiting if place else ():
                self._seen.pop(item.identity, None)  # not delivered: whoever has the partition next does it, perhaps we

    async def on_partitions_assigned(self, assigned: Any) -> None:
        self._places = {place: self._places.get(place) or _Place() for place in assigned}
        self._new = set(assigned)
