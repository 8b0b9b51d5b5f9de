"""How times, participants and labels are said in a sentence."""

from __future__ import annotations

ADJECTIVES = {
    "anger": "angry", "contempt": "contemptuous", "disgust": "disgusted", "fear": "fearful", "happiness": "happy",
    "neutral": "neutral", "sadness": "sad", "surprise": "surprised",
}  # fmt: skip
_WITH_ARTICLE = frozenset({"agent", "caller", "client", "customer", "employee", "operator"})


def clock(ms: int) -> str:
    """``m:ss`` or ``h:mm:ss``."""
    minutes, seconds = divmod(max(ms, 0) // 1000, 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{seconds:02d}" if minutes >= 60 else f"{minutes}:{seconds:02d}"


def display_name(participant: str) -> str:
    """How a participant is called within a sentence: roles take the article, names stand alone."""
    return f"the {participant}" if participant.lower() in _WITH_ARTICLE else participant


def opening(text: str) -> str:
    """`text` as the beginning of a sentence."""
    return text[:1].upper() + text[1:]


def adjective(label: str) -> str:
    """``angry`` for ``anger``; a label without an adjective stands for itself."""
    return ADJECTIVES.get(label, label)
