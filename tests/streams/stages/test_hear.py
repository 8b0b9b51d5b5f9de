"""Hypotheses of an open utterance: early words for a live call, and never a trace in what is final."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
import pytest

from extractors.speech.models import SpeechModels
from extractors.speech.whisper import EncodedUtterance
from streams.records import Output, SessionStart, SpeechCueRecord, Utterance
from streams.stages.hear import LONGEST_LAG_MS, HearStage
from streams.topology import STAGES, Options, Resources
from tests.integration.recordings import load

pytestmark = [pytest.mark.models, pytest.mark.usefixtures("bundled_models")]


class Counting(SpeechModels):
    """The bundled models, which also tell how many utterances were encoded."""

    encoded = 0

    def encode(self, utterances: Sequence[tuple[np.ndarray, float]]) -> list[EncodedUtterance]:
        self.encoded += len(utterances)
        return super().encode(utterances)


@pytest.fixture(scope="module")
def models() -> Counting:
    return Counting()


@pytest.fixture(scope="module")
def call(sample_call: Path) -> tuple[SessionStart, list[Output]]:
    """The first seconds of a call as `segment` passes them on while it is live."""
    start, records = load(sample_call, to_ms=20_000)
    start = msgspec.structs.replace(start, live=True)
    segment = STAGES["segment"].factory(start, Resources())
    return start, [output for record in records for output in segment.feed(record)]


def final(outputs: Sequence[Output]) -> list[SpeechCueRecord]:
    return [output for output in outputs if isinstance(output, SpeechCueRecord) and not output.partial]


def one_by_one(stage: HearStage, records: Sequence[Output]) -> list[Output]:
    return [output for record in records for output in stage.feed(record)]


def test_a_recording_has_no_hypotheses_and_a_live_call_may_do_without(sample_call: Path) -> None:
    start, records = load(sample_call, to_ms=10_000)
    for session, options in ((start, Options()), (msgspec.structs.replace(start, live=True), Options(hypotheses=False))):
        segment = STAGES["segment"].factory(session, Resources(options))
        found = [output for record in records for output in segment.feed(record) if isinstance(output, Utterance)]
        assert found and not any(utterance.partial for utterance in found)


def test_hypotheses_change_nothing_that_is_final_and_most_utterances_are_known_before_they_end(
    call: tuple[SessionStart, list[Output]], models: Counting,
) -> None:
    start, records = call
    complete = [record for record in records if not (isinstance(record, Utterance) and record.partial)]
    hypotheses = sum(isinstance(record, Utterance) and record.partial > 0 for record in records)
    assert hypotheses >= 3
    models.encoded = 0
    plain = final(one_by_one(HearStage(start, models), complete))
    alone, models.encoded = models.encoded, 0
    heard = one_by_one(HearStage(start, models), records)
    assert final(heard) == plain and len(plain) >= 4
    assert sum(isinstance(output, SpeechCueRecord) and output.partial > 0 for output in heard) == hypotheses
    assert models.encoded < alone + hypotheses - len(plain) // 2  # the audio at the last pause was not heard twice


def test_a_stage_that_has_everything_at_once_hears_only_what_is_complete(call: tuple[SessionStart, list[Output]], models: Counting) -> None:
    start, records = call
    plain = final(one_by_one(HearStage(start, models), [r for r in records if not (isinstance(r, Utterance) and r.partial)]))
    outputs = list(HearStage(start, models).feed_many(records))
    open_at_the_end = {(r.participant, r.index) for r in records if isinstance(r, Utterance)} - {(c.participant, c.index) for c in plain}
    assert final(outputs) == plain
    assert {(o.participant, o.index) for o in outputs if isinstance(o, SpeechCueRecord) and o.partial} == open_at_the_end


def test_a_stage_that_is_behind_leaves_hypotheses_out_and_nothing_else(call: tuple[SessionStart, list[Output]], models: Counting) -> None:
    start, records = call
    stage = HearStage(start, models)
    stage.pressed(LONGEST_LAG_MS + 1)
    outputs = one_by_one(stage, records)
    assert not any(isinstance(output, SpeechCueRecord) and output.partial for output in outputs)
    stage.pressed(0)
    assert final(outputs) == final(one_by_one(HearStage(start, models), records))


def test_a_restart_between_a_hypothesis_and_its_utterance_changes_nothing(call: tuple[SessionStart, list[Output]], models: Counting) -> None:
    start, records = call
    at = next(i for i, record in enumerate(records) if isinstance(record, Utterance) and record.partial and record.index == 1) + 1
    first = HearStage(start, models)
    before = one_by_one(first, records[:at])
    second = HearStage(start, models)
    second.restore(first.snapshot())
    assert final([*before, *one_by_one(second, records[at:])]) == final(one_by_one(HearStage(start, models), records))
