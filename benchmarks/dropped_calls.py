"""Ten thousand calls that open and are dropped at once, while one call goes on: does it notice, and is anything left behind?

Broker, gateway and a worker with all stages are started as an operator would start them. One call is played at the pace of
its media; meanwhile sockets open a session each, most send a fraction of a second of sound, and are cut without a word. The
dropped sessions have to end on the log (every start has its end behind the last stage), the memory of the processes must
not grow with their number, and the events of the call that went on must be those of the same call played alone.

    python -m benchmarks.dropped_calls [--calls 10000] [--at-once 50] [--quick]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from aiokafka import AIOKafkaConsumer, TopicPartition
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from benchmarks.live import PARTITIONS, ROOT, House
from benchmarks.machine import machine
from fusion.settle import settled
from streams import topics
from streams.ingest.gateway import protocol
from streams.ingest.gateway.protocol import AUDIO, Source, Start, pack
from streams.ingest.send import SendReport, send
from streams.records import Notice, SessionEnd, SessionStart
from tests.integration import brokers
from tests.integration.harness import comparable

RATE = 16_000
MEDIA = ROOT / "samples" / "support_call.wav"


async def drop(url: str, number: int, pcm: bytes) -> bool:
    """Open a session, say a little, vanish. False where the gateway took no further call."""
    try:
        socket = await connect(url, compression=None, open_timeout=30)
        try:
            if number % 3:
                await socket.send(protocol.encode(Start((Source(0, "audio", "pcm16", RATE),), session=f"dropped-{number}")))
                answer = protocol.decode_server(await asyncio.wait_for(socket.recv(), 30))
                if not isinstance(answer, protocol.Started):
                    return False
                await socket.send(pack(AUDIO, 0, 0, 0, pcm[: 641 * (number % 29) * 2]))
            return True
        finally:
            socket.transport.abort()
    except (OSError, TimeoutError, ConnectionClosed):
        return False


async def flood(url: str, calls: int, at_once: int) -> tuple[int, float]:
    """All dropped calls; how many were refused, and the seconds they took."""
    pcm = (np.random.default_rng(7).normal(0, 3000, RATE * 2)).astype("<i2").tobytes()
    gate, began = asyncio.Semaphore(at_once), time.monotonic()

    async def one(number: int) -> bool:
        async with gate:
            return await drop(url, number, pcm)

    taken = await asyncio.gather(*(one(number) for number in range(calls)))
    return calls - sum(taken), time.monotonic() - began


async def read(bootstrap: str, topic: str) -> list[Any]:
    """All records of a topic."""
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False)
    await consumer.start()
    try:
        places = [TopicPartition(topic, number) for number in range(PARTITIONS)]
        consumer.assign(places)
        await consumer.seek_to_beginning(*places)
        ends = await consumer.end_offsets(places)
        records = []
        while [place for place in places if await consumer.position(place) < ends[place]]:
            for batch in (await consumer.getmany(timeout_ms=500)).values():
                records += [topics.decode_from(topic, message.value) for message in batch]
        return records
    finally:
        await consumer.stop()


async def play(url: str, session: str, seconds: float) -> SendReport:
    return await send(
        MEDIA, url, speed=1.0, channels="left=customer,right=agent", session=session, notice=Notice(True, "announcement"), to_ms=int(seconds * 1000),
    )


async def wait_ended(bootstrap: str, patience_s: float) -> tuple[set[str], set[str]]:
    """Sessions that were opened and that ended behind the last stage, when these are the same or patience has run out."""
    until = time.monotonic() + patience_s
    while True:
        opened = {record.session for record in await read(bootstrap, "sessions") if isinstance(record, SessionStart)}
        ended = {record.session for record in await read(bootstrap, "fused") if isinstance(record, SessionEnd)}
        if opened <= ended or time.monotonic() > until:
            return opened, ended
        await asyncio.sleep(3.0)


async def measure(house: House, options: argparse.Namespace) -> dict[str, Any]:
    url = f"ws://127.0.0.1:{house.port}/v1/ingest"
    await house.wait_ready()
    await play(url, "alone", options.seconds)
    _, before, _, _ = house.sample()
    going_on = asyncio.create_task(play(url, "beside", options.seconds))
    await asyncio.sleep(1.0)
    refused, took = await flood(url, options.calls, options.at_once)
    report = await going_on
    opened, ended = await wait_ended(house.bootstrap, options.patience)
    house.check()
    _, after, _, _ = house.sample()
    events = settled(await read(house.bootstrap, "emotion.events"))
    mine = {name: [msgspec.structs.replace(e, session="", id="") for e in events if e.session == name] for name in ("alone", "beside")}
    letters = await read(house.bootstrap, "dead-letters")
    status = await asyncio.to_thread(house.counters)
    print(f"{options.calls} calls dropped in {took:.1f} s ({options.calls / took:.0f} a second), {refused} refused; {len(opened)} sessions on the log")
    print("memory in MB before and after: " + ", ".join(f"{name} {before[name]:.0f}/{after[name]:.0f}" for name in before))
    return {
        "calls": options.calls, "calls_s": round(options.calls / took), "refused": refused, "sessions": len(opened), "never_ended": len(opened - ended),
        "left_in_gateway": status["sessions"], "dead_letters": len(letters), "memory_mb": {name: [round(before[name]), round(after[name])] for name in before},
        "beside_events": len(mine["beside"]), "beside_same": [comparable(e) for e in mine["alone"]] == [comparable(e) for e in mine["beside"]],
        "beside_late_ms": report.late_ms, "failures": list(report.failures),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=10_000)
    parser.add_argument("--at-once", type=int, default=50, help="sockets open at one time")
    parser.add_argument("--seconds", type=float, default=40.0, help="length of the call that goes on")
    parser.add_argument("--patience", type=float, default=300.0, help="seconds that the last dropped session may take to end")
    parser.add_argument("--quick", action="store_true", help="1000 calls")
    parser.add_argument("--broker", default="auto", choices=("auto", "kafka", "tansu"))
    options = parser.parse_args()
    options.calls = 1000 if options.quick else options.calls
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    print(machine("faust-streaming", "aiokafka", "websockets"))
    with tempfile.TemporaryDirectory() as folder, brokers.start(options.broker, Path(folder)) as broker:
        asyncio.run(topics.create(broker.bootstrap, partitions=PARTITIONS))
        settings = Path(folder) / "gateway.toml"
        settings.write_text("resume_s = 0.5\n")
        house = House(Path(folder), broker, ["all"], 1, "bundled", gateway=["--settings", str(settings)])
        try:
            print(json.dumps(asyncio.run(measure(house, options))))
        finally:
            house.stop()


if __name__ == "__main__":
    main()
