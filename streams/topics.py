"""Topics on the broker: creation from the topic table, and what a record looks like on each of them.

Every topic of the graph and every state topic has one partition count, so that everything of a session lies in one
partition of the same number, in order. Inner topics carry MessagePack, public topics JSON; a namespace in front of the
names lets several installations share a broker.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Sequence
from typing import Any, get_args

import msgspec
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaConnectionError, for_code

from extractors.errors import AffectstreamError, InputError
from fusion.events import EmotionEvent
from streams.records import TOPICS, Alert, FusedEvent, Output, Record, Topic, decode, encode

TABLE: dict[str, Topic] = {topic.name: topic for topic in TOPICS}
DEAD_LETTERS = "dead-letters"
MAX_RECORD_BYTES = 4 * 1024 * 1024
"""Largest record on any topic: an uncompressed 1280 x 1024 picture, or the state of two channels in mid-utterance."""

_TYPES: dict[str, type] = {"event": EmotionEvent, "alert": Alert} | {str(kind.__struct_config__.tag): kind for kind in get_args(Record)}
_json = msgspec.json.Encoder()


class TopicError(AffectstreamError):
    """The topics of the broker are not what the configuration says."""


def tag_of(record: Output) -> str:
    """The name of a record in the topic table: its tag, ``event`` for an emotion event."""
    return "event" if isinstance(record, EmotionEvent) else str(record.__struct_config__.tag)


def type_of(tag: str) -> type:
    """The record type behind a name in the topic table."""
    return _TYPES[tag]


def topics_of(record: Output, writes: Sequence[str]) -> tuple[str, ...]:
    """Those of a stage's topics that carry `record`: one, or several for the start and end of a session."""
    tag = tag_of(record)
    if tag == "dead_letter":
        return (DEAD_LETTERS,)
    tags = {tag, "fused_event"} if tag == "event" else {tag}
    return tuple(name for name in writes if tags & set(TABLE[name].carries))


def encode_for(topic: str, record: Output) -> bytes:
    """Value of `record` on `topic` (a name of the table)."""
    if TABLE[topic].codec == "json":
        return _json.encode(record)
    return encode(FusedEvent(record) if isinstance(record, EmotionEvent) else record)


def decode_from(topic: str, value: bytes) -> Any:
    """The record in `value` read from `topic`. Raises `msgspec.DecodeError` or `msgspec.ValidationError`, also for a
    well-formed record that has no place on this topic."""
    row = TABLE[topic]
    if row.codec == "json":
        return msgspec.json.decode(value, type=_TYPES[row.carries[0]])
    record = decode(value)
    if tag_of(record) not in row.carries:
        raise msgspec.ValidationError(f"`{tag_of(record)}` has no place on topic {topic}")
    return record.event if isinstance(record, FusedEvent) else record


def settings(topic: Topic) -> dict[str, str]:
    """Broker settings of a row of the table. Segments are half as long as the retention, otherwise data would outlive
    it by a whole segment."""
    config = {"max.message.bytes": str(MAX_RECORD_BYTES), "cleanup.policy": "compact" if topic.compacted else "delete"}
    config["retention.ms"] = str(topic.retention_ms)
    if topic.retention_ms > 0:
        config["segment.ms"] = str(max(topic.retention_ms // 2, 60_000))
    return config


STATE_SETTINGS = {"max.message.bytes": str(MAX_RECORD_BYTES), "cleanup.policy": "compact", "segment.ms": "600000"}


async def _admin(bootstrap: str, patience: float) -> AIOKafkaAdminClient:
    until = time.monotonic() + patience
    while True:
        admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
        try:
            await admin.start()
            return admin
        except KafkaConnectionError as error:
            await admin.close()
            if time.monotonic() > until:
                raise InputError("no Kafka broker answers", where=bootstrap, cure="start it, or correct --bootstrap") from error
            await asyncio.sleep(1.0)


async def create(
    bootstrap: str, *, partitions: int, namespace: str = "", state_topics: Iterable[str] = (), replication: int = 1, patience: float = 30.0,
) -> None:
    """Create what is missing: every topic of the table (`namespace` in front) and the given state topics.

    Existing topics are left as they are; one with another partition count raises `TopicError`, because state and
    sources would no longer lie together. A broker that does not answer is asked again for `patience` seconds, then
    `InputError` is raised.
    """
    wanted = {namespace + topic.name: settings(topic) for topic in TOPICS} | {name: STATE_SETTINGS for name in state_topics}
    admin = await _admin(bootstrap, patience)
    try:
        present = set(await admin.list_topics()) & set(wanted)
        missing = [NewTopic(name, partitions, replication, topic_configs=config) for name, config in wanted.items() if name not in present]
        if missing:
            response = await admin.create_topics(missing)
            for name, code, *rest in response.topic_errors:
                if code and for_code(code).__name__ != "TopicAlreadyExistsError":
                    raise TopicError(f"topic {name} could not be created: {rest[0] if rest and rest[0] else for_code(code).__name__}")
                if code:  # another worker was quicker, perhaps with another number of partitions
                    present.add(name)
        for described in await _described(admin, sorted(present), patience):
            found = len(described["partitions"])
            if found != partitions:
                raise TopicError(
                    f"topic {described['topic']} has {found} partitions and {partitions} are configured: "
                    "set the same number everywhere, or use another namespace"
                )
    finally:
        await admin.close()


async def _described(admin: AIOKafkaAdminClient, names: list[str], patience: float) -> list[dict[str, Any]]:
    """Descriptions of topics that exist. A broker shows a topic that has just been made a moment after it refuses to make
    it again: until then it has no partitions."""
    deadline = asyncio.get_running_loop().time() + patience
    while names:
        found: list[dict[str, Any]] = await admin.describe_topics(names)
        if all(topic["partitions"] for topic in found) or asyncio.get_running_loop().time() > deadline:
            return found
        await asyncio.sleep(0.2)
    return []
