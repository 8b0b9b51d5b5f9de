"""Reading a range of a partition again, beside the consumer group."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

log = logging.getLogger(__name__)


async def _patiently(ask: Callable[[], Awaitable[Any]]) -> Any:
    """The answer of the broker; one that is away is asked again every second."""
    while True:
        try:
            return await ask()
        except KafkaError as error:
            log.warning("the broker does not answer (%r), asking again", error)
            await asyncio.sleep(1.0)


class LogReader:
    """Reads ranges of partitions with a plain consumer: assigned, never in a group, nothing committed.

    One range is read at a time; close a `read` that is left early (`contextlib.aclosing`), else the next one waits.
    """

    def __init__(self, bootstrap: str, **settings: Any) -> None:
        self._bootstrap, self._settings = bootstrap, settings
        self._consumer: AIOKafkaConsumer | None = None
        self._starting, self._reading = asyncio.Lock(), asyncio.Lock()

    async def _started(self) -> AIOKafkaConsumer:
        async with self._starting:
            if self._consumer is None:
                consumer = AIOKafkaConsumer(
                    bootstrap_servers=self._bootstrap, enable_auto_commit=False, auto_offset_reset="earliest", group_id=None, **self._settings
                )
                await consumer.start()
                self._consumer = consumer
        return self._consumer

    async def ends(self, places: Iterable[tuple[str, int]]) -> dict[tuple[str, int], int]:
        """The offset after the last record of each (topic, partition)."""
        consumer = await self._started()
        wanted = [TopicPartition(*place) for place in places]
        found = await _patiently(lambda: consumer.end_offsets(wanted))
        return {(place.topic, place.partition): int(offset) for place, offset in found.items()}

    async def read(self, topic: str, partition: int, start: int, end: int) -> AsyncGenerator[Any, None]:
        """Records with offsets in [start, end) that the log still has, in order."""
        consumer = await self._started()
        place = TopicPartition(topic, partition)
        oldest = (await _patiently(lambda: consumer.beginning_offsets([place])))[place]
        position = max(start, oldest)
        if position >= end:
            return
        async with self._reading:
            consumer.assign([place])
            consumer.seek(place, position)
            while position < end:
                # The end lies on the log already, so that records come at once; a compacted tail shows in the position.
                for records in (await consumer.getmany(place, timeout_ms=1000)).values():
                    for record in records:
                        if record.offset >= end:
                            return
                        yield record
                position = await consumer.position(place)

    async def close(self) -> None:
        if self._consumer is not None:
            await self._consumer.stop()
            self._consumer = None
