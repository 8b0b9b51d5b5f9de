"""A session of the Kafka runtime without a broker: a log in memory, and a crash wherever one can happen."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extractors.registry import ModelMissing
from fusion.events import EmotionEvent, event_id
from streams import topics
from streams.records import AudioChunk, DeadLetter, Decision, Participant, SessionEnd, SessionStart, Utterance, encode
from streams.runtimes.kafka_session import Checkpoint, Node, SessionRunner, decode_checkpoint, encode_checkpoint
from streams.runtimes.kafka_wire import Delivery, Emission, Message, Refused, headers_of, media_headers, parse


class Words:
    """Cuts the payload bytes into runs without zero bytes and numbers them; b"!" is refused after half the work."""

    def __init__(self, start: SessionStart) -> None:
        self.start, self.seq, self.index, self.read, self.open = start, -1, 0, 0, b""

    def feed(self, record: Any) -> Iterable[Any]:
        if isinstance(record, SessionEnd):
            return self._close()
        if not isinstance(record, AudioChunk) or record.seq <= self.seq:
            return []
        outputs = []
        for value in record.payload:
            self.read += 1
            if value == ord("!"):
                raise ValueError("poison")
            if value:
                self.open += bytes([value])
            else:
                outputs += self._close()
        self.seq = record.seq
        return outputs

    def _close(self) -> list[Any]:
        if not self.open:
            return []
        word = Utterance(self.start.session, "a", "a", self.index, self.read - len(self.open), self.read, self.open)
        self.index, self.open = self.index + 1, b""
        return [word]

    def feed_many(self, records: Any) -> Iterable[Any]:
        return [output for record in records for output in self.feed(record)]

    def tick(self, now_ms: int) -> Iterable[Any]:
        return ()

    def flush(self) -> Iterable[Any]:
        return ()

    def snapshot(self) -> bytes:
        return msgspec.msgpack.encode((self.seq, self.index, self.read, self.open))

    def restore(self, state: bytes) -> None:
        self.seq, self.index, self.read, self.open = msgspec.msgpack.decode(state)


def start_of(session: str = "s") -> SessionStart:
    return SessionStart(session, (Participant("a", channel="a"),), {"a": Decision(True, True, True, "test")}, ("a",))


def log_of(payloads: list[bytes]) -> list[Delivery]:
    chunks = [AudioChunk("s", "a", seq, seq, 16_000, payload) for seq, payload in enumerate(payloads)]
    records = [start_of(), *chunks, SessionEnd("s")]
    return [Delivery("media.audio", offset, 1_000 + offset, record, encode(record)) for offset, record in enumerate(records)]


def node(every: int = 1) -> Node:
    return Node("segment", ("utterances",), Words, lambda start: frozenset({"media.audio"}), every=every)


def base_of(log: list[Delivery]) -> Checkpoint:
    return Checkpoint(log[0].record, 0, {"media.audio": log[0].offset}, {"utterances": 0, "dead-letters": 0})


def bytes_of(emissions: list[Emission]) -> list[tuple[str, str, bytes]]:
    return [(emission.topic, emission.identity, topics.encode_for(emission.topic, emission.record)) for emission in emissions]


def straight(log: list[Delivery]) -> list[Emission]:
    """All outputs without a crash, one record at a time."""
    runner = SessionRunner(node(), base_of(log))
    return [emission for delivery in log for emission in runner.take([delivery])]


payloads = st.lists(st.text("ab\0\0!", max_size=6).map(str.encode), max_size=12)


@given(payloads, st.integers(1, 5), st.data())
@settings(max_examples=300, deadline=None)
def test_a_crash_anywhere_writes_every_output_once_with_the_same_bytes(parts: list[bytes], every: int, data: st.DataObject) -> None:
    log = log_of(parts)
    written: list[Emission] = []  # what lies on the output topics
    stored, committed, position = base_of(log), 0, 0
    runner = SessionRunner(node(every), stored)
    while position < len(log):
        size = data.draw(st.integers(1, 4))
        batch = log[position : position + size]
        crash = data.draw(st.sampled_from(["no", "no", "no", "before outputs", "between outputs", "before checkpoint", "before commit"]))
        emissions = runner.take(batch)
        delivered = {"before outputs": 0, "between outputs": len(emissions) // 2}.get(crash, len(emissions))
        written += emissions[:delivered]
        position += len(batch)
        if crash in ("no", "before commit"):
            checkpoint = runner.checkpoint({"media.audio": position}, {"utterances": len(written), "dead-letters": len(written)})
            if checkpoint:
                stored = decode_checkpoint(encode_checkpoint(checkpoint))
                runner.stored(stored)
        if crash == "no":
            committed = position
            continue
        # Somebody else takes over: the outputs since the checkpoint are looked up, the inputs since it are read again.
        position = committed
        seen = {f"{emission.topic}/{emission.identity}" for emission in written[stored.outputs["utterances"] :]}
        runner = SessionRunner(node(every), stored, seen)
        written += runner.take(log[stored.positions["media.audio"] : position])
    assert bytes_of(written) == bytes_of(straight(log))


@given(payloads, st.data())
def test_an_output_delivered_twice_is_taken_once(parts: list[bytes], data: st.DataObject) -> None:
    """The stage behind sees doubled records (a writer that did not get its acknowledgement) and takes each once."""
    class Copy(Words):
        def feed(self, record: Any) -> Iterable[Any]:
            return [msgspec.structs.replace(record, participant="b")] if isinstance(record, Utterance) else []

    outputs = [emission for emission in straight(log_of(parts)) if not isinstance(emission.record, DeadLetter)]
    doubled = [emission for emission in outputs for _ in range(data.draw(st.integers(1, 3)))]
    records = [Delivery("utterances", offset, 0, e.record, b"", "segment", e.number) for offset, e in enumerate(doubled)]
    behind = Node("copy", ("utterances",), Copy, lambda start: frozenset({"utterances"}))
    runner = SessionRunner(behind, Checkpoint(start_of(), 0, {"utterances": 0}, {}))
    copies = [emission.record for emission in runner.take(records) if isinstance(emission.record, Utterance)]
    assert [copy.index for copy in copies] == [e.record.index for e in outputs if isinstance(e.record, Utterance)]


@given(payloads, st.data())
def test_batches_give_the_same_bytes_as_single_records(parts: list[bytes], data: st.DataObject) -> None:
    log = log_of(parts)
    runner, position, emissions = SessionRunner(node(), base_of(log)), 0, []
    while position < len(log):
        size = data.draw(st.integers(1, 5))
        emissions += runner.take(log[position : position + size])
        position += size
    assert bytes_of(emissions) == bytes_of(straight(log))


def test_a_poison_record_costs_only_itself() -> None:
    emissions = straight(log_of([b"ab\0", b"a!b\0", b"b\0"]))
    letters = [e.record for e in emissions if isinstance(e.record, DeadLetter)]
    words = [e.record.payload for e in emissions if isinstance(e.record, Utterance)]
    assert words == [b"ab", b"b"]
    assert [(letter.session, letter.stage, letter.reason) for letter in letters] == [("s", "segment", "ValueError: poison")]
    assert encode(AudioChunk("s", "a", 1, 1, 16_000, b"a!b\0")) == letters[0].original


def test_a_record_after_the_end_is_refused_and_the_end_stands() -> None:
    log = log_of([b"a\0"])
    late = Delivery("media.audio", 9, 0, AudioChunk("s", "a", 7, 7, 16_000, b"b\0"), b"late")
    runner = SessionRunner(node(), base_of(log))
    runner.take(log)
    letters = runner.take([late])
    assert [e.record.reason for e in letters] == ["the session has ended before this record"]
    assert runner.closed


def test_a_stage_that_cannot_be_rebuilt_still_passes_the_end_on() -> None:
    class Broken(Words):
        def restore(self, state: bytes) -> None:
            raise ValueError("state of another version")

    log = log_of([b"a\0", b"b\0"])
    base = msgspec.structs.replace(base_of(log), state=b"x", positions={"media.audio": 1}, emitted=1)
    runner = SessionRunner(msgspec.structs.replace(node(), make=Broken), base)
    emissions = runner.take(log[1:])
    assert [topics.tag_of(e.record) for e in emissions] == ["dead_letter", "dead_letter", "session_end"]
    assert "state of another version" in emissions[0].record.reason
    assert runner.closed


def test_a_stage_that_fails_at_the_end_still_passes_it_on() -> None:
    class Endless(Words):
        def _close(self) -> list[Any]:
            raise ValueError("nothing to close")

    log = log_of([b"a"])
    runner = SessionRunner(msgspec.structs.replace(node(), make=Endless), base_of(log))
    emissions = runner.take(log)
    assert [topics.tag_of(e.record) for e in emissions] == ["session_start", "dead_letter", "session_end"]
    assert runner.closed


def test_a_missing_model_is_no_fault_of_the_record() -> None:
    def make(start: SessionStart) -> Words:
        raise ModelMissing("no model is called x")

    log = log_of([b"a"])
    with pytest.raises(ModelMissing):
        SessionRunner(msgspec.structs.replace(node(), make=make), base_of(log)).take(log)


@pytest.mark.parametrize("written", [0, 1, 2])
def test_outputs_of_a_deadline_are_written_once_whenever_the_worker_dies(written: int) -> None:
    """The state after a deadline says that two events were sent early; the worker dies with `written` of them on the log."""
    class Early(Words):
        def tick(self, now_ms: int) -> Iterable[Any]:
            sent = [] if self.index else [event_of(100), event_of(200)]
            self.index += len(sent)
            return sent

    log = log_of([b"a"])
    live = Node("fuse", ("emotion.events",), Early, lambda start: frozenset({"media.audio", "other"}), numbered=False)
    runner = SessionRunner(live, base_of(log))
    runner.take(log[:2])
    checkpoint, emissions = runner.tick(5_000, {"media.audio": 2}, {"emotion.events": 0})
    assert checkpoint is not None and [e.record.start_ms for e in emissions] == [100, 200]
    assert runner.tick(6_000, {}, {}) == (None, [])
    stored = decode_checkpoint(encode_checkpoint(checkpoint))
    seen = {f"{e.topic}/{e.identity}" for e in emissions[:written]}
    successor = SessionRunner(live, stored, seen)
    assert bytes_of(successor.take(log[2:])) == bytes_of(emissions[written:])
    assert successor.tick(7_000, {}, {}) == (None, [])


def event_of(start_ms: int) -> EmotionEvent:
    return EmotionEvent(event_id("s", "a", start_ms, "utterance"), 1000, "final", "s", "a", "customer", "utterance", start_ms, start_ms + 50, "neutral")


def test_a_large_state_is_kept_back_until_it_is_small_again() -> None:
    log = log_of([b"a" * 100_000, b"a", b"a\0", b"a"])
    runner = SessionRunner(node(), base_of(log))
    due = []
    for delivery in log[:-1]:
        runner.take([delivery])
        checkpoint = runner.checkpoint({"media.audio": delivery.offset + 1}, {})
        due.append(checkpoint is not None)
        if checkpoint:
            runner.stored(checkpoint)
    assert due == [True, False, False, True, True]


def test_what_is_not_a_record_of_the_topic_is_refused_with_the_reason() -> None:
    chunk = AudioChunk("s", "a", 0, 0, 16_000, b"")
    cases = {
        "not a record of this topic": (b"s", b"\xff\x00garbage", media_headers("t")),
        "has no place on topic media.audio": (b"s", encode(Utterance("s", "a", "a", 0, 0, 1, b"")), media_headers("t")),
        "schema version 9.0 is not 1.x": (b"s", encode(chunk), [("schema", b"9.0")]),
        "the key of the record is not its session": (b"other", encode(chunk), media_headers("t")),
        "record has no value": (b"s", None, media_headers("t")),
    }
    for reason, (key, value, headers) in cases.items():
        try:
            parse(Message("media.audio", 0, 0, key, value, headers))
        except Refused as refused:
            assert reason in str(refused)
        else:
            raise AssertionError(reason)
    newer_minor = [("schema", b"1.7"), ("codec", b"msgpack")]
    assert parse(Message("media.audio", 3, 5, b"s", encode(chunk), newer_minor)).record == chunk


def test_public_records_carry_cloudevents_attributes() -> None:
    letter = next(e for e in straight(log_of([b"!"])) if isinstance(e.record, DeadLetter))
    headers = {name: value.decode() for name, value in headers_of(letter, "segment")}
    assert headers["ce_specversion"] == "1.0" and headers["content-type"] == "application/json"
    assert headers["ce_id"] == "segment.media.audio.0.1" and headers["ce_source"] == "affectstream/segment"
    assert headers["ce_type"] == "affectstream.dead_letter.v1" and headers["ce_subject"] == "s"


class Guesses(Words):
    """Also gives out the open word after a chunk. `shown`: after which chunks; with a busy stage they are others each time."""

    def __init__(self, start: SessionStart, shown: frozenset[int]) -> None:
        super().__init__(start)
        self.shown = shown

    def feed(self, record: Any) -> Iterable[Any]:
        outputs = list(super().feed(record))
        if isinstance(record, AudioChunk) and self.open and record.seq in self.shown:
            outputs.append(Utterance(self.start.session, "a", "a", self.index, self.read - len(self.open), self.read, self.open, partial=len(self.open)))
        return outputs


@given(payloads, st.frozensets(st.integers(0, 12)), st.frozensets(st.integers(0, 12)), st.data())
def test_hypotheses_that_come_or_not_leave_what_is_final_alone(parts: list[bytes], shown: frozenset[int], again: frozenset[int], data: st.DataObject) -> None:
    def runner(which: frozenset[int], delivered: set[str]) -> SessionRunner:
        guessing = Node("segment", ("utterances",), lambda start: Guesses(start, which), lambda start: frozenset({"media.audio"}))
        return SessionRunner(guessing, base_of(log), delivered)

    log = log_of(parts)
    first = runner(shown, set())
    written = [emission for delivery in log[: data.draw(st.integers(0, len(log)))] for emission in first.take([delivery])]
    second = runner(again, {f"{emission.topic}/{emission.identity}" for emission in written if emission.identity})
    written += [emission for delivery in log for emission in second.take([delivery])]
    final = [emission for emission in written if emission.identity]
    assert [(*one, emission.number) for one, emission in zip(bytes_of(final), final, strict=True)] == [
        (*one, emission.number) for one, emission in zip(bytes_of(straight(log)), straight(log), strict=True)
    ]
    assert all(emission.number == -1 and emission.record.partial for emission in written if not emission.identity)


def test_a_live_session_whose_stage_cannot_be_made_again_costs_only_itself() -> None:
    class Spoilt(Words):
        def restore(self, state: bytes) -> None:
            raise ValueError("not a state")

        def pressed(self, lag_ms: int) -> None:
            raise AssertionError("no stage was made")

    log = log_of([b"ab", b"c\0"])
    base = msgspec.structs.replace(base_of(log), start=msgspec.structs.replace(start_of(), live=True), state=b"?")
    runner = SessionRunner(Node("segment", ("utterances",), Spoilt, lambda start: frozenset({"media.audio"})), base)
    emissions = [emission for delivery in log for emission in runner.take([delivery])]
    letters = [emission.record for emission in emissions if isinstance(emission.record, DeadLetter)]
    assert len(letters) == len(log) - 1 and all("cannot go on" in letter.reason for letter in letters)
    assert isinstance(emissions[-1].record, SessionEnd)
