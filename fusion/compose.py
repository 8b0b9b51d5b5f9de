"""Emotion events from cues: pure functions from one span of one participant to one event.

Policy is checked here once more, whatever the extractors sent: what the decision does not allow is dropped before
anything is computed from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, Protocol

import msgspec
from msgspec import Struct

from extractors.cues import Posterior, Prosody, SpeechCues, rounded
from fusion import textualize
from fusion.conversation import DialogueState, step
from fusion.events import (
    FINAL_REVISION,
    Association,
    Context,
    EmotionEvent,
    EventTranscript,
    Evidence,
    Kind,
    ModalityUse,
    PolicyStamp,
    Status,
    event_id,
)
from fusion.explain import Share, shares
from fusion.models.pool import UNKNOWN, Fused, LogPool
from fusion.redact import redact
from fusion.spans import FaceSpan
from fusion.taxonomy import compound
from fusion.textualize import CueSentence, describe, render, render_face, render_said, render_voice

Modality = Literal["text", "speech", "face"]
MODALITIES: tuple[Modality, ...] = ("text", "speech", "face")
NAMES: dict[Modality, str] = {"text": "words", "speech": "voice", "face": "face"}
BIOMETRIC: dict[Modality, bool] = {"text": False, "speech": True, "face": True}

PROSODY_OBSERVABLES = (
    "f0_median_hz", "f0_range_st", "pitch_vs_baseline_st", "energy_dbfs", "loudness_lufs", "rate_words_s",
    "rate_syllables_s", "pause_ratio", "voiced_ratio",
)  # fmt: skip
"""Fields of `Prosody` that an event carries as observables, in the units stated there."""
WITHHELD_OBSERVABLES = frozenset({"energy_dbfs", "loudness_lufs", "rate_words_s", "rate_syllables_s", "pause_ratio"})
"""What is measured of a person who must not be emotion-analysed: loudness, speed and (with `duration_ms`) talk time."""

WEAK_BELOW = 0.5
"""A modality of less quality than this says why, where it is known."""


class Permission(Protocol):
    """What policy allows for a participant (`streams.records.Decision` has this shape)."""

    @property
    def transcribe(self) -> bool: ...
    @property
    def measure(self) -> bool: ...
    @property
    def emotion(self) -> bool: ...
    @property
    def observables_only(self) -> bool: ...
    @property
    def reason(self) -> str: ...
    @property
    def exception(self) -> str | None: ...
    @property
    def redact(self) -> tuple[str, ...]: ...


class Subject:
    """Whom an event is about and what policy allows for him."""

    def __init__(self, session: str, participant: str, role: str, permission: Permission) -> None:
        self.session, self.participant, self.role, self.permission = session, participant, role, permission

    @property
    def faces_allowed(self) -> bool:
        return self.permission.emotion or self.permission.observables_only


class Span(Struct, frozen=True):
    """The cues of one span: an utterance with or without a face, or a face alone."""

    kind: Kind
    start_ms: int
    end_ms: int
    speech: SpeechCues | None = None
    face: FaceSpan | None = None
    association: Association | None = None


def utterance_span(cues: SpeechCues, face: FaceSpan | None = None, association: Association | None = None) -> Span:
    return Span("utterance", cues.start_ms, cues.end_ms, cues, face, association)


def compose(
    subject: Subject,
    span: Span,
    pool: LogPool,
    state: DialogueState | None = None,
    *,
    status: Status = "final",
    revision: int = FINAL_REVISION,
) -> tuple[EmotionEvent, DialogueState]:
    """One event and the dialogue state after it.

    `state` is the participant's state before the event (None outside a dialogue: partial events). A participant who
    must not be analysed gets an event with status ``withheld``: no label, no probabilities, no dimension, no evidence;
    the transcript and the measurements his decision allows; the reason.
    """
    span = permitted(span, subject.permission, partial=status == "partial")
    if not subject.permission.emotion:
        return _without_emotion(subject, span, revision), state or DialogueState()
    posteriors = posteriors_of(span)
    fused = pool.fuse(posteriors)
    moved = shares(pool.probabilities, posteriors, fused.best)
    sentence = describe(subject.participant, span.start_ms, span.end_ms, speech=span.speech, face=span.face)
    before = state or DialogueState()
    turn, after = step(
        before, label=fused.label, probabilities=fused.probabilities, valence=fused.valence, end_ms=span.end_ms
    )
    event = _frame(
        subject,
        span,
        status=status,
        revision=revision,
        label=fused.label,
        probabilities=fused.probabilities,
        compound=compound(fused.probabilities) if fused.label != UNKNOWN else None,
        valence=fused.valence,
        arousal=fused.arousal,
        dominance=fused.dominance,
        intensity=fused.intensity,
        confidence=fused.confidence,
        modalities=_modalities(span, posteriors, moved),
        evidence=_evidence(span, sentence, moved),
        explanation=f"{_headline(fused, moved)} {render(sentence)}",
        context=Context(
            turn.previous if state else None,
            turn.shift if state else False,
            span.association,
            turn.running_valence if state else None,
        ),
        models=_models(span, posteriors, pool),
    )
    return event, after


def permitted(span: Span, permission: Permission, *, partial: bool = False) -> Span:
    """The span without what the decision does not allow; secrets that it wants redacted are replaced in the transcript.
    `partial`: the words still grow."""
    changes: dict[str, object] = {}
    if span.speech:
        parts: dict[str, object] = {}
        if not permission.transcribe:
            parts |= {"transcript": None}
        elif permission.redact and span.speech.transcript:
            parts |= {"transcript": redact(span.speech.transcript, permission.redact, partial=partial)}
        if not permission.measure:
            parts |= {"prosody": None, "envelope_db": ()}
        if not permission.emotion:
            parts |= {"speech_emotion": None, "text_emotion": None}
        elif not permission.transcribe:
            parts |= {"text_emotion": None}
        changes["speech"] = msgspec.structs.replace(span.speech, **parts)
    if span.face and not permission.emotion:
        face = msgspec.structs.replace(span.face, posterior=None) if permission.observables_only else None
        changes["face"] = face
        changes["association"] = span.association if face else None
    return msgspec.structs.replace(span, **changes)


def posteriors_of(span: Span) -> dict[str, Posterior]:
    """The posteriors that take part, by modality."""
    stated: dict[Modality, Posterior | None] = {
        "text": span.speech.text_emotion if span.speech else None,
        "speech": span.speech.speech_emotion if span.speech else None,
        "face": span.face.posterior if span.face else None,
    }
    return {name: posterior for name, posterior in stated.items() if posterior is not None and posterior.quality > 0}


def _without_emotion(subject: Subject, span: Span, revision: int) -> EmotionEvent:
    explanation = f"withheld: {subject.permission.reason}"
    if subject.permission.observables_only:
        explanation = render(
            describe(subject.participant, span.start_ms, span.end_ms, speech=span.speech, face=span.face)
        )
    models = {"transcription": span.speech.transcript.model} if span.speech and span.speech.transcript else {}
    return _frame(
        subject,
        span,
        status="withheld",
        revision=revision,
        explanation=explanation,
        context=Context(association=span.association),
        models={name: model for name, model in models.items() if model},
    )


def _frame(subject: Subject, span: Span, *, status: Status, revision: int, **fields: object) -> EmotionEvent:
    """What every event has: identity, span, transcript, observables, policy."""
    measured = observables(span, subject.permission)
    modalities = fields.get("modalities")
    present = [use for use in modalities.values() if use.present] if isinstance(modalities, dict) else []
    # The explanation of an analysed person tells of his face and voice, also where no modality was made of them.
    told = subject.faces_allowed and bool(span.face or (span.speech and span.speech.prosody))
    event = EmotionEvent(
        id=event_id(subject.session, subject.participant, span.start_ms, span.kind),
        revision=revision,
        status=status,
        session=subject.session,
        participant=subject.participant,
        role=subject.role,
        kind=span.kind,
        start_ms=span.start_ms,
        end_ms=span.end_ms,
        transcript=_transcript(span.speech),
        observables=measured,
        biometric=bool(measured) or told or any(use.biometric for use in present),
        policy=_stamp(subject.permission),
    )
    return msgspec.structs.replace(event, **fields)


def _stamp(permission: Permission) -> PolicyStamp:
    decision = "analysed" if permission.emotion else "observables" if permission.observables_only else "withheld"
    return PolicyStamp(decision, permission.reason, permission.exception)


def _transcript(speech: SpeechCues | None) -> EventTranscript | None:
    if speech is None or speech.transcript is None:
        return None
    return EventTranscript(speech.transcript.text, speech.transcript.language, speech.transcript.words)


def observables(span: Span, permission: Permission) -> dict[str, float]:
    """Measurements without any label: mean action units 0–5, prosody in its own units, the duration in ms."""
    if not permission.measure:
        return {}
    withheld = not permission.emotion and not permission.observables_only
    values: dict[str, float | None] = {}
    if span.face and span.face.usable:
        values |= {code: unit.intensity for code, unit in span.face.units.items()}
    if span.speech and span.speech.prosody:
        prosody: Prosody = span.speech.prosody
        names = [name for name in PROSODY_OBSERVABLES if not withheld or name in WITHHELD_OBSERVABLES]
        values |= {"duration_ms": float(prosody.duration_ms)}
        values |= {name: getattr(prosody, name) for name in names}
    rounded_values = {name: rounded(value) for name, value in values.items()}
    return {name: value for name, value in rounded_values.items() if value is not None}


def _modalities(span: Span, posteriors: Mapping[str, Posterior], moved: Mapping[str, Share]) -> dict[str, ModalityUse]:
    uses: dict[str, ModalityUse] = {}
    for name in MODALITIES:
        if name in posteriors:
            quality = rounded(posteriors[name].quality) or 0.0
            uses[name] = ModalityUse(True, quality, moved[name].weight, BIOMETRIC[name], _weakness(span, name, quality))
        else:
            uses[name] = ModalityUse(False, 0.0, 0.0, BIOMETRIC[name], _absence(span, name))
    return uses


def _weakness(span: Span, name: Modality, quality: float) -> str | None:
    """Why a modality that takes part can be trusted little, in words; None where it can, or where nothing says why."""
    if quality >= WEAK_BELOW:
        return None
    reasons: tuple[str, ...] = ()
    if name == "speech" and span.speech:
        reasons = span.speech.quality.reasons
    elif name == "face" and span.face:
        reasons = span.face.reasons
    return ", ".join(reason.replace("_", " ") for reason in reasons) or None


def _absence(span: Span, name: Modality) -> str:
    """Why a modality takes no part, in words."""
    if name == "face":
        return render_face(textualize.face_words(span.face))
    if span.speech is None:
        return "no speech"
    transcript = span.speech.transcript
    if name == "text" and transcript and not transcript.text.strip():
        return render_said(textualize.said_words(span.speech))
    return span.speech.skipped.get(f"{name}_emotion") or f"{NAMES[name]} not analysed"


def _evidence(span: Span, sentence: CueSentence, moved: Mapping[str, Share]) -> tuple[Evidence, ...]:
    """One piece a modality, the weightiest first. Its weight is the measured effect of the whole modality: the
    posterior of a modality cannot be split among its cues without guessing."""
    words: dict[Modality, str] = {
        "text": render_said(sentence.said),
        "speech": render_voice(sentence.voice),
        "face": render_face(sentence.face),
    }
    pieces = []
    for name in _ranked(moved):
        if moved[name].weight > 0:
            start, end = _spoken(span) if name == "text" else (span.start_ms, span.end_ms)
            pieces.append(
                Evidence(name, NAMES[name], words[name], start, end, moved[name].weight, moved[name].supports)
            )
    return tuple(pieces)


def _ranked(moved: Mapping[str, Share]) -> list[Modality]:
    """Modalities that take part, the weightiest first."""
    return sorted((name for name in MODALITIES if name in moved), key=lambda name: -moved[name].weight)


def _spoken(span: Span) -> tuple[int, int]:
    """First to last aligned word."""
    words = span.speech.transcript.words if span.speech and span.speech.transcript else ()
    starts = [word.start_ms for word in words if word.start_ms is not None]
    ends = [word.end_ms for word in words if word.end_ms is not None]
    return (min(starts), max(ends)) if starts and ends else (span.start_ms, span.end_ms)


def _headline(fused: Fused, moved: Mapping[str, Share]) -> str:
    if not moved:
        return "Nothing to judge by."
    ranked = _ranked(moved)
    if fused.label == UNKNOWN:
        parts = [f"{NAMES[name]} {moved[name].weight:.0%}" for name in ranked]
        return f"No label is likely enough (most likely {fused.best}, {fused.confidence:.2f}; {', '.join(parts)})."
    parts = [f"{NAMES[name]} {moved[name].weight:.0%}{'' if moved[name].supports else ' against'}" for name in ranked]
    return f"Perceived as {fused.label} ({fused.confidence:.2f}; {', '.join(parts)})."


def _models(span: Span, posteriors: Mapping[str, Posterior], pool: LogPool) -> dict[str, str]:
    models = {name: posterior.model for name, posterior in posteriors.items()}
    if span.speech and span.speech.transcript:
        models["transcription"] = span.speech.transcript.model
    models |= {"fusion": pool.identity, "sentences": textualize.TEMPLATE}
    return {name: models[name] for name in sorted(models) if models[name]}
