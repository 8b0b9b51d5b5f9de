"""What does a face cost, part by part, and beside MediaPipe's own landmarker?

    python -m benchmarks.faces --media FILE [--media FILE ...] [--quick] [--peer-python PYTHON]

Each file is analysed whole, at the container times of its frames; decoding is not timed: CPU time per frame, faces
found, ids given, face-frames that can be used, size of the snapshot. The parts are then timed on one of its faces.
MediaPipe's Face Landmarker (VIDEO mode, blendshapes, with the same task file; it gives no action units and no
expression) runs beside it on the same frames where `--peer-python` (default: this interpreter) can import it, in
processes of their own, alternating with ours, medians of five rounds (three with `--quick`); else it is named as
missing. CPU time is given, because machines are shared; resident memory is the peak of the process that did the work.
The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from benchmarks.machine import machine
from extractors import registry
from extractors.errors import AffectstreamError, InputError
from extractors.face.action_units import ActionUnitState, action_units
from extractors.face.analyse import FaceAnalyser, models_of_thread
from extractors.face.baseline import Baseline
from extractors.face.detect import CLOSE_LOOK, LOOK
from extractors.face.mesh import region_of_detection, region_of_points
from extractors.face.pose import head_pose, head_rotation
from extractors.face.readings import face_patch, read
from extractors.face.scene import is_cut, thumbnail

Frames = Iterator[tuple[int, NDArray[np.uint8]]]

PEER = """
import json, resource, sys, time
import av, mediapipe as mp
from mediapipe.tasks.python import BaseOptions, vision
path, task, most, faces = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
options = vision.FaceLandmarkerOptions(base_options=BaseOptions(model_asset_path=task),
    running_mode=vision.RunningMode.VIDEO, num_faces=faces, output_face_blendshapes=True)
landmarker = vision.FaceLandmarker.create_from_options(options)
found = frames = spent = 0
with av.open(path) as container:
    for frames, picture in zip(range(1, most + 1), container.decode(video=0)):
        rgb, ms = picture.to_ndarray(format="rgb24"), round(float(picture.pts * picture.time_base) * 1000)
        began = time.process_time()
        result = landmarker.detect_for_video(mp.Image(image_format=mp.ImageFormat.SRGB, data=rgb), ms)
        spent += time.process_time() - began
        found += len(result.face_landmarks)
landmarker.close()
print(json.dumps({"cpu_ms": spent / frames * 1000, "faces": found / frames,
                  "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, "version": mp.__version__}))
"""


def frames_of(path: Path, most: int) -> Frames:
    """The first `most` frames with their container times, decoded one by one."""
    try:
        with av.open(str(path)) as container:
            for _, frame in zip(range(most), container.decode(video=0), strict=False):
                ms = round(float((frame.pts or 0) * (frame.time_base or 0)) * 1000)
                yield ms, np.asarray(frame.to_ndarray(format="bgr24"), np.uint8)
    except (av.FFmpegError, OSError, IndexError) as error:
        raise InputError("no video can be read", where=str(path), cure="name a file with a video track") from error


def ours(frames: Frames, max_faces: int = 8) -> dict[str, Any]:
    """One pass over the frames."""
    analyser = FaceAnalyser(max_faces=max_faces)
    seen, spent = [], 0.0
    for ms, picture in frames:
        began = time.process_time()
        seen.append(analyser.process(picture, ms))
        spent += time.process_time() - began
    if not seen:
        raise InputError("the video has no frames", cure="name a file with a video track")
    faces = [face for found in seen for face in found]
    return {
        "frames": len(seen),
        "cpu_ms": spent / len(seen) * 1000,
        "faces": len(faces) / len(seen),
        "most_faces": max(map(len, seen)),
        "ids": len({face.track for face in faces}),
        "usable": sum(face.quality.usable for face in faces) / max(1, len(faces)),
        "snapshot_bytes": len(analyser.snapshot()),
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def parts(frames: Frames, rounds: int) -> dict[str, float] | None:
    """CPU ms of each part on the first usable face; None where there is none."""
    models = models_of_thread()
    analyser = FaceAnalyser()
    for ms, picture in frames:
        if any(face.quality.usable for face in analyser.process(picture, ms)):
            break
    else:
        return None
    detection = models.detector.detect(picture, CLOSE_LOOK)[0]
    region = region_of_points(models.mesh.mesh(picture, region_of_detection(detection)).points)
    points = models.mesh.mesh(picture, region).points
    shapes, rotation, small = models.mesh.blendshapes(points), head_rotation(points), thumbnail(picture)
    readings, patch = read(points, shapes, rotation, picture), face_patch(region_of_points(points), picture)
    person, clock = ActionUnitState(Baseline()), iter(range(0, 10**9, 40))
    steps: dict[str, Callable[[], object]] = {
        "detector, ordinary look": lambda: models.detector.detect(picture, LOOK),
        "detector, close look": lambda: models.detector.detect(picture, CLOSE_LOOK),
        "thumbnail and cut": lambda: is_cut(small, thumbnail(picture)),
        "mesh with crop": lambda: models.mesh.mesh(picture, region),
        "blendshapes": lambda: models.mesh.blendshapes(points),
        "pose": lambda: head_pose(head_rotation(points)),
        "readings": lambda: read(points, shapes, rotation, picture),
        "action units": lambda: action_units(person, readings, next(clock)),
        "face patch": lambda: face_patch(region_of_points(points), picture),
        "expression": lambda: models.expression.posterior(patch, readings),
    }
    return {name: _cpu_ms(step, rounds) for name, step in steps.items()}


def _cpu_ms(step: Callable[[], object], rounds: int) -> float:
    times = []
    for _ in range(rounds):
        began = time.process_time()
        for _ in range(10):
            step()
        times.append((time.process_time() - began) * 100)
    return median(times)


def _child(command: list[str]) -> dict[str, Any] | None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        return None
    result: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return result


def beside_peer(
    path: Path, most: int, faces: int, rounds: int, peer_python: str
) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """Medians of ours and the peer's in processes of their own, alternating."""
    task = str(registry.path("face-landmarker"))
    ours_command = [sys.executable, "-m", "benchmarks.faces", "--media", str(path), "--one", str(most), str(faces)]
    peer_command = [peer_python, "-c", PEER, str(path), task, str(most), str(faces)]
    mine: list[dict[str, Any]] = []
    theirs: list[dict[str, Any]] = []
    for _ in range(rounds):
        if (result := _child(ours_command)) is None:
            raise InputError("the analysis failed", where=str(path), cure="run it without --quick to see the error")
        mine.append(result)
        if (peer := _child(peer_command)) is None:
            return _medians(mine), None
        theirs.append(peer)
    return _medians(mine), _medians(theirs)


def _medians(runs: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        key: round(median(run[key] for run in runs), 3) if isinstance(value, (int, float)) else value
        for key, value in runs[0].items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.faces", description=__doc__)
    parser.add_argument("--media", action="append", type=Path, required=True)
    parser.add_argument("--quick", action="store_true", help="100 frames and three rounds")
    parser.add_argument("--peer-python", default=sys.executable, help="an interpreter that has mediapipe and av")
    parser.add_argument("--one", nargs=2, type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(ours(frames_of(arguments.media[0], arguments.one[0]), arguments.one[1])))
        return
    most, rounds = (100, 3) if arguments.quick else (10_000, 5)
    about = machine("ai-edge-litert", "opencv-python", "numpy")
    print(about)
    table = []
    for path in arguments.media:
        faces = max(1, ours(frames_of(path, most))["most_faces"])
        mine, peer = beside_peer(path, most, faces, rounds, arguments.peer_python)
        row = {
            "media": path.name,
            "ours": mine,
            "parts": parts(frames_of(path, most), rounds),
            "mediapipe": peer,
        }
        row["cpu_ratio_to_mediapipe"] = round(mine["cpu_ms"] / peer["cpu_ms"], 3) if peer else None
        per_face = mine["faces"] and peer and peer["faces"]
        row["cpu_ratio_per_face"] = (
            round(mine["cpu_ms"] / mine["faces"] / (peer["cpu_ms"] / peer["faces"]), 3) if peer and per_face else None
        )
        table.append(row)
        print(
            f"\n{path.name}: {mine['frames']:.0f} frames, {mine['faces']:.2f} faces a frame (up to {faces:.0f}),"
            f" {mine['ids']:.0f} ids, {mine['usable']:.0%} of face-frames usable"
            f", snapshot {mine['snapshot_bytes']:.0f} B"
        )
        print(f"  ours       {mine['cpu_ms']:6.2f} cpu ms a frame, peak {mine['peak_mb']:.0f} MB")
        if peer:
            print(
                f"  mediapipe  {peer['cpu_ms']:6.2f} cpu ms a frame, peak {peer['peak_mb']:.0f} MB ({peer['version']})"
            )
            print(
                f"  ours / mediapipe {row['cpu_ratio_to_mediapipe']} a frame, {row['cpu_ratio_per_face']} a face found"
                f" ({peer['faces']:.2f} faces a frame there)"
            )
        else:
            print(f"  mediapipe  missing peer: {arguments.peer_python} cannot run it")
        for name, value in (row["parts"] or {}).items():
            print(f"    {name:26s}{value:7.2f} ms")
    print(json.dumps({"benchmark": "faces", "machine": about, "results": table}))


if __name__ == "__main__":
    try:
        main()
    except AffectstreamError as error:
        print(error, file=sys.stderr)
        raise SystemExit(2) from None
