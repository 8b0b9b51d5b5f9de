"""JSON Schema (draft 2020-12) of the emotion event, generated from the struct and enriched with `FIELD_DOCS`.

Besides types it carries the promises of the event: a withheld event has no emotion, every other one has a label.
`unit` and `source` are annotations that validators ignore.
"""

from __future__ import annotations

from typing import Any

import msgspec

from fusion.events import EmotionEvent
from streams.egress.field_docs import FIELD_DOCS, FieldDoc
from streams.records import SCHEMA_VERSION

_NULLED_WHEN_WITHHELD = ("label", "compound", "valence", "arousal", "dominance", "intensity", "confidence")
_UNDOCUMENTED = FieldDoc(description="")  # the tests see to it that there is none


def schema() -> dict[str, Any]:
    """The schema as a dict; `affectstream schema` prints it."""
    generated: dict[str, Any] = msgspec.json.schema(EmotionEvent)
    definitions: dict[str, Any] = generated["$defs"]
    for name, definition in definitions.items():
        definition["description"] = " ".join(definition.get("description", "").split())
        for field, node in definition["properties"].items():
            definition["properties"][field] = _enriched(node, FIELD_DOCS.get(name, {}).get(field, _UNDOCUMENTED))
    event = definitions["EmotionEvent"]
    event["properties"]["id"]["pattern"] = "^[0-9a-f]{16}$"
    event["allOf"] = [_withheld_rule(), _label_rule()]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:affectstream:emotion-event:{SCHEMA_VERSION}",
        "title": "Emotion event",
        "description": "Expression as perceived, not what a person feels.",
        "$ref": generated["$ref"],
        "$defs": definitions,
    }


def _enriched(node: dict[str, Any], doc: FieldDoc) -> dict[str, Any]:
    limits = {"minimum": doc.minimum, "maximum": doc.maximum}
    _limit_numbers(node, {key: value for key, value in limits.items() if value is not None})
    return {"description": doc.description, "unit": doc.unit, "source": doc.source, **node}


def _limit_numbers(node: dict[str, Any], limits: dict[str, float]) -> None:
    """Puts the range on the number itself, on the number of a nullable field, or on the values of a map."""
    if node.get("type") in ("number", "integer"):
        node.update(limits)
    for branch in node.get("anyOf", ()):
        _limit_numbers(branch, limits)
    if isinstance(node.get("additionalProperties"), dict):
        _limit_numbers(node["additionalProperties"], limits)


def _withheld_rule() -> dict[str, Any]:
    empty: dict[str, Any] = {field: {"type": "null"} for field in _NULLED_WHEN_WITHHELD}
    empty |= {"probabilities": {"maxProperties": 0}, "open_labels": {"maxItems": 0}, "evidence": {"maxItems": 0}}
    return {"if": {"properties": {"status": {"const": "withheld"}}}, "then": {"properties": empty}}


def _label_rule() -> dict[str, Any]:
    return {
        "if": {"properties": {"status": {"enum": ["final", "revised"]}, "kind": {"enum": ["utterance", "face"]}}},
        "then": {"properties": {"label": {"type": "string"}}},
    }
