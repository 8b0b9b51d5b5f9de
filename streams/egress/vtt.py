"""WebVTT: what was said as captions, what was perceived as a parallel metadata track.

Captions (`captions`) name the speaker in voice spans and say nothing about emotion, so that they can be shown to anyone.
The metadata track (`emotion_track`, ``kind="metadata"``) has one cue an event with a JSON payload for scripts that follow
the playback. Format: W3C WebVTT: cues sorted by start, ``HH:MM:SS.mmm`` times, ``&``, ``<`` and ``>`` escaped.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from fusion.events import EmotionEvent
from fusion.settle import settled

LEGEND = "Expression as perceived, not what a person feels."


def captions(events: Iterable[EmotionEvent], *, names: Mapping[str, str] | None = None, language: str | None = None) -> str:
    """Caption file of all settled events that have words. `names` maps participant ids to the names shown."""
    head = ["WEBVTT", *([f"Language: {_one_line(language)}"] if language else [])]
    blocks = ["\n".join(head), _note("Automatic transcript; times are media time.")]
    for event in settled(events):
        text = _one_line(event.transcript.text) if event.transcript else ""
        if not text:
            continue
        name = (names or {}).get(event.participant, event.participant)
        blocks.append(f"{event.id}\n{_timing(event)}\n<v {_escape(_one_line(name))}>{_escape(text)}</v>")
    return "\n\n".join(blocks) + "\n"


def emotion_track(events: Iterable[EmotionEvent]) -> str:
    """Metadata track of all settled events; a withheld event says so and nothing else.

    Payload: participant, role, kind, status, label, confidence, valence, arousal, intensity, probabilities, explanation,
    reason (of policy, when withheld).
    """
    legend = (
        f"{LEGEND} Labels are the most probable of a calibrated distribution; `unknown` means that the system abstains; "
        "`withheld` means that policy forbids the analysis. Valence and arousal lie in -1..1, the others in 0..1."
    )
    blocks = ["WEBVTT", _note(legend)]
    for event in settled(events):
        blocks.append(f"{event.id}\n{_timing(event)}\n{_payload(event)}")
    return "\n\n".join(blocks) + "\n"


def _payload(event: EmotionEvent) -> str:
    record: dict[str, object] = {
        "participant": event.participant,
        "role": event.role,
        "kind": event.kind,
        "status": event.status,
    }
    if event.status == "withheld":
        record["reason"] = event.policy.reason if event.policy else ""
    else:
        record |= {
            "label": event.label,
            "confidence": event.confidence,
            "valence": event.valence,
            "arousal": event.arousal,
            "intensity": event.intensity,
            "probabilities": event.probabilities,
            "explanation": event.explanation,
        }
    # A cue payload ends at a blank line and may not contain the arrow; JSON has neither once `>` is written as an escape.
    return msgspec.json.encode(record, order="deterministic").decode().replace(">", "\\u003e")


def timestamp(ms: int) -> str:
    """``HH:MM:SS.mmm``; hours grow beyond two digits where needed."""
    seconds, milliseconds = divmod(max(ms, 0), 1000)
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}.{milliseconds:03d}"


def _timing(event: EmotionEvent) -> str:
    # A cue must last: a player drops one whose end is not after its start.
    return f"{timestamp(event.start_ms)} --> {timestamp(max(event.end_ms, event.start_ms + 1))}"


def _note(text: str) -> str:
    return "NOTE " + text.replace("-->", "→")


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
