"""The sample recordings say what they are, and the truth beside them is true."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from streams.ingest.files import open_media, probe
from streams.records import AudioChunk

CHANNEL_OF = {"audio/0": "left", "audio/1": "right"}


@pytest.fixture(scope="module")
def truth(sample_call: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(sample_call.with_suffix(".json").read_text("utf-8"))
    return content


@pytest.fixture(scope="module")
def levels(sample_call: Path) -> dict[str, np.ndarray]:
    """RMS in dBFS per 10 ms of each channel."""
    lines: dict[str, list[np.ndarray]] = {}
    for record in open_media(sample_call, session="s", channels="left=customer,right=agent", chunk_ms=10):
        if isinstance(record, AudioChunk):
            pcm = np.frombuffer(record.payload, "<i2").astype(float) / 32768
            lines.setdefault(CHANNEL_OF[record.source], []).append(10 * np.log10((pcm**2).mean() + 1e-9))
    return {channel: np.array(values) for channel, values in lines.items()}


def test_the_call_is_labelled_synthetic(sample_call: Path) -> None:
    with av.open(str(sample_call)) as container:
        assert "synthetic voices" in container.metadata["comment"]


def test_the_call_is_two_people_on_two_channels(sample_call: Path, truth: dict[str, Any]) -> None:
    info = probe(sample_call)
    assert info.audio and (info.audio.rate, info.audio.channels, info.stereo) == (8000, 2, "separate")
    assert info.duration_ms == truth["duration_ms"]
    assert {turn["channel"] for turn in truth["turns"]} == {"left", "right"}


def test_turns_are_where_the_truth_says(truth: dict[str, Any], levels: dict[str, np.ndarray]) -> None:
    for channel, level in levels.items():
        spoken = np.zeros(len(level), bool)
        for turn in truth["turns"]:
            if turn["channel"] == channel:
                start, end = turn["start_ms"] // 10, turn["end_ms"] // 10
                spoken[start - 3 : end + 4] = True
                assert (level[start:end] > -45).mean() > 0.4, turn["text"]
        assert level[~spoken].max() < -50


def test_one_turn_interrupts(truth: dict[str, Any]) -> None:
    overlaps = [
        later for earlier, later in zip(truth["turns"], truth["turns"][1:], strict=False) if later["start_ms"] < earlier["end_ms"]
    ]
    assert [turn["interrupts"] for turn in overlaps] == [True]
    assert overlaps[0]["mood"] == "angry"


def test_the_clip_is_labelled_composed(sample_call: Path) -> None:
    clip = sample_call.with_name("composed_clip.mp4")
    if not clip.is_file():
        pytest.skip("the composed clip is not there: run `make samples`")
    with av.open(str(clip)) as container:
        assert container.metadata["comment"] == "composed: voice is synthetic and not the person's"
    info = probe(clip)
    assert info.video and info.audio and not info.problems and (info.video.width, info.video.height) == (640, 360)
