"""Emotion of a text: a small head on multilingual sentence vectors.

One hidden layer is shared by three outputs: a softmax over the seven labels, a sigmoid for each of the 28 labels of
GoEmotions (a text may carry several), and valence, arousal, dominance. Trained by `fusion.training.text_emotion`; the
card is ``docs/models/text-emotion.md``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from extractors import registry
from extractors.cues import LABELS, Posterior
from extractors.posterior import Floats, Weights, posterior, softmax
from extractors.text.encoder import SentenceEncoder

MODEL = "text-emotion"
ENOUGH_WORDS = 3
# Scripts without blanks between words: each sign counts as a word.
_WORDS = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\u0e00-\u0e7f]|[^\W_]+(?:['’][^\W_]+)*")


def word_count(text: str) -> int:
    """Words of a text; in scripts without blanks (Japanese, Chinese, Thai) signs."""
    return len(_WORDS.findall(text))


class TextHead:
    """The numpy side of the head: sentence vectors in, calibrated figures out. Exact for each row alone."""

    def __init__(self, file: Path) -> None:
        weights = Weights(file)
        self.head = weights.head
        self.open_labels: tuple[str, ...] = tuple(weights.head["open_labels"])
        self.prior = np.array([weights.head["prior"][label] for label in LABELS])
        self._train_prior = np.array([weights.head["train_prior"][label] for label in LABELS])
        self._temperature: tuple[float, float] = (weights.head["temperature"][0], weights.head["temperature"][1])
        self._weights = weights

    def hidden(self, vector: NDArray[np.float32]) -> Floats:
        z = vector.astype(np.float64) @ self._weights["hidden.weight"] + self._weights["hidden.bias"]
        # GELU in its tanh form (Hendrycks & Gimpel 2016): the form it was trained with.
        return np.asarray(0.5 * z * (1 + np.tanh(np.sqrt(2 / np.pi) * (z + 0.044715 * z**3))), np.float64)

    def probabilities(self, hidden: Floats, words: int) -> Floats:
        """Shares of the seven labels (7,) under the reference prior. Short texts are trusted less (`temperature`)."""
        logits = hidden @ self._weights["labels.weight"] + self._weights["labels.bias"]
        at_one, per_root = self._temperature
        evidence = (logits - np.log(self._train_prior)) / (at_one + per_root / np.sqrt(max(words, 1)))
        return softmax(evidence + np.log(self.prior))

    def open(self, hidden: Floats) -> Floats:
        """Probability of each open label (28,), independent of each other."""
        logits = hidden @ self._weights["open.weight"] + self._weights["open.bias"]
        return np.asarray(1 / (1 + np.exp(-logits)), np.float64)

    def point(self, hidden: Floats) -> Floats:
        """(valence, arousal, dominance), (3,), on the scale of the labels' anchors."""
        return np.asarray(hidden @ self._weights["point.weight"] + self._weights["point.bias"], np.float64)


class TextEmotion:
    """Emotion of texts in any of the encoder's sixteen languages, for transcripts with or without punctuation.

    `prior` is the distribution that the posteriors are stated under: a posterior equal to it says that the text told
    nothing. `weights` is for files that `affectstream train text-emotion` wrote; by default the registry's are used.
    """

    def __init__(
        self, model: str = MODEL, *, weights: Path | None = None, encoder: SentenceEncoder | None = None
    ) -> None:
        self.identity = f"{model}@{registry.sha256_of(weights)[:8]}" if weights else registry.identity(model)
        self._head = TextHead(weights or registry.path(model))
        self._encoder = encoder or SentenceEncoder()
        self.prior = dict(zip(LABELS, self._head.prior.tolist(), strict=True))
        self.trained_on: tuple[str, ...] = tuple(self._head.head["trained_on"])

    def classify(self, texts: Sequence[str]) -> list[Posterior]:
        """One posterior a text, the same whatever the other texts are.

        Quality is 0 for a text without a word (its posterior is the prior) and grows to 1 at three words: "yes" and
        "okay" are said in every state.
        """
        return [
            self._one(text, vector)
            for text, vector in zip(texts, self._encoder.encode([t.strip() for t in texts]), strict=True)
        ]

    def open_labels(self, texts: Sequence[str]) -> list[dict[str, float]]:
        """Probability of each of the 28 GoEmotions labels, independent of each other (they need not sum to 1)."""
        vectors = self._encoder.encode([text.strip() for text in texts])
        return [
            {
                label: round(p, 4)
                for label, p in zip(self._head.open_labels, self._head.open(self._head.hidden(v)).tolist(), strict=True)
            }
            for v in vectors
        ]

    def _one(self, text: str, vector: NDArray[np.float32]) -> Posterior:
        words = word_count(text)
        if words == 0:
            return posterior(self._head.prior, 0.0, np.zeros(3), self.identity)
        hidden = self._head.hidden(vector)
        return posterior(
            self._head.probabilities(hidden, words),
            min(1.0, words / ENOUGH_WORDS),
            self._head.point(hidden),
            self.identity,
        )
