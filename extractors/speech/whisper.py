"""Transcription by Whisper (CTranslate2): one encoder pass an utterance, many answers from it.

Whisper was trained on windows of 30 s and its decoder needs to see silence after the words in order to stop. Padding
the audio costs a whole window of encoding; here only the utterance and a margin of silence are encoded, and the window
is completed with *encoder states* of silence that were computed once. Which silence fills the window makes no difference
to the words; how much of it the encoder's attention had beside the speech does, hence the margin. The same states serve
transcription, language identification, word times and any head that pools over them.

The words that this margin costs, and more, come back from a beam search over the same states: reading the decoder's
weights is what a step costs, and five hypotheses share one reading. Encoding the unsure utterances again from a whole
window mends fewer words at many times the price, and believes more coughs and laughs to be words.

Lengths of input and window are functions of the utterance alone, and one int8 decode is bit-equal alone or in a batch:
an utterance has one transcript, whoever shares its batch. `benchmarks/encoder_padding.py` measures all of this.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any, Literal

import ctranslate2
import numpy as np
import tokenizers
from faster_whisper.feature_extractor import FeatureExtractor
from faster_whisper.tokenizer import Tokenizer
from msgspec import Struct
from numpy.typing import NDArray

from extractors import registry
from extractors.cues import Transcript, Word, rounded
from extractors.errors import InputError
from extractors.speech.activity import Activity, speech_activity
from extractors.speech.guards import Hypothesis, compression_ratio, objection
from extractors.speech.resample import as_float32

Floats = NDArray[np.float32]
ModelName = Literal["whisper-base", "whisper-tiny.en"]

RATE = 16_000
LONGEST_S = 29.0
WINDOW_FRAMES = 3000  # 30 s of 10 ms frames: the input Whisper was trained on
STATES = WINDOW_FRAMES // 2
SAMPLES_PER_STATE = 320
MARGIN_FRAMES = 700
WINDOW_STATES = 1000  # a decoder's window of 20 s costs a third less to prepare than one of 30 s, with the same words
BEAM = 5
BATCH = 4  # measured on two cores with AVX-512: larger batches wait for their longest utterance


class EncodedUtterance(Struct, frozen=True, eq=False):
    """Encoder states of one utterance.

    `states` is float32 of shape (ceil(samples / 320), d): one row per 20 ms of real audio, silence not included; pool
    over these. `window` holds all encoded rows, the margin of silence included; `pcm` is the audio, float32 in [-1, 1].
    `speech_probability` is what voice activity said of it, or None.
    """

    states: Floats
    window: Floats
    pcm: Floats
    duration_s: float
    speech_probability: float | None = None

    @property
    def frames(self) -> int:
        """Length of the real audio in frames of 10 ms, even."""
        return _even(-(-len(self.pcm) // 160))


class WhisperEngine:
    """One loaded model, on the CPU unless told otherwise. Not for several threads at once.

    `window` is ``cached`` (encode the utterance and `margin_frames` of silence after it, complete what the decoder sees to
    `window_states` with stored silence, or to 1500 where that is too short) or ``full`` (encode 30 s every time: the
    reference, whose encoder is eight times dearer for a turn of 3 s). An utterance whose decoding failed (no end, or a
    text that repeats itself) is encoded and decoded once more from a full window, and the better of both is taken.
    """

    def __init__(
        self,
        model: ModelName = "whisper-base",
        compute_type: str = "int8",
        threads: int = 1,
        window: Literal["cached", "full"] = "cached",
        margin_frames: int = MARGIN_FRAMES,
        window_states: int = WINDOW_STATES,
        second_look_below: float | None = None,
        device: Literal["cpu", "cuda"] = "cpu",
    ) -> None:
        folder = registry.path(model)
        self.identity = registry.identity(model)
        self.window = window
        self._margin = _even(margin_frames)
        self._window_states = window_states
        self._second_look_below = second_look_below
        self._model = ctranslate2.models.Whisper(
            str(folder), device=device, compute_type=compute_type, inter_threads=1, intra_threads=threads
        )
        self._vocabulary = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._mel = FeatureExtractor()
        self._silence: Floats | None = None
        self._tokenizers: dict[str, Tokenizer] = {}
        plain = self._tokenizer("en")
        special = (plain.transcribe, plain.translate, plain.sot, plain.sot_prev, plain.sot_lm)
        self._suppressed = sorted({*plain.non_speech_tokens, *special})

    @property
    def multilingual(self) -> bool:
        return bool(self._model.is_multilingual)

    def encode(self, pcm: NDArray[Any], speech_probability: float | None = None) -> EncodedUtterance:
        """Encode one utterance: int16, or float32 in [-1, 1], mono at 16 kHz, shape (n,), 0 < n <= 29 s.

        `speech_probability` only helps `transcribe` to tell invented words from spoken ones.
        """
        if pcm.ndim != 1 or pcm.dtype not in (np.int16, np.float32):
            raise ValueError(f"an utterance is int16 or float32 PCM of shape (n,), not {pcm.dtype} {pcm.shape}")
        if not 0 < len(pcm) <= LONGEST_S * RATE:
            raise ValueError(f"an utterance has more than 0 and at most {LONGEST_S:g} s, not {len(pcm) / RATE:.1f} s")
        audio = as_float32(pcm)
        frames = _even(-(-len(audio) // 160)) + self._margin
        window = self._encode_frames(audio, WINDOW_FRAMES if self.window == "full" else min(frames, WINDOW_FRAMES))
        real = window[: -(-len(audio) // SAMPLES_PER_STATE)]
        return EncodedUtterance(real, window, audio, len(audio) / RATE, speech_probability)

    def language_logprobs(self, utterance: EncodedUtterance) -> dict[str, float]:
        """Log probability of every language the model knows, by ISO code, rounded to 4 decimals.

        Sum them over the utterances of one speaker to identify his language: one short turn is often not enough.
        An English model answers ``{"en": 0.0}``.
        """
        if not self.multilingual:
            return {"en": 0.0}
        pairs = self._model.detect_language(_view(utterance.window[None]))[0]
        return {token[2:-2]: round(math.log(max(probability, 1e-10)), 4) for token, probability in pairs}

    def transcribe(
        self,
        utterances: EncodedUtterance | Sequence[EncodedUtterance],
        language: str | Sequence[str | None] | None = None,
        prompt: str | None = None,
        *,
        beam_size: int = BEAM,
        word_times: bool = True,
    ) -> list[Transcript]:
        """Transcripts in the order of the utterances, decoded up to 4 at a time, those of like length together.

        `language` is an ISO code for all or one (or None: identified) for each; `prompt` holds words to expect (names,
        products). Text that is not believed is emptied and `Transcript.rejected` says why (see `guards`). Word times
        are milliseconds from the start of the utterance.
        """
        batch = [utterances] if isinstance(utterances, EncodedUtterance) else list(utterances)
        asked = [language] * len(batch) if language is None or isinstance(language, str) else list(language)
        if len(asked) != len(batch):
            raise ValueError(f"{len(batch)} utterances need as many languages, not {len(asked)}")
        known = [self._identify(u, code) for u, code in zip(batch, asked, strict=True)]
        found: dict[int, Hypothesis] = {}
        for members in self._batches(batch):
            languages = [known[i][0] for i in members]
            found |= zip(members, self._decode([batch[i] for i in members], languages, prompt, beam_size), strict=True)
        return [
            self._transcript(u, self._second_look(u, found[i], code, prompt, beam_size), code, sure, word_times)
            for i, (u, (code, sure)) in enumerate(zip(batch, known, strict=True))
        ]

    def _batches(self, utterances: Sequence[EncodedUtterance]) -> Iterator[list[int]]:
        """Positions of up to 4 utterances with one token cap and one length of window, the shortest utterances first.

        A search that may go on for longer can find another text: neither may depend on who else is decoded.
        """
        order = sorted(range(len(utterances)), key=lambda i: (utterances[i].duration_s, i))
        for _, group in groupby(order, lambda i: (_token_cap(utterances[i]), self._completed(len(utterances[i].window)))):
            members = list(group)
            yield from (members[first : first + BATCH] for first in range(0, len(members), BATCH))

    def _identify(self, utterance: EncodedUtterance, language: str | None) -> tuple[str, float]:
        if language is not None and self.multilingual:
            return language, 1.0
        if not self.multilingual:
            return "en", 1.0
        scores = self.language_logprobs(utterance)
        best = max(scores, key=lambda code: scores[code])
        return best, round(math.exp(scores[best]), 4)

    def _decode(
        self, utterances: Sequence[EncodedUtterance], languages: Sequence[str], prompt: str | None, beam_size: int
    ) -> list[Hypothesis]:
        """Decode utterances of one token cap and one length of window together."""
        cap = _token_cap(utterances[0])
        results = self._model.generate(
            _view(np.stack([self._complete(u.window) for u in utterances])),
            [self._prompt(code, prompt) for code in languages],
            beam_size=beam_size,
            max_length=2 * cap,  # the engine gives half of it to new tokens
            return_scores=True,
            return_no_speech_prob=True,
            suppress_tokens=self._suppressed,
        )
        return [
            self._hypothesis(u, result, code, cap)
            for u, result, code in zip(utterances, results, languages, strict=True)
        ]

    def _hypothesis(self, utterance: EncodedUtterance, result: Any, language: str, cap: int) -> Hypothesis:
        tokens = [token for token in result.sequences_ids[0] if token < self._tokenizer(language).eot]
        length = len(result.sequences_ids[0])
        text = self._tokenizer(language).decode(tokens).strip()
        return Hypothesis(
            text=text,
            tokens=tuple(tokens),
            avg_logprob=round(float(result.scores[0]) * length / (length + 1), 4),
            no_speech_prob=round(float(result.no_speech_prob), 4),
            compression_ratio=compression_ratio(text),
            endless=length >= cap,
            duration_s=utterance.duration_s,
            level_dbfs=_level_dbfs(utterance.pcm),
            speech_probability=utterance.speech_probability,
        )

    def _second_look(
        self, utterance: EncodedUtterance, first: Hypothesis, language: str, prompt: str | None, beam_size: int
    ) -> Hypothesis:
        """Decode again from a whole encoded window where the first decoding failed; keep the better one."""
        unsure = self._second_look_below is not None and first.avg_logprob < self._second_look_below
        if len(utterance.window) >= STATES or not (first.failed or unsure):
            return first
        window = self._encode_frames(utterance.pcm, WINDOW_FRAMES)
        again = EncodedUtterance(utterance.states, window, utterance.pcm, utterance.duration_s, utterance.speech_probability)
        second = self._decode([again], [language], prompt, beam_size)[0]
        return min(first, second, key=lambda h: (h.failed, -h.avg_logprob))

    def _transcript(
        self, utterance: EncodedUtterance, hypothesis: Hypothesis, language: str, sure: float, word_times: bool
    ) -> Transcript:
        rejected = objection(hypothesis)
        words = self._words(utterance, hypothesis, language) if word_times and not rejected else ()
        return Transcript(
            text="" if rejected else hypothesis.text,
            language=language,
            language_probability=sure,
            words=words,
            avg_logprob=hypothesis.avg_logprob,
            no_speech_prob=hypothesis.no_speech_prob,
            compression_ratio=rounded(hypothesis.compression_ratio),
            rejected=rejected,
            model=self.identity,
        )

    def _words(self, utterance: EncodedUtterance, hypothesis: Hypothesis, language: str) -> tuple[Word, ...]:
        """Words with times from the decoder's cross-attention (dynamic time warping over the alignment heads)."""
        if not hypothesis.tokens:
            return ()
        tokenizer = self._tokenizer(language)
        tokens = list(hypothesis.tokens)
        words, groups = tokenizer.split_to_word_tokens(tokens + [tokenizer.eot])
        result = self._model.align(
            _view(utterance.window[None]), tokenizer.sot_sequence, [tokens], utterance.frames
        )[0]
        first_state: dict[int, int] = {}
        for token, state in result.alignments:
            first_state.setdefault(int(token), int(state))
        timed = _timed(words, groups, first_state, result.text_token_probs, utterance.duration_s)
        return merge_punctuation(_tightened(timed, speech_activity(utterance.pcm)))

    def _prompt(self, language: str, prompt: str | None) -> list[int]:
        tokenizer = self._tokenizer(language)
        before = [tokenizer.sot_prev, *tokenizer.encode(" " + prompt.strip())[:200]] if prompt and prompt.strip() else []
        return [*before, *tokenizer.sot_sequence, tokenizer.no_timestamps]

    def _tokenizer(self, language: str) -> Tokenizer:
        if language not in self._tokenizers:
            try:
                found = Tokenizer(self._vocabulary, self.multilingual, task="transcribe", language=language)
            except ValueError as error:
                raise InputError(f"language {language!r} is not known to Whisper", cure="give an ISO code such as en or de") from error
            self._tokenizers[language] = found
        return self._tokenizers[language]

    def _encode_frames(self, audio: Floats, frames: int) -> Floats:
        """Encoder states, float32 (frames / 2, d), of the audio padded with zeros to `frames` mel frames.

        The audio is padded, not the spectrum: normalisation gives silence a value that depends on the loudest frame.
        """
        padded = np.zeros(frames * 160, np.float32)
        padded[: len(audio)] = audio
        mel = np.ascontiguousarray(self._mel(padded, padding=0)[None], np.float32)
        states = self._model.encode(ctranslate2.StorageView.from_array(mel), to_cpu=True)
        rows: Floats = np.array(states, np.float32)[0]
        return rows

    def _complete(self, window: Floats) -> Floats:
        """The encoded rows followed by stored rows of silence up to the length of the decoder's window."""
        length = self._completed(len(window))
        if len(window) >= length:
            return window
        if self._silence is None:
            self._silence = self._encode_frames(np.zeros(0, np.float32), WINDOW_FRAMES)
        return np.concatenate([window, self._silence[len(window) : length]])

    def _completed(self, rows: int) -> int:
        """To how many rows a window of so many encoded ones is completed: one of two lengths, whatever its company."""
        return self._window_states if rows <= self._window_states else STATES


def merge_punctuation(words: Sequence[Word]) -> tuple[Word, ...]:
    """Punctuation that stands alone joins the word before it (opening quotes and brackets the word after it)."""
    merged: list[Word] = []
    opening = ""
    for word in words:
        text = word.text
        if text and all(character in "\"'“¿([{-" for character in text):
            opening += text
        elif merged and not opening and not any(character.isalnum() for character in text):
            last = merged[-1]
            merged[-1] = Word(last.text + text, last.start_ms, last.end_ms, last.probability)
        else:
            merged.append(Word(opening + text, word.start_ms, word.end_ms, word.probability))
            opening = ""
    return tuple(merged)


def _timed(
    words: Sequence[str], groups: Sequence[Sequence[int]], states: dict[int, int], probabilities: Sequence[float], end_s: float
) -> list[Word]:
    """Words (without the end-of-text group) with the time of their first token and of the next word's first token."""
    timed, token = [], 0
    for text, group in zip(words[:-1], groups[:-1], strict=True):
        begin, end = states.get(token), states.get(token + len(group))
        sure = float(np.mean(probabilities[token : token + len(group)])) if probabilities else 0.0
        token += len(group)
        limit = round(end_s * 1000)
        start_ms = None if begin is None else min(20 * begin, limit)
        end_ms = None if start_ms is None else min(20 * end, limit) if end is not None else limit
        if text.strip():
            timed.append(Word(text.strip(), start_ms, end_ms, round(sure, 4)))
    return timed


def _tightened(words: Sequence[Word], activity: Activity) -> list[Word]:
    """Words without the silence that the aligner counts to them.

    It gives the pause before a word to that word, at times with the end of the word before: where a span holds a pause
    of 200 ms or more, the word is what follows the pause.
    """
    tight = []
    for word in words:
        start, end = word.start_ms, word.end_ms
        if start is not None and end is not None:
            first = start // 10
            spoken = first + np.flatnonzero(activity.active[first : -(-end // 10)])
            pauses = np.flatnonzero(np.diff(spoken) > 20)
            if len(pauses) and len(spoken) - pauses[-1] - 1 >= 6:
                spoken = spoken[pauses[-1] + 1 :]
            if len(spoken):
                start, end = max(start, 10 * int(spoken[0])), min(end, 10 * int(spoken[-1]) + 10)
        tight.append(Word(word.text, start, end, word.probability))
    return tight


def _token_cap(utterance: EncodedUtterance) -> int:
    """Most tokens an utterance can hold: 16 and 12 a second (fast speech in Latin script needs about 6), the duration
    rounded up to 2, 4, 8, 16 or 32 s so that utterances of like length can be decoded together."""
    return min(16 + 12 * next(seconds for seconds in (2, 4, 8, 16, 32) if utterance.duration_s <= seconds), 224)


def _level_dbfs(pcm: Floats) -> float:
    power = float(np.mean(np.square(pcm, dtype=np.float64))) if len(pcm) else 0.0
    return round(10 * math.log10(max(power, 1e-12)), 1)


def _view(states: Floats) -> ctranslate2.StorageView:
    return ctranslate2.StorageView.from_array(np.ascontiguousarray(states))


def _even(frames: int) -> int:
    return frames + frames % 2
