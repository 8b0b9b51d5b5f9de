"""The alert stage behind fuse: what the `fused` topic carries is enough to open, judge and close a call."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from click.testing import CliRunner

from fusion.events import EmotionEvent
from streams import topics
from streams.alerts.engine import Alert
from streams.alerts.rules import DEFAULT, load, parse
from streams.commands.live import worker
from streams.policy import decide
from streams.records import Output, Participant, SessionEnd, SessionStart, SpeechCueRecord, Watermark
from streams.runtimes.kafka_session import Checkpoint, Node, SessionRunner
from streams.runtimes.kafka_wire import Delivery, identity_of
from streams.topology import STAGES, Options, Resources
from tests.cue_samples import posterior, speech_cues

PEOPLE = (Participant("caller", "customer", "left"), Participant("agent", "employee", "right"))
START = SessionStart("call", PEOPLE, decide(PEOPLE), ("left", "right"), live=True)
RULES = parse(
    """
rules:
  - name: angry
    when: {label: anger, above: 0.4}
    role: customer
    for: 5s
  - name: silence
    when: {metric: silence, at_least: 4s}
"""
)
RESOURCES = Resources(Options(rules=RULES))


def call() -> list[Output]:
    """Twenty-four seconds as `hear` sends them: the caller speaks (angrily) three times, then nobody, then the agent."""
    records: list[Output] = []
    spoken = {3000: ("left", 1000, "anger"), 6000: ("left", 3500, "anger"), 9000: ("left", 6500, "anger"), 21_000: ("right", 19_500, "neutral")}
    for now in range(500, 24_001, 500):
        for source, who in (("left", "caller"), ("right", "agent")):
            if now in spoken and spoken[now][0] == source:
                _, start, label = spoken[now]
                cues = speech_cues(start, now - 100, text_emotion=posterior(label, 0.95), speech_emotion=posterior(label, 0.95))
                records.append(SpeechCueRecord("call", who, source, sum(s == source and t < now for t, (s, *_) in spoken.items()), cues))
            open_since = next((start for end, (s, start, _) in spoken.items() if s == source and start < now < end), now)
            records.append(Watermark("call", source, "hear", open_since))
    return [*records, *(Watermark("call", source, "hear", 24_000, True) for source in ("left", "right"))]


def fused() -> list[Output]:
    """What fuse puts on the topic, read back from its bytes."""
    stage = STAGES["fuse"].factory(START, RESOURCES)
    outputs = [START, *stage.feed_many(call()), *stage.feed(SessionEnd("call")), SessionEnd("call")]
    return [topics.decode_from("fused", topics.encode_for("fused", output)) for output in outputs]


def alerts_of(records: Sequence[Output]) -> list[Alert]:
    stage = STAGES["alert"].factory(START, RESOURCES)
    return [alert for record in records for alert in stage.feed(record)]  # type: ignore[misc]


def told(alerts: Sequence[Alert]) -> list[tuple[str, str]]:
    return [(alert.rule, alert.status) for alert in alerts]


def test_the_public_topic_carries_events_alone_and_fused_the_same_events_with_their_session() -> None:
    records = fused()
    events = [record for record in records if isinstance(record, EmotionEvent)]
    assert isinstance(records[0], SessionStart) and isinstance(records[-1], SessionEnd) and len(events) == 4
    for record in records:
        public = topics.topics_of(record, STAGES["fuse"].writes)
        assert public == (("emotion.events", "fused") if isinstance(record, EmotionEvent) else ("fused",))
    assert [topics.decode_from("emotion.events", topics.encode_for("emotion.events", event)) for event in events] == events


def test_silence_is_alerted_while_it_lasts_not_when_it_is_over() -> None:
    records = fused()
    agent_speaks = next(i for i, record in enumerate(records) if isinstance(record, EmotionEvent) and record.participant == "agent")
    assert told(alerts_of(records[:agent_speaks])) == [("angry", "open"), ("silence", "open")]
    whole = alerts_of(records)
    assert told(whole) == [("angry", "open"), ("silence", "open"), ("silence", "closed"), ("angry", "closed")]
    assert whole[1].fired_ms - whole[1].start_ms == 4000 and whole[2].end_ms == 19_500
    without_progress = [record for record in records if not isinstance(record, Watermark)]
    assert [alert.id for alert in alerts_of(without_progress)] == [alert.id for alert in whole], "progress makes alerts early, not different"


@pytest.mark.parametrize("read_again", [0, 3])
def test_a_kill_after_any_record_repeats_and_loses_no_alert(read_again: int) -> None:
    """The runtime's own session: a checkpoint, a crash, a takeover that reads some records of the log again."""
    node = Node("alert", ("alerts",), lambda start: STAGES["alert"].factory(start, RESOURCES), lambda start: frozenset({"fused"}))
    deliveries = [Delivery("fused", i, 0, record, topics.encode_for("fused", record)) for i, record in enumerate(fused())]
    whole = [emission.record for emission in SessionRunner(node, Checkpoint(START, 0, {}, {})).take(deliveries)]
    assert whole == alerts_of(fused())
    for cut in range(1, len(deliveries)):
        first = SessionRunner(node, Checkpoint(START, 0, {}, {}))
        stored = max(0, cut - read_again)
        before = first.take(deliveries[:stored])
        base = first._state({"fused": stored}, {})
        lost = first.take(deliveries[stored:cut])  # written, but the checkpoint behind it was not
        second = SessionRunner(node, base, {f"{emission.topic}/{emission.identity}" for emission in lost})
        after = second.take(deliveries[max(0, stored - 2) :])
        assert [emission.record for emission in [*before, *lost, *after]] == whole, cut


def test_an_alert_is_known_by_id_and_revision_and_ends_once() -> None:
    alert = alerts_of(fused())[0]
    assert identity_of(alert, "alert", 7) == f"{alert.id}.{alert.revision}"
    assert identity_of(SessionEnd("call"), "fuse", 7) == identity_of(SessionEnd("call"), "fuse", 8)


def test_the_rules_that_come_with_it_are_the_usual_four() -> None:
    assert [(rule.subject, rule.compare) for rule in load(DEFAULT)] == [
        ("anger", "above"), ("valence", "falls_by"), ("interruptions", "at_least"), ("silence", "at_least"),
    ]  # fmt: skip


def test_a_worker_for_alerts_alone_needs_rules() -> None:
    refused = CliRunner().invoke(worker, ["--stages", "alert", "--bootstrap", "127.0.0.1:1"])
    assert "the stage alert has no rules" in str(refused.exception) and "--rules default" in str(refused.exception)
