"""Call events in, records out: the same records whatever the sizes of the frames they came in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from msgspec import Struct

from streams import policy as policies
from streams.ingest.gateway.calls import (
    Audio,
    CallEnded,
    CallEvent,
    CallStarted,
    Fault,
    Noted,
    Paused,
    Refused,
    Resumed,
    SourceEnded,
    Video,
)
from streams.policy import Policy
from streams.records import AudioChunk, DeadLetter, Record, SessionEnd, SessionStart, SourceEnd, VideoFrame

BLOCK_MS = 100
"""Audio is cut into records at multiples of this on the session's time axis: large enough for a broker, and the cut
depends on the media alone, never on the sizes of the frames."""
MAX_ORIGINAL_BYTES = 256
"""A dead letter keeps this much of what was refused: enough to see what it was, too little to hear what was said."""
MAX_DEAD_LETTERS = 200
"""A session's further dead letters are only counted: a broken client must not flood the topic."""


class Position(Struct, frozen=True, array_like=True):
    """What of a source has been handed on: the next record number and the next sample (video: last millisecond)."""

    seq: int
    sample: int
    rate: int = 0


@dataclass(slots=True)
class _Audio:
    seq: int = 0
    start: int = 0  # sample index of held[0]
    rate: int = 0
    held: bytearray | None = None

    @property
    def next_sample(self) -> int:
        return self.start + len(self.held or b"") // 2


@dataclass(slots=True)
class _Video:
    seq: int = 0
    last_ms: int = -1


class Assembler:
    """One call. Policy is decided here, at the session's first record, before anything else sees the media."""

    def __init__(self, policy: Policy | None = None, *, counters: Counter[str] | None = None) -> None:
        self._policy = policy
        self.counters = counters if counters is not None else Counter()
        self.start: SessionStart | None = None
        self.end_reason: str | None = None
        self.paused = False
        self._audio: dict[str, _Audio] = {}
        self._video: dict[str, _Video] = {}
        self._over: set[str] = set()
        self._letters = 0

    @property
    def session(self) -> str | None:
        return self.start.session if self.start else None

    @property
    def ended(self) -> bool:
        return self.end_reason is not None

    def feed(self, event: CallEvent) -> list[Record]:
        """Records that `event` completes. After the end of the call there are none but dead letters."""
        if isinstance(event, Audio):
            return self._take_audio(event)
        if isinstance(event, Video):
            return self._take_video(event)
        if isinstance(event, CallStarted):
            return self._begin(event)
        if isinstance(event, Noted):
            self.counters[event.counter] += event.n
        if isinstance(event, Refused | Fault):
            ended = self.end("error") if isinstance(event, Fault) else []
            return [*self._letter(event), *ended]
        if isinstance(event, CallEnded):
            return self.end(event.reason)
        if isinstance(event, SourceEnded):
            return self._end_source(event.source)
        if isinstance(event, Paused):
            self.paused = True
            return self._flush_audio()
        if isinstance(event, Resumed):
            self.paused = False
        return []

    def end(self, reason: str) -> list[Record]:
        """The last records of the call; nothing where it has not begun or has ended already."""
        if self.start is None or self.ended:
            return []
        records = self._flush_audio()
        session = self.start.session
        for name, audio in self._audio.items():
            if name not in self._over:
                records.append(SourceEnd(session, name, audio.seq, audio.start * 1000 // audio.rate if audio.rate else 0))
        for name, video in self._video.items():
            records.append(SourceEnd(session, name, video.seq, max(video.last_ms, 0)))
        self.end_reason = reason
        return [*records, SessionEnd(session, reason)]

    def _end_source(self, name: str) -> list[Record]:
        """The last records of one audio source, so that nobody waits for it; what comes of it later is dropped."""
        state = self._audio.get(name)
        if self.start is None or state is None or self.ended or name in self._over:
            return []
        records = self._cut(name, state, whole=True)
        self._over.add(name)
        return [*records, SourceEnd(self.start.session, name, state.seq, state.start * 1000 // state.rate if state.rate else 0)]

    def positions(self) -> dict[str, Position]:
        """Per source: what has been handed on as records (audio still held back is not counted)."""
        audio = {name: Position(state.seq, state.start, state.rate) for name, state in self._audio.items()}
        return audio | {name: Position(state.seq, state.last_ms) for name, state in self._video.items()}

    def restore(self, positions: Mapping[str, Position], *, paused: bool = False) -> None:
        """Go on with a call that another process began and that has handed on what `positions` says."""
        self.paused = paused
        for name, position in positions.items():
            if name in self._audio:
                self._audio[name] = _Audio(position.seq, position.sample, position.rate)
            elif name in self._video:
                self._video[name] = _Video(position.seq, position.sample)

    def _begin(self, event: CallStarted) -> list[Record]:
        if self.start is not None:
            return []
        decisions = policies.decide(event.participants, self._policy, notice=event.notice, live=True)
        self.start = SessionStart(
            event.session, event.participants, decisions, event.audio, event.video, event.language, True, event.media, event.notice, event.attributes
        )
        self._audio = {name: _Audio() for name in event.audio}
        self._video = {name: _Video() for name in event.video}
        return [self.start]

    def _take_audio(self, event: Audio) -> list[Record]:
        state = self._audio.get(event.source)
        if state is None or self.ended or event.source in self._over or not self._admitted("audio"):
            return []
        records: list[Record] = []
        if state.held is None or event.start_sample > state.next_sample:
            if state.held is not None or event.start_sample > state.start:
                self.counters["audio_gaps"] += 1
            records += self._cut(event.source, state, whole=True)
            state.start, state.rate, state.held = max(event.start_sample, state.start), event.rate, bytearray()
        # What lies before the position has been handed on already (a frame sent again after a resume).
        state.held += event.pcm[2 * max(0, state.next_sample - event.start_sample) :]
        return records + self._cut(event.source, state, whole=False)

    def _cut(self, name: str, state: _Audio, *, whole: bool) -> list[Record]:
        records: list[Record] = []
        block = max(1, state.rate * BLOCK_MS // 1000)
        while state.held:
            n = block - state.start % block
            if len(state.held) < 2 * n:
                if not whole:
                    break
                n = len(state.held) // 2
            assert self.start is not None
            records.append(AudioChunk(self.start.session, name, state.seq, state.start, state.rate, bytes(state.held[: 2 * n])))
            del state.held[: 2 * n]
            state.seq, state.start = state.seq + 1, state.start + n
        return records

    def _flush_audio(self) -> list[Record]:
        return [record for name, state in self._audio.items() for record in self._cut(name, state, whole=True)]

    def _take_video(self, event: Video) -> list[Record]:
        state = self._video.get(event.source)
        if state is None or self.ended or self.start is None or not self._admitted("video"):
            return []
        if event.media_ms <= state.last_ms:
            self.counters["video_frames_late"] += 1
            return []
        record = VideoFrame(self.start.session, event.source, state.seq, event.media_ms, event.width, event.height, "jpeg", event.jpeg)
        state.seq, state.last_ms = state.seq + 1, event.media_ms
        return [record]

    def _admitted(self, kind: str) -> bool:
        if self.paused:
            self.counters[f"{kind}_frames_in_pause"] += 1
        return not self.paused

    def _letter(self, event: Refused | Fault) -> list[Record]:
        self.counters[f"refused_{event.code}"] += 1
        self._letters += 1
        if self._letters > MAX_DEAD_LETTERS:
            self.counters["dead_letters_not_kept"] += 1
            return []
        self.counters["dead_letters"] += 1
        reason = f"{event.code}: {event.what}" + (f" ({event.where})" if event.where else "")
        return [DeadLetter(self.session, "ingest", reason, event.original[:MAX_ORIGINAL_BYTES])]
