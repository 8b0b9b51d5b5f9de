"""Recipes of the speech emotion heads: logistic regression on the mean of Whisper's encoder states.

The default head and the one for the small English encoder see EmoDB alone (free to use with citation); the research
head sees RAVDESS too (CC BY-NC-SA 4.0) and is for non-commercial use. All report figures on speakers that were not
trained on, on the telephone channel, and on corpora that took no part.

EmoDB is cut to its first two seconds wherever all seven classes are compared: most copies hold no more of its fear,
boredom and disgust, and a head could read the class off the length.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from faster_whisper.audio import decode_audio
from msgspec import Struct

from extractors.cues import LABELS, Posterior
from extractors.posterior import posterior, softmax
from extractors.speech.emotion import SpeechEmotion, merged, pool
from extractors.speech.whisper import MARGIN_FRAMES, ModelName, WhisperEngine
from fusion import taxonomy
from fusion.evaluation import corpora
from fusion.evaluation import metrics as m
from fusion.evaluation.report import Report
from fusion.evaluation.rows import Row
from fusion.evaluation.scoring import emotion_report
from fusion.training import augment
from fusion.training.augment import RATE, Audio
from fusion.training.heads import Floats, Ints, deterministic, least, log_softmax, logistic_regression, save

C = 0.05
CAUTION = {"whisper-tiny.en": 2.0}
"""Factor on the rehearsed temperature. On RAVDESS the rehearsal was right for the multilingual encoder and left the
head on the English one, which learns from German speech here, far too sure of itself: it is cooled by a round
factor."""
CUT_S = 2.0
FOUR = ("anger", "happiness", "neutral", "sadness")
PRIOR = np.array([taxonomy.REFERENCE_PRIOR[label] for label in LABELS])
ANCHORS = np.array([taxonomy.ANCHORS[label] for label in LABELS])
LABEL_OF = {label: label for label in LABELS} | {"boredom": "neutral", "calm": "neutral"}
"""Classes heard apart and reported as one label: a bored or a calm voice shows none of the other six."""

Change = Callable[[Audio, np.random.Generator], Audio]


def _cut(audio: Audio) -> Audio:
    return audio[: int(CUT_S * RATE)]


def _level(audio: Audio, rng: np.random.Generator) -> Audio:
    return augment.louder(audio, float(rng.uniform(-12, 12)))


def _noise(audio: Audio, rng: np.random.Generator) -> Audio:
    return augment.noisy(_cut(audio), float(rng.uniform(5, 25)), rng)


def _piece(audio: Audio, rng: np.random.Generator) -> Audio:
    return augment.piece(_cut(audio), float(rng.uniform(1, 2)), rng)


CHANGES: dict[str, Change] = {
    "whole": lambda audio, rng: audio,
    "whole telephone": lambda audio, rng: augment.telephone(audio),
    "clean": lambda audio, rng: _cut(audio),
    "telephone": lambda audio, rng: augment.telephone(_cut(audio)),
    "noise": lambda audio, rng: _level(_noise(audio, rng), rng),
    "noise telephone": lambda audio, rng: _level(augment.telephone(_noise(audio, rng)), rng),
    "piece": lambda audio, rng: _level(_piece(audio, rng), rng),
    "piece telephone": lambda audio, rng: _level(augment.telephone(_piece(audio, rng)), rng),
    "0.5 s": lambda audio, rng: augment.piece(_cut(audio), 0.5, rng),
    "1 s": lambda audio, rng: augment.piece(_cut(audio), 1.0, rng),
    "1.5 s": lambda audio, rng: augment.piece(_cut(audio), 1.5, rng),
}
"""What is done to a recording. All but ``whole`` start from its first two seconds; noise is at 5 to 25 dB, levels vary
by ±12 dB, pieces last 1 to 2 s."""

SHORT = ", short margin"
"""Suffix of changes whose states are computed with little silence behind the speech. The encoder's attention sees that
silence: a head that knows both does not depend on how much of it an engine appends. It is three times cheaper, too."""

QUIET = ("clean", f"clean{SHORT}", f"piece{SHORT}")
CHANNELS = ("telephone", "noise telephone", f"telephone{SHORT}", f"noise{SHORT}", f"piece telephone{SHORT}")
TRAINING = (*QUIET, *CHANNELS)
LENGTHS = {f"0.5 s{SHORT}": 0.5, f"1 s{SHORT}": 1.0, f"1.5 s{SHORT}": 1.5, f"clean{SHORT}": CUT_S}


class Head(Struct, frozen=True, eq=False):
    """A fitted head before it is written: logits = pooled @ weight + bias over `classes`, divided by `temperature`."""

    classes: tuple[str, ...]
    weight: Floats
    bias: Floats
    temperature: float = 1.0

    def logits(self, pooled: Floats) -> Floats:
        return np.asarray(pooled @ self.weight + self.bias, np.float64)

    def posteriors(self, pooled: Floats, model: str) -> list[Posterior]:
        shares = merged(
            softmax(self.logits(pooled) / self.temperature), [LABEL_OF[name] for name in self.classes], PRIOR
        )
        return [posterior(row, 1.0, row @ ANCHORS, model) for row in shares]


class Engines(Struct, frozen=True, eq=False):
    """The encoder as it is used, and the same with a short margin of silence."""

    usual: WhisperEngine
    short: WhisperEngine


class Recordings:
    """Rows of one corpus and their pooled states after any change, computed once."""

    def __init__(self, corpus: corpora.Corpus, engines: Engines, seed: int) -> None:
        self.corpus, self.rows, self._engines, self._seed = corpus, corpus.rows, engines, seed
        self.labels = np.array([row.label for row in self.rows])
        self.folds = np.array([row.split for row in self.rows])
        self._audio = [np.asarray(decode_audio(str(row.path), sampling_rate=RATE), np.float32) for row in self.rows]
        self._pooled: dict[tuple[str, int], Floats] = {}

    def pooled(self, change: str, rows: Ints) -> Floats:
        """(rows, d), each computed once; the randomness of a change depends on seed, change and row alone."""
        name = change.removesuffix(SHORT)
        engine = self._engines.usual if name == change else self._engines.short
        for row in rows.tolist():
            if (change, row) not in self._pooled:
                rng = np.random.default_rng([self._seed, sum(name.encode()), row])
                audio = CHANGES[name](self._audio[row], rng).astype(np.float32)
                self._pooled[change, row] = pool(engine.encode(audio).states)
        return np.array([self._pooled[change, row] for row in rows.tolist()])

    def at(self, labels: Sequence[str]) -> Ints:
        return np.flatnonzero(np.isin(self.labels, labels))


def _fit(parts: Sequence[tuple[Recordings, Ints]], changes: Sequence[str]) -> Head:
    """A head on the given rows of one or more corpora, each once a change."""
    classes = tuple(sorted({str(name) for recordings, at in parts for name in recordings.labels[at]}))
    x = np.concatenate([recordings.pooled(change, at) for change in changes for recordings, at in parts])
    names = np.concatenate([recordings.labels[at] for _ in changes for recordings, at in parts])
    weight, bias = logistic_regression(x, np.searchsorted(classes, names), len(classes), C)
    return Head(classes, weight, bias)


def _held_out(corpus_list: Sequence[Recordings], fold: int) -> list[tuple[Recordings, Ints, Ints]]:
    """(recordings, rows to train on, rows to test on) of each corpus; fold k of a corpus with fewer folds is k
    modulo."""
    found = []
    for recordings in corpus_list:
        names = sorted(set(recordings.folds))
        out = recordings.folds == names[fold % len(names)]
        found.append((recordings, np.flatnonzero(~out), np.flatnonzero(out)))
    return found


def _folds(corpus_list: Sequence[Recordings]) -> int:
    return max(len(set(recordings.folds)) for recordings in corpus_list)


def _temperature(corpus_list: Sequence[Recordings]) -> float:
    """Temperature for a shift that is rehearsed: a head that knows the quiet recordings of one speaker judges all other
    speakers through the telephone and in noise. In its own conditions a head would trust itself too much; how far the
    rehearsal carries is measured on corpora that took no part, and nothing is fitted on them."""
    worlds: list[tuple[Recordings, Ints]] = []
    for recordings in corpus_list:
        speakers = np.array([row.speaker for row in recordings.rows])
        worlds += [(recordings, np.flatnonzero(speakers == name)) for name in sorted(set(speakers))]
    judged: list[tuple[Floats, Ints]] = []
    for number, world in enumerate(worlds):
        head = _fit([world], QUIET)
        others = [
            (recordings, at[np.isin(recordings.labels[at], head.classes)])
            for i, (recordings, at) in enumerate(worlds)
            if i != number
        ]
        logits = np.concatenate(
            [head.logits(recordings.pooled(change, at)) for recordings, at in others for change in CHANNELS]
        )
        names = np.concatenate([recordings.labels[at] for recordings, at in others for _ in CHANNELS])
        judged.append((logits, np.searchsorted(head.classes, names)))

    def loss(temperature: float) -> float:
        return float(np.mean([_balanced_loss(logits / temperature, truth) for logits, truth in judged]))

    return least(loss, 0.3, 20.0)


def _balanced_loss(logits: Floats, truth: Ints) -> float:
    """Log loss with even weight of the classes."""
    counts = np.bincount(truth)
    return float(
        -np.average(log_softmax(logits)[np.arange(len(truth)), truth], weights=(1 / np.maximum(counts, 1))[truth])
    )


def _quality(corpus_list: Sequence[Recordings], heads: Sequence[Head], temperature: float) -> list[float]:
    """Information gain of pieces relative to two seconds, for unseen speakers, not falling with length."""
    gains = []
    first = corpus_list[0]
    for change in LENGTHS:
        losses = []
        for fold, head in enumerate(heads):
            _, _, test = _held_out(corpus_list, fold)[0]
            index = np.searchsorted(head.classes, first.labels[test])
            losses.append(
                -log_softmax(head.logits(first.pooled(change, test)) / temperature)[np.arange(len(test)), index]
            )
        gains.append(max(0.0, float(np.log(len(heads[0].classes)) - np.concatenate(losses).mean())))
    return [round(float(gain), 4) for gain in np.minimum(1.0, np.maximum.accumulate(gains) / gains[-1])]


def _train(
    name: str, encoder: ModelName, trained: Sequence[str], measured: Sequence[str], data: Path, out: Path, seed: int
) -> Report:
    deterministic(seed)
    engine = Engines(WhisperEngine(encoder), WhisperEngine(encoder, margin_frames=100))
    sets = {key: Recordings(corpora.read(corpora.find(data, key)), engine, seed) for key in trained}
    there = [key for key in measured if corpora.present(data, key)]
    sets |= {key: Recordings(corpora.read(corpora.find(data, key)), engine, seed) for key in there}
    corpus_list = [sets[key] for key in trained]
    heads = [
        _fit([(rec, train) for rec, train, _ in _held_out(corpus_list, k)], TRAINING)
        for k in range(_folds(corpus_list))
    ]
    temperature = round(_temperature(corpus_list) * CAUTION.get(encoder, 1.0), 3)
    final = _fit([(recordings, np.arange(len(recordings.rows))) for recordings in corpus_list], TRAINING)
    quality = _quality(corpus_list, heads, temperature)
    description = {
        "classes": list(final.classes),
        "label_of": {c: LABEL_OF[c] for c in final.classes},
        "prior": taxonomy.REFERENCE_PRIOR,
        "temperature": temperature,
        "quality_seconds": [0.0, *LENGTHS.values()],
        "quality": [0.0, *quality],
        "encoder": encoder,
        "margin_frames": MARGIN_FRAMES,
        "trained_on": list(trained),
        "seed": seed,
    }
    save(out, {"weight": final.weight, "bias": final.bias, "anchors": ANCHORS}, description)
    model = SpeechEmotion(name, weights=out)
    heads = [Head(head.classes, head.weight, head.bias, temperature) for head in heads]
    sections = _unseen_speakers(corpus_list, heads, model.identity)
    sections += [_four_whole(sets["emodb"])] if trained == ("emodb",) else []
    written = Head(final.classes, final.weight, final.bias, temperature)
    sections += [section for key in there for section in _other_corpus(sets[key], written, model.identity)]
    parameters = {
        "encoder": encoder,
        "margin_frames": MARGIN_FRAMES,
        "seed": seed,
        "c": C,
        "temperature": temperature,
        "quality at 0.5/1/1.5/2 s": quality,
        "bytes": out.stat().st_size,
    }
    rows = sum(len(recordings.rows) for recordings in corpus_list)
    notes = tuple(f"no folder {key} there: not measured on it" for key in measured if key not in there)
    return Report(
        task=f"train {name}",
        data=" + ".join(trained),
        n=rows,
        parameters=parameters,
        sections=tuple(sections),
        notes=notes,
        models={"speech_emotion": model.identity},
    )


def _unseen_speakers(corpus_list: Sequence[Recordings], heads: Sequence[Head], model: str) -> list[Report]:
    """Classes of training by fold and condition, then the posteriors as they would be delivered."""
    sections = []
    for place, recordings in enumerate(corpus_list):
        conditions = ("clean", "telephone", "noise telephone", f"1 s{SHORT}")
        names = sorted(set(recordings.folds))
        by_fold: dict[str, dict[str, float]] = {condition: {} for condition in conditions}
        delivered: dict[str, list[Posterior]] = {"clean": [], "telephone": []}
        order: list[int] = []
        for fold, fold_name in enumerate(names):
            _, _, test = _held_out(corpus_list, fold)[place]
            order += test.tolist()
            for condition in conditions:
                guess = [
                    heads[fold].classes[i]
                    for i in heads[fold].logits(recordings.pooled(condition, test)).argmax(axis=1)
                ]
                by_fold[condition][fold_name] = m.uar(recordings.labels[test].tolist(), guess)
            for condition, found in delivered.items():
                found += heads[fold].posteriors(recordings.pooled(condition, test), model)
        means = {f"uar {condition}": float(np.mean(list(folds.values()))) for condition, folds in by_fold.items()}
        about = f"{recordings.corpus.name}, {len(set(recordings.labels))} classes, first {CUT_S:g} s, unseen speakers"
        sections.append(
            Report(
                task="classes of training, mean over folds",
                data=about,
                n=len(order),
                metrics=means,
                groups={"condition": by_fold},
            )
        )
        rows: list[Row] = [recordings.rows[i] for i in order]
        sections += [
            emotion_report(
                "speech-emotion",
                f"{recordings.corpus.name}, first {CUT_S:g} s, unseen speakers, {condition}",
                rows,
                found,
                label_set=recordings.corpus.label_set,
                prior=taxonomy.REFERENCE_PRIOR,
                models={},
                bootstrap="speaker",
            )
            for condition, found in delivered.items()
        ]
    return sections


def _four_whole(recordings: Recordings) -> Report:
    """The four classes whose files are whole, at full length: the protocol of published floors."""
    at = recordings.at(FOUR)
    whole = {"clean": "whole", "telephone": "whole telephone"}
    changes = tuple(whole.get(change, change) for change in TRAINING)
    by_fold: dict[str, dict[str, float]] = {"whole": {}, "whole telephone": {}}
    for name in sorted(set(recordings.folds)):
        test = at[recordings.folds[at] == name]
        head = _fit([(recordings, at[recordings.folds[at] != name])], changes)
        for condition, folds in by_fold.items():
            guess = [head.classes[i] for i in head.logits(recordings.pooled(condition, test)).argmax(axis=1)]
            folds[name] = m.uar(recordings.labels[test].tolist(), guess)
    means = {f"uar {condition}": float(np.mean(list(folds.values()))) for condition, folds in by_fold.items()}
    return Report(
        task="four classes, whole files, mean over folds",
        data="emodb, unseen speakers",
        n=len(at),
        metrics=means,
        groups={"condition": by_fold},
    )


def _other_corpus(recordings: Recordings, head: Head, model: str) -> list[Report]:
    """The head as delivered on a corpus that took no part: all its labels, and the four that the corpora share."""
    sections = []
    name = recordings.corpus.name
    labels = tuple(str(label) for label in np.unique(recordings.labels))
    for shared, kept in (("all labels", labels), ("four shared labels", FOUR)):
        at = recordings.at(kept)
        if shared == "all labels" and set(kept) == set(FOUR):
            continue
        for condition in ("whole", "whole telephone"):
            rows = [recordings.rows[i] for i in at]
            found = head.posteriors(recordings.pooled(condition, at), model)
            sections.append(
                emotion_report(
                    "speech-emotion",
                    f"{name} (took no part), {shared}, {condition}",
                    rows,
                    found,
                    bootstrap="speaker",
                    label_set=recordings.corpus.label_set,
                    prior=taxonomy.REFERENCE_PRIOR,
                    models={},
                )
            )
    return sections


def train(data: Path, out: Path, seed: int = 0) -> Report:
    """Train the default speech emotion head on EmoDB; measure it on unseen speakers, RAVDESS and URDU."""
    return _train("speech-emotion", "whisper-base", ("emodb",), ("ravdess", "urdu"), data, out, seed)


def train_tiny(data: Path, out: Path, seed: int = 0) -> Report:
    """Train the head of the profile `fast` (small English encoder) on EmoDB; measure it like the default one."""
    return _train("speech-emotion-tiny", "whisper-tiny.en", ("emodb",), ("ravdess",), data, out, seed)


def train_research(data: Path, out: Path, seed: int = 0) -> Report:
    """Train the non-commercial head of the profile `research` on EmoDB and RAVDESS; measure it like the default one."""
    return _train("speech-emotion-research", "whisper-base", ("emodb", "ravdess"), ("urdu",), data, out, seed)
