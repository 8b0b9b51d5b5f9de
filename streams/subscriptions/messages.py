"""What a subscriber receives. One JSON object a message, told apart by `type`.

`position` names a place in the stream of one server: ``EPOCH-NUMBER``. A subscriber that comes back with the last one
it saw goes on behind it. Positions of another server (or of a run that ended) are not known: everything that is still
kept is sent again, announced by a `replay` message, and ids and revisions tell what is already there.
"""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from fusion.events import EmotionEvent
from streams.alerts.engine import Alert
from streams.records import Participant


class EventMessage(Struct, frozen=True, tag="event"):
    """An emotion event. `wall_ms` is when this server got it (milliseconds since 1970)."""

    position: str
    wall_ms: int
    event: EmotionEvent


class AlertMessage(Struct, frozen=True, tag="alert"):
    """An alert that opened, closed or was acknowledged; the newest `revision` and `acknowledged` count."""

    position: str
    wall_ms: int
    alert: Alert
    acknowledged: Acknowledgement | None = None


class Acknowledgement(Struct, frozen=True):
    """Somebody has taken the alert: `by` as stated by the person, `wall_ms` since 1970."""

    by: str
    wall_ms: int


class SessionMessage(Struct, frozen=True, tag="session"):
    """A session began (`state` live) or ended. Details are at ``/v1/sessions/{id}``."""

    position: str
    wall_ms: int
    session: str
    state: str
    media: str = ""
    participants: tuple[Participant, ...] = ()


class MissedMessage(Struct, frozen=True, tag="missed"):
    """The subscriber was too slow: so many settled events (and alerts) and partials of its filter were left out before
    `position`. Coming back with ``after`` = `resume` brings the settled ones."""

    position: str
    settled: int
    partials: int
    resume: str


class ReplayMessage(Struct, frozen=True, tag="replay"):
    """What was kept follows: `count` messages up to `position`, then live. `complete` is False when older ones of the
    filter are no longer kept; `reason` says why the start was not where it was asked for."""

    position: str
    count: int
    complete: bool
    reason: str = ""


class LiveMessage(Struct, frozen=True, tag="live"):
    """The replay is over; everything from here on is new."""

    position: str


class HeartbeatMessage(Struct, frozen=True, tag="heartbeat"):
    """Nothing else was sent for a while; the connection is alive and `position` is how far the stream is."""

    position: str
    wall_ms: int


class ErrorMessage(Struct, frozen=True, tag="error"):
    """The request cannot be served; the connection is closed after it. `retry`: the same request may be served later."""

    error: str
    cure: str = ""
    retry: bool = False


Message = (
    EventMessage | AlertMessage | SessionMessage | MissedMessage | ReplayMessage | LiveMessage | HeartbeatMessage | ErrorMessage
)


def as_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of the messages: ``{"messages": {tag: reference}, "definitions": {...}}``."""
    import msgspec

    kinds = (EventMessage, AlertMessage, SessionMessage, MissedMessage, ReplayMessage, LiveMessage, HeartbeatMessage, ErrorMessage)
    schemas, definitions = msgspec.json.schema_components(kinds, ref_template="#/components/schemas/{name}")
    return {"messages": {kind.__struct_config__.tag: schema for kind, schema in zip(kinds, schemas, strict=True)}, "definitions": definitions}
