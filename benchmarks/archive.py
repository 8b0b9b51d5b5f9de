"""How a dashboard answers over an archive of many recordings: `python -m benchmarks.archive [--recordings 2000] [--quick]`.

Writes synthetic results with the product's own writer, serves them with `affectstream dashboard --dir`, and asks as the pages
do: the list of calls, a search that hits much, one that hits little and one that hits nothing, one call, two calls to compare.
Times are medians over the HTTP connection, seen by the client; memory is that of the server.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx
import msgspec
import psutil

from benchmarks.machine import machine
from benchmarks.subscribers import an_event

WORDS = "order parcel refund invoice delay account number please thank wait colleague contract cancel price delivery address".split()


def write(root: Path, recordings: int, events: int) -> None:
    """Results of `recordings` calls with `events` events each."""
    from extractors.cues import LABELS
    from fusion.events import event_id
    from streams.egress.jsonl import JsonlWriter

    rng = random.Random(7)
    allowed = {"transcribe": True, "measure": True, "emotion": True, "reason": "notice"}
    for number in range(recordings):
        session = f"call-{number:05d}-{rng.randrange(1 << 32):08x}"
        folder = root / f"call-{number:05d}"
        with JsonlWriter(folder / "events.jsonl") as writer:
            for index in range(events):
                event = an_event(index)
                text = " ".join(rng.choice(WORDS) for _ in range(14)) + (" zeppelin" if number == recordings // 2 and index == 3 else "")
                assert event.transcript is not None
                writer.write(msgspec.structs.replace(
                    event, session=session, id=event_id(session, "customer", event.start_ms, "utterance"), label=rng.choice(LABELS),
                    transcript=msgspec.structs.replace(event.transcript, text=text), probabilities=dict(event.probabilities),
                ))
        summary = {"session": session, "media": f"call-{number:05d}.wav", "duration_ms": events * 2000, "decisions": {"customer": allowed},
                   "participants": [{"id": "customer", "role": "customer", "channel": "left", "video": None}]}
        (folder / "summary.json").write_text(json.dumps(summary), "utf-8")


def served(root: Path) -> tuple[subprocess.Popen[str], str, float]:
    """The server on `root`, its address, and the seconds until it answered."""
    began = time.monotonic()
    command = [sys.executable, "-m", "streams.cli", "dashboard", "--dir", str(root), "--port", "0"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    found = re.search(r"http://\S+", process.stderr.readline())
    assert found, "the server did not start"
    httpx.get(f"{found[0]}/v1/alerts", timeout=60)
    return process, found[0], time.monotonic() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--recordings", type=int, default=2000)
    parser.add_argument("--events", type=int, default=100, help="events of a recording")
    parser.add_argument("--quick", action="store_true", help="200 recordings")
    given = parser.parse_args()
    recordings = 200 if given.quick else given.recordings
    print(machine())
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write(root, recordings, given.events)
        process, url, ready_s = served(root)
        try:
            result = measure(url, process.pid, recordings, given.events, ready_s)
        finally:
            process.terminate()
            process.wait(20)
    for name, value in result.items():
        print(f"{name:32} {value}")
    print(json.dumps(result))


def measure(url: str, pid: int, recordings: int, events: int, ready_s: float) -> dict[str, Any]:
    result: dict[str, Any] = {"recordings": recordings, "events": recordings * events, "ready_s": round(ready_s, 2)}
    with httpx.Client(base_url=url, timeout=120) as http:
        until = time.monotonic() + 600
        while http.get("/v1/sessions?limit=1").json()["total"] < recordings and time.monotonic() < until:
            time.sleep(0.2)
        result["loaded_s"] = round(time.monotonic() - until + 600 + ready_s, 2)
        sessions = [s["session"] for s in http.get("/v1/sessions?limit=500").json()["sessions"]]
        result["total"] = http.get("/v1/sessions?limit=1").json()["total"]
        asked = {
            "list_ms": "/v1/sessions?limit=100", "search_much_ms": "/v1/search?q=refund", "search_label_ms": "/v1/search?label=anger&q=parcel%20price",
            "search_rare_ms": "/v1/search?q=zeppelin", "search_nothing_ms": "/v1/search?q=nothinglikeit",
            "call_ms": f"/v1/sessions/{sessions[len(sessions) // 2]}", "other_call_ms": f"/v1/sessions/{sessions[-1]}",
        }
        for name, path in asked.items():
            times = []
            for _ in range(7):
                began = time.monotonic()
                answer = http.get(path)
                times.append((time.monotonic() - began) * 1000)
                assert answer.status_code == 200, answer.text
            result[name] = round(statistics.median(times), 1)
        result["search_rare_hits"] = http.get("/v1/search?q=zeppelin").json()["total"]
    result["memory_mb"] = round(psutil.Process(pid).memory_info().rss / 1e6)
    return result


if __name__ == "__main__":
    main()
