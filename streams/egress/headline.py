"""What happened in a conversation, in one or two sentences made from its events.

A participant's labelled events are grouped into phases of one tone (negative, neutral, positive); from six labelled events
on, a tone that shows in a single event is a moment, not a phase. The sentence names the turn that matters most: into the
negative first, then what became of it. Nothing is said that no event bears out, and abstentions are never counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from msgspec import Struct

from fusion.events import EmotionEvent

ADJECTIVES = {
    "anger": "angry", "contempt": "contemptuous", "disgust": "disgusted", "fear": "fearful", "happiness": "happy",
    "neutral": "neutral", "sadness": "sad", "surprise": "surprised",
}  # fmt: skip
_NEGATIVE = frozenset({"anger", "contempt", "disgust", "fear", "sadness"})
_POSITIVE = frozenset({"happiness"})
_NAMES_WITH_ARTICLE = frozenset({"agent", "caller", "client", "customer", "employee", "operator"})
_GOES_ON = (
    ("No speech and no face was found in this recording.", "Nothing was said and no face was seen yet."), (" and stayed so to the end.", " and is so still."),
    (" at the end.", " now."), (" throughout (", " so far ("), (" stayed even; no turn stands out.", " are even so far; no turn stands out."),
    (" showed no lasting expression; ", " shows no lasting expression so far; "),
    (" could be read with enough confidence; transcript", " could be read with enough confidence yet; transcript"),
)  # fmt: skip
MOMENTS_FROM = 6
"""From this number of labelled events on it takes two in a row to make a phase."""


class Phase(Struct, frozen=True):
    """A stretch of one tone: `label` is the most frequent one in it (by voiced time), `count` its events."""

    tone: str
    label: str
    start_ms: int
    end_ms: int
    count: int


class Headline(Struct, frozen=True):
    """`text` for the reader; `at_ms` is the moment it turns on, or None."""

    text: str
    at_ms: int | None = None


def clock(ms: int) -> str:
    """``m:ss`` or ``h:mm:ss``."""
    minutes, seconds = divmod(max(ms, 0) // 1000, 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{seconds:02d}" if minutes >= 60 else f"{minutes}:{seconds:02d}"


def display_name(participant: str) -> str:
    """How a participant is called within a sentence: roles take the article, names stand alone."""
    return f"the {participant}" if participant.lower() in _NAMES_WITH_ARTICLE else participant


def tone(label: str, valence: float | None) -> str:
    """negative, neutral or positive; labels outside the basic ones go by their valence."""
    if label in _NEGATIVE or label in _POSITIVE:
        return "negative" if label in _NEGATIVE else "positive"
    if label in ADJECTIVES or valence is None or abs(valence) < 0.25:
        return "neutral"
    return "negative" if valence < 0 else "positive"


def phases(events: Sequence[EmotionEvent]) -> list[Phase]:
    """Phases of one participant's events, in time order; events without a label and `unknown` are passed over."""
    labelled = _labelled(events)
    groups: list[list[EmotionEvent]] = []
    for event in labelled:
        if groups and _tone(groups[-1][-1]) == _tone(event):
            groups[-1].append(event)
        else:
            groups.append([event])
    kept: list[list[EmotionEvent]] = []
    for group in groups:
        if len(group) == 1 and len(labelled) >= MOMENTS_FROM:
            continue
        if kept and _tone(kept[-1][0]) == _tone(group[0]):
            kept[-1].extend(group)
        else:
            kept.append(list(group))
    return [_phase(group) for group in kept]


def _labelled(events: Sequence[EmotionEvent]) -> list[EmotionEvent]:
    return [e for e in events if e.label not in (None, "unknown")]


def _tone(event: EmotionEvent) -> str:
    return tone(event.label or "", event.valence)


def _phase(group: Sequence[EmotionEvent]) -> Phase:
    time: Counter[str] = Counter()
    for event in group:
        time[event.label or ""] += max(event.end_ms - event.start_ms, 1)
    label = max(sorted(time), key=lambda name: time[name])
    return Phase(_tone(group[0]), label, group[0].start_ms, max(e.end_ms for e in group), len(group))


def adjective(label: str) -> str:
    return ADJECTIVES.get(label, label)


def headline(events: Sequence[EmotionEvent], analysed: Sequence[str], withheld_reason: str | None, *, live: bool = False) -> Headline:
    """The headline over settled events. `analysed` lists the participants whom policy lets analyse, in order of the rows;
    `withheld_reason` is the policy's sentence where somebody may not be analysed. `live`: the conversation goes on, so
    nothing is said about its end."""
    told = _headline(events, analysed, withheld_reason)
    if not live:
        return told
    text = told.text
    for over, on in _GOES_ON:
        text = text.replace(over, on)
    return Headline(text, told.at_ms)


def _headline(events: Sequence[EmotionEvent], analysed: Sequence[str], withheld_reason: str | None) -> Headline:
    if not events:
        return Headline("No speech and no face was found in this recording.")
    if not analysed:
        reason = f": {withheld_reason}" if withheld_reason else ""
        return Headline(f"Nobody in this conversation is emotion-analysed{reason}. Transcript and figures are below.")
    stories = [_story(name, [e for e in events if e.participant == name]) for name in analysed]
    told = sorted((s for s in stories if s is not None), key=lambda s: -s[0])
    if not told:
        return Headline("No expression could be read with enough confidence; transcript and figures are below.")
    if told[0][0] == 0 and len(told) > 1:
        return Headline(f"All {len(told)} participants whose expression could be read stayed even; no turn stands out.")
    text = " ".join(s[1].text for s in told[:2] if s[0] > 0 or s is told[0])
    return Headline(text, told[0][1].at_ms)


def _story(name: str, events: Sequence[EmotionEvent]) -> tuple[float, Headline] | None:
    """(how much happened, headline) of one participant; None where nothing could be read."""
    found = phases(events)
    who = display_name(name)
    who = who[0].upper() + who[1:]
    if not found:
        moments = _labelled(events)
        if not moments:
            return None
        strongest = max(moments, key=lambda e: (e.confidence or 0, -e.start_ms))
        text = f"{who} showed no lasting expression; {strongest.label} stands out at {clock(strongest.start_ms)}."
        return 0.5, Headline(text, strongest.start_ms)
    if len(found) == 1:
        only = found[0]
        text = f"{who} was {adjective(only.label)} throughout ({_count(only.count)})."
        return (0.0 if only.tone == "neutral" else 1.0), Headline(text, only.start_ms if only.tone != "neutral" else None)
    worst = max((p for p in found if p.tone == "negative"), key=lambda p: p.end_ms - p.start_ms, default=None)
    turn = worst or next(p for p in found[1:] if p.tone != found[0].tone)
    index = found.index(turn)
    if index == 0 and turn.start_ms == _labelled(events)[0].start_ms:
        text = f"{who} was {adjective(turn.label)} from the start"
    elif index == 0:
        text = f"{who} turned {adjective(turn.label)} at {clock(turn.start_ms)}"
    else:
        text = f"{who} turned from {adjective(found[index - 1].label)} to {adjective(turn.label)} at {clock(turn.start_ms)}"
    later = found[index + 1 :]
    if not later:
        # A last single moment of another tone makes no phase, but "to the end" would not be true.
        text += " and stayed so to the end." if _tone(_labelled(events)[-1]) == turn.tone else "."
    else:
        word = "calmer" if turn.tone == "negative" and later[0].tone == "neutral" else adjective(later[0].label)
        text += f"; {word} from {clock(later[0].start_ms)}"
        last = later[-1]
        text += f", {adjective(last.label)} at the end." if len(later) > 1 and last.tone != later[0].tone else "."
    return 1.0 + len(found) / 100 + (1.0 if turn.tone == "negative" else 0.0), Headline(text, turn.start_ms)


def _count(number: int) -> str:
    return f"{number} event{'' if number == 1 else 's'}"
