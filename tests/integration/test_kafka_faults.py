"""Long fault runs: a worker that hangs and comes back as a zombie, a broker that dies, many kills in a row."""

from __future__ import annotations

import asyncio
import random
import signal

import pytest

from tests.integration.harness import Bench, session
from tests.integration.test_kafka_runtime import assert_same_as_embedded, letters, play_all

pytestmark = [pytest.mark.integration, pytest.mark.kills, pytest.mark.timeout(280)]


async def test_a_worker_that_stood_still_ends_itself_and_writes_nothing_more(bench: Bench) -> None:
    """SIGSTOP for longer than the session timeout: the other worker takes over. After SIGCONT the first one must not
    write what it still had in hand: it ends, and its supervisor starts a new one."""
    bench.expected_status = (1,)
    await bench.create()
    workers = [bench.start_worker(), bench.start_worker()]
    calls = [session(f"call-{number}", seconds=32) for number in range(4)]

    async def hang() -> None:
        await bench.reach("fuse", len(calls))
        await asyncio.sleep(4)
        workers[0].send_signal(signal.SIGSTOP)
        await asyncio.sleep(15)
        workers[0].send_signal(signal.SIGCONT)
        assert await asyncio.to_thread(workers[0].wait, 10) == 1
        bench.start_worker()

    await asyncio.gather(play_all(bench, calls, speed=1.0), hang())
    await bench.wait_closed([start.session for start, _ in calls])
    await assert_same_as_embedded(bench, calls)
    assert await letters(bench) == []


async def test_the_broker_dies_and_comes_back(bench: Bench) -> None:
    if bench.broker.restart is None:
        pytest.skip(f"the log of broker {bench.broker.kind} does not outlive it, or it is not ours to kill")
    await bench.create()
    bench.start_worker()
    calls = [session(f"call-{number}", seconds=12) for number in range(4)]

    async def restart() -> None:
        await bench.reach("fuse", len(calls))
        await asyncio.sleep(3)
        assert bench.broker.restart
        await asyncio.to_thread(bench.broker.restart, 3.0)

    await asyncio.gather(play_all(bench, calls, speed=1.0), restart())
    await bench.wait_closed([start.session for start, _ in calls], 120)
    await assert_same_as_embedded(bench, calls)
    assert await letters(bench) == []


async def test_kills_one_after_the_other_also_in_the_middle_of_a_takeover(bench: Bench) -> None:
    await bench.create()
    bench.start_worker()
    calls = [session(f"call-{number}", seconds=40) for number in range(4)]
    chance = random.Random(7)

    async def kill_again_and_again() -> None:
        await bench.reach("fuse", len(calls))
        for _ in range(5):
            await asyncio.sleep(chance.uniform(0.5, 9.0))
            bench.workers[-1].kill()
            bench.workers[-1].wait()
            bench.start_worker()

    await asyncio.gather(play_all(bench, calls, speed=1.0), kill_again_and_again())
    await bench.wait_closed([start.session for start, _ in calls], 120)
    await assert_same_as_embedded(bench, calls)
    assert await letters(bench) == []
