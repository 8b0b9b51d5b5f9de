"""What does it cost to encode an utterance alone instead of a window of 30 s, in words and in seconds?

    python -m benchmarks.encoder_padding --data DIR [--data DIR …] [--model whisper-base] [--limit 120] [--quick]

DIR holds `manifest.csv` with the columns `path`, `text` and `language` (rows without text are left out, and rows whose
`note` says that the file is only a part) and 16 kHz mono audio files. The same utterances are transcribed greedily from

  full         the window Whisper was trained on: 3000 frames encoded for every utterance
  cached M     the utterance and M frames encoded, the window completed with stored states of silence
  product      cached with the default margin, and a second look from a full window where the decoder is unsure

and compared: word error rate against the text, words that differ from `full`, loops, seconds of CPU per utterance (the
second look is counted to the decoder). The interval is a paired bootstrap (95 %) of the difference in word error rate to `full`. The
last line is one JSON object.
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
from extractors.speech.whisper import MARGIN_FRAMES, WhisperEngine

NUMERALS = {
    "en": dict(zip("1 2 3 4 5 6 7 8 9 10".split(), "one two three four five six seven eight nine ten".split(), strict=True)),
    "de": dict(zip("1 2 3 4 5 6 7 8 9 10".split(), "eins zwei drei vier fünf sechs sieben acht neun zehn".split(), strict=True)),
}


class Item(Struct, frozen=True, eq=False):
    corpus: str
    pcm: Any
    text: str
    language: str


class Result(Struct, frozen=True):
    transcripts: list[Transcript]
    encoder_s: float
    decoder_s: float


def load(folder: Path, limit: int) -> list[Item]:
    with (folder / "manifest.csv").open(encoding="utf-8", newline="") as table:
        rows = [row for row in csv.DictReader(table) if row.get("text") and not row.get("note", "").startswith("first ")]
    random.Random(0).shuffle(rows)
    items = []
    for row in rows[:limit]:
        pcm, rate = soundfile.read(folder / row["path"], dtype="int16")
        if rate == 16_000 and pcm.ndim == 1:
            items.append(Item(folder.name, pcm, row["text"], row.get("language") or "en"))
    return items


def run(engine: WhisperEngine, items: list[Item]) -> Result:
    started = time.process_time()
    encoded = [engine.encode(item.pcm) for item in items]
    between = time.process_time()
    transcripts = engine.transcribe(encoded, [item.language for item in items], word_times=False)
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


def errors(items: list[Item], result: Result) -> np.ndarray:
    return np.array([distance(words(i.text, i.language), words(t.text, i.language)) for i, t in zip(items, result.transcripts, strict=True)])


def bootstrap(difference: np.ndarray, lengths: np.ndarray) -> tuple[float, float]:
    generator = np.random.default_rng(0)
    picks = generator.integers(0, len(lengths), (2000, len(lengths)))
    low, high = np.percentile(difference[picks].sum(axis=1) / lengths[picks].sum(axis=1), [2.5, 97.5])
    return round(100 * float(low), 2), round(100 * float(high), 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, action="append", default=[], help="folder with manifest.csv; may be given again")
    parser.add_argument("--model", choices=("whisper-base", "whisper-tiny.en"), default="whisper-base")
    parser.add_argument("--limit", type=int, default=120, help="utterances per folder")
    parser.add_argument("--margins", type=int, nargs="*", default=[100, MARGIN_FRAMES])
    parser.add_argument("--quick", action="store_true", help="16 utterances per folder, one margin")
    asked = parser.parse_args()
    print(machine("ctranslate2", "faster-whisper", "numpy"))
    folders = [folder for folder in asked.data if (folder / "manifest.csv").is_file()]
    for folder in set(asked.data) - set(folders):
        print(f"{folder}: no manifest.csv there")
    if not folders:
        print("nothing to measure: give a folder of audio files with known sentences by --data")
        print(json.dumps({"benchmark": "encoder_padding", "skipped": "no data"}))
        return
    items = [item for folder in folders for item in load(folder, 16 if asked.quick else asked.limit)]
    if asked.model.endswith(".en"):
        items = [item for item in items if item.language == "en"]
    engines: dict[str, dict[str, Any]] = {"full": {"window": "full", "second_look_below": None}}
    for margin in [MARGIN_FRAMES] if asked.quick else asked.margins:
        engines[f"cached {margin}"] = {"margin_frames": margin, "second_look_below": None}
    engines["product"] = {}
    results = {name: run(WhisperEngine(asked.model, **options), items) for name, options in engines.items()}
    print(f"{asked.model}, int8, greedy, {len(items)} utterances, {sum(len(i.pcm) for i in items) / 16_000 / max(1, len(items)):.2f} s on average")
    report(items, results)


def report(items: list[Item], results: dict[str, Result]) -> None:
    figures: dict[str, Any] = {"benchmark": "encoder_padding", "n": len(items)}
    full = results["full"]
    print(f"{'':12}{'corpus':>10}{'WER %':>8}{'to full':>9}{'95 %':>16}{'differ %':>10}{'loops':>7}{'enc s':>8}{'dec s':>8}{'CPU ratio':>11}")
    for name, result in results.items():
        ratio = (result.encoder_s + result.decoder_s) / (full.encoder_s + full.decoder_s)
        for corpus in sorted({item.corpus for item in items}):
            here = np.array([item.corpus == corpus for item in items])
            lengths = np.array([len(words(item.text, item.language)) for item in items])[here]
            wrong, reference = errors(items, result)[here], errors(items, full)[here]
            mine = [words(t.text, i.language) for t, i in zip(result.transcripts, items, strict=True) if i.corpus == corpus]
            theirs = [words(t.text, i.language) for t, i in zip(full.transcripts, items, strict=True) if i.corpus == corpus]
            differ = 100 * sum(distance(a, b) for a, b in zip(theirs, mine, strict=True)) / max(1, sum(map(len, theirs)))
            loops = sum(t.rejected == "repetition" for t, item in zip(result.transcripts, items, strict=True) if item.corpus == corpus)
            wer, gap = 100 * wrong.sum() / lengths.sum(), 100 * (wrong.sum() - reference.sum()) / lengths.sum()
            low, high = bootstrap(wrong - reference, lengths)
            print(f"{name:12}{corpus:>10}{wer:8.2f}{gap:+9.2f}{f'{low:+.2f} … {high:+.2f}':>16}{differ:10.2f}{loops:7d}"
                  f"{result.encoder_s / len(items):8.3f}{result.decoder_s / len(items):8.3f}{ratio:11.2f}")  # fmt: skip
            figures[f"{name}/{corpus}"] = {"wer": round(wer, 2), "gap": round(gap, 2), "gap_95": [low, high], "differ": round(differ, 2), "loops": loops}
        seconds = {"encoder_s": round(result.encoder_s / len(items), 4), "decoder_s": round(result.decoder_s / len(items), 4)}
        figures[f"{name}/cpu"] = seconds | {"ratio": round(ratio, 3)}
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
