"""What is read of sessions: one call as a document, its report, its curves, and the search over all of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from extractors.errors import InputError
from fusion.events import EmotionEvent
from fusion.preceding import conversation_figures
from fusion.settle import settled
from streams.egress.headline import headline
from streams.egress.report_view import curve_height, rows
from streams.records import Participant
from streams.subscriptions.calls import SessionState
from streams.subscriptions.feed import Feed
from streams.subscriptions.filters import KNOWN_LABELS, MAX_TEXT, shown, unknown
from streams.subscriptions.search import Query

SEARCH_PARAMETERS: dict[str, str] = {
    "q": "Words that the transcript or the explanation contains, in any case.",
    "label": f"One of {', '.join(KNOWN_LABELS)}.",
    "role": "Role of the participant.",
    "session": "Sessions whose name or recording contains this.",
    "confidence": "At least this confidence, 0 to 1.",
    "limit": "Most hits, 1 to 500 (default 100).",
}


LIST_PARAMETERS: dict[str, str] = {
    "state": "live: only calls that are going on.",
    "limit": "Most ended sessions, 1 to 500 (default 500).",
    "q": "Only sessions whose name or recording contains this.",
}


def list_options(query: Iterable[tuple[str, str]]) -> tuple[bool, int, str]:
    """(only live ones, most ended ones, part of their name) of the list of sessions. Raises `InputError`."""
    given = {key: value for key, value in query if key != "token"}
    for key in given:
        if key not in LIST_PARAMETERS:
            raise unknown("filter", key, LIST_PARAMETERS, "query")
    if given.get("state", "live") != "live":
        raise unknown("state", given["state"], ("live",), "query, state")
    if len(given.get("q", "")) > MAX_TEXT:
        raise InputError(f"`q` is longer than {MAX_TEXT} characters", where="query", cure="shorten it")
    return "state" in given, int(_number(given, "limit", 1, 500, 500)), given.get("q", "")


def events_of(feed: Feed, session: str) -> tuple[list[EmotionEvent], str]:
    """Settled events of a session in the order of the media, and the position of the stream they were read at."""
    entries, head = feed.hub.kept(session)
    return settled(e.event for e in entries if e.event is not None), feed.hub.position(head)


def call_document(feed: Feed, session: str, *, with_events: bool = True) -> dict[str, Any]:
    """State, events (left out where not wanted: a page that follows has them already), alerts, figures and headline of a
    session; `position` is where a subscription goes on."""
    events, position = events_of(feed, session)
    state = feed.session(session)
    assert state is not None
    story = headline(events, *_analysed(state, events), live=state.state == "live")
    return {
        "position": position,
        "state": feed.state_of(session),
        "events": msgspec.to_builtins(events) if with_events else [],
        "headline": {"text": story.text, "at_ms": story.at_ms},
        "metrics": msgspec.to_builtins(conversation_figures(events, _length(state, events))),
    }


def _length(state: SessionState, events: list[EmotionEvent]) -> int:
    return max([state.duration_ms, state.position_ms, *(e.end_ms for e in events)])


def _people(state: SessionState) -> tuple[Participant, ...]:
    return tuple(Participant(p.id, p.role) for p in state.participants)


def _analysed(state: SessionState, events: list[EmotionEvent]) -> tuple[list[str], str | None]:
    built = rows(events, _people(state), state.decisions)
    reason = next((row.note.removeprefix("withheld: ") for row in built if not row.analysed), None)
    return [row.id for row in built if row.analysed and row.episodes], reason


def report_page(feed: Feed, session: str) -> str:
    """The report of a session as it stands (a live one too): one HTML page."""
    from streams.egress.report import ReportSession, render

    events, _ = events_of(feed, session)
    state = feed.session(session)
    assert state is not None
    return render(events, session=ReportSession(
        media=state.media or session, duration_ms=_length(state, events), participants=_people(state), decisions=state.decisions,
        language=state.language, has_audio=state.has_audio, has_video=state.has_video, media_href="media" if state.has_media else None,
        complete=state.state == "ended",
    ), alerts=[entry.alert for entry in state.alerts])  # fmt: skip


def curves(feed: Feed, session: str) -> dict[str, Any]:
    """Valence curves of a session as a Bokeh document: ``{"doc", "roots", "rows"}`` (participant of each curve)."""
    from streams.egress.chart import Curve, charts

    events, _ = events_of(feed, session)
    state = feed.session(session)
    assert state is not None
    drawn = [
        Curve(row.id, tuple(e for e in events if e.participant == row.id and e.valence is not None))
        for row in rows(events, _people(state), state.decisions) if row.curve is not None
    ]
    length = max(_length(state, events), 1000) / 1000
    made = charts(drawn, [], len(drawn), (0.0, length), (-60.0, 86_400.0), curve_height(len(drawn)))
    return {"height": curve_height(len(drawn)), "doc": _without_code(made["doc"]), "roots": made["roots"], "rows": [curve.name for curve in drawn]}


def _without_code(node: Any) -> Any:
    """The document without the formatter that is made of script: the pages of the dashboard evaluate none."""
    if isinstance(node, list):
        return [_without_code(item) for item in node]
    if not isinstance(node, dict):
        return node
    if node.get("name") == "CustomJSTickFormatter":
        return {"type": "object", "name": "BasicTickFormatter", "id": node["id"]}
    return {key: _without_code(value) for key, value in node.items()}


def search(feed: Feed, query: Mapping[str, str], visible: str = "*") -> dict[str, Any]:
    """Events of all kept sessions that match everything in `query` (`SEARCH_PARAMETERS`), newest session first."""
    for key, value in query.items():
        if key not in SEARCH_PARAMETERS:
            raise unknown("filter", key, SEARCH_PARAMETERS, "query")
        if len(value) > MAX_TEXT:
            raise InputError(f"`{key}` is longer than {MAX_TEXT} characters", where="query", cure="shorten it")
    words = query.get("q", "").casefold().split()
    label = query.get("label", "")
    if label and label not in KNOWN_LABELS:
        raise unknown("label", label, KNOWN_LABELS, "query, label")
    least, limit = _number(query, "confidence", 0.0, 1.0, 0.0), int(_number(query, "limit", 1, 500, 100))
    asked = Query(tuple(words), label, query.get("role", ""), least)
    hits: list[dict[str, Any]] = []
    total = 0
    for session in reversed(feed.hub.sessions()):
        state = feed.session(session)
        if state is None or visible not in ("*", session) or query.get("session", "").casefold() not in f"{session} {state.media}".casefold():
            continue
        found = list(feed.search.find(session, asked))
        total += len(found)
        if found and len(hits) < limit:
            shown_here = feed.hub.events_at(session, found[: limit - len(hits)])
            hits += [{"session": session, "media": state.media, "event": msgspec.to_builtins(event)} for event in shown_here]
    return {"total": total, "hits": hits}


def _number(query: Mapping[str, str], key: str, low: float, high: float, default: float) -> float:
    if not query.get(key):
        return default
    try:
        value = float(query[key])
    except ValueError:
        value = float("nan")
    if not low <= value <= high:
        raise InputError(f"`{shown(query[key])}` does not fit `{key}`", where="query", cure=f"write a number from {low:g} to {high:g}")
    return value
