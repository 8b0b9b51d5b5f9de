"""Topics on the broker: creation from the topic table, and what a record looks like on each of them.

Every topic of the graph and every state topic has one partition count, so that everything of a session lies in one
partition of the same number, in order. Inner topics carry MessagePack, public topics JSON; a namespace in front of the
names lets several installations share a broker.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Iterable, Sequence
from typing import Any, get_args

import msgspec
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import IncompatibleBrokerVersion, for_code
from msgspec import Struct

from extractors.errors import AffectstreamError
from fusion.events import EmotionEvent
from streams.records import TOPICS, Alert, AlertAcknowledged, FusedEvent, Output, Record, Topic, decode, encode
from streams.runtimes.kafka_security import Security, reach

TABLE: dict[str, Topic] = {topic.name: topic for topic in TOPICS}
DEAD_LETTERS = "dead-letters"
RESULTS = ("sessions", "emotion.events", "alerts", "acknowledgements", DEAD_LETTERS)
"""Topics that hold what was found out about people, and who they were: kept for weeks, and the operator says how many."""
MAX_RECORD_BYTES = 4 * 1024 * 1024
"""Largest record on any topic: an uncompressed 1280 x 1024 picture, or the state of two channels in mid-utterance."""

_TYPES: dict[str, type] = {"event": EmotionEvent, "alert": Alert, "acknowledgement": AlertAcknowledged} | {str(kind.__struct_config__.tag): kind for kind in get_args(Record)}
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
    if isinstance(record, EmotionEvent) and record.status == "partial":
        tags = {"fused_event"}  # soon out of date, and never kept: not on the topic that keeps events
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


def settings(topic: Topic, retention_ms: int | None = None) -> dict[str, str]:
    """Broker settings of a row of the table, with its own retention or another one. Segments are half as long as the
    retention (a day at most), otherwise data would outlive it by a whole segment."""
    kept = topic.retention_ms if retention_ms is None else retention_ms
    config = {"max.message.bytes": str(MAX_RECORD_BYTES), "cleanup.policy": "compact" if topic.compacted else "delete", "retention.ms": str(kept)}
    if kept > 0:
        config["segment.ms"] = str(min(max(kept // 2, 60_000), 86_400_000))
    return config


_UNITS = {"m": 60_000, "h": 3_600_000, "d": 86_400_000}


def retention_of(text: str) -> int:
    """Milliseconds of ``30d``, ``12h`` or ``90m``; -1 for ``ever``. Raises `ValueError`."""
    if text == "ever":
        return -1
    found = re.fullmatch(r"([1-9][0-9]{0,5})([mhd])", text)
    if not found:
        raise ValueError(f"{text} is no time: 30d, 12h, 90m, or ever")
    return int(found[1]) * _UNITS[found[2]]


def age(milliseconds: int) -> str:
    """``30 d``, ``12 h``, ``90 min``, ``ever``: a retention for people."""
    if milliseconds < 0:
        return "ever"
    for unit, size in (("d", _UNITS["d"]), ("h", _UNITS["h"])):
        if milliseconds % size == 0 and milliseconds > size:
            return f"{milliseconds // size} {unit}"
    return f"{milliseconds / 60_000:g} min"


class Found(Struct, frozen=True):
    """A topic as it is on the broker. `retention_ms` is None where the broker does not say."""

    name: str
    partitions: int
    retention_ms: int | None = None
    cleanup: str = ""


STATE_SETTINGS = {"max.message.bytes": str(MAX_RECORD_BYTES), "cleanup.policy": "compact", "segment.ms": "600000"}


async def _admin(bootstrap: str, patience: float, security: Security) -> AIOKafkaAdminClient:
    await reach(bootstrap, security, patience)
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap, **security.client())
    try:
        await admin.start()
    except BaseException:
        await admin.close()
        raise
    return admin


async def create(
    bootstrap: str, *, partitions: int, namespace: str = "", state_topics: Iterable[str] = (), replication: int = 1, patience: float = 30.0,
    security: Security = Security(), events_retention_ms: int | None = None,  # noqa: B008  (frozen)
) -> None:
    """Create what is missing: every topic of the table (`namespace` in front) and the given state topics.

    Existing topics are left as they are; one with another partition count raises `TopicError`, because state and
    sources would no longer lie together. `events_retention_ms` is the retention of `RESULTS`, and is given to those that
    exist as well. A broker that does not answer is asked again for `patience` seconds, then `InputError` is raised.
    """
    rows = {namespace + topic.name: settings(topic, events_retention_ms if topic.name in RESULTS else None) for topic in TOPICS}
    wanted = rows | {name: STATE_SETTINGS for name in state_topics}
    admin = await _admin(bootstrap, patience, security)
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
        if events_retention_ms is not None:
            await _keep(admin, {name: rows[name] for name in sorted(present & {namespace + name for name in RESULTS})})
    finally:
        await admin.close()


async def on_broker(bootstrap: str, names: Sequence[str], *, security: Security = Security(), patience: float = 5.0) -> list[Found]:  # noqa: B008
    """Those of `names` that are on the broker, with what it says of them; one that has just been made is waited for.
    Raises `InputError` where the broker does not answer."""
    admin = await _admin(bootstrap, patience, security)
    until = time.monotonic() + patience
    try:
        while True:
            listed = set(await admin.list_topics())
            present = [name for name in names if name in listed]
            partitions = {row["topic"]: len(row["partitions"]) for row in await _described(admin, present, patience)}
            configs = await _configs(admin, present)
            if all(partitions.get(name) and configs.get(name) for name in names) or time.monotonic() > until:
                break
            await asyncio.sleep(0.2)
    finally:
        await admin.close()
    rows = []
    for name in present:
        config = configs.get(name, {})
        kept = config.get("retention.ms")
        rows.append(Found(name, partitions.get(name, 0), int(kept) if kept else None, config.get("cleanup.policy") or ""))
    return rows


SHOWN_S = 5.0
"""So long a change is waited for: a broker accepts it a moment before it shows it."""
_SET_ON_TOPIC = 1
"""Source of a setting, as the protocol numbers it: neither a default nor the broker's."""


async def _configs(admin: AIOKafkaAdminClient, names: Sequence[str], *, own: bool = False) -> dict[str, dict[str, str]]:
    """Settings of topics; with `own` only those that somebody gave to the topic itself."""
    asked = [ConfigResource(ConfigResourceType.TOPIC, name) for name in names]
    configs: dict[str, dict[str, str]] = {}
    for response in await admin.describe_configs(asked) if asked else ():
        for _, _, _, name, entries in response.resources:
            # The oldest version of the answer says only whether a setting is a default.
            own_entries = [entry for entry in entries if (not entry[3] if response.API_VERSION == 0 else entry[3] == _SET_ON_TOPIC)]
            configs[name] = {entry[0]: entry[1] for entry in (own_entries if own else entries)}
    return configs


async def _keep(admin: AIOKafkaAdminClient, wanted: dict[str, dict[str, str]]) -> None:
    """Give topics that exist another retention. A topic's settings are replaced as a whole, so what others have set goes along."""
    if not wanted:
        return
    present = await _configs(admin, list(wanted), own=True)
    resources = []
    for name, config in wanted.items():
        changes = {key: config[key] for key in ("cleanup.policy", "retention.ms", "segment.ms") if key in config}
        resources.append(ConfigResource(ConfigResourceType.TOPIC, name, present.get(name, {}) | changes))
    try:
        responses = await admin.alter_configs(resources)
    except IncompatibleBrokerVersion as error:
        raise TopicError("this broker cannot change the retention of topics that exist: it lacks the API AlterConfigs") from error
    for response in responses:
        for code, message, _, name in response.resources:
            if code:
                raise TopicError(f"the retention of topic {name} could not be changed: {message or for_code(code).__name__}")
    deadline = asyncio.get_running_loop().time() + SHOWN_S
    while asyncio.get_running_loop().time() < deadline:
        now = await _configs(admin, list(wanted))
        if all(now.get(name, {}).get("retention.ms") == config["retention.ms"] for name, config in wanted.items()):
            return
        await asyncio.sleep(0.1)


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
