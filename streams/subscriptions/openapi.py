"""The OpenAPI 3.1 document, written from the tables that the code itself uses."""

from __future__ import annotations

import importlib.metadata
from typing import Any

import msgspec

from fusion.metrics import ConversationMetrics
from streams.subscriptions.calls import OpenAlert, SessionState
from streams.subscriptions.filters import PARAMETERS
from streams.subscriptions.messages import as_schema
from streams.subscriptions.reading import LIST_PARAMETERS, SEARCH_PARAMETERS

_ERROR = {"type": "object", "properties": {"error": {"type": "string"}, "cure": {"type": "string"}}, "required": ["error", "cure"]}


def document() -> dict[str, Any]:
    """All paths of `streams.subscriptions.app.routes` with parameters, answers and the schemas of all messages."""
    messages = as_schema()
    (state, alert, metrics), more = msgspec.json.schema_components((SessionState, OpenAlert, ConversationMetrics), ref_template="#/components/schemas/{name}")
    session = {"name": "session", "in": "path", "required": True, "schema": {"type": "string"}, "description": "Id of the session, percent-encoded."}
    several = {"session", "participant", "role", "label", "type"}
    stream = [
        {"name": name, "in": "query", "description": text, "schema": {"type": "array", "items": {"type": "string"}} if name in several else {"type": "string"}}
        for name, text in PARAMETERS.items()
    ]
    found = [{"name": name, "in": "query", "description": text, "schema": {"type": "string"}} for name, text in SEARCH_PARAMETERS.items()]
    paths = {
        "/v1/events": {"get": _operation(
            "Follow events, alerts and sessions", "WebSocket (upgrade) or Server-Sent Events. A WebSocket frame carries one or more messages, one JSON "
            "object a line. A refused request gets an `error` message and close code 4400 (request), 4401 (token) or 4403 (origin) on a "
            "WebSocket; 1013 (503 for Server-Sent Events) means that too many subscribe at the moment.",
            {"text/event-stream": {"schema": {"oneOf": list(messages["messages"].values())}}}, stream,
        )},
        "/v1/sessions": {"get": _operation(
            "All sessions kept, live ones that need attention first", "`position` is where a subscription goes on without a gap (`after`).",
            _object(position={"type": "string"}, now_ms={"type": "integer"}, total={"type": "integer"}, hub={"type": "object"}, sessions={"type": "array", "items": state}),
            [{"name": name, "in": "query", "description": text, "schema": {"type": "string"}} for name, text in LIST_PARAMETERS.items()],
        )},
        "/v1/sessions/{session}": {"get": _operation(
            "One session: state, events, figures, headline", "", _object(
                position={"type": "string"}, state=state, events={"type": "array", "items": {"$ref": "#/components/schemas/EmotionEvent"}},
                headline={"type": "object"}, metrics=metrics),
            [session, {"name": "events", "in": "query", "schema": {"type": "string"}, "description": "false: without the events."}],
        )},
        "/v1/sessions/{session}/report": {"get": _operation("The report as one HTML page", "", {"text/html": {}}, [session])},
        "/v1/sessions/{session}/media": {"get": _operation("The recording, where it is served (ranges work)", "", {"application/octet-stream": {}}, [session])},
        "/v1/sessions/{session}/curves": {"get": _operation(
            "Valence curves as a Bokeh document", "", _object(doc={"type": "object"}, roots={"type": "object"}), [session])},
        "/v1/sessions/{session}/faces": {"get": _operation(
            "Faces at moments of change, cut from the recording where it is served", "One entry an event: its id, the media time of the picture and a small "
            "JPEG as a data URL. Nobody whom policy does not let analyse is among them.", _object(faces={"type": "array", "items": {
                "type": "object", "properties": {"event": {"type": "string"}, "at_ms": {"type": "integer"}, "image": {"type": "string"}},
                "required": ["event", "at_ms", "image"]}}), [session])},
        "/v1/alerts": {"get": _operation(
            "All alerts kept", "Open ones nobody took come first.", _object(position={"type": "string"}, alerts={"type": "array", "items": alert}))},
        "/v1/alerts/{alert}/acknowledge": {"post": _operation(
            "Say that somebody has taken an alert", "The first one counts; saying it again changes nothing.", {"application/json": {"schema": alert}},
            [{"name": "alert", "in": "path", "required": True, "schema": {"type": "string"}}],
        ) | {"requestBody": {"required": True, "content": _object(by={"type": "string", "minLength": 1, "maxLength": 80})}}},
        "/v1/search": {"get": _operation("Search the events of all sessions kept", "", _object(total={"type": "integer"}, hits={"type": "array"}), found)},
        "/v1/openapi.json": {"get": _operation("This document", "", {"application/json": {}})},
    }
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "affectstream subscriptions", "version": importlib.metadata.version("affectstream"),
            "description": "Emotion events, alerts and sessions. Labels describe expression as perceived, not what a person feels.",
        },
        "paths": paths,
        "components": {
            "schemas": {**messages["definitions"], **more, "Error": _ERROR},
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}, "query": {"type": "apiKey", "in": "query", "name": "token"}},
        },
        "security": [{}, {"bearer": []}, {"query": []}],
    }


def _object(**properties: Any) -> dict[str, Any]:
    return {"application/json": {"schema": {"type": "object", "properties": properties, "required": list(properties)}}}


def _operation(summary: str, description: str, content: dict[str, Any], parameters: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    error = {"description": "Refused, with the cure", "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}}
    return {
        "summary": summary, "description": description, "parameters": parameters or [],
        "responses": {"200": {"description": summary, "content": content}, "400": error, "401": error, "404": error},
    }
