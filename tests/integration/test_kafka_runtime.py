"""The Kafka runtime on a real broker, with small stages: what goes in comes out once, whatever happens to workers."""

from __future__ import annotations

import asyncio
import random
import re
import signal
import time
from typing import Any

import msgspec
import pytest

from extractors.errors import InputError
from fusion.events import EmotionEvent
from streams import topics
from streams.records import AudioChunk, DeadLetter, Output, SessionEnd, SessionStart, encode
from streams.runtimes.kafka_client import EventReader
from tests.integration.brokers import free_port
from tests.integration.harness import Bench, comparable, session
from tests.integration.stages import POISON, run_embedded

pytestmark = pytest.mark.integration

Played = tuple[SessionStart, list[Output]]


async def assert_same_as_embedded(bench: Bench, sessions: list[Played]) -> None:
    """Every event once, in the order and with the bytes of the run without a broker."""
    found = await bench.events()
    for start, records in sessions:
        expected = [comparable(event) for event in run_embedded(start, records)]
        assert [comparable(event) for event in found.get(start.session, [])] == expected
        assert expected


async def play_all(bench: Bench, sessions: list[Played], **how: Any) -> None:
    async with bench.publisher() as publisher:
        await asyncio.gather(*(bench.play(start, records, publisher=publisher, **how) for start, records in sessions))


async def letters(bench: Bench) -> list[DeadLetter]:
    return [topics.decode_from("dead-letters", message.value) for message in await bench.read("dead-letters")]


async def test_sessions_of_all_shapes_give_the_events_of_the_embedded_run(bench: Bench) -> None:
    """Calls with and without pictures, two on one key prefix, one with every chunk sent twice; the public topic can be
    read by anything that knows JSON and CloudEvents."""
    await bench.create()
    bench.start_worker()
    sessions = [session(f"call-{number}") for number in range(4)] + [session("voice", video=()), session("mono", audio=("left",))]
    doubled = session("doubled")
    twice = (doubled[0], [record for record in doubled[1] for _ in range(2)])
    await play_all(bench, [*sessions, twice])
    await bench.wait_closed([start.session for start, _ in [*sessions, doubled]])
    await assert_same_as_embedded(bench, [*sessions, doubled])
    assert await letters(bench) == []

    message = (await bench.read("emotion.events"))[0]
    headers = dict(message.headers)
    event = msgspec.json.decode(message.value, type=EmotionEvent)
    assert headers["ce_id"].decode() == f"{event.id}.{event.revision}" and headers["ce_type"] == b"affectstream.event.v1"
    assert message.key == event.session.encode() and headers["content-type"] == b"application/json"
    assert event.latency["total_ms"] >= event.latency["fuse_ms"] >= 0


async def test_bad_records_cost_only_themselves(bench: Bench) -> None:
    """Poison in the middle of a call, garbage, a foreign record, an unknown session, media after the end, and a word
    that fits no record of the broker."""
    await bench.create()
    bench.start_worker()
    calls = [session(f"call-{number}", seconds=2) for number in range(3)]
    start, records = calls[0]
    poison = AudioChunk("call-0", "left", 7, 7 * 1600, 16_000, POISON + bytes(100))
    place = next(i for i, record in enumerate(records) if isinstance(record, AudioChunk) and record.source == "left" and record.seq == 8)
    with_poison = [record for record in records if not (isinstance(record, AudioChunk) and record.source == "left" and record.seq == 7)]
    without_poison = list(with_poison)
    with_poison.insert(place - 1, poison)
    stray = encode(AudioChunk("nobody", "left", 0, 0, 16_000, b""))
    await bench.raw("media.audio", b"call-1", b"\xff garbage")
    await bench.raw("media.audio", b"nobody", stray)
    await bench.raw("utterances", b"call-1", encode(calls[1][1][0]))
    huge = session("huge", seconds=1, audio=("left",), video=())[0]
    shout = [AudioChunk("huge", "left", seq, seq * 1_500_000, 16_000, b"\1\1" * 1_500_000) for seq in range(2)]
    await play_all(bench, [(start, with_poison), *calls[1:], (huge, list(shout))])
    await bench.wait_closed([start.session for start, _ in calls] + ["huge"])
    late = encode(AudioChunk("call-2", "left", 99, 99 * 1600, 16_000, bytes(10)))
    await bench.raw("media.audio", b"call-2", late)

    until = time.monotonic() + 20
    while len(found := await letters(bench)) < 6 and time.monotonic() < until:
        await asyncio.sleep(0.2)
    by_original = {letter.original: letter for letter in found}
    assert len(found) == len(by_original) == 6
    assert by_original[encode(poison)].stage in ("segment", "hear")
    assert {re.sub("[0-9]+", "N", letter.reason.split(":")[0]) for letter in found} == {
        "ValueError", "not a record of this topic", "no session start came before this record", "the session has ended before this record",
        "the utterance record of N bytes is too large for topic utterances",
    }
    assert (by_original[stray].session, by_original[stray].stage) == ("nobody", "segment")
    assert by_original[late].session == "call-2"
    await assert_same_as_embedded(bench, [(start, without_poison), *calls[1:]])


@pytest.mark.timeout(120)
async def test_killed_in_the_middle_of_live_calls_nothing_is_lost_or_doubled(bench: Bench) -> None:
    await bench.create()
    bench.start_worker()
    calls = [session(f"call-{number}", seconds=10) for number in range(4)]

    async def kill_and_restart() -> None:
        await bench.reach("fuse", len(calls))
        await asyncio.sleep(random.uniform(0.2, 2.0))
        bench.workers[0].kill()
        bench.workers[0].wait()
        bench.start_worker()

    await asyncio.gather(play_all(bench, calls, speed=1.0), kill_and_restart())
    await bench.wait_closed([start.session for start, _ in calls])
    await assert_same_as_embedded(bench, calls)
    assert await letters(bench) == []


@pytest.mark.timeout(120)
async def test_workers_join_and_leave_under_load(bench: Bench) -> None:
    """A second worker joins, the first one is asked to stop (and ends in good order), then the second one is alone."""
    await bench.create()
    first = bench.start_worker()
    calls = [session(f"call-{number}", seconds=14) for number in range(4)]

    async def come_and_go() -> None:
        await bench.reach("fuse", len(calls))
        bench.start_worker()
        await asyncio.sleep(6)
        began = time.monotonic()
        first.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(first.wait, 20) == 0
        assert time.monotonic() - began < 10

    await asyncio.gather(play_all(bench, calls, speed=1.0), come_and_go())
    await bench.wait_closed([start.session for start, _ in calls])
    await assert_same_as_embedded(bench, calls)
    assert await letters(bench) == []


@pytest.mark.timeout(120)
async def test_stages_on_different_workers_and_a_silent_session(bench: Bench) -> None:
    """Each stage has a worker of its own here; a call that is never ended by its sender is ended after the idle time."""
    await bench.create()
    bench.start_worker(["segment", "look"], idle_timeout=4.0)
    bench.start_worker(["hear"])
    bench.start_worker(["fuse"])
    left_open, ended = session("left-open"), session("ended")
    await bench.play(*left_open, end=False)
    await bench.play(*ended)
    await bench.wait_closed(["left-open", "ended"])
    await assert_same_as_embedded(bench, [left_open, ended])
    ends = [topics.decode_from("cues.face", m.value) for m in await bench.read("cues.face")]
    reasons = {record.session: record.reason for record in ends if isinstance(record, SessionEnd)}
    assert reasons == {"left-open": "idle", "ended": "completed"}


async def test_a_reader_sees_each_revision_once(bench: Bench) -> None:
    await bench.create()
    event = run_embedded(*session("s"))[0]
    higher = msgspec.structs.replace(event, revision=event.revision + 1, status="revised")
    for written in (event, event, higher, event, higher):
        await bench.raw("emotion.events", b"s", topics.encode_for("emotion.events", written))
    reader = EventReader(bench.broker.bootstrap, namespace=bench.namespace, from_start=True)
    seen = []
    async for read in reader:
        seen.append(read)
        if len(seen) == 2:
            break
    assert seen == [event, higher]


async def test_another_partition_count_is_named(bench: Bench) -> None:
    await bench.create()
    with pytest.raises(topics.TopicError, match="has 4 partitions and 3 are configured"):
        await topics.create(bench.broker.bootstrap, partitions=3, namespace=bench.namespace)


async def test_a_broker_that_is_not_there_is_one_sentence() -> None:
    address = f"127.0.0.1:{free_port()}"
    with pytest.raises(InputError, match=r"no Kafka broker answers \(127.0.0.1:[0-9]+: Connection refused\): start it, or correct --bootstrap"):
        await topics.create(address, partitions=1, patience=0.5)
