"""Calls in real time through gateway, broker and workers; how long after the end of an utterance its event is seen.

Everything is started as an operator would start it, on loopback: a broker, `affectstream gateway`, worker processes
(`affectstream worker`, also the stage alert with its default rules). Then N calls are played at the pace of their media,
their beginnings spread over a call, and a subscriber reads `emotion.events`. Steps over N go on until the 95th percentile is
over the limit (all of them with --quick or --calls); the largest N that held may then be kept up for `--minutes`, and memory
is compared over that time.

The delay of an event is the wall time at which the subscriber has it, minus the wall time at which the last sample of its
utterance was sent. `speech` counts from the end of the words instead: the padding of 250 ms that belongs to the utterance is
added, and a step holds where the 95th percentile of that stays below the limit. It contains, by design, the silence of 500 ms
that ends an utterance. By stage, from the time stamps of the topics between, queueing included: `ingest` up to the media
record that ended the utterance, `segment`, `hear`, `fuse`, and `subscriber` up to the reader. Partial events are counted
apart, with their own delay after the audio that they cover.

    python -m benchmarks.live [--quick] [--calls 1 2 4 …] [--step-s 75] [--minutes 0] [--worker STAGES …] [--media CALL]
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import logging
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import psutil
from aiokafka import AIOKafkaConsumer, TopicPartition

from benchmarks.machine import machine
from extractors.speech.segment import SegmentOptions
from fusion.events import EmotionEvent
from streams import topics
from streams.ingest.send import SendReport, send
from streams.records import Notice, SessionEnd, SpeechCueRecord, Utterance
from tests.integration import brokers

ROOT = Path(__file__).resolve().parent.parent
LIMIT_MS = 1500.0
PAD_MS = SegmentOptions().pad_ms
PARTITIONS = 8
WATCHED = ("emotion.events", "alerts", "utterances", "cues.speech", "fused")
PARTS = ("ingest", "segment", "hear", "fuse", "subscriber")
_clock = msgspec.json.Decoder(list[tuple[str, int]])
Sample = tuple[float, dict[str, float], dict[str, float], dict[str, float]]  # monotonic s; MB, CPU s, s of waiting for a core of each process


class Seen(msgspec.Struct, frozen=True):
    """One event as the subscriber got it: wall times in ms, on the topic and here."""

    event: EmotionEvent
    written_ms: float
    seen_ms: float


class Step(msgspec.Struct):
    """What a step with `calls` calls at once gave. `delays` and `parts` in ms; `cpu_s` and `waited_s` (for a core) per process over `wall_s`."""

    calls: int
    sessions: int
    wall_s: float
    delays: list[float]
    parts: dict[str, list[float]]
    events: int
    alerts: int
    missing: int
    differing: int
    late_ms: int
    failures: list[str]
    cpu_s: dict[str, float]
    waited_s: dict[str, float]
    call_s: float
    memory: list[Sample]
    partial_delays: list[float]

    @property
    def speech(self) -> list[float]:
        """Delays after the end of the words."""
        return [delay + PAD_MS for delay in self.delays]


class Watcher:
    """The subscriber; beside it what was written when on the topics between, and which sessions are through."""

    def __init__(self, bootstrap: str) -> None:
        self._bootstrap = bootstrap
        self.seen: list[Seen] = []
        self.ended: set[str] = set()
        self.utterances: dict[tuple[str, str, int], tuple[float, float]] = {}  # wall ms of the last media record, of the utterance
        self.heard: dict[tuple[str, str, int], float] = {}
        self.alerts = 0

    async def run(self, ready: asyncio.Event) -> None:
        consumer = AIOKafkaConsumer(bootstrap_servers=self._bootstrap, enable_auto_commit=False, auto_offset_reset="earliest")
        await consumer.start()
        consumer.assign([TopicPartition(name, number) for name in WATCHED for number in range(PARTITIONS)])
        ready.set()
        try:
            async for message in consumer:
                self._take(message)
        finally:
            await consumer.stop()

    def _take(self, message: Any) -> None:
        record = topics.decode_from(message.topic, message.value)
        if message.topic == "emotion.events":
            self.seen.append(Seen(record, message.timestamp, time.time() * 1000))
        elif message.topic == "alerts":
            self.alerts += 1
        elif isinstance(record, Utterance) and not record.partial:
            ingested = _clock.decode(dict(message.headers)["clock"])[0][1]
            self.utterances[record.session, record.participant, record.start_ms] = (ingested, message.timestamp)
        elif isinstance(record, SpeechCueRecord) and not record.partial:
            self.heard[record.session, record.participant, record.cues.start_ms] = message.timestamp
        elif message.topic == "fused":
            if isinstance(record, SessionEnd):
                self.ended.add(record.session)
            elif isinstance(record, EmotionEvent) and record.status == "partial":
                self.seen.append(Seen(record, message.timestamp, time.time() * 1000))


class House:
    """The processes of an installation, by name; ended by their own pids."""

    def __init__(self, folder: Path, broker: brokers.Broker, worker_stages: list[str], threads: int, profile: str, gateway: list[str] | None = None) -> None:
        self._folder, self.bootstrap = folder, broker.bootstrap
        self.port = brokers.free_port()
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self._measured: dict[str, psutil.Process] = {}
        self._start("gateway", ["gateway", "--port", str(self.port), *(gateway or [])])
        for number, stages in enumerate(worker_stages):
            state = str(folder / "state")
            command = ["worker", "--stages", stages, "--partitions", str(PARTITIONS), "--state-dir", state]
            command += ["--threads", str(threads), "--model-profile", profile]
            self._start(f"worker {number}: {stages}", [*command, *(["--rules", "default"] if stages == "all" or "alert" in stages else [])])
        ours = {process.pid for process in self.processes.values()}
        for process in psutil.Process().children():
            if process.pid not in ours:
                self._measured["broker"] = process

    def _start(self, name: str, arguments: list[str]) -> None:
        command = [sys.executable, "-m", "streams.cli", *arguments, "--bootstrap", self.bootstrap]
        with (self._folder / f"process-{len(self.processes)}.log").open("wb") as log:
            process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, start_new_session=True)
        self.processes[name], self._measured[name] = process, psutil.Process(process.pid)

    def check(self) -> None:
        for number, (name, process) in enumerate(self.processes.items()):
            if process.poll() is not None:
                text = (self._folder / f"process-{number}.log").read_text(errors="replace")[-600:]
                raise SystemExit(f"{name} ended with {process.returncode}: {text}")

    async def wait_ready(self) -> None:
        until = time.monotonic() + 60
        while True:
            self.check()
            with contextlib.suppress(OSError):
                await asyncio.to_thread(self._get, "healthz")
                return
            if time.monotonic() > until:
                raise SystemExit("the gateway does not answer")
            await asyncio.sleep(0.3)

    def _get(self, page: str) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/{page}", timeout=5) as answer:
            return str(answer.read().decode())

    def counters(self) -> dict[str, int]:
        """The gateway's metrics."""
        found = re.findall(r"^affectstream_gateway_(\w+) (\d+)$", self._get("metrics"), re.MULTILINE)
        return {name: int(value) for name, value in found}

    def sample(self) -> Sample:
        memory = {name: process.memory_info().rss / 1e6 for name, process in self._measured.items()}
        times = {name: process.cpu_times() for name, process in self._measured.items()}
        waited = {name: _waited(process.pid) for name, process in self._measured.items()}
        return time.monotonic(), memory, {name: spent.user + spent.system for name, spent in times.items()}, waited

    def stop(self) -> None:
        for process in self.processes.values():
            process.terminate()
        for process in self.processes.values():
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _waited(pid: int) -> float:
    """Seconds that the threads of a process were ready to run and had no core (Linux; 0 elsewhere)."""
    total = 0
    for file in Path(f"/proc/{pid}/task").glob("*/schedstat"):
        with contextlib.suppress(OSError):
            total += int(file.read_text().split()[1])
    return total / 1e9


@contextlib.contextmanager
def house(options: argparse.Namespace) -> Iterator[House]:
    with tempfile.TemporaryDirectory() as folder, brokers.start(options.broker, Path(folder)) as broker:
        asyncio.run(topics.create(broker.bootstrap, partitions=PARTITIONS))
        running = House(Path(folder), broker, options.worker, options.threads, options.model_profile)
        try:
            yield running
        finally:
            running.stop()


async def play(running: House, watcher: Watcher, options: argparse.Namespace, name: str, calls: int, seconds: float, drain_s: float = 60.0) -> Step:
    """`calls` calls at once, each played again and again until `seconds` are over, and all that comes of them."""
    first, url = len(watcher.seen), f"ws://127.0.0.1:{running.port}/v1/ingest"
    alerts, began, memory, reports = watcher.alerts, time.monotonic(), [running.sample()], list[SendReport]()
    notice, length = Notice(True, "announcement"), options.call_s

    async def caller(number: int) -> None:
        await asyncio.sleep(length * number / calls * options.spread)
        again = 0
        while again == 0 or time.monotonic() - began + length <= seconds:
            session = f"{name}-{number}-{again}"
            reports.append(
                await send(options.media, url, speed=1.0, channels=options.channels, to_ms=int(length * 1000), session=session, notice=notice)
            )
            again += 1

    async def measure() -> None:
        while True:
            await asyncio.sleep(2.0)
            memory.append(running.sample())

    measuring = asyncio.create_task(measure())
    try:
        await asyncio.gather(*(caller(number) for number in range(calls)))
        sessions = {session for report in reports for session in report.sessions}
        until = time.monotonic() + drain_s
        while not sessions <= watcher.ended and time.monotonic() < until:
            running.check()
            await asyncio.sleep(0.2)
        await asyncio.sleep(1.0)  # alerts follow the last event
    finally:
        measuring.cancel()
    memory.append(running.sample())
    return evaluate(calls, reports, watcher.seen[first:], watcher, watcher.alerts - alerts, memory)


def evaluate(calls: int, reports: list[SendReport], seen: list[Seen], watcher: Watcher, alerts: int, memory: list[Sample]) -> Step:
    begins = {session: began for report in reports for session, began in zip(report.sessions, report.began_ms, strict=True)}
    delays: list[float] = []
    partial_delays: list[float] = []
    parts: dict[str, list[float]] = {name: [] for name in PARTS}
    content: dict[str, list[tuple[Any, ...]]] = {session: [] for session in begins}
    for one in seen:
        event = one.event
        if event.session not in begins or event.kind != "utterance":
            continue
        if event.status == "partial":
            partial_delays.append(one.seen_ms - begins[event.session] - event.end_ms)
            continue
        content[event.session].append((event.start_ms, event.participant, event.label, event.transcript.text if event.transcript else ""))
        if event.status == "revised":
            continue
        end = begins[event.session] + event.end_ms
        delays.append(one.seen_ms - end)
        key = (event.session, event.participant, event.start_ms)
        if key in watcher.utterances and key in watcher.heard:
            times = [end, *watcher.utterances[key], watcher.heard[key], one.written_ms, one.seen_ms]
            for name, before, after in zip(PARTS, times, times[1:], strict=False):
                parts[name].append(after - before)
    usual = Counter(str(sorted(events)) for events in content.values()).most_common(1)[0][0] if content else ""
    (start, _, cpu_start, waited_start), (end_s, _, cpu_end, waited_end) = memory[0], memory[-1]
    return Step(
        calls, len(begins), end_s - start, sorted(delays), parts, len(seen), alerts, len(set(begins) - watcher.ended),
        sum(str(sorted(events)) != usual for events in content.values()), max(report.late_ms for report in reports),
        [failure for report in reports for failure in report.failures], {name: cpu_end[name] - cpu_start[name] for name in cpu_end},
        {name: waited_end[name] - waited_start[name] for name in waited_end},
        sum(report.media_ms for report in reports) / 1000, memory, sorted(partial_delays),
    )


def percentile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("nan")


def holds(step: Step) -> bool:
    return bool(step.delays) and percentile(step.speech, 0.95) < LIMIT_MS and not step.missing and not step.failures


def show(step: Step) -> None:
    p50, p95, p99 = (percentile(step.speech, share) for share in (0.5, 0.95, 0.99))
    cpu = sum(step.cpu_s.values())
    split = "  ".join(f"{name} {percentile(step.parts[name], 0.5):.0f}/{percentile(step.parts[name], 0.95):.0f}" for name in PARTS)
    print(
        f"{step.calls:>5} {step.sessions:>8} {step.events / step.wall_s:>9.2f} {p50:>7.0f} {p95:>7.0f} {p99:>7.0f} {step.missing:>8} {step.differing:>9} "
        f"{step.late_ms:>8} {cpu / max(step.call_s, 0.1):>12.3f} {os.getloadavg()[0]:>6.1f}   {'holds' if holds(step) else 'over'}"
    )
    waits = sum(step.waited_s.values()) / max(cpu, 0.1)
    print(
        f"        by stage, p50/p95 ms: {split}; waited {waits:.1f} s for a core for each s of CPU\n"
        f"        after the end of the utterance p50/p95/p99: {'/'.join(f'{percentile(step.delays, q):.0f}' for q in (0.5, 0.95, 0.99))} ms; "
        f"{len(step.partial_delays)} partial events, {percentile(step.partial_delays, 0.5):.0f}/{percentile(step.partial_delays, 0.95):.0f} ms after their audio",
        flush=True,
    )
    for failure in step.failures[:3]:
        print(f"        {failure}")


def drift(memory: list[Sample]) -> dict[str, dict[str, float]]:
    """MB of each process: median of the first, middle and last third of the time, after the first tenth."""
    kept = memory[len(memory) // 10 :]
    third = max(1, len(kept) // 3)
    thirds = {"first": kept[:third], "middle": kept[third : 2 * third] or kept, "last": kept[-third:]}
    return {name: {when: round(statistics.median(sample[1][name] for sample in samples)) for when, samples in thirds.items()} for name in memory[0][1]}


def summary(step: Step) -> dict[str, Any]:
    return {
        "calls": step.calls, "events": step.events, "events_s": round(step.events / step.wall_s, 2), "p50_ms": round(percentile(step.delays, 0.5)),
        "p95_ms": round(percentile(step.delays, 0.95)), "p99_ms": round(percentile(step.delays, 0.99)),
        "after_speech_ms": {f"p{round(100 * q)}": round(percentile(step.speech, q)) for q in (0.5, 0.95, 0.99)},
        "partials": len(step.partial_delays), "n": len(step.delays), "alerts": step.alerts,
        "stages_p95_ms": {name: round(percentile(values, 0.95)) for name, values in step.parts.items() if values}, "unfinished": step.missing,
        "differing": step.differing, "sender_late_ms": step.late_ms, "cpu_s_per_call_s": round(sum(step.cpu_s.values()) / max(step.call_s, 0.1), 3),
        "waited_per_cpu_s": round(sum(step.waited_s.values()) / max(sum(step.cpu_s.values()), 0.1), 2),
    }


async def measure(running: House, options: argparse.Namespace) -> dict[str, Any]:
    watcher, ready = Watcher(running.bootstrap), asyncio.Event()
    watching = asyncio.create_task(watcher.run(ready))
    await running.wait_ready()
    await ready.wait()
    # Models load, groups settle.
    await play(running, watcher, argparse.Namespace(**{**vars(options), "call_s": 12.0}), "warm", len(options.worker) * 4, 1.0, 120.0)
    head = f"{'calls':>5} {'sessions':>8} {'events/s':>9} {'p50':>7} {'p95':>7} {'p99 ms':>7} {'unended':>8} {'differing':>9}"
    print(f"{head} {'late ms':>8} {'CPU s/call s':>12} {'load':>6}", flush=True)
    steps: list[Step] = []
    for calls in options.calls:
        steps.append(await play(running, watcher, options, f"calls-{calls}", calls, options.step_s))
        show(steps[-1])
        if steps[-1].missing or not (holds(steps[-1]) or options.all_steps):
            break
    best = max((step for step in steps if holds(step)), key=lambda step: step.calls, default=None)
    last = steps[-1]
    if options.minutes and best:
        print(f"{best.calls} calls for {options.minutes:g} minutes")
        last = await play(running, watcher, options, "long", best.calls, options.minutes * 60)
        show(last)
    print("\nCPU s per second of a call: " + ", ".join(f"{name} {spent / max(last.call_s, 0.1):.3f}" for name, spent in last.cpu_s.items()))
    memory = drift(last.memory)
    print("memory in MB (first, middle, last third): " + ", ".join(f"{name} {'/'.join(f'{v:.0f}' for v in row.values())}" for name, row in memory.items()))
    counters = await asyncio.to_thread(running.counters)
    dropped = {name: value for name, value in counters.items() if "drop" in name or "lost" in name or "dead" in name or "refused" in name}
    letters = await _records(running.bootstrap, "dead-letters")
    print(f"gateway: {counters}\ndead letters on the topic: {letters}")
    slowest = max(PARTS[1:], key=lambda name: percentile(last.parts[name], 0.95) if last.parts[name] else 0.0)
    watching.cancel()
    return {
        "largest_calls": best.calls if best else 0, "limit_ms": LIMIT_MS, "limits": slowest, "steps": [summary(step) for step in steps],
        "long": summary(last) | {"minutes": options.minutes} if options.minutes and best else None, "memory_mb": memory,
        "dropped": dropped, "dead_letters": letters, "load": round(os.getloadavg()[0], 1), "cores": os.cpu_count(),
    }


async def _records(bootstrap: str, topic: str) -> int:
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap)
    await consumer.start()
    try:
        places = [TopicPartition(topic, number) for number in range(PARTITIONS)]
        first, last = await consumer.beginning_offsets(places), await consumer.end_offsets(places)
        return sum(last[place] - first[place] for place in places)
    finally:
        await consumer.stop()


def _leave() -> None:
    """Asked to end: whatever waits, what was started here ends too."""
    for process in psutil.Process().children():
        process.kill()  # a worker whose broker is gone would wait for it
    os._exit(143)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="1, 2 and 4 calls of 30 s: two to four minutes")
    parser.add_argument("--calls", type=int, nargs="+", help="calls at once, step by step until one is over the limit (default: 1 2 3 4 6 8 12 16 24 32)")
    parser.add_argument("--step-s", type=float, help="seconds of a step (default: one length of the call, and half of it for the spread)")
    parser.add_argument("--call-s", type=float, help="seconds of the recording that are played")
    parser.add_argument("--minutes", type=float, default=0.0, help="afterwards keep the largest number that held up for so long")
    parser.add_argument("--worker", action="append", help="stages of a worker process; repeat for several (default: one with all)")
    parser.add_argument("--threads", type=int, default=1, help="threads of the speech model of a worker")
    parser.add_argument("--model-profile", default="bundled", choices=("bundled", "fast"))
    parser.add_argument("--spread", type=float, default=0.5, help="share of a call over which the beginnings are spread")
    parser.add_argument("--media", type=Path, default=ROOT / "samples" / "support_call.wav")
    parser.add_argument("--channels", default="left=customer,right=agent")
    parser.add_argument("--broker", default="auto", choices=("auto", "kafka", "tansu"))
    options = parser.parse_args()
    options.all_steps = options.quick or bool(options.calls)
    options.calls = sorted(options.calls or ([1, 2, 4] if options.quick else [1, 2, 3, 4, 6, 8, 12, 16, 24, 32]))
    options.call_s = options.call_s or (30.0 if options.quick else 74.0)
    options.step_s = options.step_s or options.call_s
    options.worker = options.worker or ["all"]
    if not options.media.is_file():
        raise SystemExit(f"{options.media} is not there: make demo creates it")
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    signal.signal(signal.SIGTERM, lambda *_: _leave())
    print(machine("faust-streaming", "aiokafka", "ctranslate2"))
    print(f"{options.media.name}, {options.call_s:g} s a call, {options.channels}; workers: {', '.join(options.worker)}, {options.model_profile}; {PARTITIONS} partitions", flush=True)
    with house(options) as running:
        result = asyncio.run(measure(running, options))
    print(json.dumps(result))


if __name__ == "__main__":
    main()
