"""Records per second of the Kafka runtime with the models switched off, beside a plain aiokafka loop.

Both read the same preloaded audio chunks (8 kB each, 20 sessions, 4 partitions), decode them and write one watermark
per chunk, waiting for the broker's acknowledgement of each batch. The plain loop keeps no state, has no checkpoints, no
takeover and no order per session beyond the partition's: the ratio is what these cost. Rates are taken from the time
stamps of the outputs on the log, so that starting up does not count.

    python -m benchmarks.engine [--quick] [--rounds 5] [--broker auto|kafka|tansu]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from benchmarks.machine import machine
from streams import topics
from streams.records import AudioChunk, Decision, Output, Participant, SessionStart, Watermark, decode, encode
from streams.runtimes.kafka_config import WorkerConfig
from streams.runtimes.kafka_log import LogReader
from tests.integration import brokers
from tests.integration.harness import ROOT, Bench
from tests.integration.stages import Spec

SESSIONS, PARTITIONS, CHUNK = 20, 4, 8_000


class PassStage:
    """Counts chunks and answers each with a watermark: the least a stage can do."""

    def __init__(self, start: SessionStart) -> None:
        self._session, self._count = start.session, 0

    def feed(self, record: Output) -> Iterable[Output]:
        if not isinstance(record, AudioChunk):
            return []
        self._count += 1
        return [Watermark(record.session, record.source, "segment", record.start_ms)]

    def feed_many(self, records: Sequence[Output]) -> Iterable[Output]:
        return [output for record in records for output in self.feed(record)]

    def tick(self, now_ms: int) -> Iterable[Output]:
        return ()

    def flush(self) -> Iterable[Output]:
        return ()

    def snapshot(self) -> bytes:
        return msgspec.msgpack.encode(self._count)

    def restore(self, state: bytes) -> None:
        self._count = msgspec.msgpack.decode(state, type=int)


SPEC = Spec("segment", ("media.audio",), ("utterances",), lambda start, resources: PassStage(start))


def run_runtime(bootstrap: str, config: WorkerConfig) -> int:
    from streams.runtimes.kafka import run_worker

    return run_worker([SPEC], bootstrap, config)


async def run_plain(bootstrap: str, config: WorkerConfig) -> None:
    """The loop that one would write by hand: poll, decode, send, wait, commit every second."""
    consumer = AIOKafkaConsumer(
        config.namespace + "media.audio", bootstrap_servers=bootstrap, group_id=config.namespace + "plain", auto_offset_reset="earliest",
        enable_auto_commit=False,
    )
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all", max_batch_size=config.engine.get("producer_max_batch_size", 16_384))
    await consumer.start()
    await producer.start()
    stop, committed = asyncio.Event(), time.monotonic()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    while not stop.is_set():
        sent = []
        for place, records in (await consumer.getmany(timeout_ms=200, max_records=64)).items():
            for record in records:
                chunk = decode(record.value)
                if isinstance(chunk, AudioChunk):
                    mark = encode(Watermark(chunk.session, chunk.source, "segment", chunk.start_ms))
                    sent.append(await producer.send(config.namespace + "utterances", mark, key=record.key, partition=place.partition))
        await asyncio.gather(*sent)
        if time.monotonic() - committed > config.commit_interval:
            await consumer.commit()
            committed = time.monotonic()
    await consumer.stop()
    await producer.stop()


async def preload(bench: Bench, chunks: int) -> None:
    await bench.create()
    allowed = Decision(transcribe=True, measure=True, emotion=True, reason="benchmark")
    async with bench.publisher() as publisher:
        for number in range(SESSIONS):
            await publisher.open(SessionStart(f"call-{number}", (Participant("a", channel="a"),), {"a": allowed}, ("a",)))
        sent = [
            await publisher.send(AudioChunk(f"call-{index % SESSIONS}", "a", index // SESSIONS, index // SESSIONS * CHUNK // 2, 16_000, bytes(CHUNK)))
            for index in range(chunks)
        ]
        await asyncio.gather(*sent)


async def wait_for(bench: Bench, chunks: int) -> None:
    """Until so many outputs lie on the log. Only its ends are asked for, so that looking does not slow what is measured."""
    reader, names = LogReader(bench.broker.bootstrap), [(bench.namespace + "utterances", number) for number in range(PARTITIONS)]
    until = time.monotonic() + 240
    try:
        while (written := sum((await reader.ends(names)).values())) < chunks:
            if time.monotonic() > until:
                raise SystemExit(f"only {written} of {chunks} records came out")
            await asyncio.sleep(0.5)
        await asyncio.sleep(1.0)  # the starts of the sessions are among the first ones: let the last records follow
    finally:
        await reader.close()


async def measure(broker: brokers.Broker, variant: str, chunks: int) -> float:
    """Records per second of one run of `variant` in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(broker, Path(folder), partitions=PARTITIONS)
        await preload(bench, chunks)
        job = Path(folder) / "job.json"
        job.write_bytes(msgspec.json.encode({"bootstrap": broker.bootstrap, "config": bench.config()}))
        process = subprocess.Popen([sys.executable, "-m", "benchmarks.engine", "--run", variant, str(job)], cwd=ROOT, start_new_session=True)
        bench.workers.append(process)
        try:
            await wait_for(bench, chunks)
            outputs = [message for message in await bench.read("utterances") if topics.tag_of(decode(message.value)) == "watermark"]
        finally:
            bench.stop()
    stamps = sorted(message.timestamp for message in outputs)
    # Without the first and last tenth: filling and emptying are not the rate.
    low, high = len(stamps) // 10, len(stamps) * 9 // 10
    return (high - low) * 1000 / max(stamps[high] - stamps[low], 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer records, 3 rounds")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--broker", default="auto", choices=("auto", "kafka", "tansu"))
    parser.add_argument("--run", nargs=2, metavar=("VARIANT", "JOB"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    if options.run:
        variant, path = options.run
        job: Any = json.loads(Path(path).read_bytes())
        config = msgspec.convert(job["config"], WorkerConfig)
        raise SystemExit(run_runtime(job["bootstrap"], config) if variant == "runtime" else asyncio.run(run_plain(job["bootstrap"], config)))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # broker and workers are stopped on the way out
    rounds, chunks = (3, 4_000) if options.quick else (options.rounds, 20_000)
    rates: dict[str, list[float]] = {"runtime": [], "plain": []}
    with tempfile.TemporaryDirectory() as folder, brokers.start(options.broker, Path(folder)) as broker:
        print(f"{machine('faust-streaming', 'aiokafka', 'rocksdict')}; broker {broker.kind}, {chunks} records of {CHUNK} bytes a run")
        print(f"{'round':>5} {'runtime rec/s':>14} {'plain rec/s':>12} {'ratio':>6}")
        for number in range(rounds):
            for variant in rates:
                rates[variant].append(asyncio.run(measure(broker, variant, chunks)))
            print(f"{number + 1:>5} {rates['runtime'][-1]:>14.0f} {rates['plain'][-1]:>12.0f} {rates['runtime'][-1] / rates['plain'][-1]:>6.2f}", flush=True)
    median = {variant: statistics.median(values) for variant, values in rates.items()}
    ratios = [ours / plain for ours, plain in zip(rates["runtime"], rates["plain"], strict=True)]
    print(json.dumps({
        "runtime_records_s": round(median["runtime"]), "plain_records_s": round(median["plain"]), "ratio": round(statistics.median(ratios), 3),
        "rounds": rounds, "records": chunks, "broker": broker.kind,
    }))


if __name__ == "__main__":
    main()
