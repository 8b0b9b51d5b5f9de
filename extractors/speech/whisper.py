"""Transcription by Whisper (CTranslate2): one encoder pass an utterance, many answers from it.

Whisper was trained on windows of 30 s and its decoder needs to see silence after the words in order to stop. Padding
the audio costs a whole window of encoding; here only the utterance and a short margin are encoded, and the window is
completed with *encoder states* of silence that were computed once. The same states serve transcription, language
identification, word times and any head that pools over them.

The length of the input is a function of the utterance alone, and one int8 decode is bit-equal alone or in a batch: an
utterance has one transcript, whoever shares its batch.
"""

from __future__ import annotations

from typing import Any, Literal

import ctranslate2
import numpy as np
import tokenizers
from faster_whisper.feature_extractor import FeatureExtractor
from msgspec import Struct
from numpy.typing import NDArray

from extractors import registry

Floats = NDArray[np.float32]
ModelName = Literal["whisper-base", "whisper-tiny.en"]

RATE = 16_000
WINDOW_FRAMES = 3000  # 30 s of 10 ms frames: the input Whisper was trained on
STATES = WINDOW_FRAMES // 2
SAMPLES_PER_STATE = 320
LONGEST_S = 29.0
MARGIN_FRAMES = 100
BATCH = 8


class EncodedUtterance(Struct, frozen=True, eq=False):
    """Encoder states of one utterance.

    `states` is float32 of shape (ceil(samples / 320), d): one row per 20 ms of real audio, silence not included; pool
    over these. `window` holds the rows that were encoded (the margin included); `pcm` is the audio, float32 in [-1, 1].
    `floor` is the level of silence in the utterance's normalised log-mel spectrum.
    """

    states: Floats
    window: Floats
    pcm: Floats
    duration_s: float
    floor: float
    speech_probability: float | None = None


class WhisperEngine:
    """One loaded model. `threads` is for one call; calls are meant to come from one thread."""

    def __init__(self, model: ModelName = "whisper-base", compute_type: str = "int8", threads: int = 1) -> None:
        folder = registry.path(model)
        self.name = model
        self.identity = registry.identity(model)
        self._model = ctranslate2.models.Whisper(
            str(folder), device="cpu", compute_type=compute_type, inter_threads=1, intra_threads=threads
        )
        self._tokens = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._mel = FeatureExtractor()
        self._silence: dict[float, Floats] = {}

    @property
    def multilingual(self) -> bool:
        return bool(self._model.is_multilingual)

    def encode(self, pcm: NDArray[Any], speech_probability: float | None = None) -> EncodedUtterance:
        """Encode one utterance: int16, or float32 in [-1, 1], mono at 16 kHz, shape (n,), at most 29 s.

        `speech_probability` is what voice activity said of it; it only helps to tell invented words from spoken ones.
        """
        audio = as_float(pcm)
        frames = _even(-(-len(audio) // 160))
        mel, floor = self._log_mel(audio, min(frames + MARGIN_FRAMES, WINDOW_FRAMES))
        window = self._run_encoder(mel)
        real = -(-len(audio) // SAMPLES_PER_STATE)
        return EncodedUtterance(window[:real], window, audio, len(audio) / RATE, floor, speech_probability)

    def _log_mel(self, audio: Floats, frames: int) -> tuple[Floats, float]:
        """Log-mel spectrum of the audio padded with zeros to `frames`, shape (80, frames), and its value in silence.

        The audio is padded, not the spectrum: normalisation gives silence a value that depends on the loudest frame.
        """
        padded = np.zeros(frames * 160, np.float32)
        padded[: len(audio)] = audio
        mel = self._mel(padded, padding=0).astype(np.float32)
        return mel, float(max(mel.max() - 2.0, -1.5))

    def _run_encoder(self, mel: Floats) -> Floats:
        view = ctranslate2.StorageView.from_array(np.ascontiguousarray(mel[None]))
        return np.array(self._model.encode(view, to_cpu=True), np.float32)[0]


def as_float(pcm: NDArray[Any]) -> Floats:
    """Mono PCM as float32 in [-1, 1]; raises ValueError for another type or shape, or more than 29 s."""
    if pcm.ndim != 1 or pcm.dtype not in (np.int16, np.float32):
        raise ValueError(f"an utterance is int16 or float32 mono PCM of shape (n,), not {pcm.dtype} {pcm.shape}")
    if len(pcm) > LONGEST_S * RATE:
        raise ValueError(f"an utterance has at most {LONGEST_S:g} s, not {len(pcm) / RATE:.1f} s")
    return pcm.astype(np.float32) / np.float32(32768) if pcm.dtype == np.int16 else pcm


def _even(frames: int) -> int:
    return frames + frames % 2
