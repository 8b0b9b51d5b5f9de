"""Records on the wire: what a stage reads from a topic (`Delivery`), what it writes (`Emission`), and their headers.

Inner topics carry `schema`, `codec`, `origin` (the stage that wrote the record) and `number` (its place among all
outputs of that stage for the session). Public topics add the attributes of CloudEvents 1.0 in binary mode.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct

from fusion.events import EmotionEvent
from streams import topics
from streams.records import (
    SCHEMA_VERSION,
    Alert,
    DeadLetter,
    Output,
    SessionEnd,
    SessionStart,
    SpeechCueRecord,
    Utterance,
    Watermark,
)

Headers = list[tuple[str, bytes]]
_MAJOR = SCHEMA_VERSION.split(".")[0]
_clock = msgspec.json.Decoder(list[tuple[str, int]])


class Message(Struct, frozen=True):
    """What lies on the log, unread. `topic` is its name in the topic table, `time_ms` the time stamp of the log."""

    topic: str
    offset: int
    time_ms: int
    key: bytes | None
    value: bytes | None
    headers: Headers | None


class Delivery(Struct, frozen=True):
    """One record read. `number` is its place among the outputs of `origin`, -1 where that is not known; `clock` says
    when which stage passed it on."""

    topic: str
    offset: int
    time_ms: int
    record: Any
    value: bytes
    origin: str = ""
    number: int = -1
    clock: tuple[tuple[str, int], ...] = ()


class Emission(Struct, frozen=True):
    """One record to write. `identity` is the same whenever the same output is computed again."""

    topic: str
    session: str
    record: Any
    identity: str
    number: int = -1
    clock: tuple[tuple[str, int], ...] = ()


class Refused(Exception):
    """A record cannot be used; the text is the reason of its dead letter."""


def parse(message: Message) -> Delivery:
    """The record in `message`; raises `Refused` with the reason for everything that is not a record of this topic, of
    this schema and of the session in its key."""
    topic, value, fields = message.topic, message.value, dict(message.headers or ())
    schema = fields.get("schema", b"").decode("ascii", "replace")
    if schema and schema.split(".")[0] != _MAJOR:
        raise Refused(f"schema version {schema[:20]} is not {_MAJOR}.x")
    if value is None:
        raise Refused("record has no value")
    try:
        record = topics.decode_from(topic, value)
        number, clock = int(fields.get("number", b"-1")), tuple(_clock.decode(fields["clock"])) if "clock" in fields else ()
    except (msgspec.MsgspecError, ValueError) as error:
        raise Refused(f"not a record of this topic: {error}") from error
    session = getattr(record, "session", None)
    if not session or message.key != session.encode("utf-8"):
        raise Refused("the key of the record is not its session")
    return Delivery(topic, message.offset, message.time_ms, record, value, fields.get("origin", b"").decode("utf-8", "replace"), number, clock)


def headers_of(emission: Emission, stage: str) -> Headers:
    """Headers of an output of `stage`."""
    row = topics.TABLE[emission.topic]
    headers: Headers = [
        ("schema", SCHEMA_VERSION.encode()), ("codec", row.codec.encode()), ("origin", stage.encode()),
        ("identity", emission.identity.encode()),
    ]
    if emission.number >= 0:
        headers.append(("number", str(emission.number).encode()))
    if emission.clock:
        headers.append(("clock", msgspec.json.encode(emission.clock)))
    if row.codec == "json":
        headers += [
            ("content-type", b"application/json"), ("ce_specversion", b"1.0"), ("ce_id", emission.identity.encode()),
            ("ce_source", f"affectstream/{stage}".encode()), ("ce_type", f"affectstream.{topics.tag_of(emission.record)}.v1".encode()),
            ("ce_subject", emission.session.encode()),
        ]
    return headers


def media_headers(origin: str) -> Headers:
    """Headers of a record that comes from outside (gateway, replay)."""
    return [("schema", SCHEMA_VERSION.encode()), ("codec", b"msgpack"), ("origin", origin.encode())]


def identity_of(record: Output, stage: str, number: int) -> str:
    """Name of an output that survives a crash: an event or alert by id and revision, what there is once by its kind,
    a watermark of several inputs by what it says, everything else by its place. A hypothesis has none: it may come twice
    or not at all, and whoever takes it knows by its number that it is not newer."""
    if isinstance(record, EmotionEvent | Alert):
        return f"{record.id}.{record.revision}"
    if is_hypothesis(record):
        return ""
    if isinstance(record, SessionStart | SessionEnd):
        return f"{stage}.{'start' if isinstance(record, SessionStart) else 'end'}"
    if isinstance(record, Watermark) and not record.source:
        return f"{stage}.read.{record.media_ms}"
    return f"{stage}.{number}"


def is_hypothesis(record: Output) -> bool:
    """Whether the record is about an utterance that is still open: a stage may leave it out."""
    return isinstance(record, Utterance | SpeechCueRecord) and record.partial > 0


def span_of(record: Output) -> tuple[str, int] | None:
    """Participant and start of the utterance that the record is about."""
    if isinstance(record, Utterance):
        return record.participant, record.start_ms
    if isinstance(record, SpeechCueRecord):
        return record.participant, record.cues.start_ms
    if isinstance(record, EmotionEvent) and record.kind == "utterance":
        return record.participant, record.start_ms
    return None


def dead_letter(stage: str, topic: str, partition: int, offset: int, session: str | None, reason: str, value: bytes) -> Emission:
    """A dead letter; its identity is the place of the refused record on the log."""
    letter = DeadLetter(session, stage, reason, value)
    return Emission(topics.DEAD_LETTERS, session or "", letter, f"{stage}.{topic}.{partition}.{offset}")


def with_latency(record: Output, clock: tuple[tuple[str, int], ...]) -> Output:
    """An emotion event with the milliseconds each stage took, queueing included, and their sum as ``total_ms``."""
    if not isinstance(record, EmotionEvent) or len(clock) < 2:
        return record
    steps = {f"{stage}_ms": float(at - clock[i][1]) for i, (stage, at) in enumerate(clock[1:])}
    return msgspec.structs.replace(record, latency={**steps, "total_ms": float(clock[-1][1] - clock[0][1])})
