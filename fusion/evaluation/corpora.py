"""Loaders of public corpora in their own folder layout. Files may be plain or gzipped; no machine path is known here.

A corpus is recognised by the files in its folder. Its official splits are kept; `test_split` names the one that is
scored unless the user asks for another.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from msgspec import Struct

from extractors.errors import InputError
from fusion.evaluation.rows import Row


class Corpus(Struct, frozen=True):
    """Rows of one corpus. `bootstrap` is the field of `Row` over which intervals are drawn, "" for single rows."""

    name: str
    rows: list[Row]
    label_set: str
    test_split: str = ""
    bootstrap: str = ""

    def split(self, name: str | None) -> list[Row]:
        """Rows of a split; None means the test split where there is one, ``all`` means all."""
        wanted = self.test_split if name is None else name
        if not wanted or wanted == "all":
            return self.rows
        rows = [row for row in self.rows if row.split == wanted]
        if not rows:
            known = sorted({row.split for row in self.rows if row.split})
            raise InputError(
                f"no row of split {wanted}", where=self.name, cure=f"use one of {', '.join(known) or 'all'}, or all"
            )
        return rows


def read(folder: Path) -> Corpus:
    """The corpus that lies in `folder`. Raises `InputError` where no known layout is found."""
    if not folder.is_dir():
        raise InputError("there is no such folder", where=str(folder), cure="give the folder of one corpus")
    for recognised, load in _LAYOUTS:
        if recognised(folder):
            return load(folder)
    names = (
        "manifest.csv, GoEmotions (train.tsv, labels.txt), MELD (*_sent_emo.csv), EmoBank (emobank.csv), MAIA-DQE, "
        "FER+ mosaics (index.csv)"
    )
    cure = f"give the folder of one corpus ({names}), or a --manifest"
    raise InputError("no known corpus layout", where=str(folder), cure=cure)


def find(data: Path, name: str) -> Path:
    """Folder of corpus `name`: `data` itself, or one or two levels below it. Raises `InputError` where it is not."""
    places = [data] if data.name == name else []
    places += [data / name, *sorted(data.glob(f"*/{name}"))]
    for place in places:
        if place.is_dir():
            return place
    raise InputError(f"no folder {name}", where=str(data), cure=f"put the corpus into a folder called {name} there")


def present(data: Path, name: str) -> bool:
    """Whether `find` would find the corpus."""
    try:
        return bool(find(data, name))
    except InputError:
        return False


def has(folder: Path, name: str) -> bool:
    return (folder / name).is_file() or (folder / f"{name}.gz").is_file()


def open_text(folder: Path, name: str) -> io.TextIOBase:
    """`name` or ``name.gz`` in `folder` as UTF-8 text, line ends untouched."""
    if (folder / name).is_file():
        return (folder / name).open(encoding="utf-8", newline="")
    return io.TextIOWrapper(gzip.open(folder / f"{name}.gz"), encoding="utf-8", newline="")


def _table(folder: Path, name: str) -> Iterator[tuple[int, dict[str, str]]]:
    with open_text(folder, name) as stream:
        yield from enumerate(csv.DictReader(stream), 2)


def _splits(folder: Path, pattern: str, names: tuple[str, ...]) -> list[tuple[str, str]]:
    return [(split, pattern.format(split)) for split in names if has(folder, pattern.format(split))]


def goemotions(folder: Path) -> Corpus:
    """Text, label indices, id; no header and no quoting. Several labels make a distribution of equal shares."""
    with open_text(folder, "labels.txt") as stream:
        names = stream.read().split()
    rows = []
    for split, file in _splits(folder, "{}.tsv", ("train", "dev", "test")):
        with open_text(folder, file) as stream:
            for line, record in enumerate(stream.read().split("\n"), 1):
                if record.strip("\r"):
                    text, indices, _ = record.rstrip("\r").split("\t")
                    labels = [names[int(i)] for i in indices.split(",")]
                    shares = {label: 1 / len(labels) for label in labels}
                    rows.append(
                        Row(
                            text=text,
                            label=labels[0] if len(labels) == 1 else "",
                            labels=shares,
                            language="en",
                            split=split,
                            line=line,
                        )
                    )
    return Corpus("goemotions", rows, "goemotions", "test")


def meld(folder: Path) -> Corpus:
    """One CSV a split. Dialogue ids restart in each split, so the split is part of ours."""
    rows = [
        Row(
            text=cells["Utterance"].replace("\x92", "'"),
            label=cells["Emotion"],
            speaker=cells["Speaker"],
            language="en",
            split=split,
            line=line,
            dialogue=f"{split}-{cells['Dialogue_ID']}",
            turn=cells["Utterance_ID"],
        )
        for split, file in _splits(folder, "{}_sent_emo.csv", ("train", "dev", "test"))
        for line, cells in _table(folder, file)
    ]
    return Corpus("meld", rows, "meld", "test", "dialogue")


def emobank(folder: Path) -> Corpus:
    """Valence, arousal, dominance on a scale of 1 to 5, brought to [-1, 1] by (x - 3) / 2."""
    rows = []
    for line, cells in _table(folder, "emobank.csv"):
        valence, arousal, dominance = ((float(cells[name]) - 3) / 2 for name in "VAD")
        rows.append(
            Row(
                text=cells["text"],
                valence=valence,
                arousal=arousal,
                dominance=dominance,
                language="en",
                split=cells["split"],
                line=line,
            )
        )
    return Corpus("emobank", rows, "basic", "test")


def maia(folder: Path) -> Corpus:
    """Customer sentences as written; `title` is the client, `context` the machine translation."""
    with open_text(folder, "labels.txt") as stream:
        names = stream.read().split()
    rows: list[Row] = []
    for file in sorted(folder.glob("*client*.json*")):
        client = file.name.split(".")[0]
        with open_text(folder, f"{client}.json") as stream:
            dialogues: list[dict[str, Any]] = json.load(stream)
        for dialogue in dialogues:
            for number, turn in enumerate(dialogue["turns"]):
                if turn["floor"] != "inbound":
                    continue
                for source, translated, emotion in zip(turn["text_src"], turn["text_mt"], turn["Emotion"], strict=True):
                    rows.append(
                        Row(
                            text=source,
                            context=translated,
                            label=names[emotion],
                            language=client[:2],
                            role="customer",
                            title=client,
                            dialogue=dialogue["id"],
                            turn=str(number),
                        )
                    )
    return Corpus("maia", rows, "maia", "", "dialogue")


_FERPLUS = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt")


def ferplus(folder: Path) -> Corpus:
    """Faces in mosaics of 48 x 48 cells, 50 a row. `labels` are the votes of ten people, `label` their majority."""
    rows = []
    for line, cells in _table(folder, "index.csv"):
        votes = {name: int(cells[name]) for name in _FERPLUS}
        total = sum(votes.values())
        mosaic = cells["mosaic"] if cells["mosaic"].endswith(".png") else f"{cells['mosaic']}.png"
        rows.append(
            Row(
                path=folder / mosaic,
                cell=int(cells["cell"]),
                label=cells["ferplus_majority"] or "no majority",
                split=cells["usage"],
                line=line,
                labels={name: count / total for name, count in votes.items() if count}
                if total and cells["ferplus_majority"]
                else {},
            )
        )
    return Corpus("ferplus", rows, "ferplus", "PrivateTest")


_AUDIO_SETS = {"emodb": "emodb", "ravdess": "ravdess", "urdu": "urdu"}


def audio(folder: Path) -> Corpus:
    """A folder of recordings with ``manifest.csv``; `split` is the speaker-disjoint fold where the manifest has one.

    `title` keeps the acted intensity in words (normal, strong), where the corpus has it.
    """
    rows = []
    for line, cells in _table(folder, "manifest.csv"):
        file = folder / cells["path"]
        if not file.is_file():
            raise InputError(
                f"there is no file {file}", where=f"{folder / 'manifest.csv'}, line {line}", cure="restore the corpus"
            )
        rows.append(
            Row(
                path=file,
                text=cells.get("text", ""),
                label=cells.get("label", ""),
                speaker=cells.get("speaker", ""),
                sex=cells.get("sex", ""),
                language=cells.get("language", ""),
                split=cells.get("spk_fold") or cells.get("split", ""),
                title=cells.get("intensity", ""),
                line=line,
            )
        )
    return Corpus(folder.name, rows, _AUDIO_SETS.get(folder.name, ""), "", "speaker")


_LAYOUTS: tuple[tuple[Callable[[Path], bool], Callable[[Path], Corpus]], ...] = (
    (lambda folder: has(folder, "manifest.csv"), audio),
    (lambda folder: has(folder, "train.tsv") and has(folder, "labels.txt"), goemotions),
    (lambda folder: has(folder, "test_sent_emo.csv") or has(folder, "train_sent_emo.csv"), meld),
    (lambda folder: has(folder, "emobank.csv"), emobank),
    (lambda folder: has(folder, "labels.txt") and any(folder.glob("*client*.json*")), maia),
    (lambda folder: has(folder, "index.csv") and any(folder.glob("*.png")), ferplus),
)
