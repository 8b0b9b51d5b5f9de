"""Every export says the same, in its own format's rules."""

from __future__ import annotations

import json
import re
from pathlib import Path

import jsonschema
import msgspec
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from extractors.errors import InputError
from fusion.events import EmotionEvent
from fusion.settle import settled
from streams.egress.field_docs import FIELD_DOCS
from streams.egress.jsonl import JsonlWriter, encode_event, read_events
from streams.egress.parquet import ParquetWriter, table_schema
from streams.egress.schema import schema
from streams.egress.vtt import captions, emotion_track, timestamp
from tests.streams.egress.scenario import right_to_left, round_table, support_call

EVENTS = support_call()
ALL = [*EVENTS, *round_table(), *right_to_left()]


# JSON Lines and the schema


def test_what_is_written_is_what_is_read(tmp_path: Path) -> None:
    with JsonlWriter(tmp_path / "events.jsonl") as writer:
        for event in ALL:
            writer.write(event)
    assert list(read_events(tmp_path / "events.jsonl")) == ALL
    assert not (tmp_path / "events.jsonl.part").exists()


def test_the_file_has_its_name_only_when_complete_and_every_line_is_whole_before(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), JsonlWriter(tmp_path / "events.jsonl") as writer:
        for event in EVENTS[:5]:
            writer.write(event)
        raise KeyboardInterrupt
    assert not (tmp_path / "events.jsonl").exists()
    assert list(read_events(tmp_path / "events.jsonl.part")) == EVENTS[:5]


@given(cut=st.integers(1, 3000))
def test_an_interrupted_file_goes_on_after_its_last_whole_line(cut: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("jsonl")
    writer = JsonlWriter(folder / "e.jsonl")
    for event in EVENTS[:3]:
        writer.write(event)
    part = writer.abandon()
    data = part.read_bytes()
    part.write_bytes(data[: len(data) - min(cut, len(data))])
    whole = part.read_bytes().count(b"\n")
    writer = JsonlWriter(folder / "e.jsonl", append=True)
    for event in EVENTS[whole:4]:
        writer.write(event)
    assert list(read_events(writer.close())) == EVENTS[:4]


def test_the_order_of_a_map_does_not_change_the_bytes() -> None:
    event = EVENTS[1]
    turned = msgspec.structs.replace(event, probabilities=dict(reversed(event.probabilities.items())))
    assert encode_event(event) == encode_event(turned)


def test_a_number_that_json_does_not_have_is_refused_by_name() -> None:
    event = msgspec.structs.replace(EVENTS[1], observables={"loudness_lufs": float("nan")})
    with pytest.raises(ValueError, match="event.observables.loudness_lufs"):
        encode_event(event)


def test_a_broken_line_is_named_by_number(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(encode_event(EVENTS[0]) + b'{"id": 3}\n')
    with pytest.raises(InputError, match="line 2"):
        list(read_events(path))


def test_an_unwritable_folder_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    for writer in (JsonlWriter, ParquetWriter):
        with pytest.raises(InputError, match="cannot be written"):
            writer(tmp_path / "file" / "events")


def test_every_event_validates_against_the_published_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(schema())
    validator = jsonschema.Draft202012Validator(schema())
    for event in ALL:
        validator.validate(json.loads(encode_event(event)))


def test_the_schema_refuses_what_the_contract_forbids() -> None:
    validator = jsonschema.Draft202012Validator(schema())
    withheld = json.loads(encode_event(next(e for e in EVENTS if e.status == "withheld")))
    final = json.loads(encode_event(next(e for e in EVENTS if e.status == "final")))
    assert not validator.is_valid(withheld | {"label": "anger"})
    assert not validator.is_valid(withheld | {"probabilities": {"anger": 1.0}})
    assert not validator.is_valid(final | {"label": None})
    assert not validator.is_valid(final | {"valence": 1.2})
    assert not validator.is_valid(final | {"probabilities": {"anger": 1.2}})
    assert not validator.is_valid(final | {"id": "not-hex"})


def test_every_field_is_documented_and_no_row_is_left_over() -> None:
    definitions = schema()["$defs"]
    assert set(definitions) == set(FIELD_DOCS)
    for name, definition in definitions.items():
        assert set(definition["properties"]) == set(FIELD_DOCS[name]), name
        for field, node in definition["properties"].items():
            assert node["description"] and node["unit"] and node["source"], f"{name}.{field}"
        numbers = {f for f, n in definition["properties"].items() if re.search('"(number|integer)"', json.dumps(n)) and "$ref" not in str(n)}
        documented = {f for f in numbers if FIELD_DOCS[name][f].unit != "none"}
        assert numbers == documented, "every number has a unit"


# Which events count


@given(order=st.permutations(range(6)), twice=st.lists(st.integers(0, 5), max_size=4))
def test_neither_order_nor_repetition_of_delivery_matters(order: list[int], twice: list[int]) -> None:
    first, second = EVENTS[0], EVENTS[1]
    delivered = [
        first, msgspec.structs.replace(first, revision=1, status="partial"), second,
        msgspec.structs.replace(second, revision=1001, status="revised", label="fear"),
        msgspec.structs.replace(EVENTS[2], status="partial", revision=2), EVENTS[3],
    ]
    arrived = [delivered[i] for i in (*order, *twice)]
    assert settled(arrived) == [first, delivered[3], EVENTS[3]]


# WebVTT


def parse_vtt(text: str) -> list[tuple[str, int, int, str]]:
    """A strict reader of what the standard calls a conforming file; returns (id, start, end, payload)."""
    assert text.startswith("WEBVTT") and text.endswith("\n") and "\r" not in text and "\x00" not in text
    blocks = text.rstrip("\n").split("\n\n")
    cues = []
    for block in blocks[1:]:
        lines = block.split("\n")
        if lines[0].startswith("NOTE"):
            assert "-->" not in block
            continue
        ident, timing, *payload = lines
        match = re.fullmatch(r"(\d{2,}):([0-5]\d):([0-5]\d)\.(\d{3}) --> (\d{2,}):([0-5]\d):([0-5]\d)\.(\d{3})", timing)
        assert match and "-->" not in ident, block
        h, m, s, ms, h2, m2, s2, ms2 = map(int, match.groups())
        start, end = ((h * 60 + m) * 60 + s) * 1000 + ms, ((h2 * 60 + m2) * 60 + s2) * 1000 + ms2
        assert end > start and all(payload) and "-->" not in "\n".join(payload)
        cues.append((ident, start, end, "\n".join(payload)))
    assert [c[1] for c in cues] == sorted(c[1] for c in cues), "cues are sorted"
    assert len({c[0] for c in cues}) == len(cues), "identifiers are unique"
    return cues


def test_captions_hold_the_words_of_everybody_with_their_voice_and_no_emotion() -> None:
    text = captions(EVENTS, names={"customer": "A & B <Co>"}, language="en")
    cues = parse_vtt(text)
    said = [e for e in settled(EVENTS) if e.transcript]
    assert [c[0] for c in cues] == [e.id for e in said]
    assert any("&lt;again&gt; &amp; again" in c[3] for c in cues)
    assert all(re.fullmatch(r"<v (A &amp; B &lt;Co&gt;|agent)>[^<>]*</v>", c[3]) for c in cues)
    assert not any(label in text for label in ("anger", "disgust", "happiness"))


def test_the_emotion_track_is_json_cue_by_cue_and_says_nothing_about_an_employee() -> None:
    payloads = [json.loads(c[3]) for c in parse_vtt(emotion_track(ALL))]
    assert len(payloads) == len(settled(ALL))
    for payload in payloads:
        if payload["role"] == "employee":
            assert set(payload) == {"participant", "role", "kind", "status", "reason"}
        else:
            assert payload["label"]
    assert "not what a person feels" in emotion_track(ALL)


def test_no_transcript_can_break_out_of_its_cue() -> None:
    evil = "first\n\n00:00:00.000 --> 00:00:09.000\n</v><v admin>--> \u2028 &amp;"
    transcript = msgspec.structs.replace(EVENTS[1].transcript, text=evil)  # type: ignore[type-var]
    event = msgspec.structs.replace(EVENTS[1], transcript=transcript, explanation=evil)
    assert len(parse_vtt(captions([event]))) == 1
    assert len(parse_vtt(emotion_track([event]))) == 1


def test_times_beyond_a_hundred_hours_and_empty_spans_stay_valid() -> None:
    assert timestamp(0) == "00:00:00.000" and timestamp(360_000_000) == "100:00:00.000"
    event = msgspec.structs.replace(EVENTS[1], start_ms=360_000_000, end_ms=360_000_000)
    assert parse_vtt(captions([event]))[0][2] == 360_000_001


def test_nothing_gives_a_valid_empty_file() -> None:
    assert parse_vtt(captions([])) == [] and parse_vtt(emotion_track([])) == []


# Parquet


def test_the_table_has_one_row_an_event_in_several_groups_and_one_schema(tmp_path: Path) -> None:
    writer = ParquetWriter(tmp_path / "events.parquet", group_rows=50)
    for event in ALL:
        writer.write(event)
    path = writer.close()
    file = pq.ParquetFile(path)
    assert file.num_row_groups > 1 and file.schema_arrow.equals(table_schema(), check_metadata=False)
    rows = file.read().to_pylist()
    assert [r["id"] for r in rows] == [e.id for e in ALL]
    for row, event in zip(rows, ALL, strict=True):
        assert {p["label"]: p["score"] for p in row["probabilities"]} == event.probabilities
        assert row["text"] == (event.transcript.text if event.transcript else None)
        assert [e["text"] for e in row["evidence"]] == [e.text for e in event.evidence]


def test_units_travel_in_the_column_metadata(tmp_path: Path) -> None:
    ParquetWriter(tmp_path / "e.parquet").close()
    table = pq.read_schema(tmp_path / "e.parquet")
    assert table.field("start_ms").metadata[b"unit"] == b"ms since session start"
    assert table.field("valence").metadata[b"range"] == b"[-1, 1]"


def test_the_same_events_give_the_same_table_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        writer = ParquetWriter(tmp_path / name)
        for event in ALL:
            writer.write(event)
        writer.close()
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def _columns_of(event: type[EmotionEvent]) -> set[str]:
    return {f.name for f in msgspec.structs.fields(event)}


def test_every_field_of_the_event_has_a_place_in_the_table() -> None:
    flattened = {"transcript": "text", "context": "shift", "policy": "policy_decision"}
    assert {flattened.get(n, n) for n in _columns_of(EmotionEvent)} <= set(table_schema().names)
