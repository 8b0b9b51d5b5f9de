"""A stage as a Faust application: one agent over the stage's input topics, one table with the session checkpoints.

Order of a batch, in each of its partitions by itself: new sessions are written to the table; the stage cores run in a
thread of their own; all outputs are acknowledged by the broker; the checkpoints that hold them are written and
acknowledged; only then are the inputs acknowledged. Each stage is a consumer group of its own, so that stages can be
spread over workers freely.
"""

from __future__ import annotations

import asyncio
import logging
import time
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
from faust.streams import _current_event

from extractors.errors import AffectstreamError
from streams.counters import count
from streams.records import SessionEnd, SessionStart, encode
from streams.runtimes.kafka_config import Spec, WorkerConfig, application, batch_of
from streams.runtimes.kafka_log import LogReader
from streams.runtimes.kafka_metrics import StageState
from streams.runtimes.kafka_outbox import Outbox
from streams.runtimes.kafka_partition import Partition
from streams.runtimes.kafka_session import Checkpoint, Node, decode_checkpoint, encode_checkpoint
from streams.runtimes.kafka_wire import (
    Delivery,
    Emission,
    Message,
    Refused,
    dead_letter,
    is_hypothesis,
    media_headers,
    parse,
)

log = logging.getLogger(__name__)

_PLACE = b"\x00place/"  # keys of the table that hold how far a partition is worked off; no session name begins so
PIECE_BYTES = 512 * 1024
"""Bytes of records after which a stage stores what it did and looks whether it has to stop: 16 s of speech."""
STORE_EVERY = 500
"""Records after which the place of a partition is stored."""
REMEMBERED_MS = 3_600_000
"""How long an ended session is remembered, so that what comes late is refused for the right reason."""


class StoodStill(Exception):
    """The process was stopped, or its machine asleep, for longer than the session timeout."""


class _Place:
    """Stands for the current event, through which a table finds the partition of what is set."""

    def __init__(self, topic: str, partition: int) -> None:
        self.message = SimpleNamespace(topic=topic, partition=partition)


class StageWorker:
    """Runs one stage on the broker. `roots` are the stage's input topics that no stage writes: there the idle timeout
    ends sessions. `failed` is set to the exception when the worker can no longer go on."""

    def __init__(
        self, spec: Spec, bootstrap: str, config: WorkerConfig, resources: Any, state_dir: Path,
        expected: Callable[[SessionStart], frozenset[str]], roots: frozenset[str],
    ) -> None:
        self.name, self._spec, self._config, self._roots = spec.name, spec, config, roots
        self._node = Node(
            spec.name, spec.writes, lambda start: spec.factory(start, resources), expected,
            numbered=len(spec.reads) == 1, every=16,
            every_bytes=4096 if spec.batch > 1 else 256 * 1024,  # a stage that likes batches runs a large model: nothing twice
        )
        self._reader = LogReader(bootstrap, **(config.security.client() | config.consumer))
        self._pool = ThreadPoolExecutor(1, thread_name_prefix=spec.name)
        self._partitions: dict[int, Partition] = {}
        self._checkpoints: list[Checkpoint] | None = None
        self._places: dict[bytes, dict[str, int]] = {}
        self._current: dict[int, _Place] = {}
        self._lock = asyncio.Lock()
        self._generation = 0
        self.failed: asyncio.Future[BaseException] = asyncio.get_running_loop().create_future()
        self._beat = time.monotonic()
        self.app = application(spec, bootstrap, config, state_dir)
        self._table: Any = self.app.Table(
            "sessions", key_type=bytes, value_type=bytes, partitions=config.partitions,
            options={"write_buffer_size": 4 << 20, "max_write_buffer_number": 2, "block_cache_size": 8 << 20, "block_cache_compressed_size": 1 << 20},
        )
        source = self.app.topic(
            *(config.namespace + topic for topic in spec.reads), key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw",
        )
        self._outbox = Outbox(self.app, spec.name, config.namespace, self._check_pause)
        self.app.agent(source, concurrency=1, name=spec.name)(self._run)
        self.app.on_partitions_revoked.connect(self._forget)
        self.app.on_partitions_assigned.connect(self._forget)

    async def start(self) -> None:
        await self.app.start()
        self.app.add_future(self._live())
        self.app.add_future(self._watch())
        if not self._node.numbered and self._config.tick_interval:
            self.app.add_future(self._tick())
        if self._roots and self._config.idle_timeout:
            self.app.add_future(self._end_idle_sessions())

    async def stop(self) -> None:
        """Finish the batch in hand, commit, leave the group."""
        await self.app.stop()
        await self._reader.close()
        self._pool.shutdown(wait=True)

    async def _forget(self, *_: Any, **__: Any) -> None:
        """After a rebalance nothing held in memory is trusted: somebody else may have gone on in between."""
        async with self._lock:
            self._generation += 1
            self._partitions.clear()
            self._checkpoints = None

    async def _run(self, stream: Any) -> None:
        async for events in stream.take_events(batch_of(self._spec, self._config), within=self._config.within):
            task = asyncio.ensure_future(self._batch(events))
            try:
                await asyncio.shield(task)
            except asyncio.CancelledError:
                await task
                raise

    async def _batch(self, events: Sequence[Any]) -> None:
        try:
            by_partition: dict[int, list[Any]] = {}
            for event in events:
                by_partition.setdefault(event.message.partition, []).append(event)
            async with self._lock:
                await asyncio.gather(*(self._work(number, members) for number, members in by_partition.items()))
        except Exception as error:
            self._fail(error)
            await asyncio.Event().wait()  # hold the batch: the process ends

    def _fail(self, error: BaseException) -> None:
        """This worker cannot go on; whoever takes over starts from what is stored."""
        expected = isinstance(error, AffectstreamError | StoodStill)
        log.error("stage %s cannot go on: %s", self.name, error, exc_info=None if expected else error)
        if not self.failed.done():
            self.failed.set_result(error)

    async def _work(self, number: int, events: list[Any]) -> None:
        part = await self._partition(number)
        batch: list[Message] = []
        size = 0
        due = dict(part.progress)
        for event in events:
            if size > PIECE_BYTES:
                await self._work_off(part, batch)
                batch, size = [], 0
            if self._leaving:  # the rest is read from the log by whoever goes on
                break
            message, topic = event.message, event.message.topic.removeprefix(self._config.namespace)
            if message.offset < due.get(topic, 0):
                continue
            if message.offset > due.get(topic, 0):
                await self._work_off(part, batch)
                batch, size = [], 0
                if not await self._read_up_to(part, topic, message.offset):
                    break
            due[topic] = message.offset + 1
            size += len(message.value or b"")
            batch.append(Message(topic, message.offset, int(message.timestamp * 1000), message.key, message.value, message.headers))
        await self._work_off(part, batch)

    @property
    def _leaving(self) -> bool:
        return bool(self.app.should_stop or self.app.rebalancing)

    async def _read_up_to(self, part: Partition, topic: str, offset: int) -> bool:
        """Work off what the log has before `offset`; False when the worker has to let go before the end."""
        async with aclosing(part.missing(topic, offset)) as pieces:
            async for piece in pieces:
                await self._work_off(part, piece)
                if self._leaving:
                    return False
        part.progress[topic] = offset
        return True

    async def _work_off(self, part: Partition, messages: list[Message]) -> None:
        """All steps for some records of one partition. What fails half-way is forgotten and taken over from the store."""
        if not messages:
            return
        try:
            await self._steps(part, messages)
        except BaseException:
            self._partitions.pop(part.number, None)
            raise

    async def _steps(self, part: Partition, messages: list[Message]) -> None:
        generation, began = self._generation, time.monotonic()
        self._enter(part)
        work: dict[str, list[Delivery]] = {}
        refused: list[Emission] = []
        for message in messages:
            part.newest_ms = max(part.newest_ms, message.time_ms)
            try:
                delivery = parse(message)
                self._admit(part, delivery)
                work.setdefault(delivery.record.session, []).append(delivery)
            except Refused as reason:
                session = message.key.decode("utf-8", "replace") if message.key else None
                refused.append(dead_letter(self._node.name, message.topic, part.number, message.offset, session, str(reason), message.value or b""))
        await self._table.written(part.number)
        # A stage that runs a large model passes on what it has of each session: the next one takes a while.
        # What is final goes before hypotheses.
        order = sorted(work.items(), key=lambda item: all(is_hypothesis(delivery.record) for delivery in item[1]))
        pieces = [{session: deliveries} for session, deliveries in order] if self._spec.batch > 1 else [work]
        await self._outbox.deliver(part, refused)
        for piece in pieces:
            await self._outbox.deliver(part, await asyncio.get_running_loop().run_in_executor(self._pool, part.advance, piece))
        for message in messages:
            part.progress[message.topic] = message.offset + 1
        if generation == self._generation:
            await self._store(part, work)
        self._count("records_in_total", len(messages))
        self._count("batches_total")
        self._count("batch_microseconds_total", int((time.monotonic() - began) * 1e6))

    def _count(self, name: str, n: int = 1) -> None:
        count(f'{name}{{stage="{self.name}"}}', n)

    def state(self) -> StageState:
        """How the stage stands on this worker. The ends of the log are those of the last fetch."""
        lag = 0
        assigned = self.app.consumer.assignment() if self.app.started else set()
        sources = {self._config.namespace + topic: topic for topic in self._spec.reads}
        places = [place for place in assigned if place.topic in sources]
        for place in places:
            part = self._partitions.get(place.partition)
            with suppress(AssertionError):  # given away this very moment
                end = self.app.consumer.highwater(place)
                if part is not None and end is not None:
                    lag += max(0, end - part.progress.get(sources[place.topic], 0))
        partitions = list(self._partitions.values())
        return StageState(self.name, lag, len({place.partition for place in places}), sum(len(part.runners) for part in partitions))

    def _enter(self, part: Partition) -> None:
        """Say which partition of the table is meant from here on."""
        place = self._current.setdefault(part.number, _Place(self._config.namespace + self._spec.reads[0], part.number))
        _current_event.set(weakref.ref(place))  # type: ignore[arg-type]

    async def _partition(self, number: int) -> Partition:
        """The partition; on first touch after an assignment it is taken over."""
        part = self._partitions.get(number)
        if part is None:
            part = Partition(number, self._node, self._config.namespace, self._reader)
            if self._checkpoints is None:
                stored = {key: value for key, value in self._table.items()}
                self._places = {key: msgspec.msgpack.decode(stored.pop(key), type=dict[str, int]) for key in list(stored) if key.startswith(_PLACE)}
                self._checkpoints = [decode_checkpoint(value) for value in stored.values()]
            mine = [checkpoint for checkpoint in self._checkpoints if checkpoint.partition == number]
            await part.take_over(self._places.get(_PLACE + b"%d" % number, {}), mine)
            self._partitions[number] = part
        return part

    def _admit(self, part: Partition, delivery: Delivery) -> None:
        key = delivery.record.session.encode("utf-8")
        ended = decode_checkpoint(self._table[key]) if delivery.record.session in part.closed else None
        opened = part.admit(delivery, ended)
        if opened is not None:
            self._table[key] = encode_checkpoint(opened)

    async def _store(self, part: Partition, work: dict[str, list[Delivery]]) -> None:
        touched = [part.runners[session] for session in work]
        done = sum(part.progress.values())
        if done - part.swept > STORE_EVERY:
            part.swept = done
            self._table[_PLACE + b"%d" % part.number] = msgspec.msgpack.encode(part.progress)
            touched = list(part.runners.values())
        self._check_pause()
        due = [(runner, checkpoint) for runner in touched if (checkpoint := runner.checkpoint(part.progress, part.ends)) is not None]
        for runner, checkpoint in due:
            self._table[runner.session.encode("utf-8")] = encode_checkpoint(checkpoint)
        self._purge(part)
        await self._table.written(part.number)
        for runner, checkpoint in due:
            runner.stored(checkpoint)
        part.retire(touched)

    async def _live(self) -> None:
        self._beat = time.monotonic()
        while not self.app.should_stop:
            try:
                self._check_pause()
            except StoodStill as error:
                return self._fail(error)
            self._beat = time.monotonic()
            await asyncio.sleep(0.25)

    def _check_pause(self) -> None:
        """Raises `StoodStill` after a pause in which the group gave this worker's partitions away: it must not write."""
        pause = time.monotonic() - self._beat
        if pause >= self._config.session_timeout:
            raise StoodStill(f"this process stood still for {pause:.0f} s and others have gone on in its place: start it again")

    def _purge(self, part: Partition) -> None:
        """Forget sessions that ended long ago: nothing of them will be read again."""
        while part.closed:
            session, time_ms = next(iter(part.closed.items()))
            if part.newest_ms - time_ms < REMEMBERED_MS:
                break
            del part.closed[session]
            del self._table[session.encode("utf-8")]

    async def _watch(self) -> None:
        """Take over what was assigned and catch up where records lie on the log that the engine never delivers: it drops
        some around a rebalance, and the last ones of a call have none behind them that would show the gap."""
        before: dict[tuple[str, int], int] = {}
        while not self.app.should_stop:
            await asyncio.sleep(self._config.watch_interval)
            if self._leaving or not self.app.flow_control.is_active():
                continue
            try:
                async with self._lock:
                    before = await self._catch_up(before)
            except Exception as error:
                self._fail(error)

    async def _catch_up(self, before: dict[tuple[str, int], int]) -> dict[tuple[str, int], int]:
        """Work off what has been waiting since the last look, `before`; the result is where each topic stands now."""
        sources = {self._config.namespace + topic: topic for topic in self._spec.reads}
        now: dict[tuple[str, int], int] = {}
        for number in sorted({place.partition for place in self.app.consumer.assignment() if place.topic in sources}):
            part = await self._partition(number)
            now |= {(name, number): part.progress.get(topic, 0) for name, topic in sources.items()}
        still = [place for place, offset in now.items() if before.get(place) == offset]
        for (name, number), end in (await self._reader.ends(still)).items() if still else ():
            part, topic = self._partitions[number], sources[name]
            if end > part.progress.get(topic, 0):
                await self._read_up_to(part, topic, end)
        return now

    async def _tick(self) -> None:
        """Deadlines of live sessions, for a stage that waits for several inputs."""
        while not self.app.should_stop:
            await asyncio.sleep(self._config.tick_interval)
            if self._leaving or not self.app.flow_control.is_active():
                continue
            try:
                async with self._lock:
                    for part in list(self._partitions.values()):
                        await self._deadlines(part)
            except Exception as error:
                self._fail(error)

    async def _deadlines(self, part: Partition) -> None:
        now_ms = int(time.time() * 1000)
        emissions: list[Emission] = []
        self._enter(part)
        for runner in [runner for runner in part.runners.values() if runner.live]:
            checkpoint, early = await asyncio.get_running_loop().run_in_executor(self._pool, runner.tick, now_ms, part.progress, part.ends)
            if checkpoint is not None:
                self._table[runner.session.encode("utf-8")] = encode_checkpoint(checkpoint)
                await self._table.written(part.number)
                runner.stored(checkpoint)
                emissions += early
        await self._outbox.deliver(part, emissions)

    async def _end_idle_sessions(self) -> None:
        """A session that sends nothing is ended by a record on its own topics, so that all stages see the same end."""
        while not self.app.should_stop:
            await asyncio.sleep(min(5.0, self._config.idle_timeout / 2))
            now = time.monotonic()
            for part in list(self._partitions.values()):
                for session, seen in list(part.last_seen.items()):
                    if now - seen > self._config.idle_timeout:
                        part.last_seen[session] = now
                        value = encode(SessionEnd(session, "idle"))
                        for topic in sorted(self._roots):
                            await self.app.producer.send(
                                self._config.namespace + topic, session.encode("utf-8"), value, part.number, None, media_headers("idle-timeout")
                            )
