"""A stage as a Faust application: one agent over the stage's input topics, one table with the session checkpoints.

Order of a batch: new sessions are written to the table; the stage cores run in a thread of their own; all outputs are
acknowledged by the broker; the checkpoints that hold them are written and acknowledged; only then are the inputs
acknowledged. Each stage is a consumer group of its own, so that stages can be spread over workers freely.
"""

from __future__ import annotations

import asyncio
import logging
import time
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

import faust
import msgspec
from faust.streams import _current_event
from faust.tables import Table
from msgspec import Struct

from streams import topics
from streams.records import SessionEnd, SessionStart, encode
from streams.runtimes.kafka_log import LogReader
from streams.runtimes.kafka_session import FAR_BEHIND, Checkpoint, Node, SessionRunner, decode_checkpoint, encode_checkpoint
from streams.runtimes.kafka_wire import (
    Delivery,
    Emission,
    Refused,
    dead_letter,
    headers_of,
    media_headers,
    parse,
    with_latency,
)
from streams.stages.protocol import Stage

log = logging.getLogger(__name__)


class Spec(Protocol):
    """One node of the topology (see `streams.topology.StageSpec`)."""

    @property
    def name(self) -> str: ...
    @property
    def reads(self) -> tuple[str, ...]: ...
    @property
    def writes(self) -> tuple[str, ...]: ...
    @property
    def factory(self) -> Callable[..., Stage]: ...
    @property
    def batch(self) -> int: ...


class WorkerConfig(Struct, frozen=True):
    """How a worker runs.

    `namespace` stands in front of every topic and group name; `partitions` must be the same for all workers;
    `state_dir` is where the tables live (None: a free slot of the user's state folder). `batch` and `within` (seconds)
    bound what a stage takes at once; `session_timeout` is how long a dead worker goes unnoticed; `idle_timeout` ends a
    session that sends nothing (seconds, 0 = never). `engine` are further settings of the stream engine, `consumer` of
    the reader that reads logs again.
    """

    namespace: str = ""
    partitions: int = 8
    replication: int = 1
    state_dir: str | None = None
    store: str = "rocksdb://?driver=rocksdict"
    batch: int = 64
    within: float = 0.02
    commit_interval: float = 1.0
    session_timeout: float = 10.0
    heartbeat: float = 2.0
    idle_timeout: float = 120.0
    engine: dict[str, Any] = {}
    consumer: dict[str, Any] = {}


class _Table(Table):  # type: ignore[type-arg]
    """A Faust table that tells when its changelog has been written."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.pending: list[Any] = []

    def send_changelog(self, *args: Any, **kwargs: Any) -> Any:
        sent = super().send_changelog(*args, **kwargs)
        self.pending.append(sent)
        return sent

    async def written(self) -> None:
        """Wait until everything set so far is acknowledged by the broker."""
        pending, self.pending = self.pending, []
        for sent in pending:
            await sent


class _Partition:
    """What this worker holds of one partition while it owns it."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.runners: dict[str, SessionRunner] = {}
        self.waiting: dict[str, Checkpoint] = {}  # taken over, no record seen yet
        self.closed: dict[str, int] = {}  # session -> time of its last record
        self.unread: dict[str, list[Delivery]] = {}  # read again from the log for sessions in `waiting`
        self.delivered: dict[str, set[str]] = {}
        self.progress: dict[str, int] = {}  # input topic -> next offset to work off
        self.ends: dict[str, int] = {}  # output topic -> end of the log as known
        self.last_seen: dict[str, float] = {}  # monotonic seconds, for the idle timeout
        self.newest_ms = 0
        self.swept = 0  # sum of progress when all runners were last asked for a checkpoint


class StageWorker:
    """Runs one stage on the broker. `roots` are the stage's input topics that no stage writes: there the idle timeout
    ends sessions. `failed` is set to the exception when the worker can no longer go on."""

    def __init__(
        self, spec: Spec, bootstrap: str, config: WorkerConfig, resources: Any, state_dir: Path,
        expected: Callable[[SessionStart], frozenset[str]], roots: frozenset[str],
    ) -> None:
        self._spec, self._config, self._roots = spec, config, roots
        self._node = Node(
            spec.name, spec.writes, lambda start: spec.factory(start, resources), expected,
            numbered=len(spec.reads) == 1, every=1 if len(spec.reads) > 1 or spec.batch > 1 else 16,
        )
        self._reader = LogReader(bootstrap, **config.consumer)
        self._pool = ThreadPoolExecutor(1, thread_name_prefix=spec.name)
        self._partitions: dict[int, _Partition] = {}
        self._checkpoints: list[Checkpoint] | None = None
        self._generation = 0
        self.failed: asyncio.Future[BaseException] = asyncio.get_running_loop().create_future()
        self.records = 0
        self.app = self._application(bootstrap, state_dir)
        self._table: Any = self.app.Table(
            "sessions", key_type=bytes, value_type=bytes, partitions=config.partitions,
            options={"write_buffer_size": 4 << 20, "max_write_buffer_number": 2, "block_cache_size": 8 << 20, "block_cache_compressed_size": 1 << 20},
        )
        source = self.app.topic(
            *(config.namespace + topic for topic in spec.reads), key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw",
        )
        self.app.agent(source, concurrency=1, name=spec.name)(self._run)
        self.app.on_partitions_revoked.connect(self._forget)
        self.app.on_partitions_assigned.connect(self._forget)

    @staticmethod
    def group(spec: Spec, config: WorkerConfig) -> str:
        return f"{config.namespace}affectstream-{spec.name}"

    @classmethod
    def state_topic(cls, spec: Spec, config: WorkerConfig) -> str:
        return f"{cls.group(spec, config)}-sessions-changelog"

    def _application(self, bootstrap: str, state_dir: Path) -> faust.App:
        config = self._config
        settings: dict[str, Any] = {
            "broker": [f"kafka://{address}" for address in bootstrap.split(",")],
            "store": config.store, "datadir": state_dir / self._spec.name, "Table": _Table, "web_enabled": False,
            "topic_partitions": config.partitions, "topic_replication_factor": config.replication,
            "topic_allow_declare": False, "topic_disable_leader": True, "table_standby_replicas": 0,
            "consumer_auto_offset_reset": "earliest", "consumer_max_fetch_size": topics.MAX_RECORD_BYTES,
            "producer_max_request_size": topics.MAX_RECORD_BYTES + 4096, "producer_acks": -1,
            "broker_commit_interval": config.commit_interval, "broker_session_timeout": config.session_timeout,
            "broker_heartbeat_interval": config.heartbeat, "stream_buffer_maxsize": 64, "stream_processing_timeout": 600.0,
            "stream_wait_empty": True, "autodiscover": False, "processing_guarantee": "at_least_once",
        }
        return faust.App(self.group(self._spec, config), **(settings | config.engine))

    async def start(self) -> None:
        await self.app.start()
        if self._roots and self._config.idle_timeout:
            self.app.add_future(self._end_idle_sessions())

    async def stop(self) -> None:
        """Finish the batch in hand, commit, leave the group."""
        await self.app.stop()
        await self._reader.close()
        self._pool.shutdown(wait=True)

    async def _forget(self, *_: Any, **__: Any) -> None:
        """After a rebalance nothing held in memory is trusted: somebody else may have gone on in between."""
        self._generation += 1
        self._partitions.clear()
        self._checkpoints = None

    async def _run(self, stream: Any) -> None:
        size = self._config.batch if self._spec.batch == 1 else self._spec.batch
        async for events in stream.take_events(size, within=self._config.within):
            # The engine acknowledges these events whatever happens here, also when it cancels the agent: so a batch is
            # always finished, and one that cannot be finished takes the whole process down before anything is committed.
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
            for number, members in by_partition.items():
                await self._work(number, members)
            self.records += len(events)
        except Exception as error:
            log.exception("stage %s cannot go on", self._spec.name)
            if not self.failed.done():
                self.failed.set_result(error)
            await asyncio.Event().wait()  # hold the batch: the process ends without committing it

    async def _work(self, number: int, events: list[Any]) -> None:
        generation = self._generation
        _current_event.set(weakref.ref(events[0]))  # the table finds its partition through the current event
        part = await self._partition(number, events)
        refused: list[Emission] = []
        work: dict[str, list[Delivery]] = {}
        for event in events:
            message = event.message
            topic = message.topic.removeprefix(self._config.namespace)
            part.newest_ms = max(part.newest_ms, int(message.timestamp * 1000))
            try:
                delivery = parse(topic, message.offset, int(message.timestamp * 1000), message.key, message.value, message.headers)
                self._admit(part, delivery)
                work.setdefault(delivery.record.session, []).append(delivery)
            except Refused as reason:
                session = message.key.decode("utf-8", "replace") if message.key else None
                refused.append(dead_letter(self._node.name, topic, number, message.offset, session, str(reason), message.value or b""))
        await self._table.written()  # a new session is in the table before its first output leaves
        loop = asyncio.get_running_loop()
        emissions = refused + await loop.run_in_executor(self._pool, self._advance, part, work)
        await self._deliver(part, emissions)
        for event in events:
            topic = event.message.topic.removeprefix(self._config.namespace)
            part.progress[topic] = max(part.progress.get(topic, 0), event.message.offset + 1)
        if generation == self._generation:
            await self._store(part, work)

    # -- taking over -------------------------------------------------------------------------------------------------

    async def _partition(self, number: int, events: list[Any]) -> _Partition:
        """The partition's state; on first touch after an assignment it is put together from table and log."""
        part = self._partitions.get(number)
        if part is None:
            part = self._partitions[number] = _Partition(number)
            if self._checkpoints is None:
                self._checkpoints = [decode_checkpoint(value) for value in self._table.values()]
            for checkpoint in self._checkpoints:
                if checkpoint.partition == number:
                    if checkpoint.closed:
                        part.closed[checkpoint.start.session] = checkpoint.time_ms
                    else:
                        part.waiting[checkpoint.start.session] = checkpoint
                        part.last_seen[checkpoint.start.session] = time.monotonic()
            await self._find_delivered(part)
        for event in events:
            topic = event.message.topic.removeprefix(self._config.namespace)
            if topic not in part.progress:
                await self._read_again(part, topic, event.message.offset)
                part.progress[topic] = event.message.offset
        return part

    async def _find_delivered(self, part: _Partition) -> None:
        """Which outputs of the open sessions reached the log although no checkpoint counts them."""
        names = [*self._spec.writes, topics.DEAD_LETTERS]
        ends = await self._reader.ends([self._config.namespace + name for name in names], part.number)
        part.ends = {name: ends[self._config.namespace + name] for name in names}
        for name in names:
            starts = [checkpoint.outputs.get(name, part.ends[name]) for checkpoint in part.waiting.values()]
            async for record in self._reader.read(self._config.namespace + name, part.number, min(starts, default=part.ends[name]), part.ends[name]):
                fields = dict(record.headers)
                session = (record.key or b"").decode("utf-8", "replace")
                if session in part.waiting and fields.get("origin") == self._node.name.encode():
                    part.delivered.setdefault(session, set()).add(f"{name}/{fields.get('identity', b'').decode()}")

    async def _read_again(self, part: _Partition, topic: str, live: int) -> None:
        """The records between the checkpoints and the first live record of `topic` at offset `live`."""
        starts = [checkpoint.positions.get(topic, live) for checkpoint in part.waiting.values()]
        async for record in self._reader.read(self._config.namespace + topic, part.number, min(starts, default=live), live):
            session = (record.key or b"").decode("utf-8", "replace")
            checkpoint = part.waiting.get(session)
            if checkpoint and record.offset >= checkpoint.positions.get(topic, live):
                try:
                    part.unread.setdefault(session, []).append(parse(topic, record.offset, record.timestamp, record.key, record.value, list(record.headers)))
                except Refused:  # got its dead letter when it came first
                    continue

    def _admit(self, part: _Partition, delivery: Delivery) -> None:
        """Find or open the session of `delivery`."""
        session = delivery.record.session
        part.last_seen[session] = time.monotonic()
        if session in part.runners or session in part.waiting:
            return
        if session in part.closed:  # its runner ignores what it has seen and refuses the rest
            part.runners[session] = SessionRunner(self._node, decode_checkpoint(self._table[session.encode("utf-8")]))
            return
        if not isinstance(delivery.record, SessionStart):
            raise Refused("no session start came before this record")
        positions = {**part.progress, delivery.topic: delivery.offset}
        part.waiting[session] = Checkpoint(delivery.record, part.number, positions, dict(part.ends), time_ms=delivery.time_ms)
        self._table[session.encode("utf-8")] = encode_checkpoint(part.waiting[session])

    # -- working -----------------------------------------------------------------------------------------------------

    def _advance(self, part: _Partition, work: dict[str, list[Delivery]]) -> list[Emission]:
        """Runs in the stage's thread."""
        emissions: list[Emission] = []
        for session, deliveries in work.items():
            runner = part.runners.get(session)
            if runner is None:
                checkpoint = part.waiting.pop(session)
                runner = part.runners[session] = SessionRunner(self._node, checkpoint, part.delivered.pop(session, None))
                deliveries = part.unread.pop(session, []) + deliveries
            emissions += runner.take(deliveries)
        return emissions

    async def _deliver(self, part: _Partition, emissions: list[Emission]) -> None:
        """Write `emissions` in order and wait until the broker has them all; a broker that is away is waited for."""
        waiting = [self._message(emission) for emission in emissions]
        pause = 0.1
        while waiting:
            sent: list[Any] = []
            for topic, key, value, headers in waiting:
                try:
                    sent.append(await self.app.producer.send(self._config.namespace + topic, key, value, part.number, None, headers))
                except Exception as error:
                    sent.append(error)
            failed = []
            for message, outcome in zip(waiting, sent, strict=True):
                try:
                    if isinstance(outcome, Exception):
                        raise outcome
                    metadata = await outcome
                    part.ends[message[0]] = max(part.ends.get(message[0], 0), metadata.offset + 1)
                except Exception as error:
                    failed.append(message)
                    reason = error
            if failed:
                log.warning("stage %s: %d outputs not delivered (%r), trying again", self._spec.name, len(failed), reason)
                await asyncio.sleep(pause)
                pause = min(pause * 2, 5.0)
            waiting = failed

    def _message(self, emission: Emission) -> tuple[str, bytes, bytes, list[tuple[str, bytes]]]:
        emission = msgspec.structs.replace(emission, clock=(*emission.clock, (self._node.name, int(time.time() * 1000))))
        record = with_latency(emission.record, emission.clock)
        return emission.topic, emission.session.encode("utf-8"), topics.encode_for(emission.topic, record), headers_of(emission, self._node.name)

    async def _store(self, part: _Partition, work: dict[str, list[Delivery]]) -> None:
        due: list[tuple[SessionRunner, Checkpoint]] = []
        touched = [part.runners[session] for session in work]
        if sum(part.progress.values()) - part.swept > FAR_BEHIND:
            part.swept = sum(part.progress.values())
            touched = list(part.runners.values())
        for runner in touched:
            checkpoint = runner.checkpoint(part.progress, part.ends)
            if checkpoint is not None:
                self._table[runner.session.encode("utf-8")] = encode_checkpoint(checkpoint)
                due.append((runner, checkpoint))
        self._purge(part)
        await self._table.written()
        for runner, checkpoint in due:
            runner.stored(checkpoint)
        for runner in touched:
            if runner.closed:
                part.closed[runner.session] = part.newest_ms
                part.runners.pop(runner.session)
                part.last_seen.pop(runner.session, None)

    def _purge(self, part: _Partition) -> None:
        """Forget ended sessions once their records have left the log."""
        kept = max(topics.TABLE[topic].retention_ms for topic in self._spec.reads)
        while kept > 0 and part.closed:
            session, time_ms = next(iter(part.closed.items()))
            if part.newest_ms - time_ms < 2 * kept:
                break
            del part.closed[session]
            del self._table[session.encode("utf-8")]

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
