"""Processes that are told to end while the broker is gone: they end soon, and say why and with what status."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.brokers import Broker, free_port
from tests.integration.harness import ROOT, Bench, session

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]
PATIENCE_S = 20
"""Far below the minute after which a supervisor kills; the product's own limit is shorter, but this machine may be busy."""


@pytest.fixture
def mortal(broker: Broker) -> Iterator[Broker]:
    """The broker, alive again afterwards."""
    if broker.kill is None or broker.restart is None:
        pytest.skip(f"broker {broker.kind} is not ours to kill, or its log does not outlive it")
    yield broker
    broker.restart(0.0)


async def test_a_worker_ends_on_sigterm_although_the_broker_is_gone(mortal: Broker, bench: Bench) -> None:
    bench.expected_status = (1,)
    await bench.create()
    worker = bench.start_worker()
    start, records = session("call", seconds=20)
    playing = asyncio.create_task(bench.play(start, records, speed=1.0))
    await bench.reach("fuse", 1)
    assert mortal.kill
    mortal.kill()
    playing.cancel()
    await asyncio.sleep(3)
    worker.send_signal(signal.SIGTERM)
    assert await asyncio.to_thread(worker.wait, PATIENCE_S) == 1
    assert "the broker does not answer: the worker ends without committing" in bench.logs()


async def test_a_worker_that_waits_for_a_broker_ends_on_sigterm(bench: Bench) -> None:
    bench.broker = Broker("none", f"127.0.0.1:{free_port()}")
    worker = bench.start_worker()
    await asyncio.sleep(4)
    assert worker.poll() is None
    worker.send_signal(signal.SIGTERM)
    assert await asyncio.to_thread(worker.wait, PATIENCE_S) == 0


def start_gateway(broker: Broker, namespace: str, port: int, log: Path, *more: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "streams.cli", "gateway", "--bootstrap", broker.bootstrap, "--namespace", namespace, "--port", str(port), *more]
    with log.open("wb") as sink:
        return subprocess.Popen(command, cwd=ROOT, stdout=sink, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, start_new_session=True)


async def _call(port: int, sample: Path) -> None:
    """A recording played as a live call, for as long as it goes well."""
    from streams.ingest.send import send

    await send(sample, f"ws://127.0.0.1:{port}/v1/ingest", speed=1.0, calls=1, stagger_s=0.0, channels=None, language=None, session="call", notice=None, token=None)


async def listening(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(300):
        assert process.poll() is None, log.read_text()
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.1)
        else:
            writer.close()
            return
    raise AssertionError(f"the gateway does not listen\n{log.read_text()}")


async def test_a_gateway_with_a_call_ends_on_sigterm_although_the_broker_is_gone(mortal: Broker, bench: Bench, sample_call: Path) -> None:
    await bench.create()
    port, log = free_port(), bench.folder / "gateway.log"
    gateway = start_gateway(mortal, bench.namespace, port, log)
    bench.workers.append(gateway)
    await listening(port, gateway, log)
    calling = asyncio.create_task(_call(port, sample_call))
    await asyncio.sleep(4)
    assert mortal.kill
    mortal.kill()
    await asyncio.sleep(2)
    gateway.send_signal(signal.SIGTERM)
    assert await asyncio.to_thread(gateway.wait, PATIENCE_S) == 1, log.read_text()
    assert "the broker does not answer: the gateway ends" in log.read_text()
    calling.cancel()
    await asyncio.gather(calling, return_exceptions=True)


async def test_a_gateway_that_is_told_to_end_closes_its_calls_and_ends_in_good_order(broker: Broker, bench: Bench, sample_call: Path) -> None:
    if not broker.idempotence:
        pytest.skip("this broker cannot number a producer's records (InitProducerId), which the gateway asks for")
    await bench.create()
    port, log = free_port(), bench.folder / "gateway.log"
    gateway = start_gateway(broker, bench.namespace, port, log)
    bench.workers.append(gateway)
    await listening(port, gateway, log)
    calling = asyncio.create_task(_call(port, sample_call))
    await asyncio.sleep(3)
    gateway.send_signal(signal.SIGTERM)
    assert await asyncio.to_thread(gateway.wait, PATIENCE_S) == 0, log.read_text()
    calling.cancel()
    await asyncio.gather(calling, return_exceptions=True)
    from streams import topics
    from streams.records import SessionEnd, SessionStart

    life = [topics.decode_from("sessions", message.value) for message in await bench.read("sessions")]
    assert [type(record) for record in life] == [SessionStart, SessionEnd] and life[1].reason == "interrupted"
