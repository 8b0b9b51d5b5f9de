"""The emotion event and its parts: the public record of the product.

One event is about one participant and one span of media time. Its id is a function of content, so that delivering it
twice is harmless, and its revision says which version of it is newest: consumers keep the highest.
"""

from __future__ import annotations

import hashlib
from typing import Literal

from msgspec import Struct

from extractors.cues import Word

FINAL_REVISION = 1000
"""Revision of a `final` event. Partials count up from 1, revised events on from here, so that the last revision of an
event does not depend on how many partials were sent or dropped."""

Status = Literal["partial", "final", "revised", "withheld"]
Kind = Literal["utterance", "face", "music", "conversation"]


class EventTranscript(Struct, frozen=True):
    """Words of the event, times in milliseconds since session start."""

    text: str
    language: str
    words: tuple[Word, ...] = ()


class ModalityUse(Struct, frozen=True):
    """What a modality contributed: `weight` is its share of the fused decision (all weights of an event sum to 1)."""

    present: bool
    quality: float = 0.0
    weight: float = 0.0
    biometric: bool = True
    reason: str | None = None


class Evidence(Struct, frozen=True):
    """One cue in words with its span and its share of the decision (`weight` in [0, 1]; sums to 1 over an event).

    `supports` is the direction: without this cue the label would be less likely (True) or more likely (False)."""

    modality: Literal["speech", "face", "text"]
    cue: str
    text: str
    start_ms: int
    end_ms: int
    weight: float
    supports: bool = True


class Association(Struct, frozen=True):
    """How a face was joined to a voice: by declaration of the session or by mouth movement against voice activity."""

    track: int
    source: str
    method: Literal["declared", "mouth_activity", "none"]
    score: float | None = None
    accepted: bool = False


class Context(Struct, frozen=True):
    """Dialogue context: what this participant showed before and whether this event settles a shift from it.

    `running_valence` is the participant's valence so far, in [-1, 1], recent events counting most."""

    previous: str | None = None
    shift: bool = False
    association: Association | None = None
    running_valence: float | None = None


class PolicyStamp(Struct, frozen=True):
    """The policy decision in force: `decision` (analysed, withheld, observables), its `reason`, and the exception."""

    decision: str
    reason: str
    exception: str | None = None


class EmotionEvent(Struct, frozen=True):
    """A timestamped statement about how a participant's expression is perceived (not what the person feels).

    Spans are milliseconds since session start. `probabilities` are calibrated and sum to 1; `label` is their argmax or
    ``unknown`` where the system abstains; it is None exactly when `status` is ``withheld``. `valence`, `arousal`,
    `dominance` lie in [-1, 1], `intensity` and `confidence` in [0, 1]. `compound` names a compound expression or None.
    `biometric` is True when any part came from a face or a voice. Only `latency` may differ between two runs.
    """

    id: str
    revision: int
    status: Status
    session: str
    participant: str
    role: str
    kind: Kind
    start_ms: int
    end_ms: int
    label: str | None = None
    probabilities: dict[str, float] = {}
    compound: str | None = None
    open_labels: tuple[str, ...] = ()
    valence: float | None = None
    arousal: float | None = None
    dominance: float | None = None
    intensity: float | None = None
    confidence: float | None = None
    transcript: EventTranscript | None = None
    modalities: dict[str, ModalityUse] = {}
    evidence: tuple[Evidence, ...] = ()
    explanation: str = ""
    context: Context = Context()
    observables: dict[str, float] = {}
    biometric: bool = False
    models: dict[str, str] = {}
    policy: PolicyStamp | None = None
    latency: dict[str, float] = {}


def event_id(session: str, participant: str, start_ms: int, kind: str) -> str:
    """Deterministic event id: 16 hex digits of SHA-256 over (session, participant, start, kind)."""
    text = "\x1f".join((session, participant, str(start_ms), kind))
    return hashlib.sha256(text.encode("utf-8")).hexdigest()[:16]
