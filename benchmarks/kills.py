"""Kill a worker in the middle of a live replay, start it again, and compare what came out with the embedded run.

Each run plays the same recordings in real time into a broker, through workers that run the whole topology. At a seeded
random moment one worker gets SIGKILL and is started again after a seeded pause. `lost` are events of the embedded run
that never came, `duplicated` events that lie on the topic more than once, `differing` sessions whose events are not the
same bytes in the same order (but for `latency`).

    python -m benchmarks.kills --runs 20 [--workers 2] [--live] [--topology small] [--broker auto|kafka|tansu] [--seed 0] [--quick]

`--topology small` takes small stages without models: the same runtime, and kills every few seconds. With `--live` the
sessions are live ones: events leave when they are composed, so their order is not compared, and partial events come before;
no recording with pictures is played then, because a live session gives pictures up where the machine cannot keep up.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import msgspec

from benchmarks.machine import machine
from fusion.events import FINAL_REVISION, EmotionEvent
from fusion.settle import settled
from streams.records import Output, SessionStart
from tests.integration import brokers
from tests.integration.harness import ROOT, Bench, comparable, session
from tests.integration.stages import run_embedded

Played = tuple[SessionStart, list[Output]]
SECONDS = 20


class Outcome(msgspec.Struct):
    """One run: when the worker died (seconds of the replay), how long until it was started again, what came out."""

    killed_s: float
    pause_s: float
    events: int
    lost: int
    duplicated: int
    differing: int
    dead_letters: int
    seconds: float


def recordings() -> list[Path]:
    """Real calls of the corpora where they are there, the sample recordings otherwise; one with pictures where there is one."""
    corpora = Path(os.environ.get("AFFECTSTREAM_CORPORA", ROOT.parent / "shared" / "data"))
    calls = [corpora / "audio" / "calls" / name for name in ("dealer_service_light_stereo.flac", "katie_steve_realtime.flac")]
    samples = [ROOT / "samples" / "support_call.wav"]
    found = [call for call in calls if call.is_file()] or [sample for sample in samples if sample.is_file()]
    return found + [clip for clip in [ROOT / "samples" / "composed_clip.mp4"] if clip.is_file()]


def prepare(topology: str, seed: int, live: bool) -> tuple[list[Played], dict[str, list[EmotionEvent]]]:
    """Sessions to play, and their events without a broker."""
    if topology == "small":
        sessions = [session(f"call-{number}", seconds=SECONDS, seed=seed) for number in range(6)]
        return sessions, {start.session: run_embedded(start, records) for start, records in sessions}
    from streams.topology import Resources
    from tests.integration.recordings import embedded_events, load

    resources = Resources()
    sessions, expected = [], {}
    for media in [media for media in recordings() if not (live and media.suffix == ".mp4")]:
        start, records = load(media, from_ms=0, to_ms=SECONDS * 1000)
        sessions.append((msgspec.structs.replace(start, live=live), [msgspec.structs.replace(r, live=live) if isinstance(r, SessionStart) else r for r in records]))
        expected[start.session], letters = embedded_events(start, records, resources)
        if letters:
            raise SystemExit(f"{media.name}: the embedded run refuses a record: {letters[0].reason}")
        print(f"{media.name}: {len(records)} records, {len(expected[start.session])} events", flush=True)
    return sessions, expected


async def one_run(
    broker: brokers.Broker, options: argparse.Namespace, sessions: list[Played], expected: dict[str, list[EmotionEvent]], chance: random.Random,
) -> Outcome:
    began = time.monotonic()
    killed_s, pause_s = chance.uniform(1.0, SECONDS - 1.0), chance.uniform(0.0, 2.0)
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(broker, Path(folder), topology=options.topology)
        await bench.create()
        workers = [bench.start_worker() for _ in range(options.workers)]
        try:
            await asyncio.sleep(options.warm_up)

            async def kill() -> None:
                await asyncio.sleep(killed_s)
                victim = chance.choice(workers)
                victim.kill()
                victim.wait()
                await asyncio.sleep(pause_s)
                bench.start_worker()

            async with bench.publisher() as publisher:
                await asyncio.gather(kill(), *(bench.play(start, records, speed=1.0, publisher=publisher) for start, records in sessions))
            await bench.wait_closed([start.session for start, _ in sessions], 240)
            found = await bench.events()
            letters = len(await bench.read("dead-letters"))
        finally:
            bench.stop()
    lost = duplicated = differing = partials = 0
    for name, events in expected.items():
        final = [event for event in found.get(name, []) if event.status != "partial"]
        partials += len(found.get(name, [])) - len(final)
        wanted, got = [comparable(event) for event in events], [comparable(event) for event in final]
        if options.live:  # an event that could not wait for the pictures is replaced by the one with them
            wanted, got = sorted(wanted), sorted(comparable(_as_final(event)) for event in settled(final))
        lost += sum((Counter(wanted) - Counter(got)).values())
        duplicated += sum(count - 1 for count in Counter(got).values())
        differing += wanted != got
    events_out = sum(len(events) for events in found.values()) - partials
    return Outcome(killed_s, pause_s, events_out, lost, duplicated, differing, letters, time.monotonic() - began)


def _as_final(event: EmotionEvent) -> EmotionEvent:
    return msgspec.structs.replace(event, status="final", revision=FINAL_REVISION) if event.status == "revised" else event


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--quick", action="store_true", help="3 runs")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--live", action="store_true", help="live sessions: with partial events, and in the order in which they are composed")
    parser.add_argument("--topology", default="product", choices=("product", "small"))
    parser.add_argument("--broker", default="auto", choices=("auto", "kafka", "tansu"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--warm-up", type=float, default=6.0, help="seconds between starting workers and the calls")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # broker and workers are stopped on the way out
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    print(machine("faust-streaming", "aiokafka", "rocksdict"))
    sessions, expected = prepare(options.topology, options.seed, options.live)
    outcomes: list[Outcome] = []
    with tempfile.TemporaryDirectory() as folder, brokers.start(options.broker, Path(folder)) as broker:
        print(f"broker {broker.kind}, {options.topology} topology, {len(sessions)} sessions of {SECONDS} s, {options.workers} worker(s){', live' if options.live else ''}")
        print(f"{'run':>3} {'killed at s':>11} {'pause s':>8} {'events':>7} {'lost':>5} {'duplicated':>11} {'differing':>10} {'dead':>5} {'took s':>7}")
        for number in range(3 if options.quick else options.runs):
            outcome = asyncio.run(one_run(broker, options, sessions, expected, random.Random(f"{options.seed}/{number}")))
            outcomes.append(outcome)
            print(
                f"{number + 1:>3} {outcome.killed_s:>11.2f} {outcome.pause_s:>8.2f} {outcome.events:>7} {outcome.lost:>5} {outcome.duplicated:>11} "
                f"{outcome.differing:>10} {outcome.dead_letters:>5} {outcome.seconds:>7.1f}", flush=True,
            )
    total = {name: sum(getattr(outcome, name) for outcome in outcomes) for name in ("lost", "duplicated", "differing")}
    print(json.dumps({"runs": len(outcomes), **total}))


if __name__ == "__main__":
    main()
