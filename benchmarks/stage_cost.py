"""CPU seconds and memory of each stage, measured one stage at a time on recordings.

Every stage runs in a process of its own over the records that the stage before it gave, so that its CPU time and its
peak memory (with the models it loads, without the stream engine) are its own. CPU time counts all threads of the
process and hardly depends on what else the machine does. Printed is the median of the runs. Stream engine and gateway are
measured on a broker (`benchmarks.transport_cost`), once.

    python -m benchmarks.stage_cost [--quick] [--runs 3] [--media CALL] [--channels …] [--video CLIP]
        [--stages segment,hear,look,fuse,alert,engine,gateway] [--write deploy/measured.json]

`--write` puts the figures, the command and the machine into the file that `affectstream sizing` reads; all of them with one
command.
"""

from __future__ import annotations

import argparse
import itertools
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.machine import machine

ROOT = Path(__file__).resolve().parent.parent
_pack = msgspec.msgpack.Encoder()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one run instead of the median of --runs")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--media", type=Path, default=ROOT / "samples" / "support_call.wav", help="call for segment, hear, fuse and alert")
    parser.add_argument("--channels", default="left=customer,right=customer")
    parser.add_argument("--video", type=Path, default=ROOT / "samples" / "composed_clip.mp4", help="clip with a face for look")
    parser.add_argument("--profile", default="bundled")
    parser.add_argument("--stages", default=",".join([*UNITS, *TRANSPORT]), help="which of them; hear needs segment, fuse needs hear, alert needs fuse")
    parser.add_argument("--write", type=Path, help="measurement file to update")
    parser.add_argument("--stage", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.stage:
        print(json.dumps(_stage(options.stage, options.folder, options)))
        return
    runs = [_run(options) for _ in range(1 if options.quick else options.runs)]
    rows = {stage: {key: statistics.median(run[stage][key] for run in runs) for key in runs[0][stage]} for stage in runs[0]}
    where = machine("ctranslate2", "onnxruntime", "torch", "ai-edge-litert", "numpy")
    print(f"{where}\n\n{'stage':10}{'CPU s':>9}{'units':>9}  {'per':24}{'CPU s per unit':>15}{'peak MB':>9}")
    for stage, row in rows.items():
        print(f"{stage:10}{row['cpu_s']:9.2f}{row['units']:9.1f}  {UNITS[stage]:24}{row['cpu_s'] / row['units']:15.5f}{row['peak_mb']:9.0f}")
    figures = _figures(rows, options, where) | _transport(options)
    if options.write:
        _write(options.write, figures)
    print(json.dumps({name: figure["value"] for name, figure in figures.items()}))


BEFORE = {"hear": "segment", "fuse": "hear", "alert": "fuse"}
UNITS = {"segment": "s of one channel", "hear": "s of speech", "look": "picture with one face", "fuse": "event", "alert": "event judged"}

TRANSPORT = ("engine", "gateway")


def _transport(options: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Figures of the stream engine and the gateway; without a broker they are named and left as they were."""
    from benchmarks import transport_cost
    from tests.integration.brokers import Unavailable

    parts = [name for name in options.stages.split(",") if name in TRANSPORT]
    if not parts:
        return {}
    seconds = 10.0 if options.quick else 30.0
    try:
        found = transport_cost.measure(parts, seconds=seconds, calls=10, media=options.media, channels=options.channels)
    except Unavailable as reason:
        print(f"not measured: {', '.join(parts)} ({reason})")
        return {}
    where = machine("faust-streaming", "aiokafka", "uvicorn")
    command = f"python -m benchmarks.stage_cost {'--quick ' if options.quick else ''}--stages {','.join(parts)} --media {options.media.name}"
    for name, value in found.items():
        print(f"{name:16} {value:10.5f} {transport_cost.UNITS[name]}")
    return {
        name: {"value": _three(value), "unit": transport_cost.UNITS[name], "status": "measured", "command": command, "machine": where}
        for name, value in found.items()
    }


def _figures(rows: dict[str, dict[str, float]], options: argparse.Namespace, where: str) -> dict[str, dict[str, Any]]:
    how = "--quick" if options.quick else f"--runs {options.runs}"
    media = f"--media {options.media.name} --video {options.video.name} --profile {options.profile}"
    command = f"python -m benchmarks.stage_cost {how} --stages {','.join(rows)} {media}"
    common = {"status": "measured", "command": command, "machine": where}
    figures = {}
    for stage, row in rows.items():
        figures[f"{stage}_cpu_s"] = {"value": _three(row["cpu_s"] / row["units"]), "unit": f"CPU s per {UNITS[stage]}", **common}
        figures[f"{stage}_peak_mb"] = {"value": round(row["peak_mb"]), "unit": "MB of one process", **common}
    if "segment" in rows:
        row = rows["segment"]
        figures["utterance_s"] = {"value": _three(row["speech_s"] / row["utterances"]), "unit": "s, mean length of an utterance", **common}
        figures["speech_share"] = {"value": _three(row["speech_s"] / row["units"]), "unit": "share of a channel's time", **common}
    return figures


def _three(value: float) -> float:
    return float(f"{value:.3g}")


def _write(file: Path, figures: dict[str, dict[str, Any]]) -> None:
    known: dict[str, Any] = json.loads(file.read_text("utf-8")) if file.is_file() else {"format": 1, "figures": {}}
    known["figures"] |= figures
    file.write_text(json.dumps(known, indent=2, ensure_ascii=False) + "\n", "utf-8")


def _run(options: argparse.Namespace) -> dict[str, dict[str, float]]:
    with tempfile.TemporaryDirectory() as folder:
        results = {}
        for stage in [name for name in UNITS if name in options.stages.split(",")]:
            command = [sys.executable, "-m", "benchmarks.stage_cost", "--stage", stage, "--folder", folder, "--media", str(options.media),
                       "--channels", options.channels, "--video", str(options.video), "--profile", options.profile]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                sys.exit(f"stage {stage} failed: {(done.stderr.strip().splitlines() or ['no message'])[-1]}")
            results[stage] = json.loads(done.stdout.splitlines()[-1])
        return results


def _stage(name: str, folder: Path, options: argparse.Namespace) -> dict[str, float]:
    """One stage over its input; its outputs go to the folder for the stage after it."""
    from streams.alerts.rules import DEFAULT, load
    from streams.topics import encode_for
    from streams.topology import STAGES, Options, Resources

    resources = Resources(Options(profile=options.profile, rules=load(DEFAULT)))
    start, records = _input(name, folder, options)
    _warm(name, start, records, resources)
    start, records = _input(name, folder, options)
    stage, size = STAGES[name].factory(start, resources), STAGES[name].batch
    outputs: list[Any] = []
    measured = {"cpu_s": 0.0, "units": 0.0}
    while batch := list(itertools.islice(records, size)):
        began = time.process_time()
        given = list(stage.feed_many(batch))
        measured["cpu_s"] += time.process_time() - began
        measured["units"] += _units(name, batch, given)
        outputs += given
    outputs += stage.flush()
    if not measured["units"]:
        sys.exit(f"nothing to measure for {name} in this recording")
    if name == "fuse":
        (folder / "fuse.records").write_bytes(_pack.encode([encode_for("fused", record) for record in [start, *outputs]]))
    if name in ("segment", "hear"):
        (folder / f"{name}.records").write_bytes(_pack.encode([_pack.encode(record) for record in [start, *outputs]]))
    if name == "segment":
        lengths = [record.end_ms - record.start_ms for record in outputs if hasattr(record, "payload")]
        measured |= {"utterances": float(len(lengths)), "speech_s": sum(lengths) / 1000}
    return {**measured, "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def _units(name: str, batch: list[Any], given: list[Any]) -> float:
    """How much of what a stage's cost is counted in lies in one batch."""
    from fusion.events import EmotionEvent
    from streams.records import AudioChunk, FaceCueRecord, Utterance

    if name == "segment":
        return sum(len(record.payload) / 2 / record.rate for record in batch if isinstance(record, AudioChunk))
    if name == "hear":
        return sum(record.end_ms - record.start_ms for record in batch if isinstance(record, Utterance)) / 1000
    if name == "look":
        return sum(bool(record.faces) for record in given if isinstance(record, FaceCueRecord))
    return sum(isinstance(record, EmotionEvent) for record in (batch if name == "alert" else given))


def _input(name: str, folder: Path, options: argparse.Namespace) -> tuple[Any, Iterator[Any]]:
    from streams.topics import decode_from

    if name == "look":
        return _read(options.video, "mix=customer,video=customer", True)
    if name == "segment":
        return _read(options.media, options.channels, False)
    topic = {"hear": "utterances", "fuse": "cues.speech", "alert": "fused"}[name]
    start, *records = [decode_from(topic, data) for data in msgspec.msgpack.decode((folder / f"{BEFORE[name]}.records").read_bytes())]
    return start, iter(records)


def _read(media: Path, channels: str, video: bool) -> tuple[Any, Iterator[Any]]:
    """Session start and records of a recording, of the kind that the stage reads."""
    from streams import policy
    from streams.ingest.channels import plan
    from streams.ingest.files import open_media
    from streams.ingest.media import probe
    from streams.records import VideoFrame
    from streams.replay import ReplayOptions, session_start

    info = probe(media)
    layout = plan(info.audio.channels if info.audio else 0, info.stereo, bool(info.video), channels, where=str(media))
    start = session_start(info, layout, ReplayOptions(channels=channels), policy.load(None))
    records = open_media(media, session=start.session, info=info, channels=layout, fps=10.0, video=video)
    return start, (record for record in records if isinstance(record, VideoFrame) == video)


def _warm(name: str, start: Any, records: Iterator[Any], resources: Any) -> None:
    """Models load and first calls allocate: none of that is counted."""
    from streams.records import Utterance
    from streams.topology import STAGES

    some = (record for record in records if isinstance(record, Utterance) or name != "hear")
    list(STAGES[name].factory(start, resources).feed_many(list(itertools.islice(some, 1 if name == "hear" else 3))))


if __name__ == "__main__":
    main()
