"""Voice activity and end-pointing: a stream of 16 kHz PCM in, finished utterances out.

Both classes are causal and count in samples since the first one pushed, so that the same audio gives the same
utterances, bit for bit, however it was cut into chunks. Voice activity is Silero v6 (MIT), one frame of 512 samples
(32 ms) a time; probabilities are rounded to four decimals before anything is decided on them.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import msgspec
import numpy as np
import onnxruntime
from msgspec import Struct
from numpy.typing import NDArray

from extractors import registry

RATE = 16_000
FRAME = 512
LONGEST_UTTERANCE_MS = 28_000
_CONTEXT = 64
_SAMPLES_PER_MS = RATE // 1000

Pcm = NDArray[np.int16]
Floats = NDArray[np.float32]


@lru_cache(maxsize=1)
def _session() -> onnxruntime.InferenceSession:
    """One shared session: it is stateless, the recurrent state belongs to each `VoiceActivity`."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(str(registry.path("silero-vad")), options, providers=["CPUExecutionProvider"])


class VoiceActivity:
    """Speech probability per frame of 512 samples, with the recurrent state carried from frame to frame.

    The model always sees one frame a call: its answer then cannot depend on how many frames arrived together.
    """

    def __init__(self) -> None:
        self._model = _session()
        self._h: Floats = np.zeros((1, 1, 128), np.float32)
        self._c: Floats = np.zeros((1, 1, 128), np.float32)
        self._input: Floats = np.zeros((1, _CONTEXT + FRAME), np.float32)

    def push(self, frame: Pcm) -> float:
        """Probability in [0, 1] that the next frame, int16 of shape (512,), holds speech; rounded to 4 decimals."""
        if frame.shape != (FRAME,) or frame.dtype != np.int16:
            raise ValueError(f"a voice activity frame is int16 of shape ({FRAME},), not {frame.dtype} {frame.shape}")
        self._input[0, :_CONTEXT] = self._input[0, FRAME:]
        self._input[0, _CONTEXT:] = frame
        self._input[0, _CONTEXT:] /= 32768.0
        outputs = self._model.run(None, {"input": self._input, "h": self._h, "c": self._c})
        self._h, self._c = outputs[1], outputs[2]
        return round(float(outputs[0].ravel()[0]), 4)

    def snapshot(self) -> bytes:
        """The state as 1,280 bytes: h and c (float32) and the last 64 samples."""
        return self._h.tobytes() + self._c.tobytes() + self._input[0, FRAME:].tobytes()

    def restore(self, state: bytes) -> None:
        """Take over what `snapshot` gave; raises ValueError where the length is another."""
        values = np.frombuffer(state, np.float32)
        if values.size != 2 * 128 + _CONTEXT:
            raise ValueError(f"a voice activity state has {4 * (256 + _CONTEXT)} bytes, not {len(state)}")
        self._h, self._c = values[:128].reshape(1, 1, 128).copy(), values[128:256].reshape(1, 1, 128).copy()
        self._input[0, FRAME:] = values[256:]


class SegmentOptions(Struct, frozen=True):
    """End-pointing. Times in milliseconds.

    A frame starts speech at `threshold` and silence below `threshold - hysteresis`. An utterance ends after
    `min_silence_ms` of silence, is dropped with less than `min_speech_ms` of speech frames, and is cut at
    `max_utterance_ms`: at the least speech-like place of its last `cut_search_ms`. `pad_ms` of audio is kept on both
    sides, never twice.

    Hypotheses of the open utterance are given out too where asked for: at each step of `partial_every_ms` > 0 of its
    length while speech goes on, and with `partial_at_pause` once in each pause, as soon as the padding after the words is
    complete. If the pause goes on, the complete utterance holds the very same audio: whoever worked on the hypothesis is
    done before the utterance is known to have ended.
    """

    threshold: float = 0.35
    hysteresis: float = 0.15
    min_speech_ms: int = 250
    min_silence_ms: int = 500
    max_utterance_ms: int = 20_000
    cut_search_ms: int = 5_000
    pad_ms: int = 250
    partial_every_ms: int = 0
    partial_at_pause: bool = False


class Segment(Struct, frozen=True, eq=False):
    """One utterance. `pcm` is int16 mono at 16 kHz from `start_sample` to `end_sample` (exclusive).

    `index` counts utterances from 0; `partial` > 0 numbers the hypotheses of an utterance still open and 0 is the
    complete one; `cut` says that the maximum length ended it; `speech_probability` is the mean over its speech frames,
    `speech_ratio` the share of its frames that hold speech.
    """

    index: int
    start_sample: int
    end_sample: int
    pcm: Pcm
    partial: int = 0
    cut: bool = False
    speech_probability: float = 0.0
    speech_ratio: float = 0.0

    @property
    def start_ms(self) -> int:
        return self.start_sample // _SAMPLES_PER_MS

    @property
    def end_ms(self) -> int:
        return self.end_sample // _SAMPLES_PER_MS


class _State(Struct):
    """Everything that decides what comes next, but for the audio. Frames are counted from the start of the stream."""

    frame: int = 0  # next frame to judge
    index: int = 0
    floor: int = 0  # sample before which no utterance may start: the end of the previous one
    onset: int = -1  # first speech frame of the open utterance, -1 while none is open
    start: int = 0  # its first sample, padding included
    silence: int = -1  # frame at which the pending silence began, -1 while speech goes on
    partials: int = 0  # hypotheses of the open utterance so far
    steps: int = 0  # steps of its length at which one was due
    offered: int = -1  # frame at which the pause began that one was given out for
    continues: bool = False  # the utterance goes on from a cut: it may be short
    first: int = 0  # frame of probabilities[0]
    probabilities: list[float] = []
    buffer_start: int = 0  # sample of the first buffered value
    total: int = -1  # length of the stream once it has ended
    voice: bytes = b""
    audio: bytes | None = None
    options: SegmentOptions = SegmentOptions()


class Segmenter:
    """Cuts a stream into utterances. `push` yields `Segment`s as soon as the audio proves them complete.

    Memory is bounded by the longest utterance plus padding. `read_ms` is how far the stream is decided: no utterance
    that has not been given out yet starts earlier (the open one starts exactly there).
    """

    def __init__(self, options: SegmentOptions | None = None) -> None:
        self._state = _State(options=options or SegmentOptions(), probabilities=[])
        self._check(self._state.options)
        self._voice = VoiceActivity()
        self._buffer = bytearray()
        self._read = 0

    @property
    def options(self) -> SegmentOptions:
        return self._state.options

    @property
    def next_sample(self) -> int:
        """Index of the sample that the next `push` has to begin with."""
        return self._state.buffer_start + len(self._buffer) // 2

    @property
    def resume_sample(self) -> int:
        """Where the audio has to be fed again from after a restore of a snapshot without audio."""
        return self._state.buffer_start

    @property
    def is_open(self) -> bool:
        return self._state.onset >= 0

    @property
    def read_ms(self) -> int:
        """Media time before which no further utterance can start. Never falls."""
        state = self._state
        earliest = state.start if state.onset >= 0 else max(state.floor, state.frame * FRAME - self._pad)
        self._read = max(self._read, earliest // _SAMPLES_PER_MS)
        return self._read

    def push(self, pcm: Pcm) -> Iterator[Segment]:
        """Take int16 mono 16 kHz PCM, shape (n,), any n; yield finished utterances and, if asked for, partial ones.

        Iterate to the end: audio is taken in as the iterator runs.
        """
        if pcm.ndim != 1 or pcm.dtype != np.int16:
            raise ValueError(f"the segmenter takes int16 mono PCM of shape (n,), not {pcm.dtype} {pcm.shape}")
        for offset in range(0, len(pcm), RATE):  # in slices, so that a whole file at once does not grow the buffer
            self._buffer += pcm[offset : offset + RATE].tobytes()
            yield from self._advance()

    def flush(self) -> Iterator[Segment]:
        """End of the stream: judge the incomplete last frame (zeros appended) and close what is open."""
        total = self._state.total = self.next_sample
        missing = -total % FRAME
        if missing:
            self._buffer += bytes(2 * missing)
            yield from self._advance()
        if self._state.onset >= 0:
            yield from self._close(min(self._speech_end() * FRAME + self._pad, total), cut=False)
        self._state.floor = max(self._state.floor, total)
        self._trim()

    def snapshot(self, include_audio: bool = True) -> bytes:
        """MessagePack of the state. Without audio it stays below 8 kB, and after `restore` the PCM from
        `resume_sample` on has to be pushed again: audio already judged is only buffered, not judged twice."""
        self._state.voice = self._voice.snapshot()
        self._state.audio = bytes(self._buffer) if include_audio else None
        return msgspec.msgpack.encode(self._state)

    def restore(self, state: bytes) -> None:
        """Take over a snapshot, its options included; raises ValueError where it is not one."""
        try:
            self._state = msgspec.msgpack.decode(state, type=_State)
        except msgspec.DecodeError as error:
            raise ValueError(f"not a segmenter state: {error}") from error
        self._voice.restore(self._state.voice)
        self._buffer = bytearray(self._state.audio or b"")
        self._state.audio = None
        self._read = 0

    @staticmethod
    def _check(options: SegmentOptions) -> None:
        if not 0 < options.threshold - options.hysteresis <= options.threshold < 1:
            raise ValueError("threshold has to lie in (0, 1) and above the hysteresis")
        if min(options.min_silence_ms, options.pad_ms, options.min_speech_ms, options.partial_every_ms) < 0:
            raise ValueError("times of the segmenter cannot be negative")
        if not options.pad_ms <= options.min_silence_ms < options.cut_search_ms < options.max_utterance_ms:
            raise ValueError("the segmenter needs pad_ms <= min_silence_ms < cut_search_ms < max_utterance_ms")
        if options.max_utterance_ms > LONGEST_UTTERANCE_MS:
            raise ValueError(f"max_utterance_ms can be at most {LONGEST_UTTERANCE_MS}: a transcript covers 29 s at once")

    @property
    def _pad(self) -> int:
        return self.options.pad_ms * _SAMPLES_PER_MS

    def _advance(self) -> Iterator[Segment]:
        """Judge every complete frame that has not been judged yet."""
        state = self._state
        while (state.frame + 1) * FRAME <= self.next_sample:
            probability = self._voice.push(self._audio(state.frame * FRAME, (state.frame + 1) * FRAME))
            if not state.probabilities:
                state.first = state.frame
            state.probabilities.append(probability)
            yield from self._step(probability)
            self._trim()

    def _step(self, probability: float) -> Iterator[Segment]:
        """Move the end-pointing on by one frame."""
        state, options, frame = self._state, self.options, self._state.frame
        state.frame += 1
        if state.onset < 0:
            if probability >= options.threshold:
                state.onset, state.silence = frame, -1
                state.partials, state.steps, state.offered = 0, 0, -1
                state.start = max(state.floor, frame * FRAME - self._pad)
                state.continues = state.continues and state.start == state.floor
            return
        if probability >= options.threshold:
            state.silence = -1
        elif probability < options.threshold - options.hysteresis and state.silence < 0:
            state.silence = frame
        end = state.frame * FRAME
        if state.silence >= 0 and end - state.silence * FRAME >= options.min_silence_ms * _SAMPLES_PER_MS:
            yield from self._close(min(state.silence * FRAME + self._pad, end), cut=False)
        elif end - state.start >= options.max_utterance_ms * _SAMPLES_PER_MS:
            yield from self._cut()
        elif state.total < 0 and self._hypothesis_due(end):
            state.partials += 1
            yield self._segment(end if state.silence < 0 else state.silence * FRAME + self._pad, cut=False, partial=state.partials)

    def _hypothesis_due(self, end: int) -> bool:
        """Whether the open utterance is to be given out as it is at sample `end`."""
        state, options = self._state, self.options
        if state.silence >= 0:
            if not options.partial_at_pause or state.offered == state.silence or end - state.silence * FRAME < self._pad:
                return False
            state.offered = state.silence
            return self._long_enough(state.start, state.silence * FRAME + self._pad)
        step = options.partial_every_ms * _SAMPLES_PER_MS
        if not step or end - state.start < (state.steps + 1) * step or not self._long_enough(state.start, end):
            return False
        state.steps = (end - state.start) // step
        return True

    def _cut(self) -> Iterator[Segment]:
        """End the open utterance at its least speech-like late place and judge what follows it again."""
        state = self._state
        frames = self.options.cut_search_ms * _SAMPLES_PER_MS // FRAME
        late = np.array(state.probabilities[-frames:])
        # Mean of three frames, so that a single odd frame inside a word does not attract the cut; ties go to the quietest.
        smooth = np.convolve(np.pad(late, 1, mode="edge"), np.ones(3) / 3, mode="valid")[:-1].round(4)
        candidates = np.flatnonzero(smooth == smooth.min())
        levels = [self._power(state.frame - len(late) + int(candidate)) for candidate in candidates]
        frame = state.frame - len(late) + int(candidates[int(np.argmin(levels))])
        at = frame * FRAME + FRAME // 2
        rest = state.probabilities[frame - state.first :]
        yield from self._close(at, cut=True)
        state.continues, state.first, state.frame = True, frame, frame
        state.probabilities = rest
        for probability in rest:
            yield from self._step(probability)

    def _close(self, end: int, cut: bool) -> Iterator[Segment]:
        state = self._state
        if cut or state.continues or self._long_enough(state.start, end):
            yield self._segment(end, cut=cut, partial=0)
            state.index += 1
            state.floor = end
        state.onset, state.silence, state.continues = -1, -1, False

    def _segment(self, end: int, cut: bool, partial: int) -> Segment:
        state = self._state
        end = min(end, state.total) if state.total >= 0 else end
        speech, frames = self._speech(state.start, end)
        return Segment(
            index=state.index,
            start_sample=state.start,
            end_sample=end,
            pcm=self._audio(state.start, end),
            partial=partial,
            cut=cut,
            speech_probability=round(float(np.mean(speech)), 4) if speech else 0.0,
            speech_ratio=round(len(speech) / frames, 4) if frames else 0.0,
        )

    def _speech(self, start: int, end: int) -> tuple[list[float], int]:
        """Probabilities of the speech frames that begin within the span, and the number of all of them up to the last
        word: padding does not count."""
        state = self._state
        end = min(end, self._speech_end() * FRAME)
        first = max(0, -(-start // FRAME) - state.first)
        frames = state.probabilities[first : max(first, -(-end // FRAME) - state.first)]
        limit = self.options.threshold - self.options.hysteresis
        return [p for p in frames if p >= limit], len(frames)

    def _long_enough(self, start: int, end: int) -> bool:
        return len(self._speech(start, end)[0]) * FRAME >= self.options.min_speech_ms * _SAMPLES_PER_MS

    def _speech_end(self) -> int:
        return self._state.silence if self._state.silence >= 0 else self._state.frame

    def _audio(self, start: int, end: int) -> Pcm:
        first = 2 * (start - self._state.buffer_start)
        return np.frombuffer(bytes(self._buffer[first : first + 2 * (end - start)]), np.int16)

    def _power(self, frame: int) -> int:
        samples = self._audio(frame * FRAME, (frame + 1) * FRAME).astype(np.int64)
        return int(samples @ samples)

    def _trim(self) -> None:
        """Forget audio and probabilities that no utterance can need any more."""
        state = self._state
        keep = state.start if state.onset >= 0 else max(state.floor, state.frame * FRAME - self._pad)
        drop = min(keep, self.next_sample) - state.buffer_start
        # Deleting from the front moves the rest: let some of it gather first, on frames of the stream alone.
        if drop >= 16 * FRAME or state.onset < 0 and drop > 0:
            del self._buffer[: 2 * drop]
            state.buffer_start += drop
        if state.onset < 0:
            state.probabilities = []
