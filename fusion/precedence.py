"""Over many conversations: what precedes emotion shifts more often than it precedes other moments.

Moments are the starts of labelled events of analysed participants: those at which a shift begins, and, of the same participant
in the same conversation, those at which none does. Each is looked back from by the same window, so both see the same
person at the same kind of instant, and a call in which everything is more frequent does not pass for an effect. Windows of
one participant never overlap, and all lie whole within the conversation. A difference says what goes before, not what causes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal, get_args

from msgspec import Struct

from fusion.conversation import Tone
from fusion.events import EmotionEvent
from fusion.metrics import ConversationMetrics, MetricParameters
from fusion.preceding import Facts, conversation_figures
from fusion.settle import settled
from fusion.shifts import AntecedentKind, dialogues
from fusion.statistics import normal_quantile, stratified_difference, wilson

KINDS: tuple[AntecedentKind, ...] = tuple(kind for kind in get_args(AntecedentKind) if kind != "withheld")
FEWEST = 10
"""Shifts, and other moments, that a comparison needs."""

Verdict = Literal["more often", "less often", "no difference shown", "too few"]


class Moment(Struct, frozen=True):
    """A moment and the kinds of antecedent in the window before it."""

    participant: str
    at_ms: int
    shift: bool
    kinds: frozenset[str]


class KindRate(Struct, frozen=True):
    """How often one kind of antecedent stands before shifts and before other moments.

    `before` of `shifts` windows and `elsewhere` of `moments` windows hold it; each share comes with Wilson's 95 % interval.
    `difference` is taken within participants of conversations (Mantel-Haenszel), `low` and `high` its interval at a confidence
    that holds for all kinds together; None where nobody has both kinds of moment. `verdict` rests on that interval.
    """

    kind: str
    before: int
    shifts: int
    before_rate: float | None
    before_low: float
    before_high: float
    elsewhere: int
    moments: int
    elsewhere_rate: float | None
    elsewhere_low: float
    elsewhere_high: float
    difference: float | None
    low: float | None
    high: float | None
    verdict: Verdict


class Precedence(Struct, frozen=True):
    """The comparison over `conversations`. `found` shifts were looked at; `shifts` of them have a whole window of their own.
    `into` is the tone that the shifts lead into, None for all. `confidence` holds for all kinds together."""

    conversations: int
    found: int
    shifts: int
    moments: int
    into: Tone | None
    window_ms: int
    confidence: float
    fewest: int
    kinds: tuple[KindRate, ...]


def moments(events: Iterable[EmotionEvent], metrics: ConversationMetrics | None = None, into: Tone | None = None) -> list[Moment]:
    """Moments of one conversation whose windows are whole and do not overlap; shifts go first. Shifts into another tone than
    `into` are neither: nothing is looked at in their windows."""
    kept = settled(events)
    figures = metrics or conversation_figures(kept, max((e.end_ms for e in kept), default=0))
    if figures.conversation is None:
        return []
    window, first = figures.parameters.shifts.window_ms, figures.conversation.start_ms
    facts, found = Facts(kept, figures), []
    for name, mine in dialogues(kept).items():
        turned = [s for s in figures.shifts if s.participant == name]
        wanted = [s.at_ms for s in turned if into in (None, s.after.tone)]
        barred = [s.at_ms for s in turned if s.at_ms not in wanted]
        chosen: list[tuple[int, bool]] = []
        for at_ms, shift in [*((at, True) for at in wanted), *((e.start_ms, False) for e in sorted(mine, key=lambda e: e.start_ms))]:
            taken = [*(at for at, _ in chosen), *([] if shift else [*barred, *wanted])]
            if at_ms - window >= first and all(abs(at_ms - other) >= window for other in taken):
                chosen.append((at_ms, shift))
        found += [Moment(name, at, shift, frozenset(f.kind for f in facts.before(at))) for at, shift in sorted(chosen)]
    return found


def precedence(
    conversations: Iterable[Sequence[EmotionEvent]], *, into: Tone | None = None, params: MetricParameters | None = None,
    confidence: float = 0.95, fewest: int = FEWEST,
) -> Precedence:
    """Compare what precedes shifts with what precedes other moments, over the events of many conversations.

    Below `fewest` shifts or other moments the verdict is ``too few``. `confidence` holds for all kinds together (Bonferroni).
    """
    strata: list[list[Moment]] = []
    count = found = 0
    chosen = params or MetricParameters()
    for events in conversations:
        count += 1
        kept = settled(events)
        figures = conversation_figures(kept, max((e.end_ms for e in kept), default=0), chosen)
        found += sum(into in (None, s.after.tone) for s in figures.shifts)
        looked = moments(kept, figures, into)
        strata += [[m for m in looked if m.participant == name] for name in sorted({m.participant for m in looked})]
    z = normal_quantile(1 - (1 - confidence) / len(KINDS))
    rates = tuple(_rate(kind, strata, z, normal_quantile(confidence), fewest) for kind in KINDS)
    shifts = sum(m.shift for stratum in strata for m in stratum)
    others = sum(map(len, strata)) - shifts
    return Precedence(count, found, shifts, others, into, chosen.shifts.window_ms, confidence, fewest, rates)


def _rate(kind: str, strata: Sequence[Sequence[Moment]], z: float, z_one: float, fewest: int) -> KindRate:
    counted = [
        (
            sum(m.shift and kind in m.kinds for m in s), sum(m.shift for m in s),
            sum(not m.shift and kind in m.kinds for m in s), sum(not m.shift for m in s),
        )
        for s in strata
    ]  # fmt: skip
    a, n, b, m = (sum(column) for column in zip(*counted, strict=True)) if counted else (0, 0, 0, 0)
    compared = stratified_difference(counted, z)
    difference, low, high = (round(v, 4) + 0.0 for v in compared) if compared else (None, None, None)
    verdict: Verdict = "no difference shown"
    if min(n, m) < fewest or low is None or high is None:
        verdict = "too few"
    elif low > 0 or high < 0:
        verdict = "more often" if low > 0 else "less often"
    (before_low, before_high), (else_low, else_high) = wilson(a, n, z_one), wilson(b, m, z_one)
    return KindRate(
        kind, a, n, round(a / n, 4) if n else None, round(before_low, 4), round(before_high, 4),
        b, m, round(b / m, 4) if m else None, round(else_low, 4), round(else_high, 4), difference, low, high, verdict,
    )  # fmt: skip
