"""The AsyncAPI document: what the table says is in it, and the reference parser finds nothing wrong."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import msgspec
import pytest
from jsonschema import Draft202012Validator

from fusion.events import EmotionEvent
from streams import topics
from streams.asyncapi import document
from streams.records import TOPICS, AudioChunk, Decision, Participant, SessionStart

PARSER = "@asyncapi/parser@3.6.3"
CHECK = """
const { Parser } = require('@asyncapi/parser');
const text = require('fs').readFileSync(0, 'utf8');
new Parser().parse(text).then(({ document, diagnostics }) => {
  const problems = diagnostics.filter(d => d.severity <= 1).map(d => d.path.join('.') + ': ' + d.message);
  console.log(JSON.stringify({ parsed: !!document, problems, channels: document ? document.channels().length : 0 }));
});
"""


@pytest.fixture(scope="module")
def parser_folder() -> Path:
    """The reference parser, installed once outside the checkout."""
    place = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "affectstream" / "asyncapi"
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("no node and npm on this machine")
    if not (place / "node_modules" / "@asyncapi" / "parser").is_dir():
        place.mkdir(parents=True, exist_ok=True)
        command = ["npm", "install", "--prefix", str(place), "--no-audit", "--no-fund", "--silent", PARSER]
        done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
        if done.returncode:
            pytest.skip(f"{PARSER} could not be installed: {done.stderr.strip()[:200]}")
    return place


def resolve(root: dict[str, Any], reference: str) -> Any:
    for part in reference.removeprefix("#/").split("/"):
        root = root[part]
    return root


def references(node: Any) -> list[str]:
    if isinstance(node, dict):
        return [node["$ref"]] if "$ref" in node else [found for value in node.values() for found in references(value)]
    return [found for value in node for found in references(value)] if isinstance(node, list) else []


def test_every_row_of_the_topic_table_is_a_channel_with_its_messages() -> None:
    made = document(namespace="eu.", partitions=12)
    addresses = {channel["address"]: channel for channel in made["channels"].values()}
    assert set(addresses) == {"eu." + topic.name for topic in TOPICS}
    for topic in TOPICS:
        channel = addresses["eu." + topic.name]
        assert tuple(channel["messages"]) == topic.carries
        assert channel["bindings"]["kafka"]["partitions"] == 12
        assert channel["bindings"]["kafka"]["topicConfiguration"]["retention.ms"] == topic.retention_ms


def test_every_reference_leads_somewhere_and_the_document_is_plain_json() -> None:
    made = document()
    assert json.loads(json.dumps(made)) == made
    for reference in references(made):
        assert resolve(made, reference)


def test_real_records_satisfy_their_schema() -> None:
    made = document()
    start = SessionStart("s", (Participant("a", channel="left"),), {"a": Decision(True, True, True, "test")}, ("left",))
    event = EmotionEvent("0" * 16, 1000, "final", "s", "a", "customer", "utterance", 0, 100, "neutral", {"neutral": 1.0})
    for record in (start, AudioChunk("s", "left", 0, 0, 16_000, b"\0\0"), event):
        schema = {"$ref": f"#/components/schemas/{type(record).__name__}", "components": made["components"]}
        Draft202012Validator(schema).validate(json.loads(msgspec.json.encode(record)))


def test_the_product_receives_media_and_sends_events() -> None:
    operations = document()["operations"]
    assert {"receive_media_audio", "send_emotion_events", "send_utterances", "receive_utterances"} <= set(operations)
    assert not {"send_media_audio", "receive_emotion_events"} & set(operations)
    assert {topic.name for topic in TOPICS} == set(topics.TABLE)


@pytest.mark.timeout(300)
def test_the_reference_parser_accepts_it(parser_folder: Path) -> None:
    done = subprocess.run(["node", "-e", CHECK], cwd=parser_folder, input=json.dumps(document()), capture_output=True, text=True, timeout=120, check=True)
    result = json.loads(done.stdout.splitlines()[-1])
    assert result == {"parsed": True, "problems": [], "channels": len(TOPICS)}
