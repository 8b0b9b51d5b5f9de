"""What a stage writes: in order, acknowledged by the broker before anything that counts on it is stored."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import msgspec
from aiokafka.errors import MessageSizeTooLargeError

from streams import topics
from streams.counters import count
from streams.records import DeadLetter
from streams.runtimes.kafka_partition import Partition
from streams.runtimes.kafka_wire import Emission, Headers, headers_of, with_latency

_Message = tuple[str, bytes, bytes, Headers]  # topic, key, value, headers


class Outbox:
    """Writes the outputs of `stage` with the producer of its application. `check` raises where the stage must not write."""

    def __init__(self, app: Any, stage: str, namespace: str, check: Callable[[], None]) -> None:
        self._app, self._stage, self._namespace, self._check = app, stage, namespace, check

    async def deliver(self, part: Partition, emissions: list[Emission]) -> None:
        """Write `emissions` in order and wait until the broker has them all. The producer itself waits for a broker that
        is away and keeps the order; what the broker finds too large becomes a dead letter, any other failure is raised."""
        self._check()
        outcomes = await self._write(part.number, [self._message(emission) for emission in emissions])
        refused: list[Emission] = []
        for emission, outcome in zip(emissions, outcomes, strict=True):
            cause = outcome.__cause__ if isinstance(outcome, BaseException) and outcome.__cause__ else outcome
            if isinstance(cause, MessageSizeTooLargeError) and emission.topic != topics.DEAD_LETTERS:
                refused.append(self._too_large(emission))
            elif isinstance(outcome, BaseException):
                raise outcome
            else:
                part.ends[emission.topic] = max(part.ends.get(emission.topic, 0), outcome.offset + 1)
                name = "dead_letters_total" if emission.topic == topics.DEAD_LETTERS else "records_out_total"
                count(f'{name}{{stage="{self._stage}"}}')
        if refused:
            await self.deliver(part, refused)

    async def _write(self, partition: int, messages: list[_Message]) -> list[Any]:
        """Where each message lies on the log, or the exception that kept it from getting there."""
        sent: list[Any] = []
        for topic, key, value, headers in messages:
            try:
                sent.append(await self._app.producer.send(self._namespace + topic, key, value, partition, None, headers))
            except Exception as error:
                sent.append(error)
        waiting = [outcome for outcome in sent if not isinstance(outcome, Exception)]
        arrived = iter(await asyncio.gather(*waiting, return_exceptions=True))
        return [outcome if isinstance(outcome, Exception) else next(arrived) for outcome in sent]

    def _message(self, emission: Emission) -> _Message:
        emission = msgspec.structs.replace(emission, clock=(*emission.clock, (self._stage, int(time.time() * 1000))))
        record = with_latency(emission.record, emission.clock)
        return emission.topic, emission.session.encode("utf-8"), topics.encode_for(emission.topic, record), headers_of(emission, self._stage)

    def _too_large(self, emission: Emission) -> Emission:
        value = topics.encode_for(emission.topic, emission.record)
        reason = f"the {topics.tag_of(emission.record)} record of {len(value)} bytes is too large for topic {emission.topic}"
        letter = DeadLetter(emission.session or None, self._stage, reason, value[:65_536])
        return msgspec.structs.replace(emission, topic=topics.DEAD_LETTERS, record=letter)
