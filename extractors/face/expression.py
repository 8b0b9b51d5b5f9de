"""Facial expression: mini-XCEPTION (Arriaga et al. 2017) and mesh readings, calibrated on the votes of FER+.

The network alone was trained on the noisy labels of FER2013 and calls neutral faces sad. A multinomial logistic
regression over its log probabilities and the readings of the mesh, fitted on what ten people voted (FER+, PublicTest
part), brings the probabilities to what people see; `extractors/face/calibrate.py` fits and evaluates it, and
``weights/face-expression.json`` holds the numbers with their provenance. Anger keeps a lower, disgust
and fear a low certainty. The posterior describes the expression as perceived in one frame, not what a person feels.
"""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

from extractors import registry
from extractors.cues import LABELS, Posterior
from extractors.face.readings import DISTANCES, SHAPES

PATCH = 64
"""Side of the grey picture that the network sees, made by `readings.face_patch`."""

WEIGHTS = Path(__file__).parent.parent / "weights" / "face-expression.json"
"""The calibration: two tables of weights, their provenance and the figures of the private part."""

FACE_FEATURES = SHAPES + DISTANCES
"""Readings that count beside the network."""

_NET_LABELS = ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral")
_TO_LABELS = [_NET_LABELS.index(label) for label in LABELS]
_LEAST = 0.002  # blendshapes below this are the same "nothing"


class ExpressionModel:
    """The network on one thread with its calibration. Not for use by two threads at once."""

    def __init__(self) -> None:
        self.name = registry.identity("mini-xception")
        self._net = Interpreter(model_path=str(registry.path("mini-xception")), num_threads=1)
        self._net.allocate_tensors()
        self._in = int(self._net.get_input_details()[0]["index"])
        self._out = int(self._net.get_output_details()[0]["index"])
        stored = json.loads(WEIGHTS.read_text())
        self._with_mesh, self._alone = (np.array(stored[part]["weights"]) for part in ("with_mesh", "alone"))

    def network(self, patch: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Uncalibrated log probabilities of `LABELS`, mean over the grey picture (any square, uint8) and its mirror."""
        if patch.shape != (PATCH, PATCH):
            patch = np.asarray(cv2.resize(patch, (PATCH, PATCH), interpolation=cv2.INTER_LINEAR), np.uint8)
        picture = np.asarray((patch.astype(np.float32) / 255 - 0.5) * 2, np.float32)
        both = self._log_probabilities(picture), self._log_probabilities(picture[:, ::-1])
        return np.asarray(np.mean(both, axis=0), np.float64)

    def posterior(
        self, patch: NDArray[np.uint8], readings: NDArray[np.float64] | None = None, quality: float = 1.0
    ) -> Posterior:
        """Calibrated distribution over `LABELS`.

        `patch`: square grey face, uint8; `readings`: vector of `readings.READINGS`, or None where no mesh is to be had
        (then the network is calibrated alone).
        """
        evidence = self.network(patch)
        if readings is None:
            scores = np.append(evidence, 1.0) @ self._alone
        else:
            scores = np.concatenate([evidence, face_features(readings), [1.0]]) @ self._with_mesh
        return Posterior(probabilities=_shares(scores), quality=round(quality, 4), model=self.name)

    def _log_probabilities(self, picture: NDArray[np.float32]) -> NDArray[np.float64]:
        self._net.set_tensor(self._in, np.ascontiguousarray(picture[None, :, :, None]))
        self._net.invoke()
        values = self._net.get_tensor(self._out).reshape(-1).astype(np.float64)[_TO_LABELS]
        return np.asarray(np.log(np.clip(values, 1e-6, 1.0)))


def face_features(readings: NDArray[np.float64]) -> NDArray[np.float64]:
    """`FACE_FEATURES` of a vector of readings: blendshapes as log odds, distances as they are."""
    shapes = np.clip(readings[: len(SHAPES)], _LEAST, 1 - _LEAST)
    return np.concatenate([np.log(shapes / (1 - shapes)), readings[len(SHAPES) : len(FACE_FEATURES)]])


def _shares(scores: NDArray[np.float64]) -> dict[str, float]:
    shares = np.exp(scores - scores.max())
    shares /= shares.sum()
    return {label: round(float(share), 4) for label, share in zip(LABELS, shares, strict=True)}
