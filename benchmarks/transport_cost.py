"""CPU seconds of what carries the media: of the stream engine per record, of the gateway per second of a call.

Both are measured as they run live, on a real broker, at the pace of the media, because a batch of two records costs more
per record than a batch of two hundred. The engine has a stage that does next to nothing (`benchmarks.engine`); what the
worker spends while idle is part of its figure. `benchmarks.stage_cost` runs this and writes it down; alone:

    python -m benchmarks.transport_cost [--quick] [--seconds 30] [--calls 10] [--broker auto|kafka|tansu]
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import logging
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import msgspec
import psutil

from benchmarks.machine import machine
from streams import topics
from streams.ingest.send import send
from streams.records import AudioChunk, Decision, Notice, Participant, SessionStart
from tests.integration import brokers
from tests.integration.harness import ROOT, Bench

SESSIONS, PARTITIONS, RATE = 20, 4, 16_000
BLOCK = RATE // 10
WARM_S = 5.0
"""What starts in the first seconds (partitions, consumer groups, the first fetches) is not counted."""


def _cpu_s(process: psutil.Process) -> float:
    spent = process.cpu_times()
    return float(spent.user + spent.system)


async def record_cost(broker: brokers.Broker, seconds: float) -> float:
    """CPU seconds of a worker per record, at `SESSIONS` channels of audio in real time."""
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(broker, Path(folder), partitions=PARTITIONS)
        await bench.create()
        job = Path(folder) / "job.json"
        job.write_bytes(msgspec.json.encode({"bootstrap": broker.bootstrap, "config": bench.config(commit_interval=1.0)}))
        process = subprocess.Popen([sys.executable, "-m", "benchmarks.engine", "--run", "runtime", str(job)], cwd=ROOT, start_new_session=True)
        bench.workers.append(process)
        try:
            return await _play_records(bench, psutil.Process(process.pid), seconds)
        finally:
            bench.stop()


async def _play_records(bench: Bench, process: psutil.Process, seconds: float) -> float:
    allowed = Decision(transcribe=True, measure=True, emotion=True, reason="benchmark")
    clock, sent, counted, before = time.monotonic, 0, 0, 0.0
    async with bench.publisher() as publisher:
        for number in range(SESSIONS):
            await publisher.open(SessionStart(f"call-{number}", (Participant("a", channel="a"),), {"a": allowed}, ("a",)))
        await bench.reach("segment", SESSIONS)
        began = clock()
        for tick in range(int((WARM_S + seconds) * 10)):
            await asyncio.sleep(max(0.0, began + tick / 10 - clock()))
            if tick == int(WARM_S * 10):
                before, counted = _cpu_s(process), 0
            for number in range(SESSIONS):
                await publisher.send(AudioChunk(f"call-{number}", "a", tick, tick * BLOCK, RATE, bytes(2 * BLOCK)))
                sent, counted = sent + 1, counted + 1
        await asyncio.sleep(0.5)  # the last records are on their way
        spent = _cpu_s(process) - before
    written = len(await bench.read("utterances"))
    if written < 0.9 * sent:
        raise SystemExit(f"the worker did not keep up ({written} of {sent} records): this machine is too busy to measure")
    return spent / counted


async def gateway_cost(broker: brokers.Broker, seconds: float, calls: int, media: Path, channels: str) -> float:
    """CPU seconds of a gateway per second of a call with two channels of audio, over its own protocol, on Kafka."""
    await topics.create(broker.bootstrap, partitions=PARTITIONS, namespace="gateway.")
    with tempfile.TemporaryDirectory() as folder, _gateway(broker, Path(folder)) as (port, process):
        url, length = f"ws://127.0.0.1:{port}/v1/ingest", WARM_S + seconds
        playing = asyncio.gather(*(
            send(media, url, speed=1.0, channels=channels, to_ms=int(length * 1000), session=f"call-{number}", notice=Notice(True, "benchmark"))
            for number in range(calls)
        ))
        await asyncio.sleep(WARM_S)
        before, began = _cpu_s(process), time.monotonic()
        # Recordings may be shorter than was asked for: what counts is the time in which all of them run.
        await asyncio.wait({playing}, timeout=seconds - 1.0)
        spent, wall = _cpu_s(process) - before, time.monotonic() - began
        reports = await playing
        failures = [failure for report in reports for failure in report.failures]
        if failures:
            raise SystemExit(f"a call did not end as it should: {failures[0]}")
        return spent / (wall * calls)


@contextlib.contextmanager
def _gateway(broker: brokers.Broker, folder: Path) -> Iterator[tuple[int, psutil.Process]]:
    port, log = brokers.free_port(), folder / "gateway.log"
    command = [sys.executable, "-m", "streams.cli", "gateway", "--bootstrap", broker.bootstrap, "--namespace", "gateway.", "--port", str(port)]
    with log.open("wb") as sink:
        process = subprocess.Popen(command, cwd=ROOT, stdout=sink, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, start_new_session=True)
    try:
        until = time.monotonic() + 60
        while True:
            if process.poll() is not None or time.monotonic() > until:
                raise SystemExit(f"the gateway does not run: {log.read_text(errors='replace')[-400:]}")
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=2).close()
                break
            time.sleep(0.2)
        yield port, psutil.Process(process.pid)
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def measure(parts: list[str], *, seconds: float, calls: int, media: Path, channels: str, broker: str = "auto") -> dict[str, float]:
    """`record_cpu_s` for the part ``engine``, `gateway_cpu_s` for ``gateway``. Raises `brokers.Unavailable`."""
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    with tempfile.TemporaryDirectory() as folder, brokers.start(broker, Path(folder)) as running:
        found = {}
        if "engine" in parts:
            found["record_cpu_s"] = asyncio.run(record_cost(running, seconds))
        if "gateway" in parts:
            found["gateway_cpu_s"] = asyncio.run(gateway_cost(running, seconds, calls, media, channels))
        return found


UNITS = {
    "record_cpu_s": f"CPU s per record and stage, stream engine at {SESSIONS * 10} records/s",
    "gateway_cpu_s": "CPU s per s of a call with two channels, without pictures",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="10 s instead of --seconds")
    parser.add_argument("--seconds", type=float, default=30.0, help="how long each is measured")
    parser.add_argument("--calls", type=int, default=10, help="calls at the gateway")
    parser.add_argument("--broker", default="auto", choices=("auto", "kafka", "tansu"))
    parser.add_argument("--media", type=Path, default=ROOT / "samples" / "support_call.wav")
    parser.add_argument("--channels", default="left=customer,right=customer")
    options = parser.parse_args()
    seconds = 10.0 if options.quick else options.seconds
    print(machine("faust-streaming", "aiokafka", "uvicorn"))
    found = measure(["engine", "gateway"], seconds=seconds, calls=options.calls, media=options.media, channels=options.channels, broker=options.broker)
    for name, value in found.items():
        print(f"{value:10.5f} {UNITS[name]}")
    print(json.dumps({name: float(f"{value:.3g}") for name, value in found.items()}))


if __name__ == "__main__":
    main()
