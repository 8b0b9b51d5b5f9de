"""The fuse stage: whatever the order of arrival, the repeats, the crashes and the waiting, the same events."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extractors.cues import LABELS, AudioQuality, FaceObservation, Posterior, SpeechCues, Transcript
from extractors.errors import InputError
from fusion.events import FINAL_REVISION, EmotionEvent
from fusion.settle import settled
from streams.policy import decide
from streams.records import (
    Decision,
    FaceCueRecord,
    Output,
    Participant,
    SessionEnd,
    SessionStart,
    SpeechCueRecord,
    Watermark,
)
from streams.stages.fuse import FuseOptions, FuseStage
from tests.cue_samples import observation, posterior, speech_cues

SESSION = "call-1"
CUSTOMER = Participant("customer", "customer", "audio/0", "video/0")
AGENT = Participant("agent", "employee", "audio/1")
SPEAKER = Participant("speaker", "participant", "audio/0")


def session(
    *people: Participant, audio: Sequence[str] = (), video: Sequence[str] = (), live: bool = False
) -> SessionStart:
    return SessionStart(SESSION, people, decide(people), tuple(audio), tuple(video), live=live)


LAYOUTS = {
    "call without pictures": session(
        msgspec.structs.replace(CUSTOMER, video=None), AGENT, audio=["audio/0", "audio/1"]
    ),
    "customer in his own picture": session(CUSTOMER, AGENT, audio=["audio/0", "audio/1"], video=["video/0"]),
    "two people on a shared picture": session(
        SPEAKER, Participant("other", "customer", "audio/1"), audio=["audio/0", "audio/1"], video=["video/0"]
    ),
    "own and shared picture": session(
        CUSTOMER, Participant("other", "public", "audio/1"), audio=["audio/0", "audio/1"], video=["video/0", "video/1"]
    ),
    "pictures without sound": session(video=["video/0", "video/1"]),
    "one silent person": session(Participant("patient", "participant", None, "video/0"), video=["video/0"]),
}


def speech_stream(rng: random.Random, start: SessionStart, source: str, until_ms: int) -> list[Output]:
    """Utterances of one channel as `hear` sends them: partial and complete, watermarks every half second that stop at
    the start of an open utterance."""
    who = next(person.id for person in start.participants if person.channel == source)
    stream: list[Output] = []
    at, index, mark = rng.randrange(0, 2000), 0, 0
    while at < until_ms - 500:
        end = min(until_ms, at + rng.randrange(300, 5000))
        cues = utterance(rng, at, end)
        mark = _marks(stream, source, mark, at)
        stream += [SpeechCueRecord(SESSION, who, source, index, cues, n + 1) for n in range(rng.randrange(0, 3))]
        stream.append(SpeechCueRecord(SESSION, who, source, index, cues))
        at, index = end + rng.choice([0, 100, 700, 2500, 6000]), index + 1
        mark = _marks(stream, source, mark, min(at, until_ms))
    return [*stream, Watermark(SESSION, source, "hear", until_ms, final=True)]


def _marks(stream: list[Output], source: str, mark: int, until_ms: int) -> int:
    while mark + 500 <= until_ms:
        mark += 500
        stream.append(Watermark(SESSION, source, "hear", mark))
    return mark


def utterance(rng: random.Random, start_ms: int, end_ms: int) -> SpeechCues:
    steps = (end_ms - start_ms) // 100
    voice = tuple(db for _ in range(0, steps, 6) for db in [rng.choice([-20.0, -60.0])] * 6)[:steps]
    return speech_cues(
        start_ms,
        end_ms,
        text=rng.choice(["yes", "no, not again", "", None]),
        relative={"rate": rng.uniform(-2, 2)},
        text_emotion=some_posterior(rng),
        speech_emotion=some_posterior(rng) if rng.random() < 0.8 else None,
        envelope_db=voice,
    )


def some_posterior(rng: random.Random) -> Posterior:
    return posterior(rng.choice(LABELS), rng.choice([0.3, 0.6, 0.9]), rng.choice([0.2, 0.8, 1.0]), valence=0.1)


def face_stream(rng: random.Random, source: str, until_ms: int, spoken: Sequence[SpeechCues] = ()) -> list[Output]:
    """Frames at about 5 a second (10 where somebody speaks), up to three tracks that come and go; the mouth of track 1
    moves with `spoken`."""
    pace = 2 if spoken else 1
    level = {cues.start_ms // 100 + i: db for cues in spoken for i, db in enumerate(cues.envelope_db)}
    stream: list[Output] = []
    present: set[int] = set()
    seq, at, mark = 0, rng.randrange(0, 400), 0
    while at < until_ms:
        if rng.random() < 0.1 / pace:
            present ^= {rng.randrange(1, 4)}
        moves = 0.15 * (seq % 2) * (level.get(at // 100, -60.0) > -40)
        faces = tuple(_face(rng, track, 0.02 + moves if track == 1 and spoken else None) for track in sorted(present))
        stream.append(FaceCueRecord(SESSION, source, seq, at, 640, 360, faces))
        if at // 500 * 500 > mark:
            mark = at // 500 * 500
            stream.append(Watermark(SESSION, source, "look", mark))
        seq, at = seq + 1, at + rng.choice([160, 200, 240]) // pace
    return [*stream, Watermark(SESSION, source, "look", max(until_ms, mark), final=True)]


def _face(rng: random.Random, track: int, mouth_open: float | None) -> FaceObservation:
    return observation(
        track,
        units={"AU4": rng.uniform(0, 4), "AU12": rng.uniform(0, 4)},
        expression=some_posterior(rng),
        usable=rng.random() < 0.9,
        reasons=("blurred",),
        mouth_open=rng.uniform(0, 0.2) if mouth_open is None else mouth_open,
        size=60 + 20 * track,
    )


def streams(seed: int, start: SessionStart) -> dict[str, list[Output]]:
    rng, until = random.Random(seed), 14_000 + seed % 7 * 500
    if start is LAYOUTS["two people on a shared picture"]:
        until += 10_000  # long enough for a face to be joined
    speech = {
        source: speech_stream(rng, start, source, until - rng.randrange(0, 900)) for source in start.audio_sources
    }
    complete = [r for r in speech.get("audio/0", []) if isinstance(r, SpeechCueRecord) and not r.partial]
    spoken = [record.cues for record in complete]
    return speech | {
        source: face_stream(rng, source, until - rng.randrange(0, 900), spoken) for source in start.video_sources
    }


def by_media_time(sources: dict[str, list[Output]]) -> list[Output]:
    def time(record: Output) -> int:
        return record.cues.end_ms if isinstance(record, SpeechCueRecord) else record.media_ms  # type: ignore[union-attr]

    merged: list[tuple[int, str, int, Output]] = []
    for name, records in sources.items():
        latest = 0
        for i, record in enumerate(records):
            latest = max(latest, time(record))
            merged.append((latest, name, i, record))
    return [record for *_, record in sorted(merged, key=lambda entry: entry[:3])]


def interleaved(rng: random.Random, sources: dict[str, list[Output]]) -> list[Output]:
    """Any order that keeps the order within each source, in runs of any length."""
    waiting = {name: list(records) for name, records in sources.items()}
    order: list[Output] = []
    while waiting:
        name = rng.choice(sorted(waiting))
        for _ in range(rng.choice([1, 1, 3, 40])):
            if waiting[name]:
                order.append(waiting[name].pop(0))
        if not waiting[name]:
            del waiting[name]
    return order


def run(start: SessionStart, records: Iterable[Output], options: FuseOptions | None = None) -> list[EmotionEvent]:
    stage = FuseStage(start, options)
    outputs = [output for record in [start, *records, SessionEnd(SESSION)] for output in stage.feed(record)]
    assert list(stage.flush()) == [], "nothing is left when every source has ended"
    return [output for output in outputs if isinstance(output, EmotionEvent)]


def bytes_of(events: Iterable[EmotionEvent]) -> list[bytes]:
    return [msgspec.json.encode(event) for event in events if event.status != "partial"]


sessions = st.sampled_from(sorted(LAYOUTS))
seeds = st.integers(0, 10_000)


@pytest.mark.parametrize("layout", sorted(LAYOUTS))
def test_every_layout_gives_events_in_the_total_order(layout: str) -> None:
    start = LAYOUTS[layout]
    events = [event for event in run(start, by_media_time(streams(3, start))) if event.status != "partial"]
    assert events
    keys = [(event.end_ms, event.participant, event.kind, event.start_ms) for event in events]
    assert keys == sorted(keys) and len({event.id for event in events}) == len(events)
    kinds = {event.kind for event in events}
    assert ("utterance" in kinds) == bool(start.audio_sources) and ("face" in kinds) == bool(start.video_sources)


@settings(max_examples=60, deadline=None)
@given(sessions, seeds, st.randoms(use_true_random=False))
def test_any_interleaving_of_the_sources_gives_the_same_bytes(layout: str, seed: int, rng: random.Random) -> None:
    start = LAYOUTS[layout]
    sources = streams(seed, start)
    assert bytes_of(run(start, interleaved(rng, sources))) == bytes_of(run(start, by_media_time(sources)))


@settings(max_examples=15, deadline=None)
@given(sessions, seeds, st.randoms(use_true_random=False))
def test_records_delivered_again_change_nothing(layout: str, seed: int, rng: random.Random) -> None:
    start = LAYOUTS[layout]
    records = by_media_time(streams(seed, start))
    again = [
        repeat for i, record in enumerate(records) for repeat in (record, *rng.sample(records[: i + 1], min(i, 2)))
    ]
    assert [msgspec.json.encode(e) for e in run(start, again)] == [msgspec.json.encode(e) for e in run(start, records)]


@settings(max_examples=30, deadline=None)
@given(sessions, seeds, st.randoms(use_true_random=False))
def test_a_stage_restored_at_any_point_goes_on_with_the_same_bytes(layout: str, seed: int, rng: random.Random) -> None:
    start = LAYOUTS[layout]
    records = interleaved(rng, streams(seed, start))
    stage, outputs = FuseStage(start), []
    for record in [start, *records, SessionEnd(SESSION)]:
        outputs += list(stage.feed(record))
        if rng.random() < 0.1:
            state = stage.snapshot()
            stage = FuseStage(start)
            stage.restore(state)
            assert stage.snapshot() == state
    assert [msgspec.json.encode(event) for event in outputs] == [msgspec.json.encode(e) for e in run(start, records)]


def without_version(event: EmotionEvent) -> EmotionEvent:
    status = "final" if event.status == "revised" else event.status
    return msgspec.structs.replace(event, revision=FINAL_REVISION, status=status)


@settings(max_examples=40, deadline=None)
@given(sessions, seeds, st.randoms(use_true_random=False), st.sampled_from([0, 300, 1500, 10**9]))
def test_the_last_revision_of_a_live_session_is_what_a_replay_gives(
    layout: str, seed: int, rng: random.Random, wait_ms: int
) -> None:
    recorded = LAYOUTS[layout]
    live = msgspec.structs.replace(recorded, live=True)
    sources = streams(seed, recorded)
    stage, outputs, now = FuseStage(live, FuseOptions(wait_ms=wait_ms)), [], 0
    for record in interleaved(rng, sources):
        outputs += list(stage.feed(record))
        now += rng.randrange(0, 400)
        outputs += list(stage.tick(now)) if rng.random() < 0.5 else []
    newest = settled(event for event in outputs if isinstance(event, EmotionEvent))
    expected = settled(run(recorded, by_media_time(sources)))
    assert [without_version(event) for event in newest] == expected
    assert all(event.revision in (FINAL_REVISION, FINAL_REVISION + 1) for event in newest)


def test_an_utterance_that_waits_too_long_for_the_picture_is_sent_and_then_revised() -> None:
    start = session(CUSTOMER, audio=["audio/0"], video=["video/0"], live=True)
    stage = FuseStage(start, FuseOptions(wait_ms=1500))
    cues = speech_cues(1000, 2500, text_emotion=posterior("anger", 0.8))
    assert list(stage.feed(SpeechCueRecord(SESSION, "customer", "audio/0", 0, cues))) == []
    assert list(stage.tick(50_000)) == [] and list(stage.tick(51_499)) == []
    (early,) = stage.tick(51_500)
    assert early.status == "final" and not early.modalities["face"].present
    assert list(stage.tick(60_000)) == [], "once is enough"
    outputs = []
    for i in range(16):
        faces = (observation(1, expression=posterior("anger", 0.9)),)
        outputs += stage.feed(FaceCueRecord(SESSION, "video/0", i, 200 * i, 640, 360, faces))
    (revised,) = outputs
    assert revised.id == early.id and revised.status == "revised" and revised.revision == FINAL_REVISION + 1
    assert revised.modalities["face"].present and revised.confidence > early.confidence


def test_nothing_is_revised_when_the_picture_adds_nothing() -> None:
    start = session(CUSTOMER, audio=["audio/0"], video=["video/0"], live=True)
    stage = FuseStage(start, FuseOptions(wait_ms=0))
    stage.feed(SpeechCueRecord(SESSION, "customer", "audio/0", 0, speech_cues(1000, 2500)))
    assert len(list(stage.tick(0))) == 1
    assert list(stage.feed(Watermark(SESSION, "video/0", "look", 3000))) == []


def test_a_live_customer_does_not_wait_for_the_agent_to_finish() -> None:
    people = (msgspec.structs.replace(CUSTOMER, video=None), AGENT)
    said = SpeechCueRecord(SESSION, "customer", "audio/0", 0, speech_cues(1000, 2500))
    for live, count in ((True, 1), (False, 0)):
        stage = FuseStage(session(*people, audio=["audio/0", "audio/1"], live=live))
        assert len(list(stage.feed(said))) == count


def test_partial_hypotheses_come_at_once_and_leave_no_trace() -> None:
    start = session(CUSTOMER, AGENT, audio=["audio/0", "audio/1"], video=["video/0"])
    stage = FuseStage(start)
    empty = stage.snapshot()
    partial = SpeechCueRecord(SESSION, "customer", "audio/0", 0, speech_cues(1000, 1800), partial=2)
    (event,) = stage.feed(partial)
    assert (event.status, event.revision, event.kind) == ("partial", 2, "utterance")
    assert list(stage.feed(partial)) == [] == list(stage.feed(msgspec.structs.replace(partial, partial=1)))
    assert len(stage.snapshot()) < len(empty) + 80 and b"customer-model" not in stage.snapshot()
    agent = SpeechCueRecord(SESSION, "agent", "audio/1", 0, speech_cues(1000, 1800), partial=1)
    assert list(stage.feed(agent)) == [], "no hypotheses about who must not be analysed"


def test_an_employee_is_withheld_in_every_event_of_his() -> None:
    start = LAYOUTS["customer in his own picture"]
    events = run(start, by_media_time(streams(5, start)))
    agent = [event for event in events if event.participant == "agent"]
    assert agent and {event.status for event in agent} == {"withheld"}
    assert all(event.label is None and not event.probabilities and not event.evidence for event in agent)
    assert all(event.role == "employee" and event.policy and "employees" in event.policy.reason for event in agent)


def faces_only(start: SessionStart, faces: Sequence[FaceObservation], frames: int = 16) -> list[EmotionEvent]:
    records: list[Output] = [
        FaceCueRecord(SESSION, source, i, 200 * i, 640, 360, tuple(faces))
        for source in start.video_sources
        for i in range(frames)
    ]
    records += [Watermark(SESSION, source, "look", 200 * frames, final=True) for source in start.video_sources]
    return run(
        start, [*records, *(Watermark(SESSION, source, "hear", 4000, final=True) for source in start.audio_sources)]
    )


def test_a_picture_alone_gives_a_face_event_for_each_window_the_last_one_cut() -> None:
    events = faces_only(session(video=["video/0"]), [observation(7, expression=posterior("happiness", 0.9))], 18)
    assert [(event.participant, event.start_ms, event.end_ms) for event in events] == [
        ("face-7", 0, 3000),
        ("face-7", 3000, 3600),
    ]
    assert all(event.kind == "face" and event.label == "happiness" and event.biometric for event in events)
    assert events[0].context.association and events[0].context.association.method == "none"


def test_two_usable_frames_are_too_few_for_a_window() -> None:
    assert len(faces_only(session(video=["video/0"]), [observation(1, expression=posterior())], 2)) == 0
    assert len(faces_only(session(video=["video/0"]), [observation(1, usable=False)], 16)) == 0


def test_the_most_visible_face_of_an_own_picture_is_its_owner() -> None:
    near, far = (
        observation(4, size=200, expression=posterior("anger", 0.9)),
        observation(2, size=40, expression=posterior()),
    )
    owned = {
        event.participant: event
        for event in faces_only(session(CUSTOMER, audio=["audio/0"], video=["video/0"]), [near, far])
    }
    assert set(owned) == {"customer", "face-2"}
    association = owned["customer"].context.association
    assert association and (association.method, association.track, association.accepted) == ("declared", 4, True)
    assert owned["customer"].label == "anger"


def test_with_an_employee_in_the_session_unjoined_faces_are_not_analysed() -> None:
    """Also when a broken `look` sends them, and also when there is no decision about them at all."""
    faces = [
        observation(1, expression=posterior("anger", 0.9)),
        observation(2, size=60, expression=posterior("anger", 0.9)),
    ]
    shared = session(SPEAKER, AGENT, audio=["audio/0", "audio/1"], video=["video/0"])
    assert faces_only(shared, faces) == []
    no_decision = msgspec.structs.replace(session(video=["video/0"]), decisions={})
    assert faces_only(no_decision, faces) == []
    own = session(CUSTOMER, AGENT, audio=["audio/0", "audio/1"], video=["video/0"])
    assert {event.participant for event in faces_only(own, faces)} == {"customer"}
    employees_own = session(msgspec.structs.replace(AGENT, video="video/0"), audio=["audio/1"], video=["video/0"])
    assert faces_only(employees_own, faces) == []


def test_no_face_event_while_its_owner_speaks_for_most_of_the_window() -> None:
    start = session(CUSTOMER, audio=["audio/0"], video=["video/0"])
    records: list[Output] = [
        FaceCueRecord(SESSION, "video/0", i, 200 * i, 640, 360, (observation(1, expression=posterior()),))
        for i in range(45)
    ]
    records += [
        SpeechCueRecord(SESSION, "customer", "audio/0", 0, speech_cues(1000, 2600)),
        SpeechCueRecord(SESSION, "customer", "audio/0", 1, speech_cues(4000, 5400)),
        Watermark(SESSION, "audio/0", "hear", 9000, final=True),
        Watermark(SESSION, "video/0", "look", 9000, final=True),
    ]
    events = run(start, records)
    assert [(event.kind, event.start_ms) for event in events] == [
        ("utterance", 1000), ("utterance", 4000), ("face", 3000), ("face", 6000),
    ]  # fmt: skip
    assert all(event.modalities["face"].present for event in events)


def test_a_speaking_face_on_a_shared_picture_joins_its_voice() -> None:
    """Two faces, one of them moves its mouth with the voice: it becomes the speaker, the other stays on its own."""
    start, rng = session(SPEAKER, audio=["audio/0"], video=["video/0"]), random.Random(1)
    voice = [rng.random() < 0.6 and 10 <= i % 60 for i in range(360)]
    for i in range(1, 359):  # syllables last two steps
        voice[i] = voice[i - 1] if i % 2 else voice[i]
    records: list[Output] = []
    for i in range(360):
        speaks = observation(1, expression=posterior("anger", 0.9), mouth_open=0.1 * voice[i] * (i % 2) + 0.02)
        listens = observation(2, expression=posterior("happiness", 0.9), mouth_open=0.02, size=200)
        records.append(FaceCueRecord(SESSION, "video/0", i, 100 * i, 640, 360, (speaks, listens)))
    for n in range(6):
        envelope = tuple(-20.0 if on else -60.0 for on in voice[60 * n + 10 : 60 * n + 60])
        cues = speech_cues(
            6000 * n + 1000, 6000 * n + 6000, text_emotion=posterior("neutral", 0.5), envelope_db=envelope
        )
        records.append(SpeechCueRecord(SESSION, "speaker", "audio/0", n, cues))
    records += [
        Watermark(SESSION, "audio/0", "hear", 36_000, final=True),
        Watermark(SESSION, "video/0", "look", 36_000, final=True),
    ]
    events = run(start, records)
    spoken = [event for event in events if event.kind == "utterance"]
    joins = [event.context.association for event in spoken]
    assert all(join and join.track == 1 and join.method == "mouth_activity" for join in joins)
    assert joins[-1] and joins[-1].accepted and joins[-1].score and joins[-1].score > 3
    assert spoken[-1].modalities["face"].present and not spoken[0].modalities["face"].present
    assert spoken[-1].probabilities["anger"] > 2 * spoken[0].probabilities["anger"]
    assert {event.participant for event in events if event.kind == "face"} >= {"face-2"}
    later = [event for event in events if event.kind == "face" and event.start_ms >= 30_000]
    assert {event.participant for event in later} == {"face-2"}, "the joined face is the speaker's, who speaks"
    unjoined = [event for event in spoken if event.context.association and not event.context.association.accepted]
    assert all(not event.modalities["face"].present for event in unjoined)


def test_old_frames_are_dropped() -> None:
    """An hour of picture in the state would be megabytes; what is kept does not grow with the session."""
    start = session(CUSTOMER, audio=["audio/0"], video=["video/0"])
    stage, sizes = FuseStage(start), []
    for i in range(3000):
        stage.feed(FaceCueRecord(SESSION, "video/0", i, 200 * i, 640, 360, (observation(1, expression=posterior()),)))
        stage.feed(Watermark(SESSION, "audio/0", "hear", 200 * i // 500 * 500))
        if i % 500 == 499:
            cues = speech_cues(200 * i - 900, 200 * i - 100)
            stage.feed(SpeechCueRecord(SESSION, "customer", "audio/0", i // 500, cues))
            sizes.append(len(stage.snapshot()))
    assert max(sizes) < 20_000 and sizes[3:] == sizes[:3], "the same at the same place of the window grid"


def test_an_interrupted_session_gives_what_it_has() -> None:
    start = session(CUSTOMER, audio=["audio/0"], video=["video/0"])
    stage = FuseStage(start)
    stage.feed(SpeechCueRecord(SESSION, "customer", "audio/0", 0, speech_cues(1000, 2500)))
    (event,) = stage.feed(SessionEnd(SESSION, "interrupted"))
    assert event.status == "final" and event.start_ms == 1000


def test_the_end_of_a_session_does_not_outrun_a_source_that_is_still_read() -> None:
    """Session end travels on both topics of cues: the first one to arrive ends nothing."""
    start = session(CUSTOMER, audio=["audio/0"], video=["video/0"])
    sources = streams(11, start)
    stage = FuseStage(start)
    outputs = [output for record in [*sources["audio/0"], SessionEnd(SESSION)] for output in stage.feed(record)]
    outputs += [output for record in [*sources["video/0"], SessionEnd(SESSION)] for output in stage.feed(record)]
    assert bytes_of(outputs) == bytes_of(run(start, by_media_time(sources)))


def test_observables_only_sessions_measure_faces_and_voices_and_label_nobody() -> None:
    observed = Decision(True, True, False, "observables only", observables_only=True)
    start = msgspec.structs.replace(
        LAYOUTS["customer in his own picture"], decisions={"customer": observed, "face-*": observed}
    )
    events = [e for e in run(start, by_media_time(streams(3, start))) if e.participant == "customer"]
    assert events and all(event.status == "withheld" and event.label is None for event in events)
    assert any("AU4" in event.observables for event in events if event.kind == "utterance")
    assert any("AU12" in event.observables for event in events if event.kind == "face")


def test_a_shift_and_what_was_shown_before_are_in_the_event() -> None:
    start = session(msgspec.structs.replace(CUSTOMER, video=None), audio=["audio/0"])
    said = [("neutral", 0.9), ("neutral", 0.9), ("anger", 0.9), ("anger", 0.9)]
    records: list[Output] = [
        SpeechCueRecord(
            SESSION, "customer", "audio/0", i, speech_cues(3000 * i, 3000 * i + 2000, text_emotion=posterior(*what))
        )
        for i, what in enumerate(said)
    ]
    events = run(start, [*records, Watermark(SESSION, "audio/0", "hear", 12_000, final=True)])
    assert [(e.context.previous, e.context.shift) for e in events] == [
        (None, False),
        ("neutral", False),
        ("neutral", False),
        ("neutral", True),
    ]
    assert events[3].context.running_valence is not None and events[3].context.running_valence < 0


def test_undeclared_sources_and_other_sessions_are_refused_in_one_line() -> None:
    stage = FuseStage(session(CUSTOMER, audio=["audio/0"], video=["video/0"]))
    with pytest.raises(InputError, match="undeclared source"):
        stage.feed(SpeechCueRecord(SESSION, "customer", "audio/7", 0, speech_cues()))
    with pytest.raises(InputError, match="undeclared source"):
        stage.feed(FaceCueRecord(SESSION, "video/7", 0, 0, 1, 1, ()))
    with pytest.raises(InputError, match="session call-2"):
        stage.feed(Watermark("call-2", "audio/0", "hear", 0))
    with pytest.raises(InputError, match="window_ms"):
        FuseStage(session(), FuseOptions(window_ms=0))


def test_an_utterance_without_a_decision_is_withheld() -> None:
    start = msgspec.structs.replace(session(audio=["audio/0"]), decisions={})
    quiet = SpeechCues(0, 900, AudioQuality(1.0), Transcript("hello", "en", 1.0), text_emotion=posterior())
    events = run(
        start,
        [SpeechCueRecord(SESSION, "audio-0", "audio/0", 0, quiet), Watermark(SESSION, "audio/0", "hear", 1000, True)],
    )
    assert [(event.status, event.role, event.transcript) for event in events] == [("withheld", "unknown", None)]
