"""What every protocol owes: the same samples in frames of any size, one end whatever happens, one error for garbage."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.records import AudioChunk, SessionStart, SourceEnd
from tests.streams.ingest.gateway.driving import ends_of, events_of, faults_of, pcm_of, records_of
from tests.streams.ingest.gateway.scripts import SAMPLES, SCRIPTS, Script

each = pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
sizes = st.lists(st.integers(1, 700), min_size=1, max_size=60)
garbage = st.one_of(
    st.binary(min_size=1, max_size=300),
    st.text(max_size=60),
    st.sampled_from([
        "{}", "[]", "null", '{"event": "media"}', '{"event":"start"}', '{"type":"open"}', '{"event": "media", "media": {"payload": "\\ud800"}}',
        '{"version":"2","id":7,"seq":1,"type":"ping"}',
    ]),
    st.recursive(st.none() | st.booleans() | st.floats() | st.text(max_size=5), lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=9), inner))
    .map(json.dumps),
)
quick = settings(max_examples=40, deadline=None)


@each
@given(sizes)
@quick
def test_frames_of_any_size_give_the_same_samples(script: Script, sizes: list[int]) -> None:
    records = records_of(events_of(script.codec(), script.messages(sizes)))
    assert pcm_of(records) == script.pcm


@each
def test_the_records_do_not_depend_on_the_frames(script: Script) -> None:
    def media(sizes: list[int]) -> dict[str, list[AudioChunk]]:
        records = records_of(events_of(script.codec(), script.messages(sizes)))
        return {source: [r for r in records if isinstance(r, AudioChunk) and r.source == source] for source in script.pcm}

    assert media([160] * 100) == media([1000, 1, 333]) == media([7] * 3000)


@each
def test_the_samples_are_as_many_as_were_announced(script: Script) -> None:
    records = records_of(events_of(script.codec(), script.messages([160] * 100)))
    for source, pcm in pcm_of(records).items():
        rate = next(r.rate for r in records if isinstance(r, AudioChunk) and r.source == source)
        assert abs(len(pcm) // 2 - SAMPLES) <= 1
        end = next(r for r in records if isinstance(r, SourceEnd) and r.source == source)
        assert end.media_ms == SAMPLES * 1000 // rate
        assert end.seq == sum(isinstance(r, AudioChunk) and r.source == source for r in records)


@each
@given(sizes, st.floats(0, 1))
@quick
def test_a_connection_cut_anywhere_ends_the_session_once(script: Script, sizes: list[int], part: float) -> None:
    messages = script.messages(sizes)
    kept = messages[: round(part * len(messages))]
    codec = script.codec()
    records = records_of([*events_of(codec, kept), *codec.flush()])
    begun = any(isinstance(record, SessionStart) for record in records)
    assert len(ends_of(records)) == int(begun)
    if begun:
        assert isinstance(records[0], SessionStart) and records[-1] is next(r for r in reversed(records))
        assert sum(isinstance(r, SourceEnd) for r in records) == len(script.pcm)


@each
@given(sizes, garbage, st.floats(0, 1))
@settings(max_examples=80, deadline=None)
def test_garbage_gives_at_most_one_error_and_one_end_and_never_a_crash(script: Script, sizes: list[int], junk: str | bytes, part: float) -> None:
    messages = script.messages(sizes)
    at = round(part * len(messages))
    codec = script.codec()
    events = events_of(codec, [*messages[:at], junk, *messages[at:]])
    records = records_of(events)
    assert len(faults_of(events)) <= 1
    assert len(ends_of(records)) == sum(isinstance(record, SessionStart) for record in records) <= 1


@pytest.mark.parametrize("script", [s for s in SCRIPTS if s.breaks], ids=lambda script: script.name)
def test_garbage_ends_the_session_with_a_reason(script: Script) -> None:
    junk = b"\xde\xad\xbe\xef" * 40 if script.name in ("own", "audiosocket") else "certainly no message"
    opening = [] if script.name == "audiosocket" else script.messages([160] * 100)[: script.greeting + 3]
    codec = script.codec()
    events = events_of(codec, [*opening, junk])
    (fault,) = faults_of(events)
    assert fault.what and fault.code
    assert ends_of(records_of(events)) == (["error"] if opening else [])
    assert codec.done or script.name == "audiohook"  # AudioHook waits for the client's farewell
