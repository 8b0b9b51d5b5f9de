"""Events from cues: what an analysed, an observed and a protected person's event holds."""

from __future__ import annotations

import json

import msgspec
import pytest

from extractors.cues import AudioQuality, SpeechCues, Transcript, Word
from fusion.compose import Span, compose, utterance_span
from fusion.conversation import DialogueState
from fusion.events import FINAL_REVISION, Association, EmotionEvent, event_id
from fusion.spans import FaceSpan, summarize
from fusion.textualize import parse
from tests.cue_samples import POOL, observation, posterior, speech_cues
from tests.fusion.people import ANALYSED, EMPLOYEE, OBSERVED, Allowed, subject

DECLARED = Association(1, "video/0", "declared", None, True)


def angry_face(frames: int = 6, usable: bool = True) -> FaceSpan:
    seen = [
        observation(units={"AU4": 3.1}, expression=posterior("anger", 0.8), usable=usable, reasons=("dark",))
        for _ in range(frames)
    ]
    return summarize("video/0", 1, seen)


def angry_words() -> SpeechCues:
    return speech_cues(
        relative={"pitch": 2.1, "rate": 0.9},
        pitch_st=4.2,
        text_emotion=posterior("anger", 0.8),
        speech_emotion=posterior("sadness", 0.4, 0.5),
    )


def event_of(allowed: Allowed = ANALYSED, cues: SpeechCues | None = None, face: FaceSpan | None = None) -> EmotionEvent:
    span = utterance_span(cues or angry_words(), face, DECLARED if face else None)
    return compose(subject(allowed), span, POOL, DialogueState())[0]


def test_an_event_says_who_when_what_and_why() -> None:
    event = event_of(face=angry_face())
    assert event.id == event_id("call-1", "customer", 12_400, "utterance") and event.revision == FINAL_REVISION
    assert (event.status, event.kind, event.start_ms, event.end_ms) == ("final", "utterance", 12_400, 15_100)
    assert event.label == "anger" and event.probabilities["anger"] == event.confidence > 0.6
    assert event.valence is not None and event.valence < 0 and event.arousal is not None and event.arousal > 0
    assert event.transcript and event.transcript.text == "Where is my order?"
    assert event.context.association == DECLARED and event.context.previous is None
    assert event.observables["AU4"] == 3.1 and event.observables["f0_median_hz"] == 180.0
    assert event.policy and event.policy.decision == "analysed"
    assert event.biometric
    assert event.models["fusion"].startswith("log-pool@") and event.models["text"] == "anger-model@00000000"


def test_evidence_is_in_words_and_its_weights_are_the_shares_of_the_modalities() -> None:
    event = event_of(face=angry_face())
    texts = {piece.modality: piece.text for piece in event.evidence}
    assert texts["face"] == "brows lowered (AU4 3.1)"
    assert texts["speech"] == "voice 4.2 semitones above own baseline, fast"
    assert texts["text"] == 'said: "Where is my order?"'
    assert {p.modality: p.weight for p in event.evidence} == {m: use.weight for m, use in event.modalities.items()}
    assert sum(piece.weight for piece in event.evidence) == pytest.approx(1.0)
    assert [piece.weight for piece in event.evidence] == sorted((p.weight for p in event.evidence), reverse=True)
    spoken = next(piece for piece in event.evidence if piece.modality == "text")
    assert (spoken.start_ms, spoken.end_ms) == (12_400, 12_790), "from the first to the last word"


def test_the_explanation_ends_with_a_sentence_that_reads_back() -> None:
    event = event_of(face=angry_face())
    headline, _, sentence = event.explanation.partition("). ")
    assert headline.startswith("Perceived as anger (") and "voice" in headline and "against" in headline
    assert parse(sentence).participant == "customer"


def test_a_missing_modality_says_why() -> None:
    event = event_of(cues=speech_cues(text=None, speech_emotion=posterior("anger")), face=angry_face(usable=False))
    assert event.modalities["face"].reason == "face not usable (dark)" and not event.modalities["face"].present
    assert event.modalities["text"].reason == "words not analysed"
    assert event.modalities["speech"].weight == 1.0


def test_a_weak_modality_says_why_and_a_sound_one_nothing() -> None:
    noisy = msgspec.structs.replace(angry_words(), quality=AudioQuality(0.3, reasons=("noise", "telephone_band")))
    seen = [observation(expression=posterior("anger", 0.8), usable=i < 3, reasons=() if i < 3 else ("turned_away",)) for i in range(9)]
    event = event_of(
        cues=msgspec.structs.replace(noisy, speech_emotion=posterior("anger", 0.6, 0.3)), face=summarize("video/0", 1, seen)
    )
    uses = event.modalities
    assert uses["speech"].present and uses["speech"].quality == 0.3 and uses["speech"].reason == "noise, telephone band"
    assert uses["face"].present and uses["face"].quality < 0.5 and uses["face"].reason == "turned away"
    assert uses["text"].reason is None
    assert all(use.reason is None for use in event_of(face=angry_face()).modalities.values() if use.quality >= 0.5)


def test_nothing_to_judge_by_is_unknown_and_not_an_error() -> None:
    cues = SpeechCues(0, 900, AudioQuality(0.1), Transcript("", "en", 1.0, rejected="no_speech"))
    event = event_of(cues=cues)
    assert event.label == "unknown" and event.evidence == () and event.explanation.startswith("Nothing to judge by.")
    assert sum(event.probabilities.values()) == pytest.approx(1.0)
    assert event.modalities["text"].reason == "no words (no speech)"
    assert not event.biometric


def test_words_alone_are_not_biometric() -> None:
    cues = msgspec.structs.replace(angry_words(), prosody=None, speech_emotion=None)
    assert not event_of(cues=cues).biometric
    assert event_of().biometric


def test_a_protected_person_has_words_and_measurements_and_no_emotion_at_all() -> None:
    event = event_of(EMPLOYEE, face=angry_face())
    assert event.status == "withheld" and event.policy and event.policy.reason == "employees are not emotion-analysed"
    assert (event.label, event.compound, event.valence, event.arousal, event.dominance) == (None,) * 5
    assert (event.probabilities, event.evidence, event.modalities, event.open_labels) == ({}, (), {}, ())
    assert (event.intensity, event.confidence, event.context.previous, event.context.association) == (None,) * 4
    assert event.transcript and event.observables["loudness_lufs"] == -21.0 and event.observables["duration_ms"] == 2700
    assert "f0_median_hz" not in event.observables and "AU4" not in event.observables
    assert event.explanation == "withheld: employees are not emotion-analysed"
    text = json.dumps(msgspec.to_builtins(event))
    assert "anger" not in text and "AU4" not in text


def test_what_a_decision_does_not_allow_is_not_in_the_event() -> None:
    silent = event_of(Allowed(transcribe=False))
    assert silent.transcript is None and not silent.modalities["text"].present and "order" not in silent.explanation
    assert event_of(Allowed(transcribe=False, emotion=False)).transcript is None
    unmeasured = event_of(Allowed(measure=False), face=angry_face())
    assert unmeasured.observables == {} and "semitones" not in unmeasured.explanation
    assert event_of(Allowed(measure=False, emotion=False)).biometric is False


def test_observables_only_measures_and_names_no_emotion() -> None:
    event = event_of(OBSERVED, face=angry_face())
    assert event.status == "withheld" and event.label is None and event.probabilities == {}
    assert event.policy and event.policy.decision == "observables"
    assert event.observables["AU4"] == 3.1 and event.observables["f0_median_hz"] == 180.0
    assert parse(event.explanation).face.units[0].code == "AU4" and event.biometric
    assert event.context.association == DECLARED


def test_an_exception_is_stamped_on_the_event() -> None:
    event = event_of(Allowed(exception="safety: cab of a crane (A. Operator)"))
    assert event.policy and event.policy.exception == "safety: cab of a crane (A. Operator)"


def test_a_silent_face_is_an_event_of_its_own() -> None:
    span = Span("face", 3000, 6000, face=angry_face(), association=DECLARED)
    before = DialogueState(shown="neutral", support=2, tone_support=2, contender="negative", repeats=1, lead=0.4)
    event, after = compose(subject(ANALYSED), span, POOL, before)
    assert event.kind == "face" and event.transcript is None and event.label == "anger"
    assert event.modalities["face"].weight == 1.0 and event.modalities["text"].reason == "no speech"
    assert event.context.previous == "neutral" and event.context.shift and after.shown == "anger"
    assert event.id != event_id("call-1", "customer", 3000, "utterance")


def test_a_partial_event_stands_outside_the_dialogue() -> None:
    event, after = compose(subject(ANALYSED), utterance_span(angry_words()), POOL, status="partial", revision=3)
    assert event.revision == 3 and event.status == "partial"
    assert event.context.previous is None and event.context.running_valence is None
    assert after.shown == "anger"


def test_numbers_have_four_decimals_at_most() -> None:
    event = event_of(face=angry_face())
    numbers = [event.valence, event.arousal, event.dominance, event.intensity, event.confidence]
    numbers += [*event.probabilities.values(), *event.observables.values(), *(p.weight for p in event.evidence)]
    assert all(value is not None and value == round(value, 4) for value in numbers)


def test_few_frames_count_little() -> None:
    one, many = angry_face(1), angry_face(6)
    assert one.quality < many.quality
    assert event_of(face=one).modalities["face"].weight < event_of(face=many).modalities["face"].weight


def test_what_policy_wants_redacted_is_nowhere_in_the_event() -> None:
    said = "it is 4111 1111 1111 1111 thanks"
    words = tuple(Word(word, 100 * i, 100 * i + 90, 0.9) for i, word in enumerate(said.split()))
    cues = msgspec.structs.replace(speech_cues(), transcript=Transcript(said, "en", 1.0, words), text_emotion=posterior("anger", 0.8))
    for allowed in (Allowed(redact=("card",)), Allowed(redact=("card",), emotion=False, reason="employees are not emotion-analysed")):
        event, _ = compose(subject(allowed), utterance_span(cues), POOL)
        assert "4111" not in msgspec.json.encode(event).decode()
        assert event.transcript and event.transcript.text == "it is [card number] thanks" and event.transcript.words[2].end_ms == 590
    growing = msgspec.structs.replace(cues, transcript=Transcript("it is 4111 1111", "en", 1.0, words[:4]))
    event, _ = compose(subject(Allowed(redact=("card",))), utterance_span(growing), POOL, status="partial", revision=1)
    assert "4111" not in msgspec.json.encode(event).decode(), "nor while the number is being said"
    event, _ = compose(subject(Allowed()), utterance_span(cues), POOL)
    assert event.transcript and event.transcript.text == said
