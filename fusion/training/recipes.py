"""All recipes by name: ``RECIPES[name](data=…, out=…, seed=…)`` writes the weights and reports what they can do.

`data` is a folder that holds the corpora a recipe names, at one of two levels; nothing outside it is read.
"""

from __future__ import annotations

from collections.abc import Callable

from fusion.evaluation.report import Report
from fusion.training import pooling, speech_emotion, text_emotion

Recipe = Callable[..., Report]

RECIPES: dict[str, Recipe] = {
    "pooling": pooling.train,
    "speech-emotion": speech_emotion.train,
    "speech-emotion-research": speech_emotion.train_research,
    "speech-emotion-tiny": speech_emotion.train_tiny,
    "text-emotion": text_emotion.train,
}
