"""Emotion shifts of a whole conversation: where a participant's settled label or side of valence turns and stays turned.

`fusion.conversation.step`, the rule that the events carry, is run over the settled events of each participant. A turn is
dated back to the first event that showed it, and both sides of it are measured: label, valence and confidence with the
number of events they rest on. What preceded a shift is in `fusion.preceding`. Nobody whose emotion is withheld has one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

from msgspec import Struct

from fusion.conversation import SHIFT_EVENTS, SHIFT_MARGIN, DialogueState, Tone, step, tone
from fusion.events import EmotionEvent
from fusion.models.pool import UNKNOWN
from fusion.settle import settled


class ShiftParameters(Struct, frozen=True):
    """Thresholds of shifts and of what preceded them. Times in ms of the media.

    Loudness, speed and face are compared with the median of the person's own earlier utterances, at least
    `baseline_events` of them: `loudness_change_lu` in LU, `speed_change` as a share, `face_change` in action-unit
    intensity (0 to 5). `speed_min_words`: shorter utterances have no speed. (On two real telephone calls of four minutes about one
    utterance in eight passes the threshold of loudness, and one in seven that of speed: less would be said of every moment.)
    """

    events: int = SHIFT_EVENTS
    margin: float = SHIFT_MARGIN
    window_ms: int = 30_000
    slow_response_ms: int = 2000
    baseline_events: int = 3
    loudness_change_lu: float = 4.0
    speed_change: float = 0.5
    speed_min_words: int = 6
    face_change: float = 1.0


class Phase(Struct, frozen=True):
    """A stretch in which a participant shows one settled expression. `valence` and `confidence` are means weighted by
    duration over the `count` labelled events of its tone; single events of another tone within it are not counted.
    `event` is the id of the first of them."""

    label: str
    tone: Tone
    start_ms: int
    end_ms: int
    count: int
    valence: float | None
    confidence: float | None
    event: str


class LastWords(Struct, frozen=True):
    """The last utterance with words that a participant began before a moment: its id, not its text. `before_ms`: from its
    end to the moment, 0 where the participant was still speaking."""

    participant: str
    event: str
    start_ms: int
    end_ms: int
    before_ms: int


AntecedentKind = Literal["interruption", "silence", "overlap", "slow_response", "loudness", "speed", "face", "withheld"]


class Antecedent(Struct, frozen=True):
    """Something measured in the window before a moment. It preceded; nothing says that it was the cause.

    `participant` is who did it ("" where it is nobody's: silence, overlap), `of` whom it met. `before_ms`: from its end to
    the moment, 0 where it reaches up to it. `value` in the unit of its kind, `baseline` and `count` the own earlier
    median it is compared with and the utterances that it rests on. `event`: the event that carries it. `text` says it in words.

    - ``interruption``: ms of overlap; `outcome` success or attempt
    - ``silence``: ms in which nobody speaks (`MetricParameters.non_talk_min_ms` or longer)
    - ``overlap``: ms in which several speak
    - ``slow_response``: ms from the end of the other's turn
    - ``loudness``: LU above (+) or below (−) the baseline in LUFS
    - ``speed``: share above (+) or below (−) the baseline in words a minute
    - ``face``: intensity of an action unit above its baseline; `unit` names it
    - ``withheld``: ms of speech about whose expression policy allows no statement
    """

    kind: AntecedentKind
    participant: str
    start_ms: int
    end_ms: int
    before_ms: int
    text: str
    of: str = ""
    value: float | None = None
    baseline: float | None = None
    count: int = 0
    outcome: Literal["success", "attempt"] | None = None
    unit: str = ""
    event: str = ""


class EmotionShift(Struct, frozen=True):
    """One turn. `at_ms`: start of the first event that showed it (`event`); `settled_ms`: end of the event that settled it.
    `kind`: ``tone`` where the side of valence turned, ``label`` where the label turned within one. `preceded_by` is ordered
    by distance; `text` is one plain sentence without absolute times."""

    participant: str
    role: str
    kind: Literal["tone", "label"]
    at_ms: int
    settled_ms: int
    event: str
    before: Phase
    after: Phase
    last_words: tuple[LastWords, ...] = ()
    preceded_by: tuple[Antecedent, ...] = ()
    text: str = ""


def dialogues(events: Iterable[EmotionEvent]) -> dict[str, list[EmotionEvent]]:
    """Settled labelled events by participant, in the order in which a dialogue sees them; abstentions are left out, and
    so is everybody of whom any event is withheld."""
    kept = settled(events)
    silent = {e.participant for e in kept if e.status == "withheld"}
    found: dict[str, list[EmotionEvent]] = {}
    for event in sorted(kept, key=lambda e: (e.end_ms, e.kind != "face", e.participant, e.start_ms)):
        if event.participant not in silent and event.label not in (None, UNKNOWN):
            found.setdefault(event.participant, []).append(event)
    return found


def phases(events: Sequence[EmotionEvent]) -> list[Phase]:
    """Settled phases of the labelled events of one participant, in the order of `dialogues`.

    Empty where nothing settled: no expression showed in `SHIFT_EVENTS` events. Neighbours differ in tone or label, and each
    border is a shift.
    """
    return [_phase(run) for run in _runs(events)]


class _Run(Struct):
    """Events from one turn to the next: the settled label, and where the turn into it was settled."""

    label: str
    events: list[EmotionEvent]
    settled_ms: int


def _runs(events: Sequence[EmotionEvent]) -> list[_Run]:
    """The row of events that settles a turn belongs to what comes after it; a label that never settled is left out."""
    state = DialogueState()
    runs: list[_Run] = []
    mine: list[EmotionEvent] = []
    settled_ms = 0
    for event in events:
        before = state
        turn, state = step(
            state, label=event.label or UNKNOWN, probabilities=event.probabilities, valence=event.valence, end_ms=event.end_ms
        )
        mine.append(event)
        if before.shown is None or state.shown == before.shown:
            continue
        begun = len(mine) - before.repeats - 1
        if turn.shift:
            runs.append(_Run(before.shown, mine[:begun], settled_ms))
        if turn.shift or state.tone != before.tone:  # otherwise the same stretch has only found its label
            mine, settled_ms = mine[begun:], event.end_ms
    if state.shown is not None and max(state.support, state.tone_support) >= SHIFT_EVENTS:
        runs.append(_Run(state.shown, mine, settled_ms))
    return runs


def _phase(run: _Run) -> Phase:
    side = tone(run.label, next((e.valence for e in run.events if e.label == run.label), None))
    own = [e for e in run.events if tone(e.label or "", e.valence) == side]
    valence = _mean([(e.valence, e.end_ms - e.start_ms) for e in own])
    confidence = _mean([(e.confidence, e.end_ms - e.start_ms) for e in own])
    return Phase(run.label, side, own[0].start_ms, max(e.end_ms for e in own), len(own), valence, confidence, own[0].id)


def _mean(weighted: Sequence[tuple[float | None, int]]) -> float | None:
    stated = [(value, max(weight, 1)) for value, weight in weighted if value is not None]
    return round(sum(v * w for v, w in stated) / sum(w for _, w in stated), 4) + 0.0 if stated else None


def bare_shifts(events: Iterable[EmotionEvent]) -> list[EmotionShift]:
    """The shifts of a conversation without what preceded them, in order of time."""
    found: list[EmotionShift] = []
    for name, mine in dialogues(events).items():
        runs = _runs(mine)
        for left, right in zip(runs, runs[1:], strict=False):
            before, after = _phase(left), _phase(right)
            kind: Literal["tone", "label"] = "tone" if before.tone != after.tone else "label"
            first = right.events[0]
            found.append(EmotionShift(name, first.role, kind, first.start_ms, right.settled_ms, first.id, before, after))
    return sorted(found, key=lambda s: (s.at_ms, s.participant))
