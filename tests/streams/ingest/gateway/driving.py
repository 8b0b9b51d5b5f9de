"""Drives codecs as a connection would, without one; and a real gateway on the loopback."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterable, Iterator

import numpy as np

from streams.ingest.gateway.assembler import Assembler
from streams.ingest.gateway.calls import CallEvent, Codec, Fault, Reply
from streams.ingest.gateway.registry import Gateway
from streams.ingest.gateway.server import server
from streams.records import AudioChunk, Record, SessionEnd, VideoFrame


def events_of(codec: Codec, messages: Iterable[str | bytes], *, close: bool = True) -> list[CallEvent]:
    events = [event for message in messages for event in codec.feed(message)]
    return events + (codec.flush() if close else [])


def records_of(events: Iterable[CallEvent]) -> list[Record]:
    assembler = Assembler()
    return [record for event in events if not isinstance(event, Reply) for record in assembler.feed(event)]


def counters_of(events: Iterable[CallEvent]) -> Counter[str]:
    assembler = Assembler()
    for event in events:
        assembler.feed(event)
    return assembler.counters


def pcm_of(records: Iterable[Record]) -> dict[str, bytes]:
    """Audio of each source, gaps filled with silence. Asserts what every stage relies on: numbers without gaps, samples in order."""
    sound: dict[str, bytearray] = defaultdict(bytearray)
    numbers: dict[str, int] = defaultdict(int)
    for record in records:
        if isinstance(record, AudioChunk):
            assert record.seq == numbers[record.source], "records are numbered without gaps"
            numbers[record.source] += 1
            held = sound[record.source]
            assert record.start_sample * 2 >= len(held), "samples are never handed on twice"
            held += bytes(record.start_sample * 2 - len(held)) + record.payload
    return {source: bytes(held) for source, held in sound.items()}


def per_source(records: Iterable[Record]) -> dict[str, list[Record]]:
    """Media records of each source, and the others under ``session``, in order: what a key-ordered topic keeps."""
    streams: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        streams[record.source if isinstance(record, AudioChunk | VideoFrame) else "session"].append(record)
    return dict(streams)


def ends_of(records: Iterable[Record]) -> list[str]:
    return [record.reason for record in records if isinstance(record, SessionEnd)]


def faults_of(events: Iterable[CallEvent]) -> list[Fault]:
    return [event for event in events if isinstance(event, Fault)]


def split(data: bytes, sizes: Iterable[int]) -> Iterator[bytes]:
    """`data` in pieces of the given sizes; what is left comes as the last piece."""
    at = 0
    for size in sizes:
        if at >= len(data):
            return
        yield data[at : at + size]
        at += size
    if at < len(data):
        yield data[at:]


def tone(n: int, *, rate: int = 8000, hz: float = 440.0, seed: int = 0) -> bytes:
    """s16 PCM: a tone with noise, so that no two stretches are equal."""
    noise = np.random.default_rng(seed).normal(0, 300, n)
    return (8000 * np.sin(2 * np.pi * hz * np.arange(n) / rate) + noise).astype("<i2").tobytes()


class Recorder:
    """A sink that keeps what it is given; `slow_s` makes it slow, `hold` stops it."""

    def __init__(self, slow_s: float = 0.0) -> None:
        self.records: list[Record] = []
        self.slow_s = slow_s
        self.open = asyncio.Event()
        self.open.set()

    async def publish(self, record: Record) -> None:
        await self.open.wait()
        if self.slow_s:
            await asyncio.sleep(self.slow_s)
        self.records.append(record)


def address(server: asyncio.Server) -> str:
    return f"127.0.0.1:{server.sockets[0].getsockname()[1]}"


@contextlib.asynccontextmanager
async def running(gateway: Gateway) -> AsyncIterator[str]:
    """A real server on a free port; gives ``127.0.0.1:PORT``."""
    running_server = server(gateway, port=0)
    task = asyncio.create_task(running_server.serve())
    try:
        while not running_server.started:
            await asyncio.sleep(0.005)
        yield address(running_server.servers[0])
    finally:
        running_server.should_exit = True
        await task
