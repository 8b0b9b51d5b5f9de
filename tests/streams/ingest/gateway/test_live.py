"""A real server and real clients on the loopback."""

from __future__ import annotations

import asyncio
import gc
import json
import urllib.request
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import psutil
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from extractors.errors import InputError
from streams.ingest.client import CallRefused, IngestClient
from streams.ingest.gateway import protocol
from streams.ingest.gateway.protocol import AUDIO, Person, Source, Start, pack
from streams.ingest.gateway.registry import Gateway
from streams.ingest.gateway.server import run, serve_audiosocket
from streams.ingest.gateway.settings import GatewaySettings
from streams.policy import ExceptionGrant, Policy, RoleRule
from streams.records import AudioChunk, DeadLetter, Notice, Record, SessionStart, VideoFrame
from tests.streams.ingest.gateway.driving import Recorder, address, ends_of, pcm_of, per_source, running, tone
from tests.streams.ingest.gateway.scripts import SCRIPTS, SOCKET_PCM, Script, socket_call
from tests.streams.ingest.gateway.test_own_protocol import jpeg

RATE = 16_000
PCM = tone(5 * RATE, rate=RATE)
ANN = Person("ann", "customer", "audio/0", "video/0")
SOURCES = (Source(0, "audio", "pcm16", RATE), Source(1, "video", "jpeg"))
PICTURES = [jpeg(seed=i) for i in range(25)]
NOTICE = Notice(True, "announcement")


class CuttingProxy:
    """A TCP proxy that cuts the connections through it after so many bytes from the client, each budget once."""

    def __init__(self, host: str, budgets: list[int]) -> None:
        self._host, self._budgets = host, budgets
        self.cuts = 0

    async def __aenter__(self) -> str:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return address(self._server)

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, port = self._host.split(":")
        there, back = await asyncio.open_connection(host, int(port))
        budget = self._budgets.pop(0) if self._budgets else None
        answers = asyncio.create_task(self._copy(there, writer, None))
        questions = asyncio.create_task(self._copy(reader, back, budget))
        await asyncio.wait({answers, questions}, return_when=asyncio.FIRST_COMPLETED)
        self.cuts += budget is not None
        for task in (answers, questions):
            task.cancel()
        for end in (writer, back):
            end.transport.abort()

    async def _copy(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, budget: int | None) -> None:
        while budget is None or budget > 0:
            try:
                data = await source.read(4096 if budget is None else min(4096, budget))
                if not data:
                    break
                budget = None if budget is None else budget - len(data)
                sink.write(data)
                await sink.drain()
            except OSError:
                break


async def play(url: str, session: str = "call", pause: Callable[[int], float] = lambda _: 0.0, size: int = 640, **options: object) -> IngestClient:
    """One call: five seconds of sound in frames of `size` bytes, five pictures a second."""
    client = IngestClient(url, sources=SOURCES, participants=[ANN], notice=NOTICE, session=session, lossless=True, **options)  # type: ignore[arg-type]
    async with client as call:
        shown = 0
        for i, at in enumerate(range(0, len(PCM), size)):
            while shown < len(PICTURES) and 200 * shown * RATE // 1000 <= at // 2:
                await call.video(PICTURES[shown], 200 * shown)
                shown += 1
            await call.audio(PCM[at : at + size])
            if pause(i):
                await asyncio.sleep(pause(i))
    return client


@pytest.fixture
async def reference() -> dict[str, list[Record]]:
    """The records of the call when nothing disturbs it."""
    sink = Recorder()
    async with running(Gateway(sink)) as host:
        await play(f"ws://{host}/v1/ingest")
    return per_source(sink.records)


@pytest.fixture
async def no_leftovers() -> AsyncIterator[None]:
    before = asyncio.all_tasks()
    yield
    for _ in range(100):
        left = asyncio.all_tasks() - before - {asyncio.current_task()}
        if not left:
            break
        await asyncio.sleep(0.02)
    assert not left


@pytest.mark.usefixtures("no_leftovers")
class TestTheSameRecords:
    async def test_a_call_arrives_whole(self, reference: dict[str, list[Record]]) -> None:
        sound = [record for record in reference["audio/0"] if isinstance(record, AudioChunk)]
        assert b"".join(chunk.payload for chunk in sound) == PCM
        assert [frame.payload for frame in reference["video/0"] if isinstance(frame, VideoFrame)] == PICTURES
        assert ends_of(reference["session"]) == ["completed"]
        start = reference["session"][0]
        assert isinstance(start, SessionStart) and start.live and start.decisions["ann"].emotion

    @pytest.mark.parametrize("pause", [lambda i: 0.002 if i % 3 == 0 else 0, lambda i: 0.4 if i == 60 else 0, lambda i: 0.0], ids=["steady", "stall", "burst"])
    async def test_bursts_and_stalls_change_nothing(self, reference: dict[str, list[Record]], pause: Callable[[int], float]) -> None:
        sink = Recorder()
        async with running(Gateway(sink)) as host:
            await play(f"ws://{host}/v1/ingest", pause=pause, size=1000)
        assert per_source(sink.records) == reference

    async def test_a_slow_sink_slows_the_sender_and_loses_nothing(self, reference: dict[str, list[Record]]) -> None:
        sink = Recorder(slow_s=0.002)
        gateway = Gateway(sink, GatewaySettings(queue_records=8))
        async with running(gateway) as host:
            await play(f"ws://{host}/v1/ingest")
        assert per_source(sink.records) == reference
        assert gateway.counters["video_frames_dropped"] == 0

    @pytest.mark.parametrize("budgets", [[20_000], [30_000, 9_000, 50_000], [700, 900, 1_500, 100_000]])
    async def test_broken_connections_change_nothing(self, reference: dict[str, list[Record]], budgets: list[int]) -> None:
        sink = Recorder()
        gateway = Gateway(sink)
        async with running(gateway) as host:
            proxy = CuttingProxy(host, list(budgets))
            async with proxy as through:
                client = await play(f"ws://{through}/v1/ingest", buffer_bytes=20_000)
        assert per_source(sink.records) == reference
        assert proxy.cuts == len(budgets) and 1 <= client.reconnects <= len(budgets)
        assert client.errors == [] and gateway.counters["dead_letters"] == 0

    async def test_a_gateway_that_dies_is_replaced_by_another_with_the_same_key(self, reference: dict[str, list[Record]]) -> None:
        sink, settings = Recorder(), GatewaySettings(resume_key="shared", resume_s=0.01)
        handed_on: list[Record] = []

        class Dying(Recorder):
            async def publish(self, record: Record) -> None:
                if len(handed_on) < 40:  # then the process is dead: nothing more leaves it
                    handed_on.append(record)
                else:
                    await asyncio.Event().wait()

        first, second = Gateway(Dying(), settings), Gateway(sink, settings)
        async with running(second) as host_2:
            server_1 = running(first)
            host_1 = await server_1.__aenter__()
            switch = Switch([host_1, host_2])
            async with switch as through:
                call = asyncio.create_task(play(f"ws://{through}/v1/ingest", buffer_bytes=20_000))
                while len(handed_on) < 40:
                    await asyncio.sleep(0.01)
                await asyncio.sleep(0.3)  # the last acknowledgement is on its way
                switch.next()
                client = await call
            for session in first.sessions.values():  # the dead process holds nothing: its queues are gone with it
                session.failed = RuntimeError("dead")
                assert session._publisher is not None
                session._publisher.cancel()
            first.sessions.clear()
            first.calls.clear()
            await server_1.__aexit__(None, None, None)
        assert client.reconnects == 1 and client.ended is not None and client.ended.reason == "completed"
        merged = per_source({(type(r), getattr(r, "source", ""), getattr(r, "seq", 0)): r for r in [*handed_on, *sink.records]}.values())
        assert merged == reference


class Switch:
    """A TCP proxy to the first of several hosts; `next` cuts everything and goes to the next one."""

    def __init__(self, hosts: list[str]) -> None:
        self._hosts = hosts
        self._open: set[asyncio.StreamWriter] = set()

    async def __aenter__(self) -> str:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return address(self._server)

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        self._cut()

    def next(self) -> None:
        self._hosts.pop(0)
        self._cut()

    def _cut(self) -> None:
        for writer in self._open:
            writer.transport.abort()
        self._open.clear()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, port = self._hosts[0].split(":")
        there, back = await asyncio.open_connection(host, int(port))
        self._open |= {writer, back}

        async def copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            try:
                while data := await source.read(4096):
                    sink.write(data)
                    await sink.drain()
            except OSError:
                pass

        await asyncio.gather(copy(reader, back), copy(there, writer))


@pytest.mark.usefixtures("no_leftovers")
class TestOverload:
    async def test_pictures_give_way_and_sound_never_does(self) -> None:
        sink = Recorder()
        gateway = Gateway(sink, GatewaySettings(queue_records=16, video_patience_s=0.02))
        async with running(gateway) as host:
            sink.open.clear()  # the broker hangs …
            client = IngestClient(f"ws://{host}/v1/ingest", sources=SOURCES, participants=[ANN], session="call", notice=NOTICE, connect_s=10)
            entered = asyncio.create_task(client.__aenter__())
            await asyncio.sleep(0.05)
            sink.open.set()
            await entered
            sink.open.clear()
            for shown in range(300):
                await client.video(PICTURES[shown % 25], 40 * shown)
                await client.audio(PCM[640 * (shown % 250) : 640 * (shown % 250) + 640])
            await asyncio.sleep(0.3)
            assert gateway.status()["queued_records"] <= 16  # … and what waits here stays bounded
            sink.open.set()
            await client.__aexit__(None, None, None)
        dropped = gateway.counters["video_frames_dropped"]
        streams = per_source(sink.records)
        assert 0 < dropped and len(streams["video/0"]) == 300 - dropped
        assert [record.seq for record in streams["video/0"]] == list(range(300 - dropped))  # type: ignore[union-attr]
        assert len(pcm_of(sink.records)["audio/0"]) == 300 * 640

    async def test_back_pressure_reaches_the_socket(self) -> None:
        sink = Recorder()
        gateway = Gateway(sink, GatewaySettings(queue_records=4))
        async with running(gateway) as host, connect(f"ws://{host}/v1/ingest", compression=None) as socket:
            await socket.send(protocol.encode(Start(SOURCES[:1], session="call")))
            await socket.recv()
            sink.open.clear()
            sent = 0
            second = bytes(2 * RATE)
            try:
                async with asyncio.timeout(1.5):
                    while True:
                        await socket.send(pack(AUDIO, 0, sent, sent * RATE, second))
                        sent += 1
            except TimeoutError:
                pass
            assert sent < 1000  # 32 kB each: the sender is held back after what the sockets' buffers take
            assert gateway.status()["queued_records"] == 4
            sink.open.set()
            await socket.send(protocol.encode(protocol.End()))
            while not isinstance(message := protocol.decode_server(await socket.recv()), protocol.Ended):
                pass
            assert message.records["audio/0"] in (10 * sent, 10 * (sent + 1))  # the one that was given up may have left


@pytest.mark.usefixtures("no_leftovers")
class TestComingAndGoing:
    async def test_fifty_calls_opened_and_dropped_leave_nothing(self) -> None:
        sink = Recorder()
        gateway = Gateway(sink, GatewaySettings(resume_s=0.05))
        async with running(gateway) as host:
            for round_ in range(3):
                for i in range(50):
                    socket = await connect(f"ws://{host}/v1/ingest", compression=None)
                    if i % 3:
                        await socket.send(protocol.encode(Start(SOURCES[:1], session=f"call-{round_}-{i}")))
                        await socket.send(pack(AUDIO, 0, 0, 0, PCM[:999 * (i % 2) + 641 - (641 % 2)]))
                    socket.transport.abort()
                while gateway.sessions or gateway.counters["sessions_ended"] < gateway.counters["sessions_opened"]:
                    await asyncio.sleep(0.02)
                sink.records.clear()
                gc.collect()
                memory = psutil.Process().memory_info().rss
                if round_ == 0:
                    first = memory
            assert memory - first < 4 << 20
            assert gateway.calls == {} and gateway.status()["queued_records"] == 0
            tasks = [task for task in asyncio.all_tasks() if task.get_name().startswith(("publish", "expire", "acknowledge"))]
            assert tasks == []

    async def test_a_client_that_stops_mid_word_is_waited_for_and_then_the_call_ends(self) -> None:
        sink = Recorder()
        gateway = Gateway(sink, GatewaySettings(resume_s=0.05))
        async with running(gateway) as host:
            socket = await connect(f"ws://{host}/v1/ingest", compression=None)
            await socket.send(protocol.encode(Start(SOURCES[:1], session="call")))
            await socket.send(pack(AUDIO, 0, 0, 0, PCM[:5000]))
            await socket.recv()
            await asyncio.sleep(0.05)
            socket.transport.abort()
            while not ends_of(sink.records):
                await asyncio.sleep(0.02)
        assert ends_of(sink.records) == ["interrupted"]
        assert pcm_of(sink.records)["audio/0"] == PCM[:5000]

    async def test_a_call_that_nobody_ends_is_closed_for_idleness_despite_heartbeats(self) -> None:
        sink = Recorder()
        async with running(Gateway(sink, GatewaySettings(idle_s=0.3))) as host, connect(f"ws://{host}/v1/ingest", compression=None) as socket:
            await socket.send(protocol.encode(Start(SOURCES[:1], session="call")))

            async def beat() -> None:
                while True:
                    await socket.send(protocol.encode(protocol.Ping()))
                    await asyncio.sleep(0.05)

            beating = asyncio.create_task(beat())
            answers = [protocol.decode_server(message) async for message in socket]
            beating.cancel()
            await asyncio.gather(beating, return_exceptions=True)
            assert [answer.code for answer in answers if isinstance(answer, protocol.Error)] == ["idle"]
            assert any(isinstance(answer, protocol.Pong) for answer in answers)
        assert ends_of(sink.records) == ["idle"]

    async def test_a_connection_that_says_nothing_is_closed(self) -> None:
        async with running(Gateway(Recorder(), GatewaySettings(hello_s=0.1))) as host, connect(f"ws://{host}/v1/ingest", compression=None) as socket:
            error = protocol.decode_server(await socket.recv())
            assert isinstance(error, protocol.Error) and error.code == "idle" and error.fatal

    async def test_a_stopping_gateway_tells_its_clients(self) -> None:
        sink = Recorder()
        async with running(Gateway(sink)) as host:
            client = IngestClient(f"ws://{host}/v1/ingest", sources=SOURCES, session="call")
            await client.__aenter__()
            await client.audio(PCM[:6400])
            await asyncio.sleep(0.1)
        while client.ended is None:
            await asyncio.sleep(0.01)
        assert client.ended.reason == "interrupted" and ends_of(sink.records) == ["interrupted"]
        with pytest.raises(CallRefused):
            await client.audio(PCM[:640])
        await client.__aexit__(None, None, None)


@pytest.mark.usefixtures("no_leftovers")
class TestRefusals:
    @pytest.mark.parametrize(("message", "code"), [
        ("{", "malformed"), ("[1]", "malformed"), ('{"type":"ping"}', "malformed"), (b"\x01\x02", "malformed"), ('{"type":"start"}', "malformed"),
        ('{"type":"start","sources":[{"index":0,"kind":"audio","codec":"gsm"}]}', "unknown_codec"),
        ('{"type":"resume","session":"x","state":"AAAA","start":{"type":"start","sources":[]}}', "bad_state"),
    ])
    async def test_a_first_message_that_cannot_be_used(self, message: str | bytes, code: str) -> None:
        sink = Recorder()
        async with running(Gateway(sink)) as host, connect(f"ws://{host}/v1/ingest", compression=None) as socket:
            await socket.send(message)
            error = protocol.decode_server(await socket.recv())
            assert isinstance(error, protocol.Error) and error.code == code and error.fatal and error.what and error.cure
            with pytest.raises(ConnectionClosed):
                await socket.recv()
        letters = [record for record in sink.records if isinstance(record, DeadLetter)]
        assert len(letters) == (code != "bad_state") and sink.records == list(letters)

    async def test_garbage_in_a_call_ends_it_and_no_other(self) -> None:
        sink = Recorder()
        async with running(Gateway(sink)) as host:
            other = asyncio.create_task(play(f"ws://{host}/v1/ingest", "other", lambda i: 0.01 if i % 20 == 0 else 0))
            async with connect(f"ws://{host}/v1/ingest", compression=None) as socket:
                await socket.send(protocol.encode(Start(SOURCES[:1], session="call")))
                await socket.send(pack(AUDIO, 0, 0, 0, PCM[:640]))
                await socket.send(b"\xff" * 99)
                answers = []
                with pytest.raises(ConnectionClosed):
                    while True:
                        answers.append(protocol.decode_server(await socket.recv()))
            await other
        assert [answer.code for answer in answers if isinstance(answer, protocol.Error)] == ["malformed"]
        assert ends_of([r for r in sink.records if getattr(r, "session", "") == "call"]) == ["error"]
        assert ends_of([r for r in sink.records if getattr(r, "session", "") == "other"]) == ["completed"]

    async def test_refused_frames_are_reported_and_the_call_goes_on(self) -> None:
        sink, gateway_settings = Recorder(), GatewaySettings(max_frame_bytes=10_000)
        seen: list[str] = []
        async with running(Gateway(sink, gateway_settings)) as host:
            client = IngestClient(f"ws://{host}/v1/ingest", sources=SOURCES, session="call", on_error=lambda error: seen.append(error.code))
            async with client as call:
                await call.audio(PCM[:6400])
                await call.audio(PCM[6400:26400])
                await call.video(b"no picture", 0)
                await call.audio(PCM[26400:30000])
        assert seen == ["too_large", "bad_payload"] and ends_of(sink.records) == ["completed"]
        assert pcm_of(sink.records)["audio/0"] == PCM[:6400] + bytes(20_000) + PCM[26400:30000]

    async def test_one_session_is_one_call(self) -> None:
        async with running(Gateway(Recorder())) as host:
            async with IngestClient(f"ws://{host}/v1/ingest", session="call"):
                with pytest.raises(CallRefused) as live:
                    await IngestClient(f"ws://{host}/v1/ingest", session="call").__aenter__()
            with pytest.raises(CallRefused) as ended:
                await IngestClient(f"ws://{host}/v1/ingest", session="call").__aenter__()
        assert live.value.code == ended.value.code == "session_exists"

    async def test_a_full_gateway_says_so(self) -> None:
        async with running(Gateway(Recorder(), GatewaySettings(max_sessions=1))) as host, IngestClient(f"ws://{host}/v1/ingest"):
            with pytest.raises(CallRefused) as caught:
                await IngestClient(f"ws://{host}/v1/ingest").__aenter__()
        assert caught.value.code == "busy"

    async def test_a_policy_exception_is_used_on_the_record_or_not_at_all(self, tmp_path: Path) -> None:
        grant = ExceptionGrant("safety", ("employee",), "training of a cockpit crew", "Ann Example")
        rules = Policy({"employee": RoleRule(emotion=True)}, exception=grant)
        employee = Person("bob", "employee", "audio/0")
        log = tmp_path / "audit.jsonl"
        async with running(Gateway(Recorder(), GatewaySettings(audit_log=str(log)), rules)) as host:
            async with IngestClient(f"ws://{host}/v1/ingest", session="call", participants=[employee], notice=NOTICE) as call:
                assert call.decisions["bob"].emotion
        assert json.loads(log.read_text())["session"] == "call"
        async with running(Gateway(Recorder(), GatewaySettings(audit_log=str(log / "not a folder")), rules)) as host:
            with pytest.raises(CallRefused):
                await IngestClient(f"ws://{host}/v1/ingest").__aenter__()

    async def test_a_token_is_asked_for(self) -> None:
        async with running(Gateway(Recorder(), GatewaySettings(token="secret"))) as host:
            async with IngestClient(f"ws://{host}/v1/ingest", token="secret") as call:
                assert call.session
            with pytest.raises(CallRefused) as caught:
                await IngestClient(f"ws://{host}/v1/ingest", token="guess").__aenter__()
            assert caught.value.code == "unauthorized"
            for route in ("freeswitch", "twilio", "audiohook"):
                with pytest.raises(InvalidStatus):
                    await connect(f"ws://{host}/v1/{route}?token=guess")

    async def test_a_page_of_another_site_opens_no_socket(self) -> None:
        async with running(Gateway(Recorder())) as host:
            for route in ("ingest", "twilio", "freeswitch", "audiohook"):
                with pytest.raises(InvalidStatus):
                    await connect(f"ws://{host}/v1/{route}", origin="https://evil.example")  # type: ignore[arg-type]
            async with connect(f"ws://{host}/v1/ingest", origin=f"http://{host}"):  # type: ignore[arg-type]
                pass

    async def test_a_sink_that_gives_up_ends_the_call_with_an_error(self) -> None:
        class Broken(Recorder):
            async def publish(self, record: Record) -> None:
                if len(self.records) == 3:
                    raise OSError("no broker")
                await super().publish(record)

        gateway = Gateway(Broken())
        async with running(gateway) as host:
            with pytest.raises(CallRefused) as caught:
                await play(f"ws://{host}/v1/ingest")
        assert caught.value.code == "unavailable" and gateway.sessions == {}

    async def test_an_address_where_nobody_listens(self) -> None:
        with pytest.raises(CallRefused) as caught:
            await IngestClient("ws://127.0.0.1:9/v1/ingest", connect_s=0.2).__aenter__()
        assert caught.value.code == "unreachable"


@pytest.mark.usefixtures("no_leftovers")
class TestVendors:
    @pytest.mark.parametrize("script", [s for s in SCRIPTS if s.name in ("twilio", "audiohook", "freeswitch")], ids=lambda script: script.name)
    async def test_a_call_over_a_real_socket(self, script: Script) -> None:
        sink = Recorder()
        gateway = Gateway(sink)
        async with running(gateway) as host, connect(f"ws://{host}/v1/{script.name}?rate=8000&channels=2", compression=None) as socket:
            for message in script.messages([160] * 100):
                await socket.send(message)
            if script.name == "freeswitch":
                await socket.close()
            async for _ in socket:
                pass
            while gateway.sessions or not sink.records:
                await asyncio.sleep(0.01)
        assert pcm_of(sink.records) == script.pcm and ends_of(sink.records) == ["completed"]

    async def test_asterisk_over_tcp(self) -> None:
        sink = Recorder()
        gateway = Gateway(sink)
        listener = await serve_audiosocket(gateway, "127.0.0.1", 0)
        _, writer = await asyncio.open_connection("127.0.0.1", listener.sockets[0].getsockname()[1])
        for piece in socket_call([7] * 2000):
            assert isinstance(piece, bytes)
            writer.write(piece)
        await writer.drain()
        while not ends_of(sink.records):
            await asyncio.sleep(0.01)
        writer.close()
        listener.close()
        assert pcm_of(sink.records) == {"audio/0": SOCKET_PCM} and ends_of(sink.records) == ["completed"]

    async def test_two_calls_under_one_id_are_two_sessions(self) -> None:
        sink = Recorder()
        gateway = Gateway(sink)
        script = next(s for s in SCRIPTS if s.name == "twilio")
        async with running(gateway) as host:
            for _ in range(2):
                async with connect(f"ws://{host}/v1/twilio", compression=None) as socket:
                    for message in script.messages([160] * 100):
                        await socket.send(message)
                    async for _ in socket:
                        pass
        names = [record.session for record in sink.records if isinstance(record, SessionStart)]
        assert names[0] == "MZ0123" and names[1].startswith("MZ0123.") and len(ends_of(sink.records)) == 2

    async def test_a_telephone_system_that_goes_silent(self) -> None:
        sink = Recorder()
        script = next(s for s in SCRIPTS if s.name == "audiohook")
        async with running(Gateway(sink, GatewaySettings(idle_s=0.2))) as host, connect(f"ws://{host}/v1/audiohook", compression=None) as socket:
            for message in script.messages([160] * 10)[:5]:
                await socket.send(message)
            with pytest.raises(ConnectionClosed):
                while True:
                    await socket.recv()
        assert ends_of(sink.records) == ["idle"]


async def test_a_port_in_use_is_named() -> None:
    async with running(Gateway(Recorder())) as host:
        with pytest.raises(InputError) as caught:
            await run(Gateway(Recorder()), port=int(host.split(":")[1]))
    assert "port" in caught.value.what and caught.value.cure


async def test_health_and_metrics_are_open_to_a_monitor() -> None:
    gateway = Gateway(Recorder())
    async with running(gateway) as host:
        async with IngestClient(f"ws://{host}/v1/ingest") as call:
            await call.audio(PCM[:3200])

            def get(path: str) -> bytes:
                with urllib.request.urlopen(f"http://{host}{path}", timeout=5) as answer:
                    return bytes(answer.read())

            health = json.loads(await asyncio.to_thread(get, "/healthz"))
            assert health["status"] == "ok" and health["sessions"] == 1
            assert b"affectstream_gateway_sessions 1" in await asyncio.to_thread(get, "/metrics")
