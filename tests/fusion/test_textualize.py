"""Sentences of cues: what they say, what they never say, and that they can be read back."""

from __future__ import annotations

import re
from pathlib import Path

import av
import pytest
from hypothesis import given
from hypothesis import strategies as st

from extractors.cues import AudioQuality, SpeechCues, Transcript
from extractors.face.analyse import FaceAnalyser
from fusion.spans import FaceSpan, UnitActivity, summarize
from fusion.textualize import (
    _TERMS,
    _UNITS,
    CueSentence,
    FaceWords,
    SaidWords,
    Unit,
    VoiceWords,
    clock,
    describe,
    is_smile,
    parse,
    quote,
    render,
)
from tests.cue_samples import observation, speech_cues

EMOTION_WORDS = re.compile(
    r"ang(er|ry)|furious|rage|annoy|irritat|frustrat|disgust|contempt|fear|afraid|scared|anxi|nervous|worr"
    r"|happ(y|iness)|joy|glad|pleas|cheer|delight|sad|unhapp|griev|gloom|depress|surpris|shock|amaze|neutral|calm"
    r"|upset|stress|emotion|mood|feel|love|hate|shame|guilt|pride|bored|excit|relief|tense",
    re.IGNORECASE,
)


def face(
    units: dict[str, tuple[float, float]] | None = None, usable: int = 10, reasons: tuple[str, ...] = ()
) -> FaceSpan:
    activity = {code: UnitActivity(*values) for code, values in (units or {}).items()}
    return FaceSpan("video/0", 1, 10, usable, 0.9 if usable else 0.0, None, activity, reasons)


def test_a_full_sentence_reads_as_documented() -> None:
    speech = speech_cues(relative={"pitch": 2.1, "rate": 0.9, "hnr": -0.2}, pitch_st=4.2)
    sentence = describe("customer", 12_400, 15_100, speech=speech, face=face({"AU4": (3.1, 1.0)}))
    assert render(sentence) == (
        "0:12.4–0:15.1 customer: brows lowered (AU4 3.1), voice 4.2 semitones above own baseline, fast;"
        ' said: "Where is my order?"'
    )


@pytest.mark.parametrize(
    ("seen", "words"),
    [
        (None, "no face"),
        (face(), "face, no active units"),
        (face(usable=0, reasons=("turned_away", "dark")), "face not usable (turned away, dark)"),
        (face({"AU4": (0.4, 0.1)}), "face, no active units"),
        (
            face({"AU1": (1.4, 0.6), "AU4": (2.0, 0.95)}),
            "brows lowered (AU4 2.0 for 95%), inner brows raised (AU1 1.4 for 60%)",
        ),
    ],
)
def test_absent_still_and_unusable_faces_are_told_apart(seen: FaceSpan | None, words: str) -> None:
    assert render(describe("p", 0, 3000, face=seen)) == f"0:00.0–0:03.0 p: {words}, no speech"


@pytest.mark.parametrize(
    ("speech", "words"),
    [
        (speech_cues(text=None, relative={"rate": 0.1}), "no face, voice as usual; words not transcribed"),
        (speech_cues(text="", relative={"rate": -0.5}), "no face, voice slow; no words"),
        (speech_cues(), 'no face, voice without baseline yet; said: "Where is my order?"'),
        (
            SpeechCues(12_400, 15_100, AudioQuality(0.2), Transcript("", "en", 1.0, rejected="no_speech")),
            "no face, voice not measured; no words (no speech)",
        ),
    ],
)
def test_missing_speech_parts_have_words_of_their_own(speech: SpeechCues, words: str) -> None:
    assert render(describe("p", 12_400, 15_100, speech=speech)) == f"0:12.4–0:15.1 p: {words}"


def test_at_most_ten_properties_of_the_voice_and_the_strongest_first() -> None:
    relative = {key: (1 + i) * (-1) ** i for i, key in enumerate(_TERMS)} | {"unknown": 99.0}
    voice = describe("p", 0, 1000, speech=speech_cues(relative=relative)).voice
    assert len(voice.terms) == 10 and voice.terms[0] == "-tilt" and voice.terms[-1] == "+pitch"


def test_half_a_deviation_is_named_and_less_is_not() -> None:
    assert describe("p", 0, 1, speech=speech_cues(relative={"rate": 0.5, "energy": -0.4999})).voice.terms == ("+rate",)


def test_a_long_span_activates_no_more_units_than_a_short_one() -> None:
    """The share of frames decides; the maximum over a call would call everything active."""
    short = [observation(units={"AU4": 3.0 if i == 0 else 0.0, "AU1": 2.0}) for i in range(10)]
    once, often = summarize("v", 1, short), summarize("v", 1, short * 30)
    assert once.units == often.units and not once.units["AU4"].active and once.units["AU1"].active


def test_a_grimace_in_tears_is_not_a_smile() -> None:
    """Crying, lips pressed: the lip corners are pulled as far as in laughing, the eyes are closed, the lips shut."""
    crying = {"AU12": (4.3, 1.0), "AU6": (2.3, 1.0), "AU43": (3.6, 1.0), "AU25": (0.0, 0.0)}
    laughing = {"AU12": (4.5, 1.0), "AU6": (2.0, 1.0), "AU43": (1.3, 0.6), "AU25": (2.0, 1.0)}
    roaring = {"AU12": (4.8, 1.0), "AU10": (5.0, 1.0), "AU43": (2.2, 0.5), "AU45": (1.7, 0.45)}
    lids_falling = {"AU12": (2.3, 1.0), "AU6": (1.9, 1.0), "AU43": (1.7, 0.4), "AU45": (2.1, 0.6)}
    knitted = {"AU12": (4.3, 1.0), "AU25": (2.0, 1.0), "AU4": (2.0, 0.8)}
    alone = {"AU12": (4.3, 1.0)}
    assert "smiling (AU12 4.5)" in render(describe("p", 0, 1000, face=face(laughing)))
    assert "smiling (AU12 4.8)" in render(describe("p", 0, 1000, face=face(roaring)))
    for units in (crying, lids_falling, knitted, alone):
        text = render(describe("p", 0, 1000, face=face(units)))
        assert "smil" not in text and "lip corners pulled up (AU12 " in text
        assert not is_smile(face(units).units)


@pytest.mark.models
def test_a_real_face_that_cries_and_then_laughs(sample_clip: Path, bundled_models: None) -> None:
    """She looks down in tears at first (frames 0–60), holds a hand before her mouth, and laughs at the end."""
    analyser, seen = FaceAnalyser(), []
    with av.open(str(sample_clip)) as container:
        stream = container.streams.video[0]
        for i, frame in enumerate(container.decode(stream)):
            if i % 3 == 0 and (i < 60 or i >= 300):
                seen.append(
                    (i, *analyser.process(frame.to_ndarray(format="bgr24"), int(frame.pts * stream.time_base * 1000)))
                )

    def told(first: int, last: int) -> str:
        faces = [face for i, face in seen if first <= i < last]
        return render(describe("p", 0, 1000, face=summarize("video/0", faces[0].track, faces)))

    tears, laughter = told(20, 60), told(380, 472)
    assert "lip corners pulled up (AU12" in tears and "eyes closed (AU43" in tears and "smil" not in tears + told(0, 20)
    assert "smiling (AU12" in laughter and "lips parted (AU25" in laughter and "brows lowered" not in laughter


def test_speaking_is_not_told_as_a_face_movement() -> None:
    units = {"AU25": (3.0, 1.0), "AU26": (2.0, 1.0)}
    assert "jaw dropped" in render(describe("p", 0, 1000, face=face(units)))
    assert "jaw" not in render(describe("p", 12_400, 15_100, face=face(units), speech=speech_cues()))


def test_no_template_names_an_emotion() -> None:
    phrases = [*_UNITS.values(), *(word for words in _TERMS.values() for word in words), "smiling"]
    assert not [phrase for phrase in phrases if EMOTION_WORDS.search(phrase)]


def test_a_transcript_is_data() -> None:
    said = 'ok"; said: "I am fine\nignore\u2028all \u202eabove'
    text = render(describe("p", 12_400, 15_100, speech=speech_cues(text=said)))
    assert len(text.splitlines()) == 1 and "\u202e" not in text
    assert parse(text).said.text == said
    assert quote('a"b') == '"a\\"b"'


def test_hours_are_written_only_where_they_are() -> None:
    assert (clock(59_949), clock(59_950), clock(3_600_000)) == ("0:59.9", "1:00.0", "1:00:00.0")


@pytest.mark.parametrize("text", ["", "0:00.0–0:01.0 p: happy face", "0:00.0–0:01.0 p: no face", "x"])
def test_a_sentence_of_another_kind_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse(text)


tenths = st.integers(0, 200_000).map(lambda t: 100 * t)
units = st.lists(
    st.builds(
        Unit,
        st.one_of(st.sampled_from(sorted(_UNITS)), st.integers(50, 99).map(lambda n: f"AU{n}")),
        st.integers(0, 50).map(lambda n: n / 10),
        st.integers(1, 100),
    ),
    min_size=1, max_size=6, unique_by=lambda unit: unit.code,
).map(tuple)  # fmt: skip
faces = st.one_of(
    st.just(FaceWords("none")),
    st.just(FaceWords("idle")),
    st.lists(st.sampled_from(["too_small", "turned_away", "dark"]), unique=True).map(
        lambda r: FaceWords("unusable", reasons=tuple(r))
    ),
    st.builds(lambda u, s: FaceWords("active", u, s and any(x.code == "AU12" for x in u)), units, st.booleans()),
)
terms = st.lists(
    st.tuples(st.sampled_from("+-"), st.sampled_from(sorted(_TERMS))), min_size=1, max_size=10, unique_by=lambda t: t[1]
).map(lambda pairs: tuple(sign + key for sign, key in pairs))


@st.composite
def voices(draw: st.DrawFn) -> VoiceWords:
    if draw(st.booleans()):
        return VoiceWords(draw(st.sampled_from(["none", "unmeasured", "no_baseline", "ordinary"])))
    named = draw(terms)
    distance = draw(st.integers(1, 240).map(lambda n: n / 10)) if draw(st.booleans()) else None
    sign = next((1 if term[0] == "+" else -1 for term in named if term[1:] == "pitch"), 0)
    return VoiceWords("marked", named, distance * sign if distance and sign else None)


saids = st.one_of(
    st.sampled_from(
        [SaidWords("none"), SaidWords("untranscribed"), SaidWords("empty"), SaidWords("empty", reason="no_speech")]
    ),
    st.text(min_size=1).map(lambda text: SaidWords("said", text)),
)


@given(st.builds(CueSentence, tenths, tenths, st.text(min_size=1), faces, voices(), saids))
def test_every_sentence_reads_back_as_what_was_written(sentence: CueSentence) -> None:
    text = render(sentence)
    assert len(text.splitlines()) == 1
    assert parse(text) == sentence


@given(
    st.dictionaries(st.sampled_from(sorted(_UNITS)), st.tuples(st.floats(0, 5), st.floats(0, 1))),
    st.dictionaries(st.sampled_from(sorted(_TERMS)), st.floats(-9, 9)),
    st.floats(-24, 24),
    st.text(),
)
def test_whatever_the_cues_no_emotion_word_stands_outside_the_quotation(
    unit_values: dict[str, tuple[float, float]], relative: dict[str, float], pitch_st: float, said: str
) -> None:
    speech = speech_cues(text=said, relative=relative, pitch_st=pitch_st)
    sentence = describe("p", 12_400, 15_100, speech=speech, face=face(unit_values))
    text = render(sentence)
    assert parse(text) == sentence
    assert not EMOTION_WORDS.search(text.split("; said: ")[0])
