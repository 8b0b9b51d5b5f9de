"""Which events count once everything has arrived."""

from __future__ import annotations

from collections.abc import Iterable

from fusion.events import EmotionEvent


def settled(events: Iterable[EmotionEvent]) -> list[EmotionEvent]:
    """The highest revision of each id, without partials, ordered by (start, end, participant, kind, id).

    The result is the same whatever the order or the number of deliveries.
    """
    newest: dict[str, EmotionEvent] = {}
    for event in events:
        if event.status == "partial":
            continue
        held = newest.get(event.id)
        if held is None or event.revision > held.revision:
            newest[event.id] = event
    return sorted(newest.values(), key=lambda e: (e.start_ms, e.end_ms, e.participant, e.kind, e.id))
