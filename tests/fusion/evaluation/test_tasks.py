"""`evaluate` runs the product's own extractors on labelled data and reports what it did with the labels."""

from __future__ import annotations

import csv
import io
import json
import wave
from pathlib import Path

import cv2
import numpy as np
import pytest
from rich.console import Console

from extractors import registry
from extractors.errors import InputError
from fusion.evaluation.media import read_audio, read_cell
from fusion.evaluation.report import Report
from fusion.evaluation.rows import Row
from fusion.evaluation.tasks import evaluate


def needs(*models: str) -> None:
    for name in models:
        if problem := registry.installed(name).problem:
            pytest.skip(problem)


def stereo(file: Path, seconds: float = 2.0, rate: int = 8000) -> Path:
    """Left: 440 Hz; right: silence."""
    t = np.arange(int(seconds * rate)) / rate
    left = (0.5 * np.sin(2 * np.pi * 440 * t) * 32767).astype("<i2")
    with wave.open(str(file), "wb") as out:
        out.setnchannels(2)
        out.setsampwidth(2)
        out.setframerate(rate)
        out.writeframes(np.stack([left, np.zeros_like(left)], axis=1).tobytes())
    return file


def rendered(report: Report) -> str:
    console = Console(file=io.StringIO(), width=200)
    report.render(console)
    return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]


def test_a_row_names_a_stretch_and_a_channel_of_a_recording(tmp_path: Path) -> None:
    file = stereo(tmp_path / "call.wav")
    whole, left, right = (read_audio(Row(path=file, channel=channel)) for channel in (None, 0, 1))
    assert len(whole) == pytest.approx(32_000, abs=32)
    assert np.std(left) > 0.3 and np.std(right) < 1e-3
    assert len(read_audio(Row(path=file, start_ms=500, end_ms=1500))) == 16_000
    with pytest.raises(InputError, match="no channel 2"):
        read_audio(Row(path=file, channel=2))
    with pytest.raises(InputError, match="after the end"):
        read_audio(Row(path=file, start_ms=5000))


@pytest.mark.parametrize("content", [b"", b"this is not sound", b"RIFF\x00\x00\x00\x00WAVE"])
def test_a_file_that_is_no_recording_is_the_users_input(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.wav").write_bytes(content)
    with pytest.raises(InputError, match="cannot decode sound"):
        read_audio(Row(path=tmp_path / "x.wav"))


def test_a_face_is_a_picture_or_a_cell_of_a_mosaic(tmp_path: Path) -> None:
    mosaic = np.zeros((96, 2400), np.uint8)
    mosaic[48:, 48:96] = 200
    cv2.imwrite(str(tmp_path / "m.png"), mosaic)
    assert read_cell(Row(path=tmp_path / "m.png", cell=51)).mean() == 200
    assert read_cell(Row(path=tmp_path / "m.png")).shape == (96, 2400)
    (tmp_path / "no.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match="cannot read the picture"):
        read_cell(Row(path=tmp_path / "no.png"))


@pytest.mark.models
def test_text_emotion_of_a_manifest_prints_the_mapping_and_ends_as_json(tmp_path: Path) -> None:
    needs("text-emotion", "sentence-encoder")
    rows = [
        ("Thank you so much, wonderful!", "gratitude", "anna"),
        ("I am furious about this!", "annoyance", "ben"),
        ("The parcel is in the hall.", "neutral", "anna"),
        ("Why does it do that?", "curiosity", "ben"),
    ]
    with (tmp_path / "texts.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([("text", "label", "speaker"), *rows])
    report = evaluate("text-emotion", manifest=tmp_path / "texts.csv")
    assert report.label_set == "goemotions"
    assert report.mapping == {"annoyance": "anger", "gratitude": "happiness", "neutral": "neutral"}
    assert report.unmapped == {"curiosity": 1}
    assert report.metrics["n_labelled"] == 3 and set(report.groups["speaker"]) == {"anna", "ben"}
    text = rendered(report)
    assert "gratitude → happiness" in text and "curiosity × 1" in text and "95 % interval (over speakers)" in text
    assert json.loads(report.to_json())["unmapped"] == {"curiosity": 1}
    assert report.to_json() == evaluate("text-emotion", manifest=tmp_path / "texts.csv").to_json()


@pytest.mark.models
def test_dimensions_are_scored_beside_labels(tmp_path: Path) -> None:
    needs("text-emotion", "sentence-encoder")
    (tmp_path / "texts.csv").write_text("text,valence\nI love it,0.8\nI hate it,-0.7\nit is a table,0.0\n")
    metrics = evaluate("text-emotion", manifest=tmp_path / "texts.csv").metrics
    assert metrics["pearson_valence"] > 0.5
    assert {"ccc_valence", "rmse_valence"} <= set(metrics) and metrics["n_labelled"] == 0


@pytest.mark.models
def test_silence_is_no_transcript_and_a_wrong_profile_is_named(tmp_path: Path) -> None:
    needs("whisper-base", "text-emotion", "speech-emotion")
    stereo(tmp_path / "call.wav")
    (tmp_path / "calls.csv").write_text("path,channel,text\ncall.wav,1,hello there\n")
    report = evaluate("transcription", manifest=tmp_path / "calls.csv")
    assert report.metrics["wer"] == 1.0 and report.metrics["n_rejected"] == 1
    with pytest.raises(InputError, match="no profile is called huge"):
        evaluate("transcription", manifest=tmp_path / "calls.csv", profile="huge")


@pytest.mark.models
@pytest.mark.corpus
def test_read_speech_is_transcribed_with_few_errors(corpus: Path) -> None:
    needs("whisper-base", "speech-emotion")
    report = evaluate("transcription", data=corpus / "audio" / "ravdess", limit=6)
    assert report.metrics["wer"] < 0.2
    assert report.metrics["n_words"] == 36


@pytest.mark.models
@pytest.mark.corpus
def test_scoring_training_data_is_called_by_its_name(corpus: Path) -> None:
    needs("whisper-base", "speech-emotion")
    report = evaluate("speech-emotion", data=corpus / "audio" / "emodb", limit=8)
    assert any("training data" in note for note in report.notes)


@pytest.mark.models
@pytest.mark.corpus
def test_expressions_of_the_test_part_are_recognised(corpus: Path) -> None:
    needs("mini-xception")
    report = evaluate("expression", data=corpus / "visual" / "fer2013plus", limit=150)
    assert report.data == "ferplus PrivateTest" and report.unmapped.get("no majority", 0) > 0
    assert report.metrics["accuracy"] > 0.5
