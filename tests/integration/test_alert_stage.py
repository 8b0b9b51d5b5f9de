"""Fuse and alert on a broker: alerts of a live call, through a kill, are those of the same stages without a broker.

Run as a program it is the worker of these stages: ``python -m tests.integration.test_alert_stage JOB.json``.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from aiokafka import AIOKafkaProducer

from streams import topics
from streams.records import SessionEnd, encode
from streams.runtimes.kafka import run_worker
from streams.runtimes.kafka_wire import media_headers
from streams.topology import STAGES, TOPOLOGY
from tests.integration.harness import ROOT, Bench
from tests.integration.worker import Job, limit_fetch_wait
from tests.streams.stages.test_alert_stage import RESOURCES, START, alerts_of, call, fused

pytestmark = pytest.mark.integration
NAMES = ["fuse", "alert"]


def start_worker(bench: Bench) -> subprocess.Popen[bytes]:
    path = bench.folder / f"worker-{len(bench.workers)}.json"
    path.write_bytes(msgspec.json.encode(Job(bench.broker.bootstrap, bench.config(), NAMES, fetch_wait_ms=bench.broker.fetch_wait_ms)))
    with path.with_suffix(".log").open("wb") as log:
        command = [sys.executable, "-m", "tests.integration.test_alert_stage", str(path)]
        process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, start_new_session=True)
    bench.workers.append(process)
    return process


@pytest.mark.timeout(90)
async def test_alerts_of_a_live_call_are_written_once_although_the_worker_is_killed(bench: Bench) -> None:
    await bench.create()
    worker = start_worker(bench)
    producer = AIOKafkaProducer(bootstrap_servers=bench.broker.bootstrap)
    await producer.start()

    async def put(record: object) -> None:
        await producer.send_and_wait(bench.namespace + "cues.speech", encode(record), key=b"call", headers=media_headers("hear"))

    records = call()
    try:
        for number, record in enumerate([START, *records]):
            await put(record)
            if number == len(records) // 2:  # in the silence, its alert is open
                await bench.reach("alert", 1)
                worker.kill()
                worker.wait()
                start_worker(bench)
            await asyncio.sleep(0.02)
        await put(SessionEnd("call"))
        await bench.wait_closed(["call"], 40)
        wanted = alerts_of(fused())
        async with asyncio.timeout(20):
            while len(messages := await bench.read("alerts")) < len(wanted):
                await asyncio.sleep(0.2)
    finally:
        await producer.stop()
    assert [topics.decode_from("alerts", message.value) for message in messages] == wanted
    headers = dict(messages[0].headers)
    assert headers["ce_type"] == b"affectstream.alert.v1" and headers["ce_id"].decode() == f"{wanted[0].id}.1"
    assert [topics.decode_from("dead-letters", message.value).reason for message in await bench.read("dead-letters")] == []
    assert {name for name, _ in dict(messages[0].headers).items()} >= {"schema", "codec", "origin", "content-type"}
    assert all(topics.decode_from("emotion.events", message.value) for message in await bench.read("emotion.events"))


def main() -> int:
    job = msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=Job)
    if job.fetch_wait_ms:
        limit_fetch_wait(job.fetch_wait_ms)
    return run_worker([STAGES[name] for name in job.stages], job.bootstrap, job.config, resources=RESOURCES, graph=TOPOLOGY)


if __name__ == "__main__":
    sys.exit(main())
