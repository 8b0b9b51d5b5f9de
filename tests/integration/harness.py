"""What the integration tests do with a broker: play sessions into it, run worker processes, read topics back."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError

from fusion.events import EmotionEvent
from streams import topics
from streams.records import AudioChunk, Decision, Output, Participant, SessionStart, VideoFrame
from streams.runtimes.kafka import WorkerConfig
from streams.runtimes.kafka_client import MediaPublisher
from streams.runtimes.kafka_session import decode_checkpoint
from streams.runtimes.kafka_wire import media_headers
from tests.integration.brokers import Broker
from tests.integration.worker import Job

ROOT = Path(__file__).resolve().parent.parent.parent
RATE = 16_000
STAGES = ["segment", "hear", "look", "fuse"]


def session(
    name: str, *, seconds: float = 4.0, audio: Sequence[str] = ("left", "right"), video: Sequence[str] = ("camera",), seed: int = 0,
) -> tuple[SessionStart, list[Output]]:
    """A made-up call: words of random length and pauses on each channel, pictures of random brightness, in media order."""
    random = np.random.default_rng([seed, *name.encode()])
    people = tuple(Participant(source, channel=source) for source in audio)
    allowed = Decision(transcribe=True, measure=True, emotion=True, reason="test")
    start = SessionStart(name, people, {person.id: allowed for person in people}, tuple(audio), tuple(video))
    records: list[tuple[int, int, Output]] = []
    step = RATE // 10
    for place, source in enumerate(audio):
        samples = random.integers(-2000, 2000, int(seconds * RATE), dtype=np.int16)
        position = 0
        while position < len(samples):
            word, pause = (int(value) * 160 for value in random.integers(10, 80, 2))
            samples[position + word : position + word + pause] = 0
            position += word + pause
        for seq, at in enumerate(range(0, len(samples), step)):
            records.append((at * 1000 // RATE, place, AudioChunk(name, source, seq, at, RATE, samples[at : at + step].tobytes())))
    for place, source in enumerate(video):
        for seq in range(int(seconds * 10)):
            pixels = bytes([int(random.integers(0, 255))]) * (8 * 8 * 3)
            records.append((seq * 100, 100 + place, VideoFrame(name, source, seq, seq * 100, 8, 8, "bgr24", pixels)))
    return start, [record for _, _, record in sorted(records, key=lambda item: item[:2])]


def comparable(event: EmotionEvent) -> bytes:
    """Bytes of an event but for `latency`, the one part that may differ between two runs."""
    return msgspec.json.encode(msgspec.structs.replace(event, latency={}))


@dataclass
class Bench:
    """A namespace of its own on a broker, with the processes started for it."""

    broker: Broker
    folder: Path
    partitions: int = 4
    topology: str = "small"
    namespace: str = field(default_factory=lambda: f"t{uuid.uuid4().hex[:8]}.")
    workers: list[subprocess.Popen[bytes]] = field(default_factory=list)
    expected_status: tuple[int, ...] = ()

    def config(self, **changes: Any) -> WorkerConfig:
        defaults: dict[str, Any] = {
            "namespace": self.namespace, "partitions": self.partitions, "state_dir": str(self.folder / "state"), "commit_interval": 0.5,
            "session_timeout": 6.0, "heartbeat": 1.0, "engine": self.broker.engine,
            "consumer": {"fetch_max_wait_ms": self.broker.fetch_wait_ms} if self.broker.fetch_wait_ms else {},
        }
        return WorkerConfig(**(defaults | changes))

    async def create(self) -> None:
        await topics.create(self.broker.bootstrap, partitions=self.partitions, namespace=self.namespace)

    def start_worker(self, stages: Sequence[str] = tuple(STAGES), *, bootstrap: str | None = None, **changes: Any) -> subprocess.Popen[bytes]:
        job = Job(bootstrap or self.broker.bootstrap, self.config(**changes), list(stages), self.topology, self.broker.fetch_wait_ms)
        path = self.folder / f"worker-{len(self.workers)}.json"
        path.write_bytes(msgspec.json.encode(job))
        with path.with_suffix(".log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.integration.worker", str(path)], cwd=ROOT, stdout=log, stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL, start_new_session=True,
            )
        self.workers.append(process)
        return process

    def stop(self) -> None:
        for process in self.workers:
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.terminate()
        for process in self.workers:
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(10)

    def logs(self) -> str:
        return "\n".join(f"--- {path.name}\n{path.read_text(errors='replace')[-3000:]}" for path in sorted(self.folder.glob("worker-*.log")))

    def publisher(self) -> MediaPublisher:
        return MediaPublisher(self.broker.bootstrap, namespace=self.namespace, enable_idempotence=self.broker.idempotence)

    async def play(
        self, start: SessionStart, records: Iterable[Output], *, speed: float | None = None, end: bool = True, publisher: MediaPublisher | None = None,
    ) -> None:
        """Publish a session, as fast as possible or at `speed` times the pace of its media."""
        if publisher is None:
            async with self.publisher() as own:
                return await self.play(start, records, speed=speed, end=end, publisher=own)
        await publisher.open(start)
        began = time.monotonic()
        for record in records:
            if speed:
                media_ms = record.start_ms if isinstance(record, AudioChunk) else record.media_ms  # type: ignore[union-attr]
                await asyncio.sleep(max(0.0, began + media_ms / 1000 / speed - time.monotonic()))
            await publisher.send(record)  # type: ignore[arg-type]
        if end:
            await publisher.close(start.session)

    async def raw(self, topic: str, key: bytes, value: bytes, headers: Any = ()) -> None:
        producer = AIOKafkaProducer(bootstrap_servers=self.broker.bootstrap)
        await producer.start()
        try:
            await producer.send_and_wait(self.namespace + topic, value, key=key, headers=list(headers) or media_headers("test"))
        finally:
            await producer.stop()

    async def read(self, topic: str) -> list[Any]:
        """Every record of a topic, in order within each partition."""
        wait = {"fetch_max_wait_ms": self.broker.fetch_wait_ms} if self.broker.fetch_wait_ms else {}
        consumer = AIOKafkaConsumer(bootstrap_servers=self.broker.bootstrap, enable_auto_commit=False, auto_offset_reset="earliest", **wait)
        await consumer.start()
        try:
            places = [TopicPartition(self.namespace + topic, number) for number in range(self.partitions)]
            ends = await consumer.end_offsets(places)
            consumer.assign(places)
            await consumer.seek_to_beginning()
            messages: list[Any] = []
            while any([await consumer.position(place) < end for place, end in ends.items()]):
                for batch in (await consumer.getmany(timeout_ms=500)).values():
                    messages += batch
            return messages
        finally:
            await consumer.stop()

    async def events(self) -> dict[str, list[EmotionEvent]]:
        """Events as they lie on the topic, by session, duplicates included."""
        found: dict[str, list[EmotionEvent]] = {}
        for message in await self.read("emotion.events"):
            event = topics.decode_from("emotion.events", message.value)
            found.setdefault(event.session, []).append(event)
        return found

    async def wait_closed(self, sessions: Iterable[str], deadline_s: float = 60) -> None:
        """Wait until every session has come to its end on the last topics of the graph and no more events appear."""
        wanted = set(sessions)
        until = time.monotonic() + deadline_s
        while time.monotonic() < until:
            ended = await self.closed()
            if wanted <= ended:
                return
            if any(process.poll() not in (None, 0, -signal.SIGKILL, *self.expected_status) for process in self.workers):
                break
            await asyncio.sleep(0.3)
        raise AssertionError(f"a worker failed, or not ended within {deadline_s} s: {sorted(wanted - ended)}\n{self.logs()}")

    async def closed(self) -> set[str]:
        """Sessions whose checkpoint in the last stage says that they are over."""
        try:
            messages = await self.read_state("fuse")
        except KafkaError:  # the topic is not there yet
            return set()
        checkpoints = [decode_checkpoint(message.value) for message in messages]
        return {checkpoint.start.session for checkpoint in checkpoints if checkpoint.closed}

    async def read_state(self, stage: str) -> list[Any]:
        """Checkpoints of the sessions in a stage, as written."""
        messages = await self.read(f"affectstream-{stage}-sessions-changelog")
        return [message for message in messages if message.value is not None and not message.key.startswith(b"\x00")]


    async def reach(self, stage: str, sessions: int, deadline_s: float = 40) -> None:
        """Wait until `stage` has taken up that many sessions."""
        until = time.monotonic() + deadline_s
        while time.monotonic() < until:
            with suppress(KafkaError):
                if len({message.key for message in await self.read_state(stage)}) >= sessions:
                    return
            await asyncio.sleep(0.2)
        raise AssertionError(f"{stage} took up no {sessions} sessions within {deadline_s} s\n{self.logs()}")
