"""What every field of the event means: description, unit, range and source, for the JSON Schema and the documents.

The table is complete by test: a field added to a struct without a row here fails the build.
"""

from __future__ import annotations

from msgspec import Struct


class FieldDoc(Struct, frozen=True):
    """`unit` in words ("ms", "1" for pure numbers, "none" where there is nothing to measure); `minimum`/`maximum` are
    inclusive and apply to the number itself or to every value of a map; `source` says which part fills the field."""

    description: str
    unit: str = "none"
    minimum: float | None = None
    maximum: float | None = None
    source: str = "fusion"


_MS = {"unit": "ms since session start", "minimum": 0}
_RATIO = {"unit": "1", "minimum": 0, "maximum": 1}
_SIGNED = {"unit": "1", "minimum": -1, "maximum": 1}


def _doc(description: str, limits: dict[str, object] | None = None, source: str = "fusion") -> FieldDoc:
    return FieldDoc(description=description, source=source, **(limits or {}))  # type: ignore[arg-type]


FIELD_DOCS: dict[str, dict[str, FieldDoc]] = {
    "EmotionEvent": {
        "id": _doc("Event id: first 16 hex digits of SHA-256 over session, participant, start and kind. The same for every revision."),
        "revision": _doc("Version of this event; consumers keep the highest. Partials count from 1, a final event has 1000.",
                         {"unit": "count", "minimum": 0}),
        "status": _doc("partial: may be dropped and is never stored; final: the one result; revised: replaces an earlier one of the "
                       "same id; withheld: policy forbids emotion analysis, the event carries none."),
        "session": _doc("Session that the event belongs to.", source="session"),
        "participant": _doc("Participant as the session declares it, or `face-N` for a face that was joined to no voice.", source="session"),
        "role": _doc("Role of the participant: customer, employee, public, participant, unknown.", source="session"),
        "kind": _doc("utterance: a stretch of speech; face: a window of a face while its person is silent; music: a stretch of music; "
                     "conversation: a statement about the whole dialogue."),
        "start_ms": _doc("Start of the span in media time.", _MS, "segmenter"),
        "end_ms": _doc("End of the span in media time, never before the start.", _MS, "segmenter"),
        "label": _doc("Perceived expression: the most probable label, `unknown` where the system abstains, null when withheld."),
        "probabilities": _doc("Calibrated probability of each label; they sum to 1 within rounding. Empty when withheld.", _RATIO),
        "compound": _doc("Compound expression (for example `happily surprised`) or null."),
        "open_labels": _doc("Further labels from a larger set, most fitting first."),
        "valence": _doc("Unpleasant (-1) to pleasant (+1) expression, 0 neutral.", _SIGNED),
        "arousal": _doc("Calm (-1) to excited (+1) expression, 0 neutral.", _SIGNED),
        "dominance": _doc("Submissive (-1) to dominant (+1) expression, 0 neutral.", _SIGNED),
        "intensity": _doc("Strength of the expression, 0 none to 1 extreme.", _RATIO),
        "confidence": _doc("Trust in the label after quality and agreement of the modalities.", _RATIO),
        "transcript": _doc("What was said, or null where nothing was transcribed.", source="transcription"),
        "modalities": _doc("What each modality (speech, face, text, scene, music) contributed."),
        "evidence": _doc("Cues in words that led to the decision, strongest first; weights sum to 1."),
        "explanation": _doc("The evidence in one or two sentences."),
        "context": _doc("Dialogue context of the event."),
        "observables": _doc("Measurements without any emotion label, for example pitch, loudness, speed, action units; the unit is part "
                            "of the name.", {"unit": "as named by the key"}, "extractors"),
        "biometric": _doc("True when any part was derived from a face or a voice.", source="policy"),
        "models": _doc("Which model served which part, as name@hash.", source="model registry"),
        "policy": _doc("The policy decision in force for this participant, or null where none was made.", source="policy"),
        "latency": _doc("Wall-clock time spent per part. The only field that may differ between two runs on the same media.",
                        {"unit": "ms", "minimum": 0}, "runtime"),
    },
    "EventTranscript": {
        "text": _doc("The words as one string.", source="transcription"),
        "language": _doc("Language of the words, ISO 639-1 code.", source="transcription"),
        "words": _doc("The words one by one with their times.", source="transcription"),
    },
    "Word": {
        "text": _doc("The word with its punctuation.", source="transcription"),
        "start_ms": _doc("Start of the word in media time; null where alignment failed.", _MS, "transcription"),
        "end_ms": _doc("End of the word in media time; null where alignment failed.", _MS, "transcription"),
        "probability": _doc("Probability that the recogniser gave this word.", _RATIO, "transcription"),
    },
    "ModalityUse": {
        "present": _doc("Whether the modality could be read in this span."),
        "quality": _doc("How far its input can be trusted.", _RATIO, "extractors"),
        "weight": _doc("Its share of the decision; over the modalities of an event the shares sum to 1, or all are 0.", _RATIO),
        "biometric": _doc("True when it was derived from a face or a voice.", source="policy"),
        "reason": _doc("Why it is absent or weak, in words; null where nothing is to be said."),
    },
    "Evidence": {
        "modality": _doc("Modality of the cue."),
        "cue": _doc("Name of the cue, stable across versions, for example `pitch_vs_baseline`."),
        "text": _doc("The cue in words."),
        "start_ms": _doc("Start of the span in which it was observed.", _MS),
        "end_ms": _doc("End of the span in which it was observed.", _MS),
        "weight": _doc("Its share of the decision.", _RATIO),
        "supports": _doc("Direction: without this cue the label would be less likely (true) or more likely (false)."),
    },
    "Context": {
        "previous": _doc("Label that this participant showed before, or null at the start."),
        "shift": _doc("True when this event settles a turn of expression: the second labelled event in a row (or a later one) that shows it."),
        "running_valence": _doc("Valence of this participant so far, recent events counting most; null at the start.", _SIGNED),
        "association": _doc("How a face was joined to a voice, or null where there was nothing to join."),
    },
    "Association": {
        "track": _doc("Face track within the source.", {"unit": "id", "minimum": 0}, "look stage"),
        "source": _doc("Video source of the face.", source="session"),
        "method": _doc("declared: the session says whose picture it is; mouth_activity: mouth movement fitted the voice; none."),
        "score": _doc("Score of the join (method mouth_activity), null otherwise.", {"unit": "1"}),
        "accepted": _doc("Whether face and voice were treated as one person."),
    },
    "PolicyStamp": {
        "decision": _doc("analysed, withheld or observables.", source="policy"),
        "reason": _doc("Why, in a sentence.", source="policy"),
        "exception": _doc("Exception in force (medical, safety) with its justification, or null.", source="policy"),
    },
}
