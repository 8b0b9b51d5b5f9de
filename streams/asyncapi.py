"""The AsyncAPI 3.0 description of the broker's topics, made from the topic table and the record types.

Operations are seen from the product: it receives media and session records, sends events, alerts and dead letters, and
does both on the topics between its stages.
"""

from __future__ import annotations

from typing import Any

import msgspec

from streams import topics
from streams.records import SCHEMA_VERSION, TOPICS, Topic

_FROM_OUTSIDE = ("sessions", "media.audio", "media.video")
_CONTENT_TYPE = {"json": "application/json", "msgpack": "application/msgpack"}
_SCHEMAS = "#/components/schemas/{name}"


def _text(description: str) -> str:
    return " ".join(description.split())


def _tidy(schema: Any) -> Any:
    """Descriptions on one line; everything else as it is."""
    if isinstance(schema, dict):
        return {key: _text(value) if key == "description" and isinstance(value, str) else _tidy(value) for key, value in schema.items()}
    return [_tidy(item) for item in schema] if isinstance(schema, list | tuple) else schema


def _string(description: str, **rules: Any) -> dict[str, Any]:
    return {"type": "string", "description": description, **rules}


def _headers(topic: Topic) -> dict[str, Any]:
    properties = {
        "schema": _string("Version of the record schema; readers accept every minor version of their major one.", examples=[SCHEMA_VERSION]),
        "codec": _string("How the value is encoded.", const=topic.codec),
        "origin": _string("Who wrote the record: a stage, the gateway, a replay."),
    }
    required = ["schema", "codec", "origin"]
    if topic.name not in _FROM_OUTSIDE:
        properties["identity"] = _string("Same whenever the same output is written again: readers that count drop what they have seen.")
        properties["number"] = _string("Place of the record among the outputs of its stage for its session, in decimal.", pattern="^[0-9]+$")
        properties["clock"] = _string("JSON list of [stage, milliseconds since the epoch]: when which stage passed it on.")
    if topic.codec == "json":
        properties |= {
            "content-type": _string("CloudEvents: media type of the value.", const="application/json"),
            "ce_specversion": _string("CloudEvents version.", const="1.0"), "ce_id": _string("Unique together with ce_source."),
            "ce_source": _string("The stage, as a URI reference.", pattern="^affectstream/"), "ce_type": _string("Kind of the record."),
            "ce_subject": _string("The session."),
        }
        required += ["ce_specversion", "ce_id", "ce_source", "ce_type"]
    return {"type": "object", "properties": properties, "required": required}


def _channel_id(topic: str) -> str:
    return topic.replace(".", "_").replace("-", "_")


def _channel(topic: Topic, namespace: str, partitions: int) -> dict[str, Any]:
    config = topics.settings(topic)
    return {
        "address": namespace + topic.name,
        "description": topic.description + " Key: the session id in UTF-8.",
        "messages": {tag: {"$ref": f"#/components/messages/{_channel_id(topic.name)}.{tag}"} for tag in topic.carries},
        "bindings": {
            "kafka": {
                "topic": namespace + topic.name, "partitions": partitions, "bindingVersion": "0.5.0",
                "topicConfiguration": {
                    "cleanup.policy": [config["cleanup.policy"]], "retention.ms": topic.retention_ms,
                    "max.message.bytes": int(config["max.message.bytes"]),
                },
            }
        },
    }


def _message(topic: Topic, tag: str, payload: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": tag,
        "title": tag.replace("_", " "),
        "contentType": _CONTENT_TYPE[topic.codec],
        "headers": _headers(topic),
        "payload": payload,
        "bindings": {"kafka": {"key": {"type": "string", "description": "Session id."}, "bindingVersion": "0.5.0"}},
    }


def _operations(topic: Topic) -> dict[str, Any]:
    name = _channel_id(topic.name)
    channel = {"$ref": f"#/channels/{name}"}
    messages = [{"$ref": f"#/channels/{name}/messages/{tag}"} for tag in topic.carries]
    public = topic.codec == "json"
    both = not public or topic.name == "acknowledgements"  # another system may take an alert
    actions = ["receive"] if topic.name in _FROM_OUTSIDE else ["send", "receive"] if both else ["send"]
    return {f"{action}_{name}": {"action": action, "channel": channel, "messages": messages} for action in actions}


def document(*, namespace: str = "", partitions: int = 8, host: str = "localhost:9092") -> dict[str, Any]:
    """The document as plain JSON data. Bytes fields are base64 where a value is JSON and raw in MessagePack."""
    tags = list(dict.fromkeys(tag for topic in TOPICS for tag in topic.carries))
    references, schemas = msgspec.json.schema_components([topics.type_of(tag) for tag in tags], ref_template=_SCHEMAS)
    payloads = dict(zip(tags, references, strict=True))
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "affectstream topics",
            "version": SCHEMA_VERSION,
            "description": "Speech and video in, timestamped emotion events with evidence out. Labels say how an expression is perceived, "
            "not what a person feels. All topics have one partition count and are keyed by session.",
            "license": {"name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"},
        },
        "defaultContentType": "application/msgpack",
        "servers": {"kafka": {"host": host, "protocol": "kafka", "description": "The broker."}},
        "channels": {_channel_id(topic.name): _channel(topic, namespace, partitions) for topic in TOPICS},
        "operations": {name: operation for topic in TOPICS for name, operation in _operations(topic).items()},
        "components": {
            "messages": {f"{_channel_id(topic.name)}.{tag}": _message(topic, tag, payloads[tag]) for topic in TOPICS for tag in topic.carries},
            "schemas": _tidy(schemas),
        },
    }
