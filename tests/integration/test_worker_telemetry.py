"""What a worker says of itself while it works: its pages agree with what went through it."""

from __future__ import annotations

import asyncio
import re

import httpx
import pytest

from tests.integration.brokers import free_port
from tests.integration.harness import STAGES, Bench, session

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]


async def healthy(url: str) -> httpx.Response:
    """The first answer 200 of the health page; before, there is none or 503."""
    async with httpx.AsyncClient() as client:
        for _ in range(300):
            try:
                page = await client.get(url + "/healthz")
            except httpx.TransportError:
                page = None
            if page is not None and page.status_code == 200:
                return page
            assert page is None or page.status_code == 503
            await asyncio.sleep(0.2)
    raise AssertionError("the worker was never healthy")


async def samples(url: str) -> dict[str, float]:
    async with httpx.AsyncClient() as client:
        text = (await client.get(url + "/metrics")).text
    return {name: float(value) for name, value in re.findall(r"^(\S+) ([0-9.]+)$", text, re.MULTILINE)}


async def test_the_counts_of_a_worker_are_those_of_its_log(bench: Bench) -> None:
    await bench.create()
    port = free_port()
    bench.start_worker(metrics=("127.0.0.1", port))
    url = f"http://127.0.0.1:{port}"
    assert (await healthy(url)).json()["stages"] == STAGES
    calls = [session(f"call-{number}", seconds=3) for number in range(3)]
    async with bench.publisher() as publisher:
        await asyncio.gather(*(bench.play(start, records, publisher=publisher) for start, records in calls))
    await bench.raw("media.audio", b"nobody", b"garbage")
    await bench.wait_closed([start.session for start, _ in calls])
    while len(await bench.read("dead-letters")) < 1:
        await asyncio.sleep(0.2)

    async with asyncio.timeout(20):
        while sum(value for name, value in (await samples(url)).items() if name.startswith("affectstream_worker_lag")):
            await asyncio.sleep(0.3)
    found = await samples(url)
    stage = '{{stage="{}"}}'.format
    read = len(await bench.read("media.audio"))
    assert found["affectstream_worker_records_in_total" + stage("segment")] == read
    assert found["affectstream_worker_records_out_total" + stage("segment")] == len(await bench.read("utterances"))
    assert found["affectstream_worker_records_out_total" + stage("fuse")] == len(await bench.read("emotion.events"))
    assert found["affectstream_worker_dead_letters_total" + stage("segment")] == 1
    assert found["affectstream_worker_dead_letters_total" + stage("fuse")] == 0
    assert found["affectstream_worker_sessions" + stage("fuse")] == 0 and found["affectstream_worker_partitions" + stage("fuse")] == bench.partitions
    assert 0 < found["affectstream_worker_batches_total" + stage("hear")] and 0 < found["affectstream_worker_batch_seconds_total" + stage("hear")]
    assert 50e6 < found["process_resident_memory_bytes"] < 1e9 and found["process_cpu_seconds_total"] > 0
