"""Recipe of `extractors/weights/text-emotion.safetensors`: a head on frozen multilingual sentence vectors.

Data: GoEmotions (Apache-2.0) for the labels, EmoBank (CC BY-SA 4.0) for valence, arousal, dominance. Each text is seen
as written and as a recogniser would have it. MELD never trains a weight: its dev part takes part in choosing the two
numbers of the temperature, and its test part is reported.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from extractors import registry
from extractors.cues import LABELS, Posterior
from extractors.text.emotion import TextEmotion, word_count
from extractors.text.encoder import DIMENSIONS, SentenceEncoder
from fusion import taxonomy
from fusion.evaluation import corpora
from fusion.evaluation import metrics as m
from fusion.evaluation.report import Report
from fusion.evaluation.rows import Row
from fusion.evaluation.scoring import emotion_report, label_shares, map_truth
from fusion.training.augment import misrecognised, recognised
from fusion.training.heads import Floats, Ints, deterministic, least, log_softmax, save

Vectors = NDArray[np.float32]
HIDDEN, EPOCHS, BATCH, RATE, DECAY = 256, 8, 256, 2e-3, 2e-2
INPUT_DROPOUT, HIDDEN_DROPOUT = 0.2, 0.5
SCALE = 8.0  # unit vectors of 512 dimensions have entries of 0.04: brought near 1 for the initialisation of the layers
OPEN_WEIGHT, POINT_WEIGHT = 10.0, 0.3
PRIOR = np.array([taxonomy.REFERENCE_PRIOR[label] for label in LABELS])
OPEN_LABELS = taxonomy.SETS["goemotions"].labels
DIMENSION_NAMES = ("valence", "arousal", "dominance")


def train(data: Path, out: Path, seed: int = 0) -> Report:
    """Train the text emotion head on GoEmotions and EmoBank; calibrate it; report GoEmotions, MELD and EmoBank test."""
    deterministic(seed)
    encoder = SentenceEncoder()
    sets = {name: corpora.read(corpora.find(data, name)) for name in ("goemotions", "emobank", "meld")}
    net = _fit(sets["goemotions"].split("train"), sets["emobank"].split("train"), encoder, seed)
    dev = sets["goemotions"].split("dev"), sets["meld"].split("dev")
    train_prior = map_truth(sets["goemotions"].split("train"), "goemotions").shares.sum(axis=0)
    train_prior /= train_prior.sum()
    temperature = _temperature(
        [
            _dev_evidence(net, rows, label_set, encoder)
            for rows, label_set in zip(dev, ("goemotions", "meld"), strict=True)
        ],
        train_prior,
    )
    tensors = _tensors(net) | dict(
        zip(("point.weight", "point.bias"), _on_anchor_scale(net, dev[0], encoder), strict=True)
    )
    head = {
        "open_labels": list(OPEN_LABELS),
        "prior": taxonomy.REFERENCE_PRIOR,
        "temperature": [round(t, 4) for t in temperature],
        "train_prior": {label: round(float(p), 6) for label, p in zip(LABELS, train_prior, strict=True)},
        "encoder": registry.identity("sentence-encoder"),
        "trained_on": ["goemotions", "emobank"],
        "seed": seed,
        "temperature_on": ["goemotions dev", "meld dev"],
    }
    save(out, tensors, head)
    model = TextEmotion(weights=out, encoder=encoder)
    parameters = {
        "seed": seed,
        "temperature": head["temperature"],
        "epochs": EPOCHS,
        "hidden": HIDDEN,
        "bytes": out.stat().st_size,
    }
    return Report(
        task="train text-emotion",
        data=str(data),
        n=len(sets["goemotions"].split("train")),
        parameters=parameters,
        models={"text_emotion": model.identity},
        sections=tuple(_sections(model, sets)),
    )


class _Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.input_dropout, self.hidden_dropout = nn.Dropout(INPUT_DROPOUT), nn.Dropout(HIDDEN_DROPOUT)
        self.hidden = nn.Linear(DIMENSIONS, HIDDEN)
        self.labels, self.open, self.point = (
            nn.Linear(HIDDEN, len(LABELS)),
            nn.Linear(HIDDEN, len(OPEN_LABELS)),
            nn.Linear(HIDDEN, 3),
        )

    def forward(self, vectors: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        z = nn.functional.gelu(self.hidden(self.input_dropout(vectors * SCALE)), approximate="tanh")
        z = self.hidden_dropout(z)
        return self.labels(z), self.open(z), self.point(z)


def _fit(labelled: Sequence[Row], rated: Sequence[Row], encoder: SentenceEncoder, seed: int) -> _Net:
    """One trunk, three losses: log loss on the shares of the seven labels (none where no label has a counterpart),
    binary log loss on each of the 28, squared error on the standardised ratings."""
    vectors = torch.tensor(_both(labelled, encoder, seed))
    shares = torch.tensor(map_truth(labelled, "goemotions").shares, dtype=torch.float32).repeat(2, 1)
    marks = torch.tensor([[float(name in row.labels) for name in OPEN_LABELS] for row in labelled]).repeat(2, 1)
    rated_vectors = torch.tensor(_both(rated, encoder, seed + 1))
    ratings = _ratings(rated)
    targets = torch.tensor((ratings - ratings.mean(axis=0)) / ratings.std(axis=0), dtype=torch.float32).repeat(2, 1)
    net = _Net()
    solver = torch.optim.AdamW(net.parameters(), lr=RATE, weight_decay=DECAY)
    steps = EPOCHS * -(-len(vectors) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(solver, RATE, total_steps=steps)
    for _ in range(EPOCHS):
        for rows in torch.split(torch.randperm(len(vectors)), BATCH):
            some = torch.randint(len(rated_vectors), (BATCH // 4,))
            seven, open_, _ = net(vectors[rows])
            _, _, point = net(rated_vectors[some])
            loss = -(shares[rows] * torch.log_softmax(seven, dim=1)).sum(dim=1).mean()
            loss = loss + OPEN_WEIGHT * nn.functional.binary_cross_entropy_with_logits(open_, marks[rows])
            loss = loss + POINT_WEIGHT * ((point - targets[some]) ** 2).mean()
            solver.zero_grad()
            loss.backward()
            solver.step()
            schedule.step()
    return net.eval()


def _both(rows: Sequence[Row], encoder: SentenceEncoder, seed: int) -> Vectors:
    """Vectors of the texts as written, then of the same texts as recognised with errors."""
    spoken = [misrecognised(row.text, np.random.default_rng([seed, i])) for i, row in enumerate(rows)]
    return np.concatenate([encoder.encode_many([row.text for row in rows]), encoder.encode_many(spoken)])


def _ratings(rows: Sequence[Row]) -> Floats:
    return np.array([[getattr(row, name) for name in DIMENSION_NAMES] for row in rows], np.float64)


def _outputs(net: _Net, vectors: Vectors) -> tuple[Floats, Floats]:
    """Logits of the seven labels and the standardised point."""
    with torch.no_grad():
        seven, _, point = net(torch.tensor(vectors))
    return seven.numpy().astype(np.float64), point.numpy().astype(np.float64)


def _dev_evidence(
    net: _Net, rows: Sequence[Row], label_set: str, encoder: SentenceEncoder
) -> tuple[Floats, Ints, Floats]:
    """Logits, truth and word counts of the rows with one label, as written and as recognised."""
    truth = map_truth(rows, label_set).index
    kept = [row.text for row, index in zip(rows, truth, strict=True) if index >= 0]
    texts = kept + [recognised(text) or text for text in kept]
    logits, _ = _outputs(net, encoder.encode_many(texts))
    return logits, np.tile(truth[truth >= 0], 2), np.array([max(word_count(text), 1) for text in texts], np.float64)


def _temperature(dev: Sequence[tuple[Floats, Ints, Floats]], train_prior: Floats) -> tuple[float, float]:
    """(a, b) of the temperature a + b / sqrt(words) with the least mean of the log losses on the dev sets, each set
    under its own label shares and counting the same. A set of another kind of talk keeps the head from trusting itself
    as it could on the kind it was trained on."""

    def loss(a: float, b: float) -> float:
        return float(np.mean([_log_loss(logits, truth, words, train_prior, a, b) for logits, truth, words in dev]))

    b = least(lambda slope: loss(least(lambda a: loss(a, slope), 0.3, 6.0, 25), slope), 0.0, 4.0, 20)
    return least(lambda a: loss(a, b), 0.3, 6.0, 40), b


def _log_loss(logits: Floats, truth: Ints, words: Floats, train_prior: Floats, a: float, b: float) -> float:
    shares = np.maximum(label_shares(truth), 1e-6)
    evidence = (logits - np.log(train_prior)) / (a + b / np.sqrt(words))[:, None]
    return float(-log_softmax(evidence + np.log(shares))[np.arange(len(truth)), truth].mean())


def _on_anchor_scale(net: _Net, rows: Sequence[Row], encoder: SentenceEncoder) -> tuple[Floats, Floats]:
    """The last layer of the point, brought to the scale of the anchors: the regression of the anchors of labelled texts
    on the standardised ratings, labels weighted to the reference prior. EmoBank's own scale is narrow (deviation 0.17
    on [-1, 1]) and could not be mixed with dimensions read off labels."""
    truth = map_truth(rows, "goemotions").index
    kept = np.flatnonzero(truth >= 0)
    _, point = _outputs(
        net, encoder.encode_many([row.text for row, index in zip(rows, truth, strict=True) if index >= 0])
    )
    anchors = np.array([taxonomy.ANCHORS[label] for label in LABELS])[truth[kept]]
    weight = (PRIOR / label_shares(truth[kept]))[truth[kept]]
    mean_point, mean_anchor = np.average(point, axis=0, weights=weight), np.average(anchors, axis=0, weights=weight)
    slope = np.average((point - mean_point) * (anchors - mean_anchor), axis=0, weights=weight) / np.average(
        (point - mean_point) ** 2, axis=0, weights=weight
    )
    layer, bias = (
        net.point.weight.detach().numpy().T.astype(np.float64),
        net.point.bias.detach().numpy().astype(np.float64),
    )
    return layer * slope, (bias - mean_point) * slope + mean_anchor


def _tensors(net: _Net) -> dict[str, Floats]:
    found: dict[str, Floats] = {}
    for name in ("hidden", "labels", "open"):
        layer = getattr(net, name)
        scale = SCALE if name == "hidden" else 1.0
        found[f"{name}.weight"] = layer.weight.detach().numpy().T.astype(np.float64) * scale
        found[f"{name}.bias"] = layer.bias.detach().numpy().astype(np.float64)
    return found


def _sections(model: TextEmotion, sets: dict[str, corpora.Corpus]) -> list[Report]:
    """Test figures as written and as recognised. MELD is another domain: TV dialogue, labelled with picture and
    sound."""
    sections = []
    for name in ("goemotions", "meld"):
        corpus = sets[name]
        rows = corpus.split("test")
        for kind, texts in _renderings(rows):
            posteriors = model.classify(texts)
            section = emotion_report(
                "text-emotion",
                f"{name} test, {kind}",
                rows,
                posteriors,
                label_set=corpus.label_set,
                prior=model.prior,
                models={"text_emotion": model.identity},
                bootstrap=corpus.bootstrap,
            )
            sections.append(section)
    sections.append(_open_section(model, sets["goemotions"].split("test")))
    rows = sets["emobank"].split("test")
    for kind, texts in _renderings(rows):
        sections.append(_rating_section(model.classify(texts), rows, f"emobank test, {kind}", model))
    return sections


def _renderings(rows: Sequence[Row]) -> list[tuple[str, list[str]]]:
    errors = [misrecognised(row.text, np.random.default_rng([99, i])) for i, row in enumerate(rows)]
    return [("as written", [row.text for row in rows]), ("as recognised with errors", errors)]


def _rating_section(posteriors: Sequence[Posterior], rows: Sequence[Row], data: str, model: TextEmotion) -> Report:
    return emotion_report(
        "text-emotion",
        data,
        rows,
        posteriors,
        label_set="basic",
        prior=model.prior,
        models={"text_emotion": model.identity},
        notes=("the scale is that of the labels' anchors, wider than EmoBank's: read the correlation",),
    )


def _open_section(model: TextEmotion, rows: Sequence[Row]) -> Report:
    """The 28 labels one by one at a threshold of 0.3, as in published work."""
    predicted: list[dict[str, Any]] = list(model.open_labels([row.text for row in rows]))
    scores, counts = {}, {}
    for label in OPEN_LABELS:
        truth = [str(label in row.labels) for row in rows]
        guess = [str(found[label] > 0.3) for found in predicted]
        scores[label] = float(m.f1_of(m.confusion(truth, guess, ("True", "False")))[0])
        counts[label] = float(truth.count("True"))
    by_label = {label: {"n": counts[label], "f1": scores[label]} for label in OPEN_LABELS}
    return Report(
        task="open labels",
        data="goemotions test, as written",
        n=len(rows),
        metrics={"macro_f1": float(np.mean(list(scores.values())))},
        groups={"label": by_label},
        models={"text_emotion": model.identity},
    )
