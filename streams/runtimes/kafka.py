"""The Kafka runtime: stages of the topology as Faust workers.

`run_worker` is what ``affectstream worker`` runs. Stages are the same cores as in the embedded runtime; what this
runtime adds is written down in `kafka_session` (checkpoints) and `kafka_stage` (order of a batch).
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import platformdirs
from faust.exceptions import ConsistencyError

from extractors.errors import AffectstreamError
from streams import topics
from streams.records import SessionStart
from streams.runtimes.kafka_config import Spec, WorkerConfig, state_topic
from streams.runtimes.kafka_metrics import Telemetry
from streams.runtimes.kafka_security import silence
from streams.runtimes.kafka_stage import StageWorker

__all__ = ["WorkerConfig", "run_worker"]

log = logging.getLogger(__name__)

_MEDIA: dict[str, Callable[[SessionStart], bool]] = {
    "media.audio": lambda start: bool(start.audio_sources),
    "media.video": lambda start: bool(start.video_sources),
}


def carries(topic: str, start: SessionStart, graph: Sequence[Spec]) -> bool:
    """Whether anything of session `start` will come on `topic`: a topic is as silent as all that it is made from."""
    makers = [spec for spec in graph if topic in spec.writes]
    if not makers:
        return _MEDIA[topic](start) if topic in _MEDIA else True
    return any(carries(source, start, graph) for maker in makers for source in maker.reads)


def expected(spec: Spec, graph: Sequence[Spec], start: SessionStart) -> frozenset[str]:
    """Input topics of `spec` on which session `start` will come and end."""
    return frozenset(topic for topic in spec.reads if carries(topic, start, graph))


def state_slot(root: Path) -> tuple[Path, int]:
    """A folder for the tables that no other live worker uses, and the file descriptor that locks it.

    The lock goes with the process, so that a worker started again finds the tables of the one that died.
    """
    import fcntl

    for number in range(1000):
        folder = root / f"worker-{number}"
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return folder, descriptor
        except OSError:
            os.close(descriptor)
    raise topics.TopicError(f"all worker folders below {root} are in use")


async def _serve(stages: Sequence[Spec], bootstrap: str, config: WorkerConfig, resources: Any, graph: Sequence[Spec], state_dir: Path) -> int:
    stop = asyncio.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(name, stop.set)
    telemetry = Telemetry(tuple(spec.name for spec in stages))
    pages = await telemetry.listen(*config.metrics) if config.metrics else None
    stopping: asyncio.Future[Any] = asyncio.ensure_future(stop.wait())
    starting = asyncio.ensure_future(_start(stages, bootstrap, config, resources, graph, state_dir))
    await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
    if not starting.done():  # nothing is in hand that a goodbye would be for, and the broker may never answer
        _exit(0)
    workers = await starting
    telemetry.stages, telemetry.healthy = lambda: [worker.state() for worker in workers], True
    watched: list[asyncio.Future[Any]] = [stopping]
    for worker in workers:
        watched += [worker.failed, asyncio.ensure_future(worker.app.wait_until_stopped())]
    done, _ = await asyncio.wait(watched, return_when=asyncio.FIRST_COMPLETED)
    if stopping not in done:
        # No goodbye: what is in hand was not stored and is read again by whoever takes over.
        reasons = {worker.name: worker.app.crash_reason for worker in workers if worker.app.should_stop}
        log.critical("the worker ends at once%s", f"; stopped stages: {reasons}" if reasons else "")
        if any(isinstance(reason, ConsistencyError) for reason in reasons.values()):
            log.critical("the local tables are ahead of the broker's: remove %s, they are built again from the broker", state_dir)
        errors = [worker.failed.result() for worker in workers if worker.failed.done()]
        _exit(2 if errors and isinstance(errors[0], AffectstreamError) else 1)
    telemetry.healthy = False
    leaving: asyncio.Future[Any] = asyncio.gather(*(worker.stop() for worker in workers))
    silent: asyncio.Future[Any] = asyncio.ensure_future(silence(bootstrap, config.security))
    await asyncio.wait({leaving, silent}, return_when=asyncio.FIRST_COMPLETED)
    if not leaving.done():
        log.critical("the broker does not answer: the worker ends without committing; whoever goes on starts from what is stored")
        _exit(1)
    silent.cancel()
    await leaving
    if pages is not None:
        pages.close()
    return 0


async def _start(
    stages: Sequence[Spec], bootstrap: str, config: WorkerConfig, resources: Any, graph: Sequence[Spec], state_dir: Path,
) -> list[StageWorker]:
    await topics.create(
        bootstrap, partitions=config.partitions, namespace=config.namespace, replication=config.replication, security=config.security,
        state_topics=[state_topic(spec, config) for spec in stages],
    )
    written = {topic for spec in graph for topic in spec.writes}
    workers = [
        StageWorker(spec, bootstrap, config, resources, state_dir, partial(expected, spec, graph), frozenset(spec.reads) - written) for spec in stages
    ]
    await asyncio.gather(*(worker.start() for worker in workers))
    return workers


def _exit(status: int) -> NoReturn:
    """End the process at once: threads, tables and clients are left as they are."""
    logging.shutdown()
    os._exit(status)


def run_worker(
    stages: Sequence[Spec], bootstrap: str, config: WorkerConfig | None = None, *, resources: Any = None, graph: Sequence[Spec] | None = None,
) -> int:
    """Run `stages` until SIGTERM or SIGINT; 0 when they ended in good order, 1 where the broker was away by then and no
    goodbye could be said.

    `graph` is the whole topology (default: `stages`), `resources` what the stages share. Raises `TopicError` where the
    topics on the broker do not fit the configuration. A stage that cannot go on ends the process at once (status 2 where
    the operator can cure it, else 1); what it had in hand is worked off by whoever takes over.
    """
    config = config or WorkerConfig()
    default = platformdirs.user_state_path("affectstream") / (config.namespace.strip(".") or "default")
    state_dir, descriptor = state_slot(Path(config.state_dir) if config.state_dir else default)
    for name in ("faust", "mode", "aiokafka", "kafka"):
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        return asyncio.run(_serve(stages, bootstrap, config, resources, graph or stages, state_dir))
    finally:
        os.close(descriptor)
