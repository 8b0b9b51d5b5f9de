"""Real-time factor and peak memory of a replay, beside transcription alone.

The peer is faster-whisper's `WhisperModel.transcribe` on the same file with the same weights, once with its defaults
(beam 5, no voice activity filter, no word times) and once in its cheapest form that gives what a replay gives (greedy,
voice activity filter, word times). Every measurement is a process of its own, peers and ours alternate, medians count.
Time is wall time after the models are loaded; the ratio is ours (all audio analysis, with every export format but the
report's pictures) to the peer's.

    python -m benchmarks.replay [--quick] [--runs 5] [--media AUDIO] [--video CLIP]
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.machine import machine

SAMPLES = Path(__file__).resolve().parent.parent / "samples"
WORK = ("peer, defaults", "peer, greedy + VAD + words", "ours, audio", "ours, audio + video")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one run each instead of the median of --runs")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument(
        "--media", type=Path, default=SAMPLES / "support_call.wav", help="recording for the audio comparison"
    )
    parser.add_argument("--video", type=Path, default=SAMPLES / "composed_clip.mp4", help="clip with a face")
    parser.add_argument("--profile", default="bundled")
    parser.add_argument("--worker", choices=WORK, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        print(json.dumps(work(options.worker, options.media, options.profile)))
        return
    print(machine("faster-whisper", "ctranslate2", "torch", "ai-edge-litert", "numpy"))
    jobs = [(name, options.video if "video" in name else options.media) for name in WORK]
    results: dict[str, list[dict[str, Any]]] = {name: [] for name in WORK}
    for _ in range(1 if options.quick else options.runs):
        for name, media in jobs:
            results[name].append(measure(name, media, options.profile))
    print(f"\n{'':30}{'media s':>9}{'wall s':>9}{'CPU s':>9}{'RTF':>8}{'peak MB':>9}")
    medians = {
        name: {key: statistics.median(run[key] for run in runs) for key in runs[0]} for name, runs in results.items()
    }
    for name, row in medians.items():
        print(
            f"{name:30}{row['media_s']:9.1f}{row['wall_s']:9.2f}{row['cpu_s']:9.2f}{row['wall_s'] / row['media_s']:8.3f}{row['peak_mb']:9.0f}"
        )
    ours = medians["ours, audio"]["cpu_s"]
    summary = {
        "media": options.media.name,
        "runs": 1 if options.quick else options.runs,
        "rtf_audio": round(medians["ours, audio"]["wall_s"] / medians["ours, audio"]["media_s"], 4),
        "rtf_audio_video": round(
            medians["ours, audio + video"]["wall_s"] / medians["ours, audio + video"]["media_s"], 4
        ),
        "peak_mb_audio": round(medians["ours, audio"]["peak_mb"]),
        "peak_mb_audio_video": round(medians["ours, audio + video"]["peak_mb"]),
        "ratio_to_greedy_vad_words_cpu": round(ours / medians["peer, greedy + VAD + words"]["cpu_s"], 3),
        "ratio_cpu": round(ours / medians["peer, defaults"]["cpu_s"], 3),
        "ratio": round(medians["ours, audio"]["wall_s"] / medians["peer, defaults"]["wall_s"], 3),
    }
    print(json.dumps(summary))


def measure(name: str, media: Path, profile: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.replay", "--worker", name, "--media", str(media), "--profile", profile]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def work(name: str, media: Path, profile: str) -> dict[str, float]:
    """Run one measurement in this process; the clock starts when the models are loaded."""
    seconds = transcribe(media, profile, name) if name.startswith("peer") else analyse(media, profile, name)
    media_s, wall, cpu = seconds
    return {
        "media_s": media_s,
        "wall_s": wall,
        "cpu_s": cpu,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def transcribe(media: Path, profile: str, name: str) -> tuple[float, float, float]:
    from faster_whisper import WhisperModel

    from extractors import registry
    from extractors.speech.models import PROFILES

    model = WhisperModel(str(registry.path(PROFILES[profile][0])), device="cpu", compute_type="int8", cpu_threads=1)
    options = {} if name == "peer, defaults" else {"beam_size": 1, "vad_filter": True, "word_timestamps": True}
    began = (time.perf_counter(), time.process_time())
    segments, info = model.transcribe(str(media), **options)
    list(segments)
    return info.duration, time.perf_counter() - began[0], time.process_time() - began[1]


def analyse(media: Path, profile: str, name: str) -> tuple[float, float, float]:
    from streams.commands.replay import write_files
    from streams.egress.jsonl import JsonlWriter
    from streams.replay import ReplayOptions, replay
    from streams.topology import Options, Resources

    analysis = Options(profile=profile)
    resources = Resources(analysis)
    resources.speech.warm_up()
    options = ReplayOptions(video="video" in name, analysis=analysis)
    with tempfile.TemporaryDirectory() as folder:
        began = (time.perf_counter(), time.process_time())
        with JsonlWriter(Path(folder) / "events.jsonl") as writer:
            result = replay(media, options=options, resources=resources, on_event=writer.write)
        write_files(result, Path(folder), ("jsonl", "parquet", "vtt", "emotionml"))
        return result.duration_ms / 1000, time.perf_counter() - began[0], time.process_time() - began[1]


if __name__ == "__main__":
    main()
