"""What a worker tells of itself over HTTP: `/metrics` in the text format of Prometheus, `/healthz` in JSON.

`/healthz` answers 200 while all stages run and 503 before and after: a probe that gets no answer at all has found a
process that hangs. Nothing here says anything about a call or a person.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from msgspec import Struct

from extractors.errors import InputError
from streams.counters import snapshot

PREFIX = "affectstream_worker_"
PER_STAGE = {
    "records_in_total": "Records of the stage's input topics that were worked off.",
    "records_out_total": "Records that the stage wrote and the broker acknowledged.",
    "dead_letters_total": "Records that could not be processed and went to the dead letters.",
    "batches_total": "Batches that the stage worked off.",
    "batch_seconds_total": "Time that the stage spent on them, waiting for the broker included.",
}
OF_PROCESS = {
    "hypotheses_dropped_total": "Partial hypotheses that were not made because the worker was behind.",
    "hypotheses_superseded_total": "Partial hypotheses that were not made because the words were final already.",
    "pictures_thinned_total": "Pictures that were left out because the worker was behind.",
}
GAUGES = {
    "lag": "Records on the log of this worker's partitions that are not worked off yet.",
    "partitions": "Partitions that this worker has of the stage.",
    "sessions": "Sessions that are open in the stage on this worker.",
}
_LIMIT = 8192
_WAIT_S = 5.0


class StageState(Struct, frozen=True):
    """How a stage stands at this moment."""

    name: str
    lag: int
    partitions: int
    sessions: int


class Telemetry:
    """The pages of a worker. `stages` gives the state of the stages that run; `healthy` is for who runs them to set."""

    def __init__(self, names: tuple[str, ...], stages: Callable[[], list[StageState]] = list) -> None:
        self._names, self.stages = names, stages
        self.healthy = False
        self._began = time.monotonic()

    async def listen(self, host: str, port: int) -> asyncio.Server:
        """A listening server; close it in the end. Raises `InputError` where the address cannot be listened on."""
        try:
            return await asyncio.start_server(self._serve, host, port, limit=_LIMIT)
        except OSError as error:
            raise InputError(f"port {port} cannot be listened on", where=f"{host}: {error.strerror}", cure="choose another --metrics-port") from error

    def metrics(self) -> str:
        """The page `/metrics`."""
        return "".join(f"{line}\n" for line in self._lines())

    def health(self) -> tuple[int, str]:
        """Status and body of `/healthz`."""
        body = {"status": "ok" if self.healthy else "not running", "stages": list(self._names), "seconds": round(time.monotonic() - self._began)}
        return (200 if self.healthy else 503), json.dumps(body) + "\n"

    def _lines(self) -> Iterator[str]:
        counts = snapshot()
        for name, text in PER_STAGE.items():
            yield from _head(PREFIX + name, "counter", text)
            for stage in self._names:
                label = f'{{stage="{stage}"}}'
                micros = counts.get(f"batch_microseconds_total{label}", 0)
                value = micros / 1e6 if name == "batch_seconds_total" else counts.get(name + label, 0)
                yield f"{PREFIX}{name}{label} {value}"
        for name in sorted({*OF_PROCESS, *(name for name in counts if "{" not in name)}):
            yield from _head(PREFIX + name, "counter", OF_PROCESS.get(name, "Counted by a stage."))
            yield f"{PREFIX}{name} {counts.get(name, 0)}"
        stages = self.stages()
        for name, text in GAUGES.items():
            yield from _head(PREFIX + name, "gauge", text)
            for state in stages:
                yield f'{PREFIX}{name}{{stage="{state.name}"}} {getattr(state, name)}'
        yield from _head("process_cpu_seconds_total", "counter", "CPU time of the process, all threads.")
        yield f"process_cpu_seconds_total {time.process_time():.2f}"
        memory = resident_bytes()
        if memory is not None:
            yield from _head("process_resident_memory_bytes", "gauge", "Memory of the process.")
            yield f"process_resident_memory_bytes {memory}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            async with asyncio.timeout(_WAIT_S):
                request = (await reader.readuntil(b"\r\n\r\n")).split(b"\r\n", 1)[0].decode("latin-1").split(" ")
                status, kind, body = self._answer(request)
                head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
                writer.write(head.encode() + (b"" if request[0] == "HEAD" else body))
                await writer.drain()
        writer.close()

    def _answer(self, request: list[str]) -> tuple[str, str, bytes]:
        if len(request) != 3 or request[0] not in ("GET", "HEAD"):
            return "405 Method Not Allowed", "text/plain", b"GET /metrics or /healthz\n"
        path = request[1].partition("?")[0]
        if path == "/metrics":
            return "200 OK", "text/plain; version=0.0.4; charset=utf-8", self.metrics().encode()
        if path == "/healthz":
            status, text = self.health()
            return "200 OK" if status == 200 else "503 Service Unavailable", "application/json", text.encode()
        return "404 Not Found", "text/plain", b"/metrics or /healthz\n"


def resident_bytes() -> int | None:
    """Memory of this process in bytes; None where the system has no /proc."""
    try:
        return int(Path("/proc/self/statm").read_text("ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return None


def _head(name: str, kind: str, text: str) -> tuple[str, str]:
    return f"# HELP {name} {text}", f"# TYPE {name} {kind}"
