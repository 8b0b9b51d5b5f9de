"""A recording played as a live call gives what its replay gives."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
import soundfile

from extractors.errors import InputError
from streams.ingest.files import open_media
from streams.ingest.gateway.registry import Gateway
from streams.ingest.gateway.settings import GatewaySettings
from streams.ingest.send import send
from streams.records import AudioChunk, Notice, SessionStart, VideoFrame
from tests.streams.ingest.gateway.driving import Recorder, ends_of, pcm_of, running, tone

RATE = 22_050


@pytest.fixture(scope="module")
def call(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three seconds of two speakers on two channels."""
    n = 3 * RATE
    left, right = (np.frombuffer(tone(n, rate=RATE, hz=hz, seed=hz), "<i2").copy() for hz in (200, 500))
    left[n // 2 :], right[: n // 2] = 0, 0
    path = tmp_path_factory.mktemp("send") / "a call.wav"
    soundfile.write(path, np.stack([left, right], axis=1), RATE, subtype="PCM_16")
    return path


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seconds of picture and sound."""
    path = tmp_path_factory.mktemp("send") / "clip.mp4"
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=25, width=160, height=120, pix_fmt="yuv420p")
        audio = container.add_stream("aac", rate=48_000, layout="mono")
        for i in range(50):
            picture = av.VideoFrame.from_ndarray(np.full((120, 160, 3), 4 * i, np.uint8), format="bgr24")
            for packet in video.encode(picture):
                container.mux(packet)
        sound = np.frombuffer(tone(96_000, rate=48_000), "<i2")[None].astype(np.float32) / 32768
        block = av.AudioFrame.from_ndarray(np.ascontiguousarray(sound), format="fltp", layout="mono")
        block.sample_rate, block.pts = 48_000, 0
        for stream, frames in ((audio, [block, None]), (video, [None])):
            for frame in frames:
                for packet in stream.encode(frame):
                    container.mux(packet)
    return path


@pytest.mark.parametrize("speed", [0.0, 8.0])
async def test_the_samples_are_those_of_a_replay(call: Path, speed: float) -> None:
    sink = Recorder()
    async with running(Gateway(sink)) as host:
        report = await send(call, f"ws://{host}/v1/ingest", speed=speed, channels="left=customer,right=agent", notice=Notice(True, "x"))
    replayed = pcm_of(open_media(call, session="replay", channels="left=customer,right=agent"))
    assert pcm_of(sink.records) == replayed and ends_of(sink.records) == ["completed"]
    assert (report.completed, report.failures, report.media_ms) == (1, (), 3000)
    start = sink.records[0]
    assert isinstance(start, SessionStart)
    assert [(p.role, p.channel, start.decisions[p.id].emotion) for p in start.participants] == [("customer", "audio/0", True), ("employee", "audio/1", False)]
    assert {record.rate for record in sink.records if isinstance(record, AudioChunk)} == {RATE}


async def test_pictures_keep_their_media_times(clip: Path) -> None:
    sink = Recorder()
    async with running(Gateway(sink)) as host:
        await send(clip, f"ws://{host}/v1/ingest", speed=0)
    replayed = [record for record in open_media(clip, session="replay") if isinstance(record, VideoFrame)]
    sent = [record for record in sink.records if isinstance(record, VideoFrame)]
    assert [(f.seq, f.media_ms, f.width, f.height) for f in sent] == [(f.seq, f.media_ms, f.width, f.height) for f in replayed]
    assert {frame.codec for frame in sent} == {"jpeg"}


async def test_a_recording_is_played_at_its_own_pace(call: Path) -> None:
    async with running(Gateway(Recorder())) as host:
        report = await send(call, f"ws://{host}/v1/ingest", speed=6.0)
    assert report.wall_s >= 3.0 / 6.0


async def test_many_calls_at_once_are_equal(call: Path) -> None:
    sink = Recorder()
    gateway = Gateway(sink)
    async with running(gateway) as host:
        report = await send(call, f"ws://{host}/v1/ingest", speed=0, calls=20, session="load", channels="left=customer,right=agent")
    assert report.completed == 20 and report.sessions == tuple(f"load-{i}" for i in range(20))
    calls = [pcm_of([r for r in sink.records if getattr(r, "session", "") == name]) for name in report.sessions]
    assert all(sound == calls[0] for sound in calls) and calls[0]
    assert gateway.sessions == {}


async def test_a_gateway_that_refuses_is_a_failure_of_the_call_not_of_the_program(call: Path) -> None:
    async with running(Gateway(Recorder(), GatewaySettings(token="secret"))) as host:
        report = await send(call, f"ws://{host}/v1/ingest", speed=0)
    assert report.completed == 0 and "token" in report.failures[0]


@pytest.mark.parametrize(("path", "url", "speed"), [
    ("no such file.wav", "ws://127.0.0.1:1/", 1.0), (None, "http://127.0.0.1:1/", 1.0), (None, "ws://127.0.0.1:1/", -1.0),
])
async def test_what_cannot_be_sent(call: Path, path: str | None, url: str, speed: float) -> None:
    with pytest.raises(InputError) as caught:
        await send(path or call, url, speed=speed)
    assert caught.value.cure
