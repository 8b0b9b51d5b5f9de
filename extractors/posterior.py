"""From the numbers of a head to a `Posterior`: restating under another prior, rounding, and reading weights files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from safetensors import SafetensorError, safe_open

from extractors.cues import LABELS, Posterior, rounded
from extractors.errors import InputError

Floats = NDArray[np.float64]


def softmax(scores: ArrayLike) -> Floats:
    """Softmax over the last axis in double precision."""
    z = np.asarray(scores, np.float64)
    powers = np.exp(z - z.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True), np.float64)


def restate(probabilities: ArrayLike, from_prior: ArrayLike, to_prior: ArrayLike) -> Floats:
    """A posterior (…, k) that holds under `from_prior` (k,), restated under `to_prior` (k,): Saerens et al. 2002."""
    ratio = np.asarray(to_prior, np.float64) / np.asarray(from_prior, np.float64)
    scaled = np.asarray(probabilities, np.float64) * ratio
    return np.asarray(scaled / scaled.sum(axis=-1, keepdims=True), np.float64)


def posterior(probabilities: ArrayLike, quality: float, point: ArrayLike, model: str) -> Posterior:
    """The cue for probabilities (7,) in the order of `LABELS` and a `point` (valence, arousal, dominance)."""
    shares = {
        label: float(round(p, 4)) + 0.0
        for label, p in zip(LABELS, np.asarray(probabilities, np.float64).tolist(), strict=True)
    }
    valence, arousal, dominance = (
        rounded(min(1.0, max(-1.0, float(value)))) for value in np.asarray(point, np.float64)
    )
    return Posterior(shares, round(min(1.0, max(0.0, quality)), 4) + 0.0, valence, arousal, dominance, model)


class Weights:
    """Tensors (float64) of a safetensors file and the JSON object that our recipes store beside them under ``head``."""

    def __init__(self, file: Path) -> None:
        try:
            with safe_open(file, framework="numpy") as stream:
                self._tensors = {name: stream.get_tensor(name).astype(np.float64) for name in stream.keys()}
                metadata = stream.metadata() or {}
        except (OSError, SafetensorError) as error:
            raise InputError(
                f"cannot read weights: {error}", where=str(file), cure="train them again or reinstall affectstream"
            ) from error
        if "head" not in metadata:
            raise InputError(
                "these weights do not describe their head",
                where=str(file),
                cure="use a file written by `affectstream train`",
            )
        self.head: dict[str, Any] = json.loads(metadata["head"])

    def __getitem__(self, name: str) -> Floats:
        return np.asarray(self._tensors[name], np.float64)
