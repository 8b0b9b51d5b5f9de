"""Emotion of a voice: a linear head on the mean of Whisper's encoder states.

The states are computed once an utterance and serve transcription too; this head adds one product of a vector with a
matrix. It is a documented first baseline: trained on acted speech of ten people (see
``docs/models/speech-emotion.md``), and calibrated so that it says little where it knows little. Trained by
`fusion.training.speech_emotion`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from extractors import registry
from extractors.cues import LABELS, Posterior, Prosody
from extractors.posterior import Floats, Weights, posterior, softmax

MODEL = "speech-emotion"
STATES_PER_SECOND = 50
ENOUGH_VOICE = 0.2


class SpeechHead:
    """The numpy side of the head: a pooled vector in, calibrated figures out.

    The classes of training are not the labels: some classes stand for one label together (boredom is heard, and
    reported as neutral), and a label without a class (surprise, where no surprise was in the training data) keeps its
    prior, which says that the voice tells nothing about it.
    """

    def __init__(self, file: Path) -> None:
        self._weights = Weights(file)
        self.head = self._weights.head
        self.classes: tuple[str, ...] = tuple(self.head["classes"])
        self.prior = np.array([self.head["prior"][label] for label in LABELS])
        self.size = int(self._weights["weight"].shape[0])
        self.anchors = self._weights["anchors"]
        self._temperature = float(self.head["temperature"])

    def class_probabilities(self, pooled: Floats, temperature: float | None = None) -> Floats:
        """Softmax over the classes of training, (classes,), as if all were equally frequent."""
        logits = pooled @ self._weights["weight"] + self._weights["bias"]
        return softmax(logits / (self._temperature if temperature is None else temperature))

    def probabilities(self, pooled: Floats) -> Floats:
        """Shares of the seven labels (7,) under the reference prior."""
        return merged(
            self.class_probabilities(pooled), [self.head["label_of"][name] for name in self.classes], self.prior
        )

    def quality(self, seconds: float) -> float:
        """How much an utterance of this length tells, relative to a long one: measured by the recipe."""
        return float(np.interp(seconds, self.head["quality_seconds"], self.head["quality"]))


def merged(by_class: Floats, label_of: Sequence[str], prior: Floats) -> Floats:
    """Shares of `LABELS` (…, 7) under `prior` (7,) from probabilities of evenly frequent classes (…, classes).

    `label_of` names the label of each class. Classes of one label share its prior evenly; a label without a class keeps
    its prior.
    """
    likelihood, heard = np.zeros((*by_class.shape[:-1], len(LABELS))), np.zeros(len(LABELS), bool)
    for i, label in enumerate(LABELS):
        members = [j for j, name in enumerate(label_of) if name == label]
        if members:
            heard[i], likelihood[..., i] = True, by_class[..., members].mean(axis=-1)
    shares = prior * likelihood
    shares *= prior[heard].sum() / shares.sum(axis=-1, keepdims=True)
    return np.where(heard, shares, prior)


class SpeechEmotion:
    """Emotion of utterances from the states of one encoder; `size` is the number of its dimensions.

    `prior` is the distribution that the posteriors are stated under: a posterior equal to it says that the voice told
    nothing. Valence, arousal and dominance are the anchors of the labels weighted by their probabilities.
    """

    def __init__(self, model: str = MODEL, *, weights: Path | None = None) -> None:
        self.identity = f"{model}@{registry.sha256_of(weights)[:8]}" if weights else registry.identity(model)
        self._head = SpeechHead(weights or registry.path(model))
        self.size = self._head.size
        self.encoder: str = self._head.head["encoder"]
        self.prior = dict(zip(LABELS, self._head.prior.tolist(), strict=True))
        self.trained_on: tuple[str, ...] = tuple(self._head.head["trained_on"])

    def classify(self, states: NDArray[np.float32], prosody: Prosody | None = None) -> Posterior:
        """Posterior of one utterance from its encoder states (T, size), one row per 20 ms, no padding among them.

        Quality grows with the length of the utterance; where `prosody` says that less than a fifth of it is voiced, it
        falls in proportion. No state at all gives the prior with quality 0. Raises ValueError for another shape.
        """
        if states.ndim != 2 or states.shape[1] != self.size:
            raise ValueError(f"states of {self.encoder} have the shape (T, {self.size}), not {states.shape}")
        if not len(states):
            return self._posterior(self._head.prior, 0.0)
        quality = self._head.quality(len(states) / STATES_PER_SECOND)
        if prosody is not None:
            quality *= min(1.0, prosody.voiced_ratio / ENOUGH_VOICE)
        return self._posterior(self._head.probabilities(pool(states)), quality)

    def _posterior(self, shares: Floats, quality: float) -> Posterior:
        return posterior(shares, quality, shares @ self._head.anchors, self.identity)


def pool(states: NDArray[np.float32]) -> Floats:
    """Mean over time of encoder states (T, d), in double precision."""
    return np.asarray(states.astype(np.float64).mean(axis=0), np.float64)
