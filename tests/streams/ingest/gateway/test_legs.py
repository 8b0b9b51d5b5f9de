"""Asterisk's two directions of one call: two connections that are registered become one session with two sources."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.ingest.gateway.assembler import Assembler
from streams.ingest.gateway.calls import Audio, CallStarted, SourceEnded
from streams.ingest.gateway.legs import MOST_REGISTERED, Legs, Registration
from streams.ingest.gateway.registry import Gateway
from streams.ingest.gateway.server import serve_audiosocket
from streams.ingest.gateway.settings import GatewaySettings
from streams.records import AudioChunk, DeadLetter, SessionEnd, SessionStart, SourceEnd
from tests.streams.ingest.gateway.driving import Recorder, ends_of, pcm_of, running, tone
from tests.streams.ingest.gateway.scripts import socket_record

CALLER, CALLEE = uuid.UUID(int=1), uuid.UUID(int=2)
PEOPLE = {"caller": "customer", "callee": "agent"}
NOTICE = {"given": True, "method": "announcement"}


def body(source: str, **changes: Any) -> dict[str, Any]:
    return {"session": "call-17", "source": source, "participants": PEOPLE, "language": "en", "notice": NOTICE} | changes


@contextlib.asynccontextmanager
async def asterisk(settings: GatewaySettings | None = None) -> AsyncIterator[tuple[Recorder, Gateway, Any, Any]]:
    """A gateway; `post(uuid, body, **headers)` registers, `dial(uuid)` connects and gives the writer."""
    sink = Recorder()
    gateway = Gateway(sink, settings)
    listener = await serve_audiosocket(gateway, "127.0.0.1", 0)
    async with running(gateway) as host, httpx.AsyncClient(base_url=f"http://{host}") as client:

        async def post(name: object, content: Any, **headers: str) -> httpx.Response:
            return await client.post(f"/v1/audiosocket/{name}", json=content, headers=headers)

        async def dial(name: uuid.UUID) -> asyncio.StreamWriter:
            _, writer = await asyncio.open_connection("127.0.0.1", listener.sockets[0].getsockname()[1])
            writer.write(socket_record(1, name.bytes))
            await writer.drain()
            return writer

        try:
            yield sink, gateway, post, dial
        finally:
            listener.close()


async def say(writer: asyncio.StreamWriter, pcm: bytes, kind: int = 0x10) -> None:
    for at in range(0, len(pcm), 320):
        writer.write(socket_record(kind, pcm[at : at + 320]))
    await writer.drain()


async def hang_up(*writers: asyncio.StreamWriter) -> None:
    for writer in writers:
        writer.write(socket_record(0, b""))
        await writer.drain()
        writer.close()


async def until(condition: Any) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.01)


def starts(sink: Recorder) -> list[SessionStart]:
    return [record for record in sink.records if isinstance(record, SessionStart)]


async def test_two_registered_connections_are_one_call_with_two_sources() -> None:
    left, right = tone(4000), tone(4000, hz=300, seed=1)
    async with asterisk() as (sink, gateway, post, dial):
        for name, source in ((CALLER, "caller"), (CALLEE, "callee")):
            assert (await post(name, body(source))).status_code == 201
        caller = await dial(CALLER)
        callee = await dial(CALLEE)
        await asyncio.gather(say(caller, left), say(callee, right))
        await hang_up(caller, callee)
        await until(lambda: ends_of(sink.records))
        await until(lambda: not gateway.sessions)
    (start,) = starts(sink)
    assert start.session == "call-17" and start.audio_sources == ("audio/0", "audio/1") and start.language == "en" and start.live
    assert [(person.id, person.role, person.channel) for person in start.participants] == [("caller", "customer", "audio/0"), ("callee", "employee", "audio/1")]
    assert start.decisions["caller"].emotion and not start.decisions["callee"].emotion
    sound = pcm_of(sink.records)
    assert sound["audio/0"].strip(b"\0") == left.strip(b"\0") and sound["audio/1"].strip(b"\0") == right.strip(b"\0")
    assert ends_of(sink.records) == ["completed"]
    assert sorted(record.source for record in sink.records if isinstance(record, SourceEnd)) == ["audio/0", "audio/1"]


async def test_the_second_connection_begins_where_the_first_stood() -> None:
    async with asterisk() as (sink, gateway, post, dial):
        for name, source in ((CALLER, "caller"), (CALLEE, "callee")):
            await post(name, body(source))
        caller = await dial(CALLER)
        await say(caller, tone(8000))  # one second before the other is there
        await until(lambda: any(call.legs and call.legs[0].heard_ms == 1000 for call in gateway.legs._waiting.values()))
        callee = await dial(CALLEE)
        await say(callee, tone(16_000, rate=16_000, seed=1), kind=0x12)
        await hang_up(callee, caller)
        await until(lambda: ends_of(sink.records))
    first = next(record for record in sink.records if isinstance(record, AudioChunk) and record.source == "audio/1")
    assert (first.rate, first.start_sample) == (16_000, 16_000), "one second, in samples of its own rate"
    assert starts(sink)[0].audio_sources == ("audio/0", "audio/1")


async def test_when_one_hangs_up_the_call_goes_on_without_waiting_for_it() -> None:
    async with asterisk() as (sink, _, post, dial):
        for name, source in ((CALLER, "caller"), (CALLEE, "callee")):
            await post(name, body(source))
        caller, callee = await dial(CALLER), await dial(CALLEE)
        await say(caller, tone(1600))
        await hang_up(caller)
        await until(lambda: any(isinstance(record, SourceEnd) for record in sink.records))
        assert not ends_of(sink.records)
        await say(callee, tone(1600))
        await hang_up(callee)
        await until(lambda: ends_of(sink.records))
    assert [record.source for record in sink.records if isinstance(record, SourceEnd)] == ["audio/0", "audio/1"]
    assert isinstance(sink.records[-1], SessionEnd)


async def test_a_connection_that_never_comes_is_waited_for_and_then_left_out() -> None:
    async with asterisk(GatewaySettings(join_s=0.3)) as (sink, _, post, dial):
        for name, source in ((CALLER, "caller"), (CALLEE, "callee")):
            await post(name, body(source))
        callee = await dial(CALLEE)
        await say(callee, tone(1600))
        assert not sink.records
        await until(lambda: starts(sink))
        await hang_up(callee)
        await until(lambda: ends_of(sink.records))
        late = await dial(CALLER)
        await say(late, tone(800))
        await hang_up(late)
        await until(lambda: len(ends_of(sink.records)) == 2)
    first, second = starts(sink)
    assert first.audio_sources == ("audio/1",) and [person.id for person in first.participants] == ["callee"]
    assert second.session.startswith("call-17.") and second.audio_sources == ("audio/0",), "who comes too late is a call of its own"


async def test_a_connection_that_breaks_the_protocol_ends_itself_alone() -> None:
    async with asterisk() as (sink, _, post, dial):
        for name, source in ((CALLER, "caller"), (CALLEE, "callee")):
            await post(name, body(source))
        caller, callee = await dial(CALLER), await dial(CALLEE)
        await say(caller, tone(160))
        await say(caller, tone(160), kind=0x12)  # another rate in the middle
        await until(lambda: any(isinstance(record, DeadLetter) for record in sink.records))
        await say(callee, tone(1600))
        await hang_up(callee)
        await until(lambda: ends_of(sink.records))
    assert ends_of(sink.records) == ["completed"] and len(pcm_of(sink.records)["audio/1"].lstrip(b"\0")) > 3000


async def test_a_connection_that_nobody_registered_is_a_call_of_its_own() -> None:
    async with asterisk() as (sink, _, post, dial):
        await post(CALLER, body("caller"))
        stranger = await dial(uuid.UUID(int=9))
        await say(stranger, tone(800))
        await hang_up(stranger)
        await until(lambda: ends_of(sink.records))
    (start,) = starts(sink)
    assert start.session == str(uuid.UUID(int=9)) and start.participants[0].role == "unknown"


async def test_a_connection_alone_that_is_registered_has_its_name_and_role() -> None:
    async with asterisk() as (sink, _, post, dial):
        await post(CALLER, body("caller", participants={"caller": "customer"}))
        caller = await dial(CALLER)
        await say(caller, tone(800))
        await hang_up(caller)
        await until(lambda: ends_of(sink.records))
    (start,) = starts(sink)
    assert (start.session, start.participants[0].role, start.notice is not None) == ("call-17", "customer", True)


async def test_no_role_or_notice_is_made_up() -> None:
    async with asterisk() as (sink, _, post, dial):
        await post(CALLER, {"session": "call-17", "source": "caller", "participants": {"caller": "custommer"}})
        caller = await dial(CALLER)
        await hang_up(caller)
        await until(lambda: ends_of(sink.records))
    (start,) = starts(sink)
    assert start.participants[0].role == "unknown" and not start.decisions["caller"].emotion


async def test_a_full_gateway_takes_no_joined_call() -> None:
    async with asterisk(GatewaySettings(max_sessions=0)) as (sink, gateway, post, dial):
        await post(CALLER, body("caller"))
        caller = await dial(CALLER)
        await until(lambda: gateway.counters["sessions_refused"])
        caller.close()
    assert not sink.records and not gateway.legs._waiting


@pytest.mark.parametrize(
    ("changes", "status", "said"),
    [
        ({"session": "../x"}, 400, "`session` is no id"),
        ({"source": "nobody"}, 400, "none of the `participants`"),
        ({"participants": {}}, 400, "1 to 8 channels"),
        ({"participants": {"<script>": "customer"}}, 400, "1 to 8 channels"),
        ({"sesion": "x"}, 400, "unknown field `sesion`"),
        ({"participants": ["caller"]}, 400, "Expected `object`"),
        ({"language": "e" * 20_000}, 413, "more than"),
    ],
)
async def test_a_registration_that_cannot_be_used_is_refused_in_words(changes: dict[str, Any], status: int, said: str) -> None:
    async with asterisk() as (_, _, post, _):
        answer = await post(CALLER, body("caller") | changes)
    assert answer.status_code == status and said in answer.json()["what"] and answer.json()["cure"]


async def test_connections_of_a_call_must_agree() -> None:
    async with asterisk() as (_, _, post, _):
        assert (await post(CALLER, body("caller"))).status_code == 201
        assert (await post(CALLER, body("caller"))).status_code == 201, "saying it twice is harmless"
        again = await post(CALLEE, body("caller"))
        other = await post(CALLEE, body("callee", language="de"))
        nobody = await post("not-a-uuid", body("caller"))
    assert again.status_code == other.status_code == 409 and nobody.status_code == 404
    assert "registered for another connection" in again.json()["what"] and "must agree" in other.json()["what"]


async def test_the_token_of_the_gateway_protects_registrations() -> None:
    async with asterisk(GatewaySettings(token="secret")) as (_, _, post, _):
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic secret"}, {"Authorization": "Bearer secret", "Origin": "https://elsewhere.example"}):
            assert (await post(CALLER, body("caller"), **headers)).status_code == 401
        assert (await post(CALLER, body("caller"), Authorization="Bearer secret")).status_code == 201
        assert (await post(f"{CALLEE}?token=secret", body("callee"))).status_code == 201


def test_registrations_that_nobody_uses_do_not_pile_up() -> None:
    legs = Legs()
    for number in range(MOST_REGISTERED + 2):
        assert legs.register(str(number), Registration(f"call-{number}", "caller", {"caller": "customer"})) is None
    assert legs.take("0") is None and legs.take("1") is None, "the oldest give way"
    last = legs.take(str(MOST_REGISTERED + 1))
    assert last is not None and legs.complete(last) and legs.take(str(MOST_REGISTERED + 1)) is None, "one counts once"


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["audio/0", "audio/1"]), st.integers(1, 3000)), max_size=12), st.integers(0, 12))
def test_the_end_of_a_source_leaves_the_other_as_it_was(pieces: list[tuple[str, int]], cut: int) -> None:
    """What a source gives is the same whether another one ended early or not."""

    def run(end: bool) -> list[Any]:
        assembler = Assembler()
        records = assembler.feed(CallStarted("s", (), ("audio/0", "audio/1")))
        at = {"audio/0": 0, "audio/1": 0}
        for number, (source, n) in enumerate(pieces):
            if end and number == cut:
                records += assembler.feed(SourceEnded("audio/1"))
            records += assembler.feed(Audio(source, at[source], 8000, tone(n)))
            at[source] += n
        return [record for record in records + assembler.end("completed") if getattr(record, "source", "") == "audio/0"]

    assert run(True) == run(False)
