"""Calls as a runtime would hand them over, for the pages to show."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from streams.alerts.rules import parse as rules
from streams.records import Decision, Participant, SessionEnd, SessionStart
from streams.subscriptions.feed import Feed

RULES = rules("rules:\n  - name: angry customer\n    when: {label: anger, above: 0.6}\n    role: customer\n    for: 5s\n    severity: critical\n")


def replayed(
    feed: Feed, session: str, events: list[Any], *, ended: bool = True, media: Path | None = None, audio: tuple[str, ...] = ("left",),
    video: tuple[str, ...] = (),
) -> None:
    """A session with the people of `events`; employees are withheld."""
    people = {event.participant: event.role for event in events}
    withheld = Decision(True, True, False, "employees are not emotion-analysed")
    decisions = {name: withheld if role == "employee" else Decision(True, True, True, "analysed") for name, role in people.items()}
    start = SessionStart(session, tuple(Participant(name, role) for name, role in people.items()), decisions, audio, video, media=f"{session}.wav")
    feed.open(start, media=media)
    for event in events:
        feed.event(msgspec.structs.replace(event, session=session))
    if ended:
        feed.end(SessionEnd(session), duration_ms=events[-1].end_ms + 1000)
