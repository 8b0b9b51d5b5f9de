"""Memory of a long recording stays flat: peak resident memory of reading 10 minutes and 3 hours.

A two-channel call of tones and silences is made (8 kHz; flac, and mp4 with a small picture, whose index grows with
the length) and read in a process of its own; with `--segment` the first format is also cut into utterances, which
takes minutes. Peak memory is the kernel's figure for the process. `--quick` takes 1 and 18 minutes.

    python -m benchmarks.long_file [--quick] [--segment] [--formats flac,mp4]
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from benchmarks.machine import machine
from streams.ingest.files import open_media
from streams.records import SessionStart
from streams.stages.segment import SegmentStage

RATE = 8_000
CODECS = {"flac": "flac", "mp4": "aac", "m4a": "aac", "wav": "pcm_s16le", "mp3": "libmp3lame"}
PICTURES_A_SECOND = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="1 and 18 minutes instead of 10 minutes and 3 hours")
    parser.add_argument("--segment", action="store_true", help="also reading with segmentation")
    parser.add_argument("--formats", default="flac,mp4")
    parser.add_argument("--worker", nargs=2, metavar=("WORK", "FILE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        print(json.dumps(measure(options.worker[0], Path(options.worker[1]))))
        return
    print(machine("av", "numpy"))
    minutes = (1, 18) if options.quick else (10, 180)
    results: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        for number, suffix in enumerate(options.formats.split(",")):
            for length in minutes:
                file = make(Path(folder) / f"{length}.{suffix}", length)
                for work in ("read", "read + segment") if options.segment and not number else ("read",):
                    done = subprocess.run(
                        [sys.executable, "-m", "benchmarks.long_file", "--worker", work, str(file)],
                        check=True, capture_output=True, text=True,
                    )
                    results.append({"work": work, "format": suffix, "minutes": length, **json.loads(done.stdout.splitlines()[-1])})
                    row = results[-1]
                    line = f"{work:15} {suffix:5} {length:4} min  {row['peak_mb']:7.1f} MB  {row['seconds']:7.1f} s"
                    print(f"{line}  {row['records']:7} records", flush=True)
                file.unlink()
    short, long = ({(row["work"], row["format"]): row["peak_mb"] for row in results if row["minutes"] == length} for length in minutes)
    growth = {f"{work}, {suffix}": round(long[work, suffix] - megabytes, 1) for (work, suffix), megabytes in short.items()}
    print(json.dumps({"benchmark": "long_file", "minutes": minutes, "growth_mb": growth, "rows": results}))


def make(file: Path, minutes: int) -> Path:
    """A call in which two tones take turns of three seconds, written second by second; mp4 with a picture."""
    second = np.sin(2 * np.pi * 220 * np.arange(RATE) / RATE) * 8000
    silent = np.zeros(RATE)
    with av.open(str(file), "w") as container:
        stream: Any = container.add_stream(CODECS[file.suffix[1:]], rate=RATE, layout="stereo")
        videos = [video_stream(container)] if file.suffix == ".mp4" else []
        convert = av.AudioResampler(stream.codec_context.format, "stereo", RATE, frame_size=stream.codec_context.frame_size or 1024)
        for at in range(minutes * 60):
            left = at // 3 % 3 == 0
            right = at // 3 % 3 == 1
            pcm = np.stack([second if left else silent, second[::-1] if right else silent]).astype(np.int16)
            frame = av.AudioFrame.from_ndarray(pcm, format="s16p", layout="stereo")
            frame.sample_rate, frame.pts, frame.time_base = RATE, at * RATE, Fraction(1, RATE)
            for part in convert.resample(frame):
                container.mux(stream.encode(part))
            for video in videos:
                for number in range(at * PICTURES_A_SECOND, (at + 1) * PICTURES_A_SECOND):
                    picture = av.VideoFrame.from_ndarray(np.full((64, 96, 3), number * 7 % 256, np.uint8), format="bgr24")
                    picture.pts, picture.time_base = number, Fraction(1, PICTURES_A_SECOND)
                    container.mux(video.encode(picture))
        for part in convert.resample(None):
            container.mux(stream.encode(part))
        container.mux(stream.encode(None))
        for video in videos:
            container.mux(video.encode(None))
    return file


def video_stream(container: Any) -> Any:
    stream = container.add_stream("libx264", rate=PICTURES_A_SECOND)
    stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
    stream.codec_context.options = {"preset": "ultrafast"}
    return stream


def measure(work: str, file: Path) -> dict[str, Any]:
    """Read the whole file and throw the records away; figures of this process."""
    begin = time.perf_counter()
    reader = open_media(file, session="long")
    stage = None
    if work != "read":
        stage = SegmentStage(SessionStart("long", reader.participants, {}, audio_sources=reader.audio_sources))
    records = outputs = 0
    for record in reader:
        records += 1
        if stage:
            outputs += len(list(stage.feed(record)))
    return {
        "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
        "seconds": round(time.perf_counter() - begin, 1),
        "records": records,
        "outputs": outputs,
        "end_ms": reader.end_ms,
    }


if __name__ == "__main__":
    main()
