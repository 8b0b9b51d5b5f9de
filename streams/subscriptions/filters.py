"""What a subscriber wants, checked at the edge: an unknown or malformed filter is refused with the nearest known one."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

from msgspec import Struct

from extractors.cues import LABELS
from extractors.errors import InputError
from streams.policy import ROLES, normal_role

TYPES = ("event", "alert", "session")
KNOWN_LABELS = (*LABELS, "contempt", "unknown")
MAX_TEXT = 256
_POSITION = re.compile(r"[0-9a-f]{8}-\d{1,18}")
_EVENT_ID = re.compile(r"[0-9a-f]{16}")


class Filter(Struct, frozen=True):
    """Everything empty lets everything through. Fields that an alert or a session does not have do not hold it back,
    except `session`; `label` and `confidence` are about events."""

    sessions: frozenset[str] = frozenset()
    participants: frozenset[str] = frozenset()
    roles: frozenset[str] = frozenset()
    labels: frozenset[str] = frozenset()
    types: frozenset[str] = frozenset()
    confidence: float = 0.0
    finals_only: bool = False

    def wants_session(self, session: str) -> bool:
        return not self.sessions or session in self.sessions


class Start(Struct, frozen=True):
    """Where to begin: `after` a position or an event id (``start``: everything kept), from a media time of one session,
    or from a wall time in ms since 1970. All None: live only."""

    after: str | None = None
    from_ms: int | None = None
    since_ms: int | None = None


PARAMETERS: dict[str, str] = {
    "session": "Only these sessions (repeat the parameter for several).",
    "participant": "Only these participants.",
    "role": f"Only these roles: {', '.join(ROLES)} (agent means employee).",
    "label": f"Only events with these labels: {', '.join(KNOWN_LABELS)}.",
    "type": f"Only these messages: {', '.join(TYPES)}.",
    "confidence": "Only events with at least this confidence, 0 to 1.",
    "finals_only": "true: no partial events.",
    "after": "Go on behind this position or event id before going live; `start` for everything that is kept.",
    "from_ms": "Begin with events that end after this media time (ms); needs exactly one session.",
    "since": "Begin with what came since this time: ISO 8601 with a zone, or milliseconds since 1970.",
}
"""Query parameters of ``/v1/events`` with their description; the OpenAPI document is written from it."""
_AUTH = ("token",)


def parse(query: Iterable[tuple[str, str]]) -> tuple[Filter, Start]:
    """The filter and the start in query parameters. Raises `InputError` for the first that cannot be used."""
    given: dict[str, list[str]] = {}
    for key, value in query:
        if key in _AUTH:
            continue
        if key not in PARAMETERS:
            raise unknown("filter", key, PARAMETERS, "query")
        if len(value) > MAX_TEXT:
            raise InputError(f"`{key}` is longer than {MAX_TEXT} characters", where="query", cure="shorten it")
        given.setdefault(key, []).append(value)
    several = ("session", "participant", "role", "label", "type")
    for key, values in given.items():
        if key not in several and len(values) > 1:
            raise InputError(f"`{key}` is given {len(values)} times", where="query", cure="give it once")
        if len(values) > 200:
            raise InputError(f"`{key}` is given {len(values)} times", where="query", cure="give at most 200, or leave the filter out")
    one = {key: values[0] for key, values in given.items()}
    roles = [normal_role(role) for role in given.get("role", ())]
    chosen = Filter(
        sessions=frozenset(given.get("session", ())),
        participants=frozenset(given.get("participant", ())),
        roles=frozenset(_known(roles, ROLES, "role")),
        labels=frozenset(_known(given.get("label", ()), KNOWN_LABELS, "label")),
        types=frozenset(_known(given.get("type", ()), TYPES, "type")),
        confidence=_confidence(one.get("confidence")),
        finals_only=_truth(one.get("finals_only")),
    )
    return chosen, _start(one, chosen)


def _start(one: Mapping[str, str], chosen: Filter) -> Start:
    places = [key for key in ("after", "from_ms", "since") if key in one]
    if len(places) > 1:
        raise InputError(f"`{places[0]}` and `{places[1]}` are two starts", where="query", cure="give one of them")
    if "after" in one:
        after = one["after"]
        if after != "start" and not _POSITION.fullmatch(after) and not _EVENT_ID.fullmatch(after):
            raise InputError(f"`{shown(after)}` is no position and no event id", where="query, after", cure="give one as it was received, or start")
        return Start(after=after)
    if "from_ms" in one:
        if not re.fullmatch(r"\d{1,12}", one["from_ms"]):
            raise InputError(f"`{shown(one['from_ms'])}` is no media time", where="query, from_ms", cure="give whole milliseconds")
        if len(chosen.sessions) != 1:
            raise InputError("a media time belongs to one session", where="query, from_ms", cure="add session=…")
        return Start(from_ms=int(one["from_ms"]))
    return Start(since_ms=_wall(one["since"])) if "since" in one else Start()


def _wall(text: str) -> int:
    if re.fullmatch(r"\d{1,15}", text):
        return int(text)
    try:
        moment = datetime.fromisoformat(text.replace(" ", "+"))
        if moment.tzinfo is None:
            raise ValueError("no time zone")
        return round(moment.astimezone(UTC).timestamp() * 1000)
    except (ValueError, OverflowError) as error:
        raise InputError(f"`{shown(text)}` is no time ({error})", where="query, since", cure="write 2031-05-04T10:00:00Z or milliseconds since 1970") from error


def _confidence(text: str | None) -> float:
    if text is None:
        return 0.0
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0.0 <= value <= 1.0:
        raise InputError(f"`{shown(text)}` is no confidence", where="query, confidence", cure="write a number from 0 to 1")
    return value


def _truth(text: str | None) -> bool:
    if text is None or text in ("false", "0"):
        return False
    if text in ("true", "1", ""):
        return True
    raise InputError(f"`{shown(text)}` is neither true nor false", where="query, finals_only", cure="write finals_only=true")


def _known(values: Iterable[str], known: tuple[str, ...], what: str) -> list[str]:
    chosen = list(values)
    for value in chosen:
        if value not in known:
            raise unknown(what, value, known, f"query, {what}")
    return chosen


def shown(text: str, most: int = 60) -> str:
    """A text from outside as it may stand in a message: printable and short."""
    plain = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text[:most])
    return plain + ("…" if len(text) > most else "")


def unknown(what: str, value: str, known: Iterable[str], where: str) -> InputError:
    """The error for a word that is not among `known`, naming the nearest."""
    names = list(known)
    near = difflib.get_close_matches(value, names, 1)
    return InputError(f"unknown {what} `{shown(value)}`", where=where, cure=f"did you mean `{near[0]}`?" if near else f"use {', '.join(names)}")
