"""What happened in a conversation, in one or two sentences made from its events.

Told from the settled phases of each participant (`fusion.shifts`): the turn that matters most comes first, into the
negative before others, then what became of it. Nothing is said that no event bears out, and abstentions are never counted.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct, structs

from fusion.conversation import Tone, tone
from fusion.events import EmotionEvent
from fusion.naming import adjective, clock, display_name, opening
from fusion.shifts import Phase, dialogues, phases

_GOES_ON = (
    ("No speech and no face was found in this recording.", "Nothing was said and no face was seen yet."), (" and stayed so to the end.", " and is so still."),
    (" at the end.", " now."), (" throughout (", " so far ("), (" stayed even; no turn stands out.", " are even so far; no turn stands out."),
    (" showed no lasting expression; ", " shows no lasting expression so far; "),
    (" could be read with enough confidence; transcript", " could be read with enough confidence yet; transcript"),
)  # fmt: skip


class Headline(Struct, frozen=True):
    """`text` for the reader; `at_ms` is the moment it turns on, or None."""

    text: str
    at_ms: int | None = None


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
    labelled = dialogues(events)
    stories = [_story(name, labelled.get(name, [])) for name in analysed]
    told = sorted((s for s in stories if s is not None), key=lambda s: -s[0])
    if not told:
        return Headline("No expression could be read with enough confidence; transcript and figures are below.")
    if told[0][0] == 0 and len(told) > 1:
        return Headline(f"All {len(told)} participants whose expression could be read stayed even; no turn stands out.")
    text = " ".join(s[1].text for s in told[:2] if s[0] > 0 or s is told[0])
    return Headline(text, told[0][1].at_ms)


def _story(name: str, events: Sequence[EmotionEvent]) -> tuple[float, Headline] | None:
    """(how much happened, headline) of one participant from his labelled events; None where nothing could be read."""
    if not events:
        return None
    who = opening(display_name(name))
    found = phases(events)
    if not found:
        strongest = max(events, key=lambda e: (e.label != "neutral", e.confidence or 0, -e.start_ms))
        label, at_ms = strongest.label or "", strongest.start_ms
        if len({e.label for e in events}) == 1:
            return _one_phase(who, label, _tone(strongest), len(events), len(events), at_ms)
        return 0.5, Headline(f"{who} showed no lasting expression; {label} stands out at {clock(at_ms)}.", at_ms)
    if len(found) == 1:
        only = found[0]
        odd = [e for e in events if _tone(e) != only.tone]
        if odd and max(e.end_ms for e in odd) <= only.start_ms:
            labels = " and ".join(dict.fromkeys(e.label or "" for e in odd))
            often = f"({only.count} of {len(events)} events)"
            return 1.0, Headline(f"{who} was {adjective(only.label)} from {clock(only.start_ms)} on {often}, after single moments of {labels}.", only.start_ms)
        return _one_phase(who, only.label, only.tone, only.count, len(events), only.start_ms)
    found = _by_tone(found)
    turn = _turn(found)
    index = found.index(turn)
    if index == 0:
        first = turn.start_ms == min(e.start_ms for e in events)
        text = f"{who} was {adjective(turn.label)} from the start" if first else f"{who} turned {adjective(turn.label)} at {clock(turn.start_ms)}"
    else:
        text = f"{who} turned from {adjective(found[index - 1].label)} to {adjective(turn.label)} at {clock(turn.start_ms)}"
    later = found[index + 1 :]
    if not later:
        # A last single moment of another tone settles nothing, but "to the end" would not be true.
        text += " and stayed so to the end." if _tone(events[-1]) == turn.tone else "."
    else:
        word = "calmer" if turn.tone == "negative" and later[0].tone == "neutral" else adjective(later[0].label)
        text += f"; {word} from {clock(later[0].start_ms)}"
        last = later[-1]
        text += f", {adjective(last.label)} at the end." if len(later) > 1 and last.tone != later[0].tone else "."
    return 1.0 + len(found) / 100 + (1.0 if turn.tone == "negative" else 0.0), Headline(text, turn.start_ms)


def _one_phase(who: str, label: str, side: Tone, count: int, of: int, at_ms: int) -> tuple[float, Headline]:
    events = f"event{'' if of == 1 else 's'}"
    often = f"throughout ({count} {events})" if count == of else f"but for single moments ({count} of {of} {events})"
    return (0.0 if side == "neutral" else 1.0), Headline(f"{who} was {adjective(label)} {often}.", at_ms if side != "neutral" else None)


def _by_tone(found: Sequence[Phase]) -> list[Phase]:
    """Neighbours of one tone as one phase under the label with most events; as they are where the tone never turns."""
    joined: list[list[Phase]] = []
    for phase in found:
        if joined and joined[-1][0].tone == phase.tone:
            joined[-1].append(phase)
        else:
            joined.append([phase])
    if len(joined) == 1:
        return list(found)
    return [
        structs.replace(max(group, key=lambda p: p.count), start_ms=group[0].start_ms, end_ms=max(p.end_ms for p in group), count=sum(p.count for p in group))
        for group in joined
    ]


def _turn(found: Sequence[Phase]) -> Phase:
    """The phase that matters most: the longest negative one, else the first of another tone than the beginning."""
    worst = max((p for p in found if p.tone == "negative"), key=lambda p: p.end_ms - p.start_ms, default=None)
    return worst or next((p for p in found[1:] if p.tone != found[0].tone), found[1])


def _tone(event: EmotionEvent) -> Tone:
    return tone(event.label or "", event.valence)
