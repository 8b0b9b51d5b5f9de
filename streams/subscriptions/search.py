"""What the search looks at: the words of each settled event, kept beside its place in the hub.

A search reads these short texts alone; the events that it shows are unpacked afterwards. 200,000 events take some 100 MB and
a few hundredths of a second.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence

from msgspec import Struct

from fusion.events import EmotionEvent


class Query(Struct, frozen=True):
    """Everything empty lets everything through. `words` are case-folded; an event has all of them."""

    words: tuple[str, ...] = ()
    label: str = ""
    role: str = ""
    confidence: float = 0.0


_Row = tuple[int, int, str, str, str, str, str, str | None, float, int]
# start, end, participant, kind, id, text, role, label, confidence, number: their order is that of settled events


class SearchIndex:
    """All methods may be called from any thread."""

    def __init__(self) -> None:
        self._sessions: dict[str, dict[str, _Row]] = {}
        self._words: dict[str, str] = {}
        self._lock = threading.Lock()

    def put(self, event: EmotionEvent, number: int) -> None:
        """The newest revision of a settled event, and its number in the hub."""
        text = f"{event.transcript.text if event.transcript else ''} {event.explanation}".casefold()
        row = (event.start_ms, event.end_ms, event.participant, event.kind, event.id, text, event.role, event.label, event.confidence or 0.0, number)
        with self._lock:
            self._sessions.setdefault(event.session, {})[event.id] = row
            self._words.pop(event.session, None)

    def forget(self, session: str) -> None:
        with self._lock:
            self._sessions.pop(session, None)
            self._words.pop(session, None)

    def find(self, session: str, query: Query) -> Iterator[int]:
        """Numbers of the events of a session that match, in the order of the media."""
        with self._lock:
            held = self._sessions.get(session)
            if not held:
                return iter(())
            if query.words:  # most sessions do not have the words at all: one look at all of their text tells
                text = self._words.get(session)
                if text is None:
                    text = self._words[session] = "\n".join(row[5] for row in held.values())
                if not all(word in text for word in query.words):
                    return iter(())
            rows: Sequence[_Row] = list(held.values())
        words, label, role, least = query.words, query.label, query.role, query.confidence
        found = [
            row for row in rows
            if (not label or row[7] == label) and (not role or row[6] == role) and row[8] >= least and all(word in row[5] for word in words)
        ]
        return (row[-1] for row in sorted(found))
