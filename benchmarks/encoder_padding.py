"""What does it cost to encode an utterance alone instead of a window of 30 s, in words and in seconds?

    python -m benchmarks.encoder_padding [--data DIR …] [--call FILE …] [--half held-out] [--limit 120] [--quick]

DIR holds `manifest.csv` with the columns `path`, `text`, `language` and `speaker` (rows without text are left out, and rows
whose `note` says that the file is only a part) and 16 kHz mono audio files. FILE is a recording beside whose name a `.json` lists
`turns` with `start` or `start_ms`, `channel` and `text`: it is cut as a replay cuts it, and its words are compared channel
by channel (a reference that says that a machine wrote it is not compared). Without either, the sample call is measured.
The same utterances are transcribed

  full          greedily from the window Whisper was trained on: 3000 frames encoded for every utterance
  cached M      greedily from the utterance and M frames encoded, the window completed with stored states of silence
  second look   like cached, and greedily again from a full window where the mean log probability is below -0.5
  beam          like cached, by a beam search of 5 over a window of 1500 states
  product       as the product does it: a beam search of 5 over a window of 1000 states

and compared: word error rate against the text (a text that is not believed counts as no words), words that differ from
`full`, texts not believed, seconds of CPU per utterance (a second look counts to the decoder; language and word times are
left out). The interval is a paired bootstrap over utterances (calls: channels), 95 %, of the difference in word error rate to `full`.
`--half` takes the first or the second half of each folder's speakers in the order of their names: what is in use was chosen on
`development`. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import csv
import json
import random
import time
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from msgspec import Struct

from benchmarks.machine import machine
from extractors.cues import Transcript
from extractors.speech.guards import plain_text
from extractors.speech.resample import StreamingResampler, as_float32, as_int16
from extractors.speech.segment import Segmenter
from extractors.speech.whisper import BEAM, MARGIN_FRAMES, WhisperEngine

SAMPLE = Path(__file__).resolve().parent.parent / "samples" / "support_call.wav"
HALVES = ("development", "held-out")

NUMERALS = {
    "en": dict(zip("1 2 3 4 5 6 7 8 9 10".split(), "one two three four five six seven eight nine ten".split(), strict=True)),
    "de": dict(zip("1 2 3 4 5 6 7 8 9 10".split(), "eins zwei drei vier fünf sechs sieben acht neun zehn".split(), strict=True)),
}


class Item(Struct, frozen=True, eq=False):
    """One utterance. Items of one `unit` are compared as one text: the sentence of a file, or all of a channel."""

    corpus: str
    unit: str
    pcm: Any
    language: str


class Material(Struct, frozen=True):
    items: list[Item]
    texts: dict[str, str]  # by unit; units without one are only compared with each other


class Result(Struct, frozen=True):
    transcripts: list[Transcript]
    encoder_s: float
    decoder_s: float


def load(folder: Path, limit: int, half: str | None) -> Material:
    with (folder / "manifest.csv").open(encoding="utf-8", newline="") as table:
        rows = [row for row in csv.DictReader(table) if row.get("text") and not row.get("note", "").startswith("first ")]
    speakers = sorted({row.get("speaker", "") for row in rows})
    middle = len(speakers) // 2
    kept = {None: speakers, "development": speakers[:middle], "held-out": speakers[middle:]}[half]
    rows = [row for row in rows if row.get("speaker", "") in kept]
    random.Random(0).shuffle(rows)
    found = Material([], {})
    for row in rows[:limit]:
        pcm, rate = soundfile.read(folder / row["path"], dtype="int16")
        if rate == 16_000 and pcm.ndim == 1:
            unit = f"{folder.name}/{row['path']}"
            found.items.append(Item(folder.name, unit, pcm, row.get("language") or "en"))
            found.texts[unit] = row["text"]
    return found


def cut(recording: Path) -> Material:
    """Utterances of a recording, channel by channel, as end-pointing finds them."""
    known = json.loads(recording.with_suffix(".json").read_text(encoding="utf-8"))
    audio, rate = soundfile.read(recording, dtype="int16", always_2d=True)
    found = Material([], {})
    for channel in range(audio.shape[1]):
        unit = f"{recording.stem}/{channel}"
        resampler, segmenter = StreamingResampler(rate), Segmenter()
        pcm = as_int16(np.concatenate([resampler.push(as_float32(audio[:, channel].copy())), resampler.flush()]))
        for segment in [*segmenter.push(pcm), *segmenter.flush()]:
            found.items.append(Item(recording.stem, unit, segment.pcm, known.get("language", "en")))
        turns = [t for t in known["turns"] if {"left": 0, "right": 1}.get(t.get("channel", 0), t.get("channel", 0)) == channel]
        if not str(known.get("reference", "")).startswith("machine"):
            turns.sort(key=lambda turn: float(turn.get("start", turn.get("start_ms", 0))))
            found.texts[unit] = " ".join(turn["text"] for turn in turns)
    return found


def run(engine: WhisperEngine, items: list[Item], beam_size: int) -> Result:
    started = time.process_time()
    encoded = [engine.encode(item.pcm) for item in items]
    between = time.process_time()
    languages = [item.language for item in items]
    transcripts = engine.transcribe(encoded, languages, beam_size=beam_size, word_times=False)
    return Result(transcripts, between - started, time.process_time() - between)


def words(text: str, language: str) -> list[str]:
    numerals = NUMERALS.get(language, {})
    return [numerals.get(word, word) for word in plain_text(text.replace("ß", "ss")).split()]


def distance(a: list[str], b: list[str]) -> int:
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        diagonal, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (x != y))
    return row[-1]


def heard(items: list[Item], result: Result) -> dict[str, list[str]]:
    """Words by unit, in order."""
    found: dict[str, list[str]] = {}
    for item, transcript in zip(items, result.transcripts, strict=True):
        found.setdefault(item.unit, []).extend(words(transcript.text, item.language))
    return found


def bootstrap(difference: np.ndarray, lengths: np.ndarray) -> tuple[float, float]:
    generator = np.random.default_rng(0)
    picks = generator.integers(0, len(lengths), (2000, len(lengths)))
    low, high = np.percentile(difference[picks].sum(axis=1) / lengths[picks].sum(axis=1), [2.5, 97.5])
    return round(100 * float(low), 2), round(100 * float(high), 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, action="append", default=[], help="folder with manifest.csv; may be given again")
    parser.add_argument("--call", type=Path, action="append", default=[], help="recording with a .json of its turns; may be given again")
    parser.add_argument("--half", choices=HALVES, help="only this half of each folder's speakers")
    parser.add_argument("--model", choices=("whisper-base", "whisper-tiny.en"), default="whisper-base")
    parser.add_argument("--limit", type=int, default=120, help="utterances per folder")
    parser.add_argument("--margins", type=int, nargs="*", default=[MARGIN_FRAMES])
    parser.add_argument("--quick", action="store_true", help="16 utterances per folder")
    asked = parser.parse_args()
    print(machine("ctranslate2", "faster-whisper", "numpy"))
    folders = [folder for folder in asked.data if (folder / "manifest.csv").is_file()]
    for folder in set(asked.data) - set(folders):
        print(f"{folder}: no manifest.csv there")
    calls = [call for call in asked.call if call.with_suffix(".json").is_file()] or ([] if folders else [SAMPLE])
    parts = [load(folder, 16 if asked.quick else asked.limit, asked.half) for folder in folders] + [cut(call) for call in calls]
    items = [item for part in parts for item in part.items if item.language == "en" or not asked.model.endswith(".en")]
    texts = {unit: text for part in parts for unit, text in part.texts.items()}
    cached = {"window_states": 1500}
    engines: dict[str, tuple[dict[str, Any], int]] = {"full": ({"window": "full"}, 1)}
    engines |= {f"cached {margin}": (cached | {"margin_frames": margin}, 1) for margin in asked.margins}
    engines |= {"second look": (cached | {"second_look_below": -0.5}, 1), "beam": (cached, BEAM), "product": ({}, BEAM)}
    results = {name: run(WhisperEngine(asked.model, **options), items, beam) for name, (options, beam) in engines.items()}
    mean = sum(len(i.pcm) for i in items) / 16_000 / max(1, len(items))
    print(f"{asked.model}, int8, {len(items)} utterances, {mean:.2f} s on average, speakers: {asked.half or 'all'}")
    report(items, texts, results)


def report(items: list[Item], texts: dict[str, str], results: dict[str, Result]) -> None:
    figures: dict[str, Any] = {"benchmark": "encoder_padding", "n": len(items)}
    full = results["full"]
    theirs = heard(items, full)
    print(f"{'':12}{'corpus':>28}{'words':>7}{'WER %':>8}{'to full':>9}{'95 %':>16}{'differ %':>10}{'refused':>9}{'enc s':>8}{'dec s':>8}{'CPU ratio':>11}")
    for name, result in results.items():
        ratio = (result.encoder_s + result.decoder_s) / (full.encoder_s + full.decoder_s)
        mine = heard(items, result)
        for corpus in sorted({item.corpus for item in items}):
            languages = {item.unit: item.language for item in items if item.corpus == corpus}
            refused = sum(t.rejected is not None for t, i in zip(result.transcripts, items, strict=True) if i.corpus == corpus)
            differ = 100 * sum(distance(theirs[u], mine[u]) for u in languages) / max(1, sum(len(theirs[u]) for u in languages))
            row: dict[str, Any] = {"differ": round(differ, 2), "refused": refused}
            score = f"{'':7}{'':8}{'':9}{'':16}"
            truth = {u: words(texts[u], language) for u, language in languages.items() if u in texts}
            if truth:
                lengths = np.array([len(truth[u]) for u in truth])
                wrong, reference = (np.array([distance(truth[u], of[u]) for u in truth]) for of in (mine, theirs))
                wer, gap = 100 * wrong.sum() / lengths.sum(), 100 * (wrong.sum() - reference.sum()) / lengths.sum()
                low, high = bootstrap(wrong - reference, lengths) if len(truth) > 2 else (None, None)
                row |= {"words": int(lengths.sum()), "wer": round(wer, 2), "gap": round(gap, 2), "gap_95": [low, high]}
                between = f"{low:+.2f} … {high:+.2f}" if low is not None else ""
                score = f"{lengths.sum():7d}{wer:8.2f}{gap:+9.2f}{between:>16}"
            print(f"{name:12}{corpus:>28}{score}{differ:10.2f}{refused:9d}"
                  f"{result.encoder_s / len(items):8.3f}{result.decoder_s / len(items):8.3f}{ratio:11.2f}")  # fmt: skip
            figures[f"{name}/{corpus}"] = row
        seconds = {"encoder_s": round(result.encoder_s / len(items), 4), "decoder_s": round(result.decoder_s / len(items), 4)}
        figures[f"{name}/cpu"] = seconds | {"ratio": round(ratio, 3)}
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
