"""How fast events reach many subscribers, and what a subscriber costs: `python -m benchmarks.subscribers [--quick]`.

500 WebSocket subscribers of one server, 50 events a second of the size that real ones have. Latency is from the call of
`publish` to the receipt in the client's process (one clock: both run on this machine). The peer is a Starlette application
that broadcasts the same bytes to as many sockets with `send_text`, one by one, without filter, history, replay or heartbeat.
Server and clients are processes of their own; the two servers take turns, and the medians of the rounds are compared.
The machine is shared by server and clients, so latencies are what a supervisor on the same machine would see at most.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import multiprocessing
import os
import random
import socket
import statistics
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from benchmarks.machine import machine

PAYLOAD_NOTE = "an utterance event with words, evidence and probabilities"


def an_event(number: int) -> Any:
    """An event as a call makes it: about two seconds of speech with words, evidence and probabilities."""
    from extractors.cues import LABELS, Word
    from fusion.events import EmotionEvent, EventTranscript, Evidence, ModalityUse, event_id

    rng, start = random.Random(number), number * 2000
    text = "I have just explained all of that to your colleague, and nobody can tell me anything"
    words = tuple(Word(word, start + i * 120, start + i * 120 + 110, 0.93) for i, word in enumerate(text.split()))
    return EmotionEvent(
        event_id("bench", "customer", start, "utterance"), 1000, "final", "bench", "customer", "customer", "utterance", start, start + 2000, label="anger",
        probabilities={label: round(rng.random() / 4, 4) for label in LABELS}, valence=-0.61, arousal=0.5, confidence=0.8,
        transcript=EventTranscript(text, "en", words), modalities={name: ModalityUse(True, 0.9, 0.33) for name in ("speech", "text", "face")},
        evidence=tuple(Evidence("speech", "pitch", "Voice 4.2 semitones above own baseline, louder than usual", start, start + 900, 0.2) for _ in range(4)),
        explanation="Perceived as anger: voice 4.2 semitones above own baseline.",
    )


def _bytes_of(number: int) -> str:
    from streams.subscriptions.hub import encode
    from streams.subscriptions.messages import EventMessage

    return encode(EventMessage(f"deadbeef-{number}", 1_900_000_000_000, an_event(number))).decode()


def serve(kind: str, listener: socket.socket, control: Any) -> None:
    """The server process. On ``("go", rate, seconds)`` it publishes and answers with the times of publication."""
    import uvicorn
    from starlette.applications import Starlette
    from starlette.routing import WebSocketRoute
    from starlette.websockets import WebSocket

    times: dict[int, float] = {}
    stop = threading.Event()

    def ours() -> tuple[Any, Any]:
        from streams.subscriptions.app import Service, create_app
        from streams.subscriptions.feed import Feed

        feed = Feed()

        def publish(rate: float, seconds: float, base: int) -> None:  # from another thread, as a runtime does
            pace(rate, seconds, base, lambda number: feed.event(an_event(number)))

        return create_app(Service(feed)), publish

    def bare() -> tuple[Any, Any]:
        sockets: set[WebSocket] = set()
        loops: list[asyncio.AbstractEventLoop] = []

        async def endpoint(websocket: WebSocket) -> None:
            await websocket.accept()
            sockets.add(websocket)
            try:
                while True:
                    await websocket.receive_text()
            except Exception:  # however the client leaves
                sockets.discard(websocket)

        async def broadcast(text: str) -> None:
            for websocket in list(sockets):
                await websocket.send_text(text)

        @asynccontextmanager
        async def lifespan(_: Starlette) -> AsyncIterator[None]:
            loops.append(asyncio.get_running_loop())
            yield

        def publish(rate: float, seconds: float, base: int) -> None:
            pace(rate, seconds, base, lambda number: asyncio.run_coroutine_threadsafe(broadcast(_bytes_of(number)), loops[0]))

        return Starlette(routes=[WebSocketRoute("/v1/events", endpoint)], lifespan=lifespan), publish

    def pace(rate: float, seconds: float, base: int, send: Any) -> None:
        began = time.monotonic()
        for number in range(int(rate * seconds)):
            time.sleep(max(0.0, began + number / rate - time.monotonic()))
            times[base + number] = time.monotonic()
            send(base + number)

    app, publish = ours() if kind == "affectstream" else bare()

    def commands() -> None:
        base = 0
        while not stop.is_set():
            order = control.recv()
            if order[0] == "memory":
                control.send(resident())
            elif order[0] == "go":
                times.clear()
                before = time.process_time()
                publish(order[1], order[2], base)
                time.sleep(1.0)
                control.send((dict(times), time.process_time() - before))
                base += 1_000_000
            else:
                server.should_exit = True
                return

    config = uvicorn.Config(app, log_level="critical", ws_per_message_deflate=False, backlog=2048, ws_ping_interval=None, timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    threading.Thread(target=commands, daemon=True).start()
    asyncio.run(server.serve([listener]))


def resident() -> int:
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class Reader(asyncio.Protocol):
    """A subscriber that does as little as possible: counts frames and notes when the bytes of each event came."""

    def __init__(self, seen: dict[int, list[float]], ready: asyncio.Future[None]) -> None:
        self._seen, self._ready, self._data, self._open = seen, ready, bytearray(), False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        key = base64.b64encode(os.urandom(16)).decode()
        upgrade = ("Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13", f"Sec-WebSocket-Key: {key}")
        lines = ("GET /v1/events HTTP/1.1", "Host: 127.0.0.1", *upgrade)
        transport.write(("\r\n".join(lines) + "\r\n\r\n").encode())  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        now = time.monotonic()
        self._data += data
        if not self._open:
            end = self._data.find(b"\r\n\r\n")
            if end < 0:
                return
            del self._data[: end + 4]
            self._open = True
            self._ready.set_result(None)
        while len(self._data) >= 4:
            short = self._data[1] & 127
            at = 4 if short == 126 else 10 if short == 127 else 2
            if len(self._data) < at:
                return
            size = short if at == 2 else int.from_bytes(self._data[2:at], "big")
            if len(self._data) < at + size:
                return
            frame = bytes(self._data[at : at + size])
            del self._data[: at + size]
            place = 0
            while (found := frame.find(b'"start_ms":', place)) >= 0:
                # The first start of each message's own event; those inside words and evidence come after its end_ms.
                line_end = frame.find(b"\n", found)
                key = frame.find(b'"kind":"utterance","start_ms":', place)
                if key < 0:
                    break
                number = int(frame[key + 30 : frame.find(b",", key + 30)]) // 2000
                self._seen.setdefault(number, []).append(now)
                place = line_end if line_end >= 0 else len(frame)


def subscribe(port: int, count: int, control: Any) -> None:
    """The process of the subscribers."""

    async def run() -> None:
        loop = asyncio.get_running_loop()
        seen: dict[int, list[float]] = {}
        readies = []
        for _ in range(count):
            ready: asyncio.Future[None] = loop.create_future()
            await loop.create_connection(lambda ready=ready: Reader(seen, ready), "127.0.0.1", port)  # type: ignore[misc]
            readies.append(ready)
        await asyncio.gather(*readies)
        control.send("ready")
        while True:
            order = await loop.run_in_executor(None, control.recv)
            if order == "report":
                control.send(dict(seen))
                seen.clear()
            else:
                return

    asyncio.run(run())


def round_of(kind: str, count: int, rate: float, seconds: float) -> dict[str, float]:
    """One round: a fresh server, `count` subscribers, then the load."""
    context = multiprocessing.get_context("spawn")
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        here, there = context.Pipe()
        server = context.Process(target=serve, args=(kind, listener, there))
        server.start()
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)
        here.send(("go", 50.0, 0.2))  # warm
        here.recv()
        here.send(("memory",))
        empty = here.recv()
        mine, theirs = context.Pipe()
        clients = context.Process(target=subscribe, args=(port, count, theirs))
        clients.start()
        mine.recv()
        here.send(("memory",))
        full = here.recv()
        here.send(("go", rate, seconds))
        published, cpu = here.recv()
        mine.send("report")
        seen = mine.recv()
        mine.send("end")
        clients.join(10)
        here.send(("end",))
    finally:
        server.join(5)
        if server.is_alive():
            server.terminate()
    waits = sorted(1000 * (at - published[number]) for number, ats in seen.items() for at in ats if number in published)
    expected = len(published) * count
    return {
        "p50_ms": waits[len(waits) // 2], "p95_ms": waits[int(len(waits) * 0.95)], "p99_ms": waits[int(len(waits) * 0.99)],
        "late_1s": float(expected - len(waits)),
        "server_cpu_share": cpu / seconds, "kib_a_subscriber": (full - empty) / count / 1024,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="100 subscribers, 5 s, 1 round")
    parser.add_argument("--subscribers", type=int, default=500)
    parser.add_argument("--rate", type=float, default=50.0)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    if options.quick:
        options.subscribers, options.seconds, options.rounds = 100, 5.0, 1
    print(machine("starlette", "uvicorn", "websockets"))
    size = len(_bytes_of(1))
    print(f"{options.subscribers} subscribers, {options.rate:g} events/s of {size} bytes ({PAYLOAD_NOTE}), {options.seconds:g} s, {options.rounds} rounds")
    rounds: dict[str, list[dict[str, float]]] = {"affectstream": [], "bare starlette": []}
    for number in range(options.rounds):
        for kind in (list(rounds), list(reversed(rounds)))[number % 2]:
            result = round_of(kind, options.subscribers, options.rate, options.seconds)
            rounds[kind].append(result)
            print(f"  {number + 1} {kind:15} " + "  ".join(f"{key} {value:.2f}" for key, value in result.items()), flush=True)
    medians = {kind: {key: statistics.median(r[key] for r in results) for key in results[0]} for kind, results in rounds.items()}
    print(f"{'median':18}" + "".join(f"{key:>18}" for key in medians["affectstream"]))
    for kind, values in medians.items():
        print(f"{kind:18}" + "".join(f"{value:18.2f}" for value in values.values()))
    ours, peer = medians["affectstream"], medians["bare starlette"]
    ratio = {f"{key}_ratio": round(ours[key] / peer[key], 3) for key in ("p50_ms", "p95_ms", "p99_ms", "server_cpu_share", "kib_a_subscriber") if peer[key] > 0}
    print(json.dumps({
        "benchmark": "subscribers", "subscribers": options.subscribers, "events_per_s": options.rate, "seconds": options.seconds, "rounds": options.rounds,
        **{key: round(value, 3) for key, value in ours.items()}, "peer": {key: round(value, 3) for key, value in peer.items()}, **ratio,
    }))  # fmt: skip


if __name__ == "__main__":
    main()
