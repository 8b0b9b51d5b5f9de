"""The speech models that one process holds once and shares between all its sessions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from extractors.speech.emotion import SpeechEmotion
from extractors.speech.whisper import EncodedUtterance, ModelName, WhisperEngine
from extractors.text.emotion import TextEmotion

PROFILES: dict[str, tuple[ModelName, str]] = {
    "bundled": ("whisper-base", "speech-emotion"),
    "fast": ("whisper-tiny.en", "speech-emotion-tiny"),
    "research": ("whisper-base", "speech-emotion-research"),
}
"""Model profile -> (transcription model, speech emotion head on its encoder states)."""


class SpeechModels:
    """Transcription with shared encoder states, the speech emotion head on them, and text emotion.

    Raises `extractors.registry.ModelMissing` with the cure where a file is not on this machine.
    """

    def __init__(self, profile: str = "bundled", *, threads: int = 1, device: Literal["cpu", "cuda"] = "cpu") -> None:
        transcriber, head = PROFILES[profile]
        self.whisper = WhisperEngine(transcriber, threads=threads, device=device)
        self.emotion = SpeechEmotion(head)
        self.text = TextEmotion()

    def encode(self, utterances: Sequence[tuple[np.ndarray, float]]) -> list[EncodedUtterance]:
        """Encoder states of each (int16 PCM at 16 kHz, speech probability); one pass each: on a CPU a batch gains nothing."""
        return [self.whisper.encode(pcm, probability) for pcm, probability in utterances]

    def warm_up(self) -> None:
        """Do the work of a first utterance now, so that no caller waits for it."""
        second = np.zeros(16_000, np.int16)
        self.whisper.transcribe(self.encode([(second, 0.0)]), language="en")
        self.text.classify(["warm up"])
