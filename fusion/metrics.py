"""Conversation metrics: who spoke how much, who interrupted whom, how fast was answered, where valence went.

Everything is computed from utterance spans (voice activity, not words), so that the figures do not depend on the
recogniser. The *conversation* runs from the first start to the last end of an utterance: silence before and after it
belongs to the recording, so that a lead-in shifts times and changes nothing else. No figure about the emotion of a
withheld participant exists: his `valence` is None. Every threshold used is part of the result.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Literal

from msgspec import Struct

from fusion.events import EmotionEvent
from fusion.settle import settled
from fusion.shifts import EmotionShift, ShiftParameters
from fusion.statistics import mean, trend

BACK_CHANNELS: tuple[str, ...] = (
    "ah", "aha", "alright", "exactly", "hm", "hmm", "mhm", "mm", "mm-hmm", "mmhm", "oh", "ok", "okay", "right", "sure", "uh-huh",
    "uhuh", "yeah", "yep", "yes",
)
"""Words that say "I am listening" and do not take the turn (English; pass a list of your own for other languages)."""


class MetricParameters(Struct, frozen=True):
    """Thresholds of the definitions. Times in ms; spans themselves come from the voice activity detector's settings."""

    non_talk_min_ms: int = 3000
    overlap_min_ms: int = 200
    interruption_spoken_ms: int = 1000
    interruption_overlap_ms: int = 500
    interruption_yield_ms: int = 2000
    back_channel_max_ms: int = 1000
    back_channel_words: tuple[str, ...] = BACK_CHANNELS
    trend_min_turns: int = 3
    trend_confidence: float = 0.95
    loudness_method: str = "LUFS of each utterance (BS.1770), mean weighted by its duration"
    valence_weighting: str = "mean weighted by voiced time within the quarter"
    word_source: str = "words of the automatic transcript, per minute of voiced time"
    shifts: ShiftParameters = ShiftParameters()


class UtteranceSpan(Struct, frozen=True):
    """One utterance. `words` counts transcribed words, `text` is needed for back-channels only; `loudness_lufs` and
    `valence` ([-1, 1]) are None where not measured. `withheld`: policy forbids any statement about emotion."""

    participant: str
    start_ms: int
    end_ms: int
    words: int | None = None
    text: str | None = None
    loudness_lufs: float | None = None
    valence: float | None = None
    role: str = "participant"
    withheld: bool = False


class Interval(Struct, frozen=True):
    """A stretch of media time."""

    start_ms: int
    end_ms: int


class Interruption(Struct, frozen=True):
    """`by` began while `of` was speaking. success: `of` stopped within the yield time; attempt: he went on."""

    at_ms: int
    by: str
    of: str
    overlap_ms: int
    outcome: Literal["success", "attempt"]


class Quarter(Struct, frozen=True):
    """Valence in one of four equal parts of the conversation; `valence` is None where `count` is 0."""

    start_ms: int
    end_ms: int
    valence: float | None
    count: int


class Trend(Struct, frozen=True):
    """Least-squares slope of valence per minute with its confidence interval over `count` turns; None where there are
    too few turns or they all begin at one time. The interval is None where it has no degree of freedom."""

    slope_per_min: float | None
    low: float | None
    high: float | None
    count: int


class ValenceMetrics(Struct, frozen=True):
    """`mean` is weighted by voiced time; `change` is the last quarter minus the first, None where one is empty."""

    mean: float | None
    count: int
    quarters: tuple[Quarter, ...]
    trend: Trend
    change: float | None


class Latency(Struct, frozen=True):
    """Time from the end of another's turn to the start of an own one, in ms; negative where the turns overlap."""

    mean_ms: float | None
    median_ms: float | None
    count: int


class ParticipantMetrics(Struct, frozen=True):
    """Figures of one participant; each None comes with a count of 0. `valence` is None when withheld. `overlap_ms` is own voice
    while another speaks, in stretches of `overlap_min_ms` or more; `overlaps_begun` counts those in which the own voice came second;
    `interruption_ms` is the overlap of the interruptions made, attempts included."""

    participant: str
    role: str
    talk_ms: int
    talk_ratio: float | None
    utterances: int
    turns: int
    words: int
    words_per_min: float | None
    worded_utterances: int
    loudness_lufs: float | None
    loudness_count: int
    response: Latency
    interruptions_made: int
    interruption_attempts: int
    interrupted: int
    valence: ValenceMetrics | None
    overlap_ms: int = 0
    overlaps_begun: int = 0
    interruption_ms: int = 0


class ConversationMetrics(Struct, frozen=True):
    """Figures of a conversation with the parameters they were made with. `duration_ms` is that of the recording. `shifts`
    need events and are filled by `fusion.preceding.conversation_figures`."""

    duration_ms: int
    conversation: Interval | None
    talk_ms: int
    silence_ms: int
    non_talk: tuple[Interval, ...]
    non_talk_ms: int
    overlaps: tuple[Interval, ...]
    overlap_ms: int
    interruptions: tuple[Interruption, ...]
    participants: tuple[ParticipantMetrics, ...]
    parameters: MetricParameters
    shifts: tuple[EmotionShift, ...] = ()


def spans_of(events: Iterable[EmotionEvent]) -> list[UtteranceSpan]:
    """The utterance spans of settled events; loudness from the observable `loudness_lufs`."""
    spans = []
    for event in settled(events):
        if event.kind != "utterance":
            continue
        withheld = event.status == "withheld"
        spans.append(
            UtteranceSpan(
                participant=event.participant,
                start_ms=event.start_ms,
                end_ms=event.end_ms,
                words=len(event.transcript.text.split()) if event.transcript else None,
                text=event.transcript.text if event.transcript else None,
                loudness_lufs=event.observables.get("loudness_lufs"),
                valence=None if withheld else event.valence,
                role=event.role,
                withheld=withheld,
            )
        )
    return spans


def conversation_metrics(
    utterances: Iterable[UtteranceSpan], duration_ms: int, params: MetricParameters | None = None
) -> ConversationMetrics:
    """All metrics of a conversation. `utterances` may come in any order; spans of no length are ignored."""
    params = params or MetricParameters()
    spans = sorted((u for u in utterances if u.end_ms > u.start_ms), key=lambda u: (u.start_ms, u.end_ms, u.participant))
    names = sorted({u.participant for u in spans}, key=lambda name: next(i for i, u in enumerate(spans) if u.participant == name))
    voiced = {name: _union(Interval(u.start_ms, u.end_ms) for u in spans if u.participant == name) for name in names}
    together = _union(i for intervals in voiced.values() for i in intervals)
    conversation = Interval(together[0].start_ms, together[-1].end_ms) if together else None
    gaps = [Interval(a.end_ms, b.start_ms) for a, b in zip(together, together[1:], strict=False)]
    non_talk = tuple(g for g in gaps if _length(g) >= params.non_talk_min_ms)
    overlaps = tuple(i for i in _overlaps(voiced) if _length(i) >= params.overlap_min_ms)
    interruptions = _interruptions(spans, params)
    turns = turns_of(spans, params)
    total = sum(_length(i) for intervals in voiced.values() for i in intervals)
    return ConversationMetrics(
        duration_ms=duration_ms,
        conversation=conversation,
        talk_ms=sum(map(_length, together)),
        silence_ms=sum(map(_length, gaps)),
        non_talk=non_talk,
        non_talk_ms=sum(map(_length, non_talk)),
        overlaps=overlaps,
        overlap_ms=sum(map(_length, overlaps)),
        interruptions=tuple(interruptions),
        participants=tuple(
            _participant(name, [u for u in spans if u.participant == name], voiced, total, turns, interruptions, overlaps, conversation, params)
            for name in names
        ),
        parameters=params,
    )


def _participant(
    name: str, spans: Sequence[UtteranceSpan], voiced: dict[str, list[Interval]], total_ms: int, turns: Sequence[UtteranceSpan],
    interruptions: Sequence[Interruption], overlaps: Sequence[Interval], conversation: Interval | None, params: MetricParameters,
) -> ParticipantMetrics:
    own, others = voiced[name], [i for who, intervals in voiced.items() if who != name for i in intervals]
    worded = [u for u in spans if u.words is not None]
    words = sum(u.words or 0 for u in worded)
    worded_ms = sum(_length(u) for u in worded)
    loud = [(u.loudness_lufs, _length(u)) for u in spans if u.loudness_lufs is not None and math.isfinite(u.loudness_lufs)]
    made = [i for i in interruptions if i.by == name]
    return ParticipantMetrics(
        participant=name,
        role=spans[0].role,
        talk_ms=(talk_ms := sum(map(_length, own))),
        talk_ratio=_round(talk_ms / total_ms, 4) if total_ms else None,
        utterances=len(spans),
        turns=sum(t.participant == name for t in turns),
        words=words,
        words_per_min=_round(words * 60_000 / worded_ms, 1) if worded_ms else None,
        worded_utterances=len(worded),
        loudness_lufs=_round(mean(loud), 1),
        loudness_count=len(loud),
        response=_latency(name, turns),
        interruptions_made=sum(i.outcome == "success" for i in made),
        interruption_attempts=sum(i.outcome == "attempt" for i in made),
        interrupted=sum(i.of == name and i.outcome == "success" for i in interruptions),
        valence=None if conversation is None or any(u.withheld for u in spans) else _valence(spans, conversation, params),
        overlap_ms=_common(overlaps, own),
        overlaps_begun=sum(any(v.start_ms < at < v.end_ms for v in others) for at in {o.start_ms for o in overlaps} & {v.start_ms for v in own}),
        interruption_ms=sum(i.overlap_ms for i in made),
    )


def _valence(spans: Sequence[UtteranceSpan], conversation: Interval, params: MetricParameters) -> ValenceMetrics:
    stated = [(u, u.valence) for u in spans if u.valence is not None]
    start, length = conversation.start_ms, _length(conversation)
    quarters = []
    for index in range(4):
        quarter = Interval(start + index * length // 4, start + (index + 1) * length // 4)
        inside = [(value, shared) for u, value in stated if (shared := _shared(u, quarter)) > 0]
        quarters.append(Quarter(quarter.start_ms, quarter.end_ms, _round(mean(inside), 4), len(inside)))
    first, last = quarters[0].valence, quarters[3].valence
    # Counting from the start of the conversation keeps the sums, and so the last digit, free of the lead-in.
    points = [((u.start_ms - start) / 60_000, value) for u, value in stated]
    slope, low, high = trend(points, params.trend_min_turns, params.trend_confidence)
    return ValenceMetrics(
        mean=_round(mean([(value, _length(u)) for u, value in stated]), 4),
        count=len(stated),
        quarters=tuple(quarters),
        trend=Trend(_round(slope, 4), _round(low, 4), _round(high, 4), len(stated)),
        change=None if first is None or last is None else _round(last - first, 4),
    )


def _is_back_channel(utterance: UtteranceSpan, params: MetricParameters) -> bool:
    """Short and made of listening words alone; without a transcript the length decides."""
    if _length(utterance) > params.back_channel_max_ms:
        return False
    if utterance.text is None:
        return True
    words = [w.strip(".,!?…;:\"'“”").casefold() for w in utterance.text.split()]
    return all(w in params.back_channel_words for w in words if w)


def _interruptions(spans: Sequence[UtteranceSpan], params: MetricParameters) -> list[Interruption]:
    """At most one for each utterance: against the one who has been speaking longest."""
    found = []
    longest = max((_length(u) for u in spans), default=0)
    for index, begun in enumerate(spans):
        if _is_back_channel(begun, params):
            continue
        for held in _before(spans, index, longest):
            overlap = min(held.end_ms, begun.end_ms) - begun.start_ms
            spoken = begun.start_ms - held.start_ms
            if held.participant == begun.participant or overlap < params.interruption_overlap_ms:
                continue
            if spoken >= params.interruption_spoken_ms:
                gave_way = held.end_ms - begun.start_ms <= params.interruption_yield_ms
                outcome: Literal["success", "attempt"] = "success" if gave_way else "attempt"
                found.append(Interruption(begun.start_ms, begun.participant, held.participant, overlap, outcome))
                break
    return found


def _before(spans: Sequence[UtteranceSpan], index: int, longest_ms: int) -> list[UtteranceSpan]:
    """Utterances that began before `spans[index]` and may still be going on, earliest first."""
    first = index
    while first > 0 and spans[first - 1].start_ms >= spans[index].start_ms - longest_ms:
        first -= 1
    return [u for u in spans[first:index] if u.start_ms < spans[index].start_ms < u.end_ms]


def turns_of(spans: Sequence[UtteranceSpan], params: MetricParameters) -> list[UtteranceSpan]:
    """Successive utterances of one participant joined, back-channels left out; only participant and times count."""
    turns: list[UtteranceSpan] = []
    for utterance in spans:
        if _is_back_channel(utterance, params):
            continue
        if turns and turns[-1].participant == utterance.participant:
            end = max(turns[-1].end_ms, utterance.end_ms)
            turns[-1] = UtteranceSpan(utterance.participant, turns[-1].start_ms, end)
        else:
            turns.append(UtteranceSpan(utterance.participant, utterance.start_ms, utterance.end_ms))
    return turns


def _latency(name: str, turns: Sequence[UtteranceSpan]) -> Latency:
    waits = sorted(b.start_ms - a.end_ms for a, b in zip(turns, turns[1:], strict=False) if b.participant == name)
    if not waits:
        return Latency(None, None, 0)
    middle = (waits[(len(waits) - 1) // 2] + waits[len(waits) // 2]) / 2
    return Latency(_round(sum(waits) / len(waits), 1), middle, len(waits))


def _union(intervals: Iterable[Interval]) -> list[Interval]:
    """Sorted intervals that neither overlap nor touch."""
    joined: list[Interval] = []
    for interval in sorted(intervals, key=lambda i: (i.start_ms, i.end_ms)):
        if joined and interval.start_ms <= joined[-1].end_ms:
            joined[-1] = Interval(joined[-1].start_ms, max(joined[-1].end_ms, interval.end_ms))
        else:
            joined.append(interval)
    return joined


def _overlaps(voiced: dict[str, list[Interval]]) -> list[Interval]:
    """Stretches in which at least two participants are voiced."""
    edges = sorted((t, step) for intervals in voiced.values() for i in intervals for t, step in ((i.start_ms, 1), (i.end_ms, -1)))
    found, depth, since = [], 0, 0
    for time, step in edges:  # at one time ends come before starts: touching is not overlapping
        if depth == 2 and step == -1 and time > since:
            found.append(Interval(since, time))
        depth += step
        if depth == 2 and step == 1:
            since = time
    return _union(found)


def _common(one: Sequence[Interval], other: Sequence[Interval]) -> int:
    """Time in both of two sorted lists of intervals that do not overlap within themselves."""
    shared = i = j = 0
    while i < len(one) and j < len(other):
        shared += max(0, _shared(one[i], other[j]))
        if one[i].end_ms < other[j].end_ms:
            i += 1
        else:
            j += 1
    return shared


def _length(span: Interval | UtteranceSpan) -> int:
    return span.end_ms - span.start_ms


def _shared(span: UtteranceSpan | Interval, part: Interval) -> int:
    return min(span.end_ms, part.end_ms) - max(span.start_ms, part.start_ms)


def _round(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits) + 0.0
