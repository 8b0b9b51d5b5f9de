"""Moments that the report marks on the axis: turns of expression with what preceded them, and alerts with their evidence."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fusion.events import EmotionEvent
from fusion.metrics import ConversationMetrics
from fusion.naming import clock
from streams.egress.report_view import Row
from streams.records import Alert

FLAG_ROWS = 3
_FLAG_SHARE = 0.12
"""Flags closer together than this share of the axis go to rows of their own."""

_LATE_SHARE = 0.85
"""From here on the name of a flag stands on its left: on the right there is no room."""


def turnings(m: ConversationMetrics, events: Sequence[EmotionEvent], built: Sequence[Row], index_of: Mapping[str, int]) -> list[dict[str, Any]]:
    """Emotion shifts of people who are analysed, with the last words before each looked up; in order of time."""
    rows = {row.id: (number, row) for number, row in enumerate(built) if row.analysed}
    found = []
    for shift in m.shifts:
        if shift.participant not in rows or shift.event not in index_of:
            continue
        words = []
        for last in shift.last_words:
            event = events[index_of[last.event]] if last.event in index_of else None
            if event is not None and event.transcript:
                words.append({
                    "index": index_of[last.event], "name": last.participant[:1].upper() + last.participant[1:], "said": event.transcript.text.strip(),
                    "language": event.transcript.language, "ago": _ago(last.before_ms),
                })  # fmt: skip
        number, row = rows[shift.participant]
        found.append({
            "index": index_of[shift.event], "event": shift.event, "row": number, "name": row.name, "at_ms": shift.at_ms, "clock": clock(shift.at_ms),
            "before": shift.before.label, "after": shift.after.label, "text": shift.text, "words": words,
        })  # fmt: skip
    return found


def _ago(ms: int) -> str:
    return "just before" if ms < 500 else f"{ms / 1000:.{0 if ms >= 10_000 else 1}f} s before"


def flags(alerts: Iterable[Alert], built: Sequence[Row], events: Sequence[EmotionEvent], index_of: Mapping[str, int], length_ms: int) -> list[dict[str, Any]]:
    """The newest revision of each alert in order of firing, placed so that flags do not cover one another; alerts about the
    expression of somebody who may not be analysed do not exist, and none is shown."""
    newest: dict[str, Alert] = {}
    for alert in alerts:
        if alert.id not in newest or alert.revision > newest[alert.id].revision:
            newest[alert.id] = alert
    rows = {row.id: row for row in built}
    ends = [-length_ms] * FLAG_ROWS
    found = []
    for alert in sorted(newest.values(), key=lambda a: (a.fired_ms, a.rule, a.participant)):
        row = rows.get(alert.participant)
        if row is not None and not row.analysed:
            continue
        place = next((i for i, end in enumerate(ends) if alert.fired_ms - end >= _FLAG_SHARE * length_ms), ends.index(min(ends)))
        ends[place] = alert.fired_ms
        evidence = [
            {"index": _at(c.event, c.start_ms, events, index_of), "clock": clock(c.start_ms), "text": c.text or "the conversation at this moment", "value": _number(c.value)}
            for c in alert.evidence
        ]
        end = f" to {clock(alert.end_ms)}" if alert.end_ms is not None else ", still open at the end"
        found.append({
            "index": next((e["index"] for e in reversed(evidence) if e["index"] is not None), _at("", alert.fired_ms, events, index_of)),
            "rule": alert.rule, "severity": alert.severity, "name": row.name if row is not None else alert.participant or "Conversation", "place": place,
            "late": alert.fired_ms > _LATE_SHARE * length_ms,
            "fired_ms": alert.fired_ms, "start_ms": alert.start_ms, "end_ms": alert.end_ms if alert.end_ms is not None else length_ms,
            "clock": clock(alert.fired_ms), "span": f"{clock(alert.start_ms)}{end}", "condition": alert.condition, "worst": _worst(alert), "evidence": evidence,
        })  # fmt: skip
    return found


def _worst(alert: Alert) -> str:
    """The value that the rule is about, where the words of the condition do not say it already."""
    return f"at worst {alert.value:.2f}" if abs(alert.threshold) <= 2 and alert.value != alert.threshold else ""


def _number(value: float) -> str:
    return f"{value:.2f}" if abs(value) <= 1 else f"{value:g}"


def _at(event: str, at_ms: int, events: Sequence[EmotionEvent], index_of: Mapping[str, int]) -> int | None:
    """Index of the cited event, else of the last one begun by then."""
    if event in index_of:
        return index_of[event]
    begun = [i for i, e in enumerate(events) if e.start_ms <= at_ms]
    return begun[-1] if begun else (0 if events else None)
