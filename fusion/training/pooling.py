"""Recipe of `fusion/weights/pooling.json`: how much each modality may count when the posteriors are pooled.

The pool raises what a modality says beyond its prior to an exponent. The exponent with the least log loss on data of
another kind than the modality was trained on is its weight (maximum likelihood for the modality alone, between 0 and
1): 1 means that its posterior can be taken at its word there, less that it is too sure of itself. The gain is what is
left at that weight: the entropy of the labels less the log loss, in bits an item. Weights are chosen on one part and
the gain is reported on another.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
from msgspec import Struct

from extractors.cues import LABELS, Posterior
from extractors.errors import InputError
from fusion import taxonomy
from fusion.evaluation import corpora
from fusion.evaluation import metrics as m
from fusion.evaluation.report import Report
from fusion.evaluation.rows import Row
from fusion.evaluation.scoring import DIMENSIONS, Floats, Ints, label_shares, map_truth, matrix
from fusion.training.heads import deterministic, least, log_softmax

ACTED = {"speech": 0.5}
"""Discount of a weight that could only be measured on actors: a played emotion is louder in the voice than one in a
call. It is an assumption, not a measurement: no corpus of spontaneous speech with labels is free to choose it on."""

FLOOR = 0.02  # share of the prior that the pool mixes into a posterior: the same as in use


class Modality(Struct, frozen=True):
    """Weight of one modality: chosen on `source`; `gain_bits` and `n` belong to the part that was held out. `discount`
    is what the weight is multiplied with in use (see `ACTED`)."""

    gain_bits: float
    weight: float
    source: str
    n: int
    gain_bits_chosen_on: float
    discount: float = 1.0


class Part(Struct, frozen=True, eq=False):
    """Class indices (n,) and probabilities (n, 7) that hold under `prior` (7,)."""

    index: Ints
    probabilities: Floats
    prior: Floats

    def gain(self, weight: float) -> float:
        """Bits an item at this exponent, under the label shares of the part."""
        shares = label_shares(self.index)
        seen = shares > 0
        evidence = np.log((1 - FLOOR) * self.probabilities / self.prior + FLOOR)
        scores = weight * evidence[:, seen] + np.log(shares[seen])
        place = np.cumsum(seen)[self.index] - 1
        entropy = -float(np.sum(shares[seen] * np.log2(shares[seen])))
        return entropy + float(log_softmax(scores)[np.arange(len(place)), place].mean()) / float(np.log(2))


def train(data: Path, out: Path, seed: int = 0) -> Report:
    """Measure how much text, voice and face may count, on MELD, RAVDESS and FER+; write the table of the pool."""
    deterministic(seed)
    parts = {"text": _text(data), "speech": _speech(data), "face": _face(data)}
    modalities: dict[str, Modality] = {}
    for name, (chosen, held_out, source) in parts.items():
        weight = round(least(lambda w, part=chosen: -part.gain(w), 0.0, 1.0), 2)  # type: ignore[misc]
        modalities[name] = Modality(
            round(max(0.0, held_out.gain(weight)), 4),
            weight,
            source,
            len(held_out.index),
            round(chosen.gain(weight), 4),
            ACTED.get(name, 1.0),
        )
    reference = {
        name: dict(zip(LABELS, np.round(chosen.prior, 4).tolist(), strict=True))
        for name, (chosen, _, _) in parts.items()
    }
    table = {
        "weights": {name: round(entry.weight * entry.discount, 4) for name, entry in modalities.items()},
        "prior": taxonomy.REFERENCE_PRIOR,
        "reference": reference,
        "floor": FLOOR,
        "regressor_sigma": {"text": _text_sigma(data)},
        "modalities": msgspec.to_builtins(modalities),
    }
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_bytes(msgspec.json.format(msgspec.json.encode(table), indent=1) + b"\n")
    except OSError as error:
        raise InputError(
            f"cannot write the table ({error.strerror})", where=str(out), cure="choose another --out"
        ) from error
    figures = {
        name: {
            "weight": entry.weight,
            "gain_bits": entry.gain_bits,
            "gain_bits at weight 1": parts[name][1].gain(1.0),
            "n": float(entry.n),
        }
        for name, entry in modalities.items()
    }
    return Report(
        task="train pooling",
        data=str(data),
        n=sum(entry.n for entry in modalities.values()),
        groups={"modality": figures},
        parameters={"seed": seed, "regressor_sigma": table["regressor_sigma"]},
        notes=tuple(f"{name}: {e.source}" for name, e in modalities.items()),
    )


_REFERENCE = np.array([taxonomy.REFERENCE_PRIOR[label] for label in LABELS])


def _part(rows: Sequence[Row], posteriors: Sequence[Posterior], label_set: str, prior: Floats) -> Part:
    index = map_truth(rows, label_set).index
    return Part(index[index >= 0], matrix(posteriors)[index >= 0], prior)


def _text(data: Path) -> tuple[Part, Part, str]:
    from extractors.text.emotion import TextEmotion

    corpus, model = corpora.read(corpora.find(data, "meld")), TextEmotion()
    dev, test = [
        _part(rows, model.classify([row.text for row in rows]), "meld", _REFERENCE)
        for rows in (corpus.split("dev"), corpus.split("test"))
    ]
    return dev, test, "MELD: chosen on dev, gain on test (dialogue; the head was trained on comments)"


def _text_sigma(data: Path) -> dict[str, float]:
    """Root mean squared distance of the text's dimensions from the anchors of the labels, on MELD dev."""
    from extractors.text.emotion import TextEmotion

    rows = corpora.read(corpora.find(data, "meld")).split("dev")
    posteriors = TextEmotion().classify([row.text for row in rows])
    anchors = [taxonomy.ANCHORS[taxonomy.map_label(row.label, "meld") or "neutral"] for row in rows]
    return {
        name: round(m.rmse([anchor[axis] for anchor in anchors], [getattr(p, name) for p in posteriors]), 4)
        for axis, name in enumerate(DIMENSIONS)
    }


def _speech(data: Path) -> tuple[Part, Part, str]:
    """Odd and even actors of RAVDESS, each on the clean and on the telephone channel."""
    from extractors.speech.emotion import SpeechEmotion
    from extractors.speech.whisper import WhisperEngine
    from fusion.evaluation.media import read_audio
    from fusion.training.augment import telephone

    rows, engine, model = (
        corpora.read(corpora.find(data, "ravdess")).rows,
        WhisperEngine("whisper-base"),
        SpeechEmotion(),
    )
    found: tuple[tuple[list[Row], list[Posterior]], ...] = (([], []), ([], []))
    for row in rows:
        audio = read_audio(row)
        # Pairs of actors (1, 2), (5, 6) … choose, (3, 4), (7, 8) … are held out: both sexes on both sides.
        side = found[(int(row.speaker.removeprefix("actor")) - 1) // 2 % 2]
        for version in (audio, telephone(audio)):
            side[0].append(row)
            side[1].append(model.classify(engine.encode(version).states))
    chosen, held_out = (_part(*side, "ravdess", _REFERENCE) for side in found)
    source = (
        "RAVDESS, clean and telephone: chosen on half of the actors, gain on the others (the head knows EmoDB alone)"
    )
    return chosen, held_out, source


def _face(data: Path) -> tuple[Part, Part, str]:
    from extractors.face.expression import ExpressionModel
    from fusion.evaluation.media import read_cell
    from fusion.models.pool import FERPLUS_PRIOR

    rows, model = corpora.read(corpora.find(data, "fer2013plus")).split("PrivateTest"), ExpressionModel()
    prior = np.array([FERPLUS_PRIOR[label] for label in LABELS])
    prior /= prior.sum()
    halves = []
    for start in (0, 1):
        half = rows[start::2]
        halves.append(_part(half, [model.posterior(read_cell(row)) for row in half], "ferplus", prior))
    source = (
        "FER+ PrivateTest, no mesh: chosen on half of the pictures, gain on the others (same kind as calibrated on)"
    )
    return halves[0], halves[1], source
