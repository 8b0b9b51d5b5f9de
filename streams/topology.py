"""The graph of the product: which stage reads what and writes what. The one place to see the whole flow.

    media.audio ──> segment ──> utterances ──> hear ──> cues.speech ──┐
                                                                      ├──> fuse ─┬─> emotion.events
    media.video ──> look ─────────────────────────────> cues.face ────┘          └─> fused ──> alert ──> alerts

Session start and end travel on every inner topic, in order with the records of the session. Public topics carry their
one kind of record alone, so what is judged over a session reads `fused`: the same events, with start, end and progress.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Literal

import msgspec
from msgspec import Struct

from extractors.speech.models import SpeechModels
from extractors.speech.segment import SegmentOptions
from fusion.events import EmotionEvent
from streams.alerts.engine import AlertStage
from streams.alerts.rules import Rule
from streams.records import (
    Alert,
    AudioChunk,
    DeadLetter,
    FaceCueRecord,
    Output,
    SessionStart,
    SourceEnd,
    SpeechCueRecord,
    Utterance,
    VideoFrame,
    Watermark,
)
from streams.stages.fuse import FuseOptions, FuseStage
from streams.stages.hear import HearStage
from streams.stages.look import LookStage
from streams.stages.protocol import Stage
from streams.stages.segment import SegmentStage

LIVE_STEP_MS = 5000


class Options(Struct, frozen=True):
    """Everything that changes what the stages give; a replay with equal options and media gives equal events."""

    profile: str = "bundled"
    segmenter: SegmentOptions = msgspec.field(default_factory=SegmentOptions)
    max_faces: int = 4
    fuse: FuseOptions = msgspec.field(default_factory=lambda: FuseOptions(progress_ms=1000))
    rules: tuple[Rule, ...] = ()
    hypotheses: bool = True
    """Partial events of live sessions: at each pause, and every `LIVE_STEP_MS` of an utterance that has none. A recording
    needs none, and no final event depends on them."""

    def segmenter_of(self, start: SessionStart) -> SegmentOptions:
        """End-pointing of a session."""
        live = start.live and self.hypotheses
        return msgspec.structs.replace(self.segmenter, partial_at_pause=True, partial_every_ms=LIVE_STEP_MS) if live else self.segmenter


class Resources:
    """What the stages of all sessions of a process share. Models load when a stage first needs them."""

    def __init__(self, options: Options | None = None, *, threads: int = 1, device: Literal["cpu", "cuda"] = "cpu") -> None:
        self.options = options or Options()
        self._threads, self._device = threads, device

    @cached_property
    def speech(self) -> SpeechModels:
        return SpeechModels(self.options.profile, threads=self._threads, device=self._device)


class StageSpec(Struct, frozen=True):
    """One node: its topics, how to make its core for a session, and how many records it likes to take at once."""

    name: str
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    factory: Callable[..., Stage]
    batch: int = 1


TOPOLOGY: tuple[StageSpec, ...] = (
    StageSpec("segment", ("media.audio",), ("utterances",), lambda start, res: SegmentStage(start, res.options.segmenter_of(start))),
    StageSpec("hear", ("utterances",), ("cues.speech",), lambda start, res: HearStage(start, res.speech), batch=64),
    StageSpec("look", ("media.video",), ("cues.face",), lambda start, res: LookStage(start, max_faces=res.options.max_faces)),
    StageSpec("fuse", ("cues.speech", "cues.face"), ("emotion.events", "fused"), lambda start, res: FuseStage(start, res.options.fuse)),
    StageSpec("alert", ("fused",), ("alerts",), lambda start, res: AlertStage(start, res.options.rules)),
)
STAGES: Mapping[str, StageSpec] = {spec.name: spec for spec in TOPOLOGY}


def topic_of(record: Output) -> str | None:
    """The topic a record belongs on; None for session start and end, which travel on every topic."""
    match record:
        case AudioChunk():
            return "media.audio"
        case VideoFrame():
            return "media.video"
        case SourceEnd():
            return "media.video" if record.source.startswith("video/") else "media.audio"
        case Utterance() | Watermark(origin="segment"):
            return "utterances"
        case SpeechCueRecord() | Watermark(origin="hear"):
            return "cues.speech"
        case FaceCueRecord() | Watermark(origin="look"):
            return "cues.face"
        case Watermark(origin="fuse"):
            return "fused"
        case EmotionEvent():
            return "emotion.events"
        case Alert():
            return "alerts"
        case DeadLetter():
            return "dead-letters"
        case _:
            return None
