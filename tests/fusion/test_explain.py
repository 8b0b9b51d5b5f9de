"""Evidence is checked, not claimed: taking the strongest away moves the decision as stated."""

from __future__ import annotations

import math

import msgspec
from hypothesis import given

from extractors.cues import Posterior
from fusion.compose import compose, posteriors_of, utterance_span
from fusion.explain import leave_one_out, shares, verify
from tests.cue_samples import POOL, modalities, posterior, speech_cues
from tests.fusion.people import ANALYSED, subject


@given(modalities)
def test_shares_sum_to_one(given_: dict[str, Posterior]) -> None:
    found = shares(POOL.probabilities, given_, POOL.fuse(given_).best)
    assert set(found) == set(given_)
    if given_:
        assert math.isclose(math.fsum(share.weight for share in found.values()), 1.0, abs_tol=1e-9)


@given(modalities)
def test_removing_a_modality_moves_the_label_as_its_share_says(given_: dict[str, Posterior]) -> None:
    best = POOL.fuse(given_).best
    found, whole = shares(POOL.probabilities, given_, best), POOL.probabilities(given_)[best]
    effects = leave_one_out(POOL.probabilities, given_, best)
    for name, share in found.items():
        without = POOL.probabilities({other: p for other, p in given_.items() if other != name})[best]
        if abs(effects[name]) > 1e-6:
            assert (without < whole) == share.supports
        stronger = [other for other in given_ if abs(effects[other]) > abs(effects[name]) + 1e-3]
        assert all(found[other].weight >= share.weight for other in stronger)


def test_one_modality_alone_has_the_whole_share() -> None:
    assert shares(POOL.probabilities, {"face": posterior("anger")}, "anger")["face"].weight == 1.0


def test_an_objecting_modality_is_said_to_speak_against() -> None:
    found = shares(POOL.probabilities, {"text": posterior("anger", 0.9), "face": posterior("happiness", 0.6)}, "anger")
    assert found["text"].supports and not found["face"].supports


@given(modalities)
def test_every_composed_event_passes_its_own_check(given_: dict[str, Posterior]) -> None:
    cues = speech_cues(text_emotion=given_.get("text"), speech_emotion=given_.get("speech"))
    span = utterance_span(cues)
    event, _ = compose(subject(ANALYSED), span, POOL)
    found = verify(event, posteriors_of(span), POOL)
    assert found.problems == ()
    if event.evidence:
        assert math.isclose(math.fsum(piece.weight for piece in event.evidence), 1.0, abs_tol=1e-9)
        assert (found.after <= found.before) == event.evidence[0].supports or found.after == found.before


def test_a_forged_share_or_direction_is_found() -> None:
    cues = speech_cues(text_emotion=posterior("anger", 0.9), speech_emotion=posterior("anger", 0.5))
    span = utterance_span(cues)
    event, _ = compose(subject(ANALYSED), span, POOL)
    turned = tuple(msgspec.structs.replace(piece, supports=not piece.supports) for piece in event.evidence)
    forged = msgspec.structs.replace(event, evidence=turned)
    assert "yet without it" in verify(forged, posteriors_of(span), POOL).problems[0]
    weights = {
        n: msgspec.structs.replace(use, weight=0.5) if use.present else use for n, use in event.modalities.items()
    }
    assert verify(msgspec.structs.replace(event, modalities=weights), posteriors_of(span), POOL).problems
