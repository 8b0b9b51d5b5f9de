"""How far can a turn of expression be trusted that was found from words alone? Beside labels given by people, on MELD.

    python -m benchmarks.turns --data DIR [--split test] [--quick]

DIR holds MELD's `*_sent_emo.csv`. The rule of `fusion.shifts` runs over the labels that people gave (each with probability 1)
and over what the text head and the pool make of the words, abstentions included, speaker by speaker. A found turn is right when a
turn of the labels begins at most one utterance of that speaker away and leads to the same side of valence; each is matched once.
Beside it, on the same posteriors: a turn wherever the label changes, as a system without the rule would report, and the rule
on the same posteriors in random order within each speaker (what chance gives). Words are all that is used: voice and face are not
in these files. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
from collections.abc import Sequence
from pathlib import Path

from msgspec import Struct

from benchmarks.machine import machine
from fusion import taxonomy
from fusion.conversation import Tone, tone
from fusion.evaluation import corpora
from fusion.evaluation.rows import Row
from fusion.events import EmotionEvent
from fusion.models.pool import UNKNOWN, default_pool
from fusion.shifts import bare_shifts

LEAST = 4
"""Utterances that a speaker needs in a dialogue: fewer cannot turn."""


class Said(Struct, frozen=True):
    """What is stated of one utterance: label, probabilities, valence."""

    label: str
    probabilities: dict[str, float]
    valence: float | None


class Turned(Struct, frozen=True):
    """A turn: number of the utterance among the speaker's own at which it begins, and the side that it leads to."""

    at: int
    into: Tone


def settled_turns(said: Sequence[Said]) -> list[Turned]:
    """Turns by the rule of the product."""
    events = [
        EmotionEvent(
            f"{i:04d}", 1000, "final", "s", "p", "participant", "utterance", i * 5000, i * 5000 + 4000, label=s.label, probabilities=s.probabilities,
            valence=s.valence, confidence=max(s.probabilities.values()),
        )
        for i, s in enumerate(said)
    ]  # fmt: skip
    return [Turned(shift.at_ms // 5000, shift.after.tone) for shift in bare_shifts(events) if shift.kind == "tone"]


def every_change(said: Sequence[Said]) -> list[Turned]:
    """A turn wherever the side of valence is another one than at the last labelled utterance."""
    sides = [(i, tone(s.label, s.valence)) for i, s in enumerate(said) if s.label != UNKNOWN]
    return [Turned(i, side) for (_, before), (i, side) in zip(sides, sides[1:], strict=False) if side != before]


def matched(found: Sequence[Turned], true: Sequence[Turned]) -> int:
    """Found turns that meet a true one; each true one is met once."""
    left, count = list(true), 0
    for turn in found:
        near = min((t for t in left if t.into == turn.into and abs(t.at - turn.at) <= 1), key=lambda t: abs(t.at - turn.at), default=None)
        if near is not None:
            left.remove(near)
            count += 1
    return count


def scores(found: Sequence[Sequence[Turned]], true: Sequence[Sequence[Turned]]) -> dict[str, float | int]:
    hits, stated, there = sum(map(matched, found, true)), sum(map(len, found)), sum(map(len, true))
    precision, recall = hits / stated if stated else 0.0, hits / there if there else 0.0
    f1 = 2 * precision * recall / (precision + recall) if hits else 0.0
    return {"found": stated, "right": hits, "precision": round(precision, 3), "recall": round(recall, 3), "f1": round(f1, 3)}


def speakers(rows: Sequence[Row]) -> list[list[Row]]:
    """Utterances of each speaker of each dialogue, in order; only of speakers with `LEAST` or more."""
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.dialogue, row.speaker), []).append(row)
    return [sorted(group, key=lambda r: int(r.turn)) for group in groups.values() if len(group) >= LEAST]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--split", default="test")
    parser.add_argument("--quick", action="store_true", help="five random orders instead of fifty")
    options = parser.parse_args()
    from extractors.text.emotion import TextEmotion

    print(machine("numpy"))
    corpus, pool, model = corpora.read(corpora.find(options.data, "meld")), default_pool(), TextEmotion()
    true, said = [], []
    for group in speakers(corpus.split(options.split)):
        labels = [taxonomy.map_label(row.label, "meld") or "neutral" for row in group]
        true.append(settled_turns([Said(label, {label: 1.0}, None) for label in labels]))
        fused = [pool.fuse({"text": posterior}) for posterior in model.classify([row.text for row in group])]
        said.append([Said(f.label, f.probabilities, f.valence) for f in fused])
    rng = random.Random(1)
    shuffled = [scores([settled_turns(rng.sample(s, len(s))) for s in said], true) for _ in range(5 if options.quick else 50)]
    table = {
        "settled turns (the product)": scores([settled_turns(s) for s in said], true),
        "every change of side": scores([every_change(s) for s in said], true),
        "settled turns, words in random order": {
            name: round(statistics.mean(one[name] for one in shuffled), 3) for name in ("found", "right", "precision", "recall", "f1")
        },
    }  # fmt: skip
    there = sum(map(len, true))
    print(f"MELD {options.split}: {len(said)} speakers with {LEAST} utterances or more, {sum(map(len, said))} utterances, {there} turns by people's labels")
    print(f"{'':40}{'found':>8}{'right':>8}{'precision':>11}{'recall':>8}{'F1':>8}")
    for name, row in table.items():
        print(f"{name:40}{row['found']:>8}{row['right']:>8}{row['precision']:>11}{row['recall']:>8}{row['f1']:>8}")
    print(json.dumps({"split": options.split, "speakers": len(said), "utterances": sum(map(len, said)), "turns": there, **table}))


if __name__ == "__main__":
    main()
