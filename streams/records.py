"""Records that travel between stages, and the topic table.

Media time is the only clock: integer milliseconds since session start, for audio also the sample index. Every source
(one audio channel, one video track) numbers its records from 0 without gaps; a stage remembers the last number per
source and ignores what it has seen. Inner topics carry these structs as MessagePack, public topics as JSON.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from msgspec import Struct

from extractors.cues import FaceObservation, SpeechCues
from fusion.events import EmotionEvent

SCHEMA_VERSION = "1.0"


class Participant(Struct, frozen=True):
    """Who is who. `channel` is the audio source and `video` the video source that belong to this person alone."""

    id: str
    role: str = "participant"
    channel: str | None = None
    video: str | None = None


class Notice(Struct, frozen=True):
    """The exposed persons were informed (duty of the deployer). `method` and `time` as the operator states them."""

    given: bool
    method: str = ""
    time: str = ""


class Decision(Struct, frozen=True):
    """What policy allows for one participant. `emotion`: run emotion inference; `observables_only`: measurements
    without any label. `reason` is the sentence stamped on each event. `redact`: kinds of secrets (`fusion.redact.KINDS`)
    that are replaced in transcripts."""

    transcribe: bool
    measure: bool
    emotion: bool
    reason: str
    observables_only: bool = False
    exception: str | None = None
    redact: tuple[str, ...] = ()


class SessionStart(Struct, frozen=True, tag="session_start"):
    """Opens a session. `decisions` (participant id -> Decision) were made by `streams.policy` before any inference.
    `audio_sources`/`video_sources` list the sources whose watermarks the session waits for."""

    session: str
    participants: tuple[Participant, ...]
    decisions: dict[str, Decision]
    audio_sources: tuple[str, ...] = ()
    video_sources: tuple[str, ...] = ()
    language: str | None = None
    live: bool = False
    media: str = ""
    notice: Notice | None = None
    attributes: dict[str, str] = {}


class SessionEnd(Struct, frozen=True, tag="session_end"):
    """Closes a session; stages flush what they hold. `reason`: completed, stop, idle, error, interrupted."""

    session: str
    reason: str = "completed"


class AudioChunk(Struct, frozen=True, tag="audio"):
    """PCM of one channel. `payload` is little-endian s16 mono at `rate` Hz; `start_sample` counts samples of this rate
    since session start, so a jump is a gap in the media (filled with silence downstream, and reported)."""

    session: str
    source: str
    seq: int
    start_sample: int
    rate: int
    payload: bytes

    @property
    def start_ms(self) -> int:
        return self.start_sample * 1000 // self.rate


class VideoFrame(Struct, frozen=True, tag="video"):
    """One upright picture. `codec` is ``bgr24`` (height*width*3 bytes, row-major) or ``jpeg``."""

    session: str
    source: str
    seq: int
    media_ms: int
    width: int
    height: int
    codec: Literal["bgr24", "jpeg"]
    payload: bytes


class SourceEnd(Struct, frozen=True, tag="source_end"):
    """A source has no more records (its track ended); `media_ms` is where it ended."""

    session: str
    source: str
    seq: int
    media_ms: int


class Utterance(Struct, frozen=True, tag="utterance"):
    """One stretch of speech of one participant, 16 kHz s16 mono in `payload`. `index` counts the participant's
    utterances from 0; `partial` > 0 numbers the hypotheses of an utterance still open, 0 is the complete one.
    `cut` says that the maximum length ended it, not silence."""

    session: str
    participant: str
    source: str
    index: int
    start_ms: int
    end_ms: int
    payload: bytes
    partial: int = 0
    cut: bool = False
    speech_probability: float = 0.0


class Watermark(Struct, frozen=True, tag="watermark"):
    """`origin` (segment, hear or look) has read `source` up to `media_ms`: nothing that starts before it will follow
    from this origin. `final` when the source has ended."""

    session: str
    source: str
    origin: str
    media_ms: int
    final: bool = False


class SpeechCueRecord(Struct, frozen=True, tag="speech_cues"):
    """Speech cues of one utterance, in session time."""

    session: str
    participant: str
    source: str
    index: int
    cues: SpeechCues
    partial: int = 0


class FaceCueRecord(Struct, frozen=True, tag="face_cues"):
    """Faces of one analysed frame, ordered by track id."""

    session: str
    source: str
    seq: int
    media_ms: int
    width: int
    height: int
    faces: tuple[FaceObservation, ...]


class DeadLetter(Struct, frozen=True, tag="dead_letter"):
    """A record that could not be processed: where, why, and the original bytes."""

    session: str | None
    stage: str
    reason: str
    original: bytes = b""


class FusedEvent(Struct, frozen=True, tag="fused_event"):
    """An emotion event on its way to the stages behind `fuse`, in order with the life of its session."""

    event: EmotionEvent


class Cited(Struct, frozen=True):
    """An event that an alert rests on: its id, span, value, and what it said in words."""

    event: str
    start_ms: int
    end_ms: int
    value: float
    text: str


class Alert(Struct, frozen=True, tag="alert"):
    """One alert. `participant` is empty for an alert about the whole conversation; `end_ms` is None while open.

    `value` is the worst value so far, `threshold` the rule's; times in ms since session start.
    """

    id: str
    revision: int
    status: Literal["open", "closed"]
    rule: str
    severity: str
    session: str
    participant: str
    role: str
    start_ms: int
    fired_ms: int
    end_ms: int | None
    value: float
    threshold: float
    condition: str
    explanation: str
    evidence: tuple[Cited, ...] = ()


class AlertAcknowledged(Struct, frozen=True, tag="acknowledgement"):
    """Somebody has taken an alert: `by` as the person said, `wall_ms` since 1970. The first one of an alert counts."""

    alert: str
    session: str
    by: str
    wall_ms: int


Record = (
    SessionStart
    | SessionEnd
    | AudioChunk
    | VideoFrame
    | SourceEnd
    | Utterance
    | Watermark
    | SpeechCueRecord
    | FaceCueRecord
    | DeadLetter
    | FusedEvent
)
Output = Record | EmotionEvent | Alert | AlertAcknowledged

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Record)


def encode(record: Any) -> bytes:
    """MessagePack bytes of a record (tag inside)."""
    return _encoder.encode(record)


def decode(data: bytes) -> Record:
    """The record in `data`; raises `msgspec.DecodeError` or `msgspec.ValidationError` with the offending path."""
    record: Record = _decoder.decode(data)
    return record


class Topic(Struct, frozen=True):
    """One row of the topic table: name, the record tags it carries, codec, retention in ms (-1 = keep)."""

    name: str
    carries: tuple[str, ...]
    codec: Literal["msgpack", "json"]
    retention_ms: int
    compacted: bool = False
    description: str = ""


_MINUTE, _HOUR, _DAY = 60_000, 3_600_000, 86_400_000
TOPICS: tuple[Topic, ...] = (
    Topic("sessions", ("session_start", "session_end"), "msgpack", 30 * _DAY, False, "Life of a session: who takes part, under which policy."),
    Topic("media.audio", ("session_start", "audio", "source_end", "session_end"), "msgpack", 10 * _MINUTE, False, "PCM chunks per channel."),
    Topic("media.video", ("session_start", "video", "source_end", "session_end"), "msgpack", 10 * _MINUTE, False, "Pictures per video source."),
    Topic("utterances", ("session_start", "utterance", "watermark", "session_end"), "msgpack", 30 * _MINUTE, False, "Segmented speech."),
    Topic("cues.speech", ("session_start", "speech_cues", "watermark", "session_end"), "msgpack", 24 * _HOUR, False, "What was heard."),
    Topic("cues.face", ("session_start", "face_cues", "watermark", "session_end"), "msgpack", 24 * _HOUR, False, "What was seen."),
    Topic("emotion.events", ("event",), "json", 30 * _DAY, False, "Emotion events: the product."),
    Topic(
        "fused", ("session_start", "fused_event", "watermark", "session_end"), "msgpack", 24 * _HOUR, False,
        "The same events with the life of their session, for the stages behind.",
    ),
    Topic("alerts", ("alert",), "json", 30 * _DAY, False, "Alerts with the events they cite."),
    Topic("acknowledgements", ("acknowledgement",), "json", 30 * _DAY, False, "Who has taken which alert; the first one counts."),
    Topic("dead-letters", ("dead_letter",), "json", 30 * _DAY, False, "Records that could not be processed, with the reason."),
)
