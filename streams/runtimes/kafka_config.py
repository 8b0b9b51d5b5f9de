"""Settings of a worker, and the Faust application that they make."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import faust
from faust.tables import Table
from msgspec import Struct

from streams import topics
from streams.runtimes.kafka_security import Security
from streams.stages.protocol import Stage


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
    session that sends nothing (seconds, 0 = never); every `watch_interval` seconds the log is compared with what was
    worked off, every `tick_interval` seconds live sessions hear of the time (0 = never). `engine` are further settings
    of the stream engine, `consumer` of the reader that reads logs again; `security` is how the broker is reached; `metrics` are host and port of the pages `/metrics` and
    `/healthz`.
    """

    namespace: str = ""
    partitions: int = 8
    replication: int = 1
    state_dir: str | None = None
    store: str = "rocksdb://?driver=rocksdict"
    batch: int = 256
    within: float = 0.02
    commit_interval: float = 1.0
    session_timeout: float = 10.0
    heartbeat: float = 2.0
    idle_timeout: float = 120.0
    watch_interval: float = 2.0
    tick_interval: float = 0.5
    engine: dict[str, Any] = {}
    consumer: dict[str, Any] = {}
    security: Security = Security()
    metrics: tuple[str, int] | None = None


class AwaitedTable(Table):  # type: ignore[type-arg]
    """A Faust table that tells when its changelog has been written."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._pending: dict[int | None, list[Any]] = {}

    def send_changelog(self, partition: int | None, *args: Any, **kwargs: Any) -> Any:
        sent = super().send_changelog(partition, *args, **kwargs)
        self._pending.setdefault(partition, []).append(sent)
        return sent

    async def written(self, partition: int) -> None:
        """Wait until everything set in `partition` so far is acknowledged by the broker."""
        for sent in self._pending.pop(partition, ()):
            await sent


_LARGE = {"video", "utterance"}
_MOST_LARGE, _MOST = 256, 4096
"""Records that wait before a stage. With a full buffer the engine looks for more only once a second, so it has to be
long; pictures and utterances are large, and their stages are slower than that anyway."""


def _reads_large(spec: Spec) -> bool:
    return any(_LARGE & set(topics.TABLE[topic].carries) for topic in spec.reads)


def batch_of(spec: Spec, config: WorkerConfig) -> int:
    """Most records that a stage takes at once."""
    return min(config.batch, 64) if _reads_large(spec) else config.batch


def group(spec: Spec, config: WorkerConfig) -> str:
    """Consumer group of a stage: each has its own, so that stages can be spread over workers freely."""
    return f"{config.namespace}affectstream-{spec.name}"


def state_topic(spec: Spec, config: WorkerConfig) -> str:
    """The changelog of a stage's table."""
    return f"{group(spec, config)}-sessions-changelog"


def application(spec: Spec, bootstrap: str, config: WorkerConfig, state_dir: Path) -> faust.App:
    """The engine for one stage. Its web server stays off and topics are never made by it."""
    settings: dict[str, Any] = {
        "broker": [f"kafka://{address}" for address in bootstrap.split(",")],
        "store": config.store, "datadir": state_dir / spec.name, "Table": AwaitedTable, "web_enabled": False,
        "topic_partitions": config.partitions, "topic_replication_factor": config.replication,
        "topic_allow_declare": False, "topic_disable_leader": True, "table_standby_replicas": 0,
        "consumer_auto_offset_reset": "earliest", "consumer_max_fetch_size": topics.MAX_RECORD_BYTES,
        "producer_max_request_size": topics.MAX_RECORD_BYTES + 4096, "producer_acks": -1,
        "producer_request_timeout": 1200.0,  # so long the producer waits for a broker that is away, keeping the order
        "broker_commit_interval": config.commit_interval, "broker_session_timeout": config.session_timeout,
        "broker_heartbeat_interval": config.heartbeat, "stream_buffer_maxsize": _MOST_LARGE if _reads_large(spec) else _MOST, "stream_processing_timeout": 600.0,
        "stream_wait_empty": True, "autodiscover": False, "processing_guarantee": "at_least_once",
    }
    credentials = config.security.credentials()
    if credentials is not None:
        settings["broker_credentials"] = credentials
    return faust.App(group(spec, config), **(settings | config.engine))
