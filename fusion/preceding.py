"""What was measured in the window before an emotion shift: facts in order of distance, and one plain sentence.

A fact precedes a moment when it began before it and ended inside the window. Nothing here says that it was the cause: in
one conversation anything may precede anything, and over many `fusion.precedence` compares with moments without a shift.
Facts about withheld participants are of conduct alone (words, turns, loudness, speed), as their decision allows.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterable, Sequence

import msgspec
from msgspec import Struct

from fusion.events import EmotionEvent
from fusion.metrics import (
    ConversationMetrics,
    MetricParameters,
    UtteranceSpan,
    conversation_metrics,
    spans_of,
    turns_of,
)
from fusion.naming import display_name, opening
from fusion.settle import settled
from fusion.shifts import Antecedent, EmotionShift, LastWords, Phase, ShiftParameters, bare_shifts
from fusion.textualize import ARTICULATION, unit_name

_UNSTEADY = ARTICULATION | {"AU43", "AU45"}
"""Speech and blinks move these all the time."""


def conversation_figures(
    events: Iterable[EmotionEvent], duration_ms: int, params: MetricParameters | None = None
) -> ConversationMetrics:
    """All figures of a conversation from its events (any order, any number of deliveries): those of
    `conversation_metrics`, and the shifts with what preceded them."""
    kept = settled(events)
    metrics = conversation_metrics(spans_of(kept), duration_ms, params)
    facts = Facts(kept, metrics)
    return msgspec.structs.replace(metrics, shifts=tuple(facts.told(shift) for shift in bare_shifts(kept)))


class Facts:
    """Everything in a conversation that can precede something. `events` are settled, `metrics` those of their spans."""

    def __init__(self, events: Sequence[EmotionEvent], metrics: ConversationMetrics) -> None:
        self._params = metrics.parameters.shifts
        self._said = [e for e in events if e.kind == "utterance" and e.transcript and e.transcript.text.strip()]
        self._silenced = [e for e in events if e.kind == "utterance" and e.status == "withheld"]
        self._facts = [
            *_turn_taking(metrics), *_slow_responses(events, metrics), *_changes(events, self._params), *_faces(events, self._params)
        ]  # fmt: skip

    def before(self, at_ms: int) -> tuple[Antecedent, ...]:
        """Facts that precede `at_ms`, the closest first; of loudness, speed and face only the latest of each person."""
        since = at_ms - self._params.window_ms
        found: list[Antecedent] = []
        latest: dict[tuple[str, str], Antecedent] = {}
        for fact in self._facts:
            if fact.start_ms >= at_ms or fact.end_ms <= since:
                continue
            placed = msgspec.structs.replace(fact, before_ms=max(0, at_ms - fact.end_ms))
            if fact.kind not in ("loudness", "speed", "face"):
                found.append(placed)
            elif fact.end_ms <= at_ms:
                held = latest.get((fact.kind, fact.participant))
                if held is None or (placed.end_ms, placed.start_ms) > (held.end_ms, held.start_ms):
                    latest[fact.kind, fact.participant] = placed
        found += latest.values()
        found += self._withheld(at_ms, since)
        return tuple(sorted(found, key=lambda f: (f.before_ms, f.kind, f.participant, f.start_ms)))

    def _withheld(self, at_ms: int, since: int) -> list[Antecedent]:
        inside: dict[str, list[EmotionEvent]] = {}
        for event in self._silenced:
            if event.start_ms < at_ms and event.end_ms > since:
                inside.setdefault(event.participant, []).append(event)
        return [
            Antecedent(
                "withheld", name, mine[0].start_ms, (end := max(e.end_ms for e in mine)), max(0, at_ms - end),
                f"the expression of {display_name(name)} is withheld by policy",
                value=float(sum(min(e.end_ms, at_ms) - max(e.start_ms, since) for e in mine)), count=len(mine),
            )
            for name, mine in inside.items()
        ]  # fmt: skip

    def last_words(self, at_ms: int) -> tuple[LastWords, ...]:
        """The last utterance with words of each participant in the window, the closest first."""
        last: dict[str, EmotionEvent] = {}
        for event in self._said:
            if at_ms - self._params.window_ms < event.end_ms and event.start_ms < at_ms:
                last[event.participant] = event
        words = [LastWords(name, e.id, e.start_ms, e.end_ms, max(0, at_ms - e.end_ms)) for name, e in last.items()]
        return tuple(sorted(words, key=lambda w: (w.before_ms, w.participant)))

    def told(self, shift: EmotionShift) -> EmotionShift:
        """The shift with what preceded it."""
        preceded = self.before(shift.at_ms)
        return msgspec.structs.replace(
            shift, preceded_by=preceded, last_words=self.last_words(shift.at_ms), text=sentence(shift, preceded, self._params.window_ms)
        )


def sentence(shift: EmotionShift, preceded: Sequence[Antecedent], window_ms: int) -> str:
    """The shift in one sentence, and what preceded it in a second; no absolute time and no word of the transcript."""
    turned = f"{opening(display_name(shift.participant))} turned from {_side(shift.before)} to {_side(shift.after)}."
    told, gaps = [], [(f.start_ms, f.end_ms) for f in preceded if f.kind == "slow_response"]
    cuts = [f for f in preceded if f.kind == "interruption"]
    for fact in preceded:
        doubled = (fact.kind == "silence" and any(s <= fact.start_ms and fact.end_ms <= e for s, e in gaps)) or (
            fact.kind == "overlap" and any(fact.start_ms <= c.start_ms < fact.end_ms for c in cuts)
        )
        if not doubled and fact.kind != "withheld":
            told.append(f"{fact.text} ({_seconds(fact.before_ms)} s before)" if fact.before_ms >= 500 else f"{fact.text} (just before)")
    if not told:
        return f"{turned} Nothing measured stands out in the {_seconds(window_ms)} s before."
    return f"{turned} Preceded, within {_seconds(window_ms)} s, by: {'; '.join(told)}."


def _side(phase: Phase) -> str:
    valence = "" if phase.valence is None else f"valence {phase.valence:+.2f}, ".replace("-", "−")
    return f"{phase.label} ({valence}{phase.count} events)"


def _seconds(ms: float) -> str:
    return f"{ms / 1000:.0f}" if ms >= 10_000 else f"{ms / 1000:.1f}".removesuffix(".0")


def _turn_taking(m: ConversationMetrics) -> list[Antecedent]:
    found = [
        Antecedent(
            "interruption", i.by, i.at_ms, i.at_ms + i.overlap_ms, 0,
            f"{display_name(i.by)} {'interrupts' if i.outcome == 'success' else 'tries to interrupt'} {display_name(i.of)}",
            of=i.of, value=float(i.overlap_ms), outcome=i.outcome,
        )
        for i in m.interruptions
    ]  # fmt: skip
    for kind, spans, words in (("silence", m.non_talk, "nobody speaks"), ("overlap", m.overlaps, "several speak at once")):
        found += [
            Antecedent(
                "silence" if kind == "silence" else "overlap", "", i.start_ms, i.end_ms, 0,
                f"{words} for {_seconds(i.end_ms - i.start_ms)} s", value=float(i.end_ms - i.start_ms),
            )
            for i in spans
        ]  # fmt: skip
    return found


def _slow_responses(events: Sequence[EmotionEvent], m: ConversationMetrics) -> list[Antecedent]:
    turns = turns_of([u for u in spans_of(events) if u.end_ms > u.start_ms], m.parameters)
    return [
        Antecedent(
            "slow_response", b.participant, a.end_ms, b.start_ms, 0,
            f"{display_name(b.participant)} answers {display_name(a.participant)} after {_seconds(b.start_ms - a.end_ms)} s",
            of=a.participant, value=float(b.start_ms - a.end_ms),
        )
        for a, b in _pairs(turns) if b.start_ms - a.end_ms >= m.parameters.shifts.slow_response_ms
    ]  # fmt: skip


def _pairs(turns: Sequence[UtteranceSpan]) -> Iterable[tuple[UtteranceSpan, UtteranceSpan]]:
    return zip(turns, turns[1:], strict=False)


def _changes(events: Sequence[EmotionEvent], params: ShiftParameters) -> list[Antecedent]:
    """Utterances whose loudness or speed is off the own median so far."""
    found: list[Antecedent] = []
    louds: dict[str, list[float]] = {}
    speeds: dict[str, list[float]] = {}
    for event in events:
        if event.kind != "utterance" or event.end_ms <= event.start_ms:
            continue
        name, who = event.participant, display_name(event.participant)
        loud, speed = event.observables.get("loudness_lufs"), _words_per_min(event, params)
        if loud is not None:
            baseline, count = _usual(louds.setdefault(name, []), params)
            if baseline is not None and abs(change := round(loud - baseline, 1)) >= params.loudness_change_lu:
                text = f"{who} speaks {abs(change):g} LU {'louder' if change > 0 else 'more quietly'} than before"
                found.append(Antecedent("loudness", name, event.start_ms, event.end_ms, 0, text, value=change, baseline=baseline, count=count, unit="LU", event=event.id))
            insort(louds[name], loud)
        if speed is not None:
            baseline, count = _usual(speeds.setdefault(name, []), params)
            if baseline and abs(change := round(speed / baseline - 1, 3)) >= params.speed_change:
                text = f"{who} speaks {abs(change):.0%} {'faster' if change > 0 else 'more slowly'} than before"
                found.append(Antecedent("speed", name, event.start_ms, event.end_ms, 0, text, value=change, baseline=baseline, count=count, unit="share", event=event.id))
            insort(speeds[name], speed)
    return found


def _words_per_min(event: EmotionEvent, params: ShiftParameters) -> float | None:
    words = len(event.transcript.text.split()) if event.transcript else 0
    return words * 60_000 / (event.end_ms - event.start_ms) if words >= params.speed_min_words else None


def _usual(earlier: Sequence[float], params: ShiftParameters) -> tuple[float | None, int]:
    """(median of the sorted values so far, their number); no median before there are enough."""
    return (round(_median(earlier), 2), len(earlier)) if len(earlier) >= params.baseline_events else (None, len(earlier))


def _median(ordered: Sequence[float], zeros: int = 0) -> float:
    """Median of sorted values that are not negative, with so many zeros before them."""
    count = zeros + len(ordered)
    low, high = (count - 1) // 2 - zeros, count // 2 - zeros
    return ((ordered[low] if low >= 0 else 0.0) + (ordered[high] if high >= 0 else 0.0)) / 2


class _Seen(Struct):
    """The face of a person so far: events with a face, and the sorted intensities of each unit in those that name it."""

    events: int = 0
    units: dict[str, list[float]] = {}


def _faces(events: Sequence[EmotionEvent], params: ShiftParameters) -> list[Antecedent]:
    """Events whose strongest action unit stands out from the own median so far; never of anybody whose emotion is withheld."""
    found: list[Antecedent] = []
    seen: dict[str, _Seen] = {}
    for event in events:
        units = {code: value for code, value in event.observables.items() if code.startswith("AU") and code not in _UNSTEADY}
        face = event.modalities.get("face")
        if event.status == "withheld" or not (units or (face is not None and face.present)):
            continue
        earlier = seen.setdefault(event.participant, _Seen(units={}))
        if units and earlier.events >= params.baseline_events:
            usual = {code: _median(past := earlier.units.get(code, []), earlier.events - len(past)) for code in units}
            code = max(sorted(units), key=lambda name: units[name] - usual[name])
            change = round(units[code] - usual[code], 2)
            if change >= params.face_change:
                text = f"the face of {display_name(event.participant)} changes: {unit_name(code)} (+{change:.1f})"
                found.append(Antecedent(
                    "face", event.participant, event.start_ms, event.end_ms, 0, text, value=change, baseline=round(usual[code], 2),
                    count=earlier.events, unit=code, event=event.id,
                ))  # fmt: skip
        earlier.events += 1
        for code, value in units.items():
            insort(earlier.units.setdefault(code, []), value)
    return found
