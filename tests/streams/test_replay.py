"""Replay of whole recordings through real models: the main job of the product."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import jsonschema
import msgspec
import numpy as np
import pyarrow.parquet as pq
import pytest

from fusion.events import EmotionEvent
from streams import policy
from streams.egress.jsonl import encode_event, read_events
from streams.egress.schema import schema
from streams.ingest.channels import plan
from streams.ingest.files import open_media
from streams.ingest.media import probe
from streams.replay import Replay, ReplayOptions, replay, session_start
from streams.runtimes.embedded import run
from streams.topology import Resources

pytestmark = [pytest.mark.models, pytest.mark.usefixtures("bundled_models")]
ROOT = Path(__file__).resolve().parents[2]
CALL = "left=customer,right=agent"
CLIP = "mix=customer,video=customer"


@pytest.fixture(scope="session")
def resources() -> Resources:
    return Resources()


@pytest.fixture(scope="session")
def call(sample_call: Path, resources: Resources) -> Replay:
    return replay(sample_call, channels=CALL, resources=resources)


@pytest.fixture(scope="session")
def clip(resources: Resources) -> Replay:
    file = ROOT / "samples" / "composed_clip.mp4"
    if not file.is_file():
        pytest.skip("the sample clip is not there: run `make samples`")
    return replay(file, channels=CLIP, resources=resources)


def lines(events: list[EmotionEvent]) -> bytes:
    """Event bytes without the one part that may differ between runs."""
    return b"".join(encode_event(msgspec.structs.replace(event, latency={})) for event in events)


def affectstream(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "streams.cli", *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, cwd=cwd, env={**os.environ, "PYTHONPATH": str(ROOT)}, timeout=280
    )


def words(text: str) -> list[str]:
    return "".join(c if c.isalnum() else " " for c in text.lower().replace("'", "")).split()


def edits(truth: list[str], heard: list[str]) -> int:
    row = np.arange(len(heard) + 1)
    for i, word in enumerate(truth, 1):
        before, row = row, np.empty_like(row)
        row[0] = i
        for j, other in enumerate(heard, 1):
            row[j] = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (word != other))
    return int(row[-1])


def test_every_word_of_the_call_is_heard_on_the_right_side(call: Replay, sample_call: Path) -> None:
    truth = json.loads(sample_call.with_suffix(".json").read_text())
    for speaker in ("customer", "agent"):
        said = words(" ".join(turn["text"] for turn in truth["turns"] if turn["speaker"] == speaker))
        heard = words(" ".join(e.transcript.text for e in call.events if e.participant == speaker and e.transcript))
        assert edits(said, heard) <= 0.1 * len(said), speaker


def test_the_employee_is_transcribed_and_nothing_about_his_emotion_exists(call: Replay) -> None:
    agent = [event for event in call.events if event.participant == "agent"]
    assert agent and all(
        event.status == "withheld" and event.policy and "employees" in event.policy.reason for event in agent
    )
    assert all(
        event.label is None and not event.probabilities and event.valence is None and not event.evidence
        for event in agent
    )
    assert any(event.transcript for event in agent)


def test_events_are_a_partition_of_time_with_evidence(call: Replay) -> None:
    customer = [event for event in call.events if event.participant == "customer"]
    assert len({event.id for event in call.events}) == len(call.events)
    for event in customer:
        assert event.status == "final" and event.start_ms < event.end_ms
        assert abs(sum(event.probabilities.values()) - 1) < 1e-3
        assert abs(sum(use.weight for use in event.modalities.values()) - 1) < 1e-3
        assert event.explanation and event.evidence and event.biometric
    for earlier, later in zip(customer, customer[1:], strict=False):
        assert earlier.end_ms <= later.start_ms or later.kind != earlier.kind


def test_events_fit_the_published_schema(call: Replay, clip: Replay) -> None:
    validator = jsonschema.Draft202012Validator(schema())
    for event in [*call.events, *clip.events]:
        validator.validate(json.loads(encode_event(event)))


def test_the_clip_joins_face_voice_and_words(clip: Replay) -> None:
    spoken = [event for event in clip.events if event.kind == "utterance"]
    assert spoken and all(event.modalities["face"].present for event in spoken)
    assert spoken[0].label != "happiness" and spoken[-1].label == "happiness"
    assert any(event.kind == "face" for event in clip.events)


def test_the_same_media_give_the_same_events_whatever_chunks_and_pace(clip: Replay, resources: Resources) -> None:
    file = ROOT / "samples" / "composed_clip.mp4"
    info = probe(file)
    layout = plan(info.audio.channels if info.audio else 0, info.stereo, True, CLIP)
    start = session_start(info, layout, ReplayOptions(), policy.Policy())
    events: list[EmotionEvent] = []
    reader = open_media(file, session=start.session, info=info, channels=layout, chunk_ms=1370)
    assert run(start, reader, resources, events.append, speed=40.0)
    assert lines(events) == lines(clip.events)


@pytest.fixture(scope="session")
def results(tmp_path_factory: pytest.TempPathFactory, sample_call: Path) -> Iterator[Path]:
    """What the command leaves for two recordings, one of them no recording."""
    folder = tmp_path_factory.mktemp("results")
    (folder / "notes.wav").write_text("this is no recording")
    done = affectstream(
        "replay", "notes.wav", str(sample_call), "--channels", CALL, "--out", "out", "--to", "32", cwd=folder
    )
    assert done.returncode == 2 and "notes.wav" in done.stderr and "Traceback" not in done.stderr
    yield folder


def test_one_bad_recording_does_not_stop_the_others(results: Path) -> None:
    names = {path.name for path in (results / "out" / "support_call").iterdir()}
    assert names == {
        "events.jsonl",
        "events.parquet",
        "shifts.jsonl",
        "shifts.parquet",
        "transcript.vtt",
        "emotion.vtt",
        "emotion.xml",
        "report.html",
        "summary.json",
    }
    assert json.loads((results / "out/support_call/summary.json").read_text())["status"] == "complete"


def test_all_formats_tell_the_same(results: Path) -> None:
    folder = results / "out" / "support_call"
    events = list(read_events(folder / "events.jsonl"))
    assert events and pq.read_table(folder / "events.parquet").column("id").to_pylist() == [
        event.id for event in events
    ]
    text = next(event.transcript.text for event in events if event.transcript and event.transcript.text)
    assert (
        text.split()[0] in (folder / "transcript.vtt").read_text()
        and text.split()[0] in (folder / "report.html").read_text()
    )
    assert (folder / "report.html").stat().st_size < 2_000_000


def test_a_window_keeps_the_clock_of_the_recording(call: Replay, sample_call: Path, resources: Resources) -> None:
    part = replay(sample_call, channels=CALL, options=ReplayOptions(from_ms=22_000, to_ms=30_000), resources=resources)
    assert part.events and all(21_900 <= event.start_ms <= 30_000 for event in part.events)
    text = " ".join(event.transcript.text for event in part.events if event.transcript).lower()
    assert "second time" in text


def test_resume_skips_what_is_done_and_runs_what_changed(results: Path, sample_call: Path, tmp_path: Path) -> None:
    shutil.copytree(results, tmp_path, dirs_exist_ok=True)
    same = ["replay", str(sample_call), "--channels", CALL, "--out", "out", "--resume", "--json"]
    again = affectstream(*same, "--to", "32", cwd=tmp_path)
    assert json.loads(again.stdout)["skipped"] is True
    changed = affectstream(*same, "--to", "8", "--format", "jsonl", cwd=tmp_path)
    assert "skipped" not in json.loads(changed.stdout) and json.loads(changed.stdout)["duration_ms"] <= 8100


def test_ctrl_c_leaves_valid_output_of_what_is_done(tmp_path: Path, sample_call: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "streams.cli",
        "replay",
        str(sample_call),
        "--channels",
        CALL,
        "--out",
        "out",
        "--speed",
        "1.0",
    ]
    process = subprocess.Popen(
        command,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        # A test run in the background of a shell ignores Ctrl-C, and its children would inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    growing = tmp_path / "out" / "support_call" / "events.jsonl.part"
    for _ in range(1500):
        if growing.is_file() and growing.stat().st_size:
            break
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=120)
    assert process.returncode == 130
    folder = tmp_path / "out" / "support_call"
    assert list(read_events(folder / "events.jsonl"))
    assert json.loads((folder / "summary.json").read_text())["status"] == "interrupted"


def test_silence_gives_no_events_and_no_error(tmp_path: Path, resources: Resources) -> None:
    import soundfile

    soundfile.write(tmp_path / "silence with späces.wav", np.zeros(96_000, np.int16), 16_000)
    result = replay(tmp_path / "silence with späces.wav", resources=resources)
    assert result.complete and result.events == []
