"""`evaluate`: one labelled source, one task, one report.

A task runs the same extractor that the product runs. Models are loaded when they are needed; labels are mapped by the
taxonomy and the mapping is part of the report.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from extractors.cues import Posterior
from extractors.errors import InputError
from fusion import taxonomy
from fusion.evaluation import corpora
from fusion.evaluation import metrics as m
from fusion.evaluation.bootstrap import intervals
from fusion.evaluation.media import read_audio, read_cell
from fusion.evaluation.report import Report
from fusion.evaluation.rows import Row, read_manifest
from fusion.evaluation.scoring import GROUPS, LARGEST_GROUPS, emotion_report

if TYPE_CHECKING:
    from extractors.speech.whisper import WhisperEngine

Pair = TypeVar("Pair")
RATE = 16_000
PIECE_S = 29  # longest stretch that the encoder takes at once


class Source(Struct, frozen=True):
    """Rows to score, where they come from, and the set of their labels."""

    name: str
    rows: list[Row]
    label_set: str
    bootstrap: str = ""


def evaluate(
    task: str,
    data: Path | None = None,
    manifest: Path | None = None,
    split: str | None = None,
    profile: str = "bundled",
    limit: int | None = None,
) -> Report:
    """Measure `task` on a corpus folder (`data`) or a `manifest`.

    `split` picks rows (for a corpus with an official test part that part is the default; ``all`` takes all), `limit`
    the first rows. Raises `InputError` where the data lack what the task needs, `ModelMissing` where a model is not
    there.
    """
    if task not in TASKS:
        raise InputError(f"no task is called {task}", where="evaluate", cure=f"use one of {', '.join(TASKS)}")
    lack, run = TASKS[task]
    source = _source(lack, data, manifest, split)
    if limit is not None and limit < 1:
        raise InputError(f"the limit is {limit}", where="evaluate", cure="give 1 or more")
    rows = source.rows[:limit]
    label_set = source.label_set or taxonomy.guess_set(
        [label for row in rows for label in (row.labels or {row.label: 1.0})]
    )
    return run(Source(source.name, rows, label_set, source.bootstrap), profile)


def _source(lack: Callable[[Row], str | None], data: Path | None, manifest: Path | None, split: str | None) -> Source:
    if manifest is not None:
        rows = [row for row in read_manifest(manifest, lack) if split in (None, "all", row.split)]
        if not rows:
            raise InputError(f"no row of split {split}", where=str(manifest), cure="check the column split")
        over = next((name for name in ("speaker", "dialogue") if len({getattr(row, name) for row in rows}) > 1), "")
        return Source(manifest.name, rows, "", over)
    if data is None:
        raise InputError(
            "evaluate needs one source of data", where="evaluate", cure="give either a folder or a manifest"
        )
    corpus = corpora.read(data)
    rows = corpus.split(split)
    missing = next((lack(row) for row in rows if lack(row)), None)
    if missing:
        raise InputError(
            f"this corpus does not fit the task: {missing}", where=str(data), cure="choose another task or corpus"
        )
    part = split or corpus.test_split
    return Source(f"{corpus.name} {part}".strip(), rows, corpus.label_set, corpus.bootstrap)


def _lacks_emotion(row: Row) -> str | None:
    known = row.label or row.labels or any(value is not None for value in (row.valence, row.arousal, row.dominance))
    return None if known else "nothing to compare with: give label, labels, valence, arousal or dominance"


def _lacks_media(row: Row) -> str | None:
    return "path is empty" if row.path is None else None


def _lacks_transcript(row: Row) -> str | None:
    return _lacks_media(row) or (
        None if m.spoken(row.text) else "text is empty: a transcript to compare with is needed"
    )


def _lacks_speech_emotion(row: Row) -> str | None:
    return _lacks_media(row) or _lacks_emotion(row)


def _lacks_text_emotion(row: Row) -> str | None:
    return _lacks_emotion(row) if row.text else "text is empty"


def _text_emotion(source: Source, profile: str) -> Report:
    from extractors.text.emotion import TextEmotion

    model = TextEmotion()
    posteriors = model.classify([row.text for row in source.rows])
    return _emotion("text-emotion", source, posteriors, model.prior, {"text_emotion": model.identity}, model.trained_on)


def _speech_emotion(source: Source, profile: str) -> Report:
    from extractors.speech.emotion import SpeechEmotion
    from extractors.speech.models import PROFILES
    from extractors.speech.whisper import WhisperEngine

    transcriber, head = _of_profile(PROFILES, profile)
    engine, model = WhisperEngine(transcriber), SpeechEmotion(head)
    posteriors = []
    for row in source.rows:
        audio = read_audio(row)
        pieces = [audio[start : start + PIECE_S * RATE] for start in range(0, max(len(audio), 1), PIECE_S * RATE)]
        states = (
            np.concatenate([engine.encode(piece).states for piece in pieces])
            if len(audio)
            else np.empty((0, model.size), np.float32)
        )
        posteriors.append(model.classify(states))
    return _emotion(
        "speech-emotion",
        source,
        posteriors,
        model.prior,
        {"speech_emotion": model.identity, "encoder": engine.identity},
        model.trained_on,
    )


def _expression(source: Source, profile: str) -> Report:
    from extractors.face.expression import ExpressionModel
    from fusion.models.pool import FERPLUS_PRIOR

    model, total = ExpressionModel(), sum(FERPLUS_PRIOR.values())
    posteriors = [model.posterior(read_cell(row)) for row in source.rows]
    prior = {label: share / total for label, share in FERPLUS_PRIOR.items()}
    report = _emotion("expression", source, posteriors, prior, {"expression": posteriors[0].model}, ())
    note = "faces are taken as they are, without detection and mesh"
    return msgspec.structs.replace(report, notes=(*report.notes, note))


def _emotion(
    task: str,
    source: Source,
    posteriors: Sequence[Posterior],
    prior: dict[str, float],
    models: dict[str, str],
    trained_on: Sequence[str],
) -> Report:
    corpus, _, part = source.name.partition(" ")
    seen = corpus in trained_on and part not in ("test", "dev")
    notes = [f"{corpus} is training data of this model: these figures say nothing about new data"] if seen else []
    return emotion_report(
        task,
        source.name,
        source.rows,
        posteriors,
        label_set=source.label_set,
        prior=prior,
        models=models,
        bootstrap=source.bootstrap,
        notes=notes,
    )


def _transcription(source: Source, profile: str) -> Report:
    from extractors.speech.models import PROFILES
    from extractors.speech.whisper import WhisperEngine

    engine = WhisperEngine(_of_profile(PROFILES, profile)[0])
    truth = [row.text for row in source.rows]
    found, rejected = [], 0
    for row in source.rows:
        text, refused = _transcribe(engine, read_audio(row), row.language or None)
        found.append(text)
        rejected += refused
    edits, words = m.word_errors(truth, found)
    wrong, characters = m.character_errors(truth, found)

    def figures(at: NDArray[np.int64]) -> dict[str, float]:
        return {"wer": float(edits[at].sum() / words[at].sum()), "cer": float(wrong[at].sum() / characters[at].sum())}

    every = np.arange(len(truth))
    over = [getattr(row, source.bootstrap) for row in source.rows] if source.bootstrap else None
    counts = {"n_words": float(words.sum()), "n_rejected": float(rejected), "n_exact": float((edits == 0).sum())}
    return Report(
        task="transcription",
        data=source.name,
        n=len(truth),
        metrics=figures(every) | counts,
        intervals=intervals(figures, len(truth), over),
        bootstrap_over=f"{source.bootstrap}s" if over and len(set(over)) > 1 else "rows",
        groups=_word_groups(source.rows, figures),
        models={"transcription": engine.identity},
        notes=("compared in lower case without punctuation; numbers are not spelled out",),
    )


def _transcribe(engine: WhisperEngine, audio: NDArray[np.float32], language: str | None) -> tuple[str, int]:
    """Text of a recording, utterance by utterance where it is longer than the encoder takes, and how many were
    refused."""
    from extractors.speech.segment import Segmenter

    pieces: list[NDArray[np.float32]] = [audio]
    if len(audio) > PIECE_S * RATE:
        segmenter = Segmenter()
        pcm = np.round(np.clip(audio, -1, 1) * 32767).astype(np.int16)
        segments = [*segmenter.push(pcm), *segmenter.flush()]
        pieces = [segment.pcm.astype(np.float32) / np.float32(32768) for segment in segments]
    transcripts = engine.transcribe([engine.encode(piece) for piece in pieces], language=language, word_times=False)
    return " ".join(transcript.text.strip() for transcript in transcripts), sum(
        transcript.rejected is not None for transcript in transcripts
    )


def _word_groups(
    rows: Sequence[Row], figures: Callable[[NDArray[np.int64]], dict[str, float]]
) -> dict[str, dict[str, dict[str, float]]]:
    found: dict[str, dict[str, dict[str, float]]] = {}
    for column in GROUPS:
        values = np.array([getattr(row, column) for row in rows])
        distinct = sorted(set(values.tolist()) - {""})
        if 2 <= len(distinct) <= LARGEST_GROUPS:
            at = {value: np.flatnonzero(values == value) for value in distinct}
            found[column] = {value: {"n": float(len(places))} | figures(places) for value, places in at.items()}
    return found


def _of_profile(profiles: Mapping[str, Pair], profile: str) -> Pair:
    if profile not in profiles:
        raise InputError(f"no profile is called {profile}", where="evaluate", cure=f"use one of {', '.join(profiles)}")
    return profiles[profile]


TASKS: dict[str, tuple[Callable[[Row], str | None], Callable[[Source, str], Report]]] = {
    "transcription": (_lacks_transcript, _transcription),
    "speech-emotion": (_lacks_speech_emotion, _speech_emotion),
    "text-emotion": (_lacks_text_emotion, _text_emotion),
    "expression": (_lacks_speech_emotion, _expression),
}
