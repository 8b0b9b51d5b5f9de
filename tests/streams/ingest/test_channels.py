"""Who speaks on which channel: declared by the user, or decided by one stated rule."""

from __future__ import annotations

import numpy as np
import pytest

from extractors.errors import InputError
from streams.ingest.channels import StereoComparison, parse, plan
from streams.records import Participant
from tests.media import as_s16, babble

RATE = 8000


def verdict(left: np.ndarray, right: np.ndarray, step: int = 1000) -> str:
    comparison = StereoComparison(RATE)
    pcm = np.stack([left, right])
    for at in range(0, pcm.shape[1], step):
        comparison.feed(pcm[:, at : at + step])
    return comparison.finish()


def test_a_telephone_call_has_two_speakers() -> None:
    assert verdict(babble(20, RATE, 1), babble(20, RATE, 2)) == "separate"


def test_a_call_with_a_faint_echo_has_two_speakers() -> None:
    left, right = babble(20, RATE, 1).astype(float), babble(20, RATE, 2).astype(float)
    echo = np.roll(left, RATE // 100) * 0.05
    assert verdict(left.astype(np.int16), (right + echo).astype(np.int16)) == "separate"


def test_mono_marked_stereo_is_one_speaker() -> None:
    voice = babble(20, RATE, 1)
    assert verdict(voice, voice) == "same"


def test_mono_that_went_through_a_lossy_codec_is_one_speaker() -> None:
    voice = babble(20, RATE, 1).astype(float)
    hiss = np.random.default_rng(5).standard_normal(len(voice)) * voice.std() * 0.005
    assert verdict(voice.astype(np.int16), (voice + hiss).astype(np.int16)) == "same"


def test_a_room_in_stereo_is_mixed() -> None:
    direct = np.convolve(np.random.default_rng(1).standard_normal(20 * RATE), np.ones(4) / 4, "same") * 0.1
    left, right = direct + 0.5 * np.roll(direct, 40), np.roll(direct, 12) + 0.3 * np.roll(direct, 90)
    assert verdict(as_s16(left), as_s16(right)) == "mixed"


def test_a_wide_stereo_field_is_mixed() -> None:
    rng = np.random.default_rng(1)
    assert verdict(as_s16(rng.standard_normal(20 * RATE) * 0.1), as_s16(rng.standard_normal(20 * RATE) * 0.1)) == "mixed"


def test_silence_is_mixed() -> None:
    silence = np.zeros(5 * RATE, np.int16)
    assert verdict(silence, silence) == "mixed"


def test_a_caller_alone_on_his_channel_keeps_it() -> None:
    assert verdict(babble(20, RATE, 1), np.zeros(20 * RATE, np.int16)) == "separate"


@pytest.mark.parametrize("step", [1, 7, 160, 8000, 160000])
def test_the_verdict_does_not_depend_on_the_blocks(step: int) -> None:
    assert verdict(babble(3, RATE, 1), babble(3, RATE, 2), step) == "separate"


def test_declared_channels_become_participants() -> None:
    made = plan(2, "same", False, "left=customer,right=agent")
    assert [source.name for source in made.sources] == ["audio/0", "audio/1"]
    assert made.participants == (
        Participant("customer", "customer", channel="audio/0"),
        Participant("agent", "employee", channel="audio/1"),
    )


def test_names_and_roles_can_differ() -> None:
    made = plan(2, None, True, {"1": "anna:customer", "left": "agent", "video": "anna:customer"})
    assert made.participants == (
        Participant("agent", "employee", channel="audio/0"),
        Participant("anna", "customer", channel="audio/1", video="video/0"),
    )


def test_two_of_one_role_are_two_people() -> None:
    assert [one.id for one in plan(2, None, False, "left=customer,right=customer").participants] == ["customer", "customer-2"]


def test_all_channels_can_be_one_person() -> None:
    made = plan(2, "separate", False, "mix=customer")
    assert [(source.name, source.channel) for source in made.sources] == [("audio/0", None)]
    assert made.participants[0].role == "customer"


def test_a_channel_that_is_not_declared_is_not_read() -> None:
    assert [source.channel for source in plan(2, "separate", False, "right=customer").sources] == [1]


@pytest.mark.parametrize(
    ("channels", "stereo", "people", "read"),
    [
        (0, None, [], []),
        (1, None, ["speaker"], [0]),
        (2, "same", ["speaker"], [0]),
        (2, "mixed", ["speaker"], [None]),
        (2, "separate", ["left", "right"], [0, 1]),
        (6, None, ["speaker"], [None]),
    ],
)
def test_undeclared_channels_follow_the_rule(channels: int, stereo: str | None, people: list[str], read: list[int | None]) -> None:
    made = plan(channels, stereo, False)  # type: ignore[arg-type]
    assert [one.id for one in made.participants] == people
    assert [source.channel for source in made.sources] == read
    assert made.reason


@pytest.mark.parametrize(
    ("spec", "channels", "says"),
    [
        ("left=custmer", 2, "did you mean `customer`"),
        ("middle=customer", 2, "unknown channel `middle`"),
        ("left", 2, "unknown role"),
        ("left=customer,0=agent", 2, "declared twice"),
        ("right=agent", 1, "the recording has one channel"),
        ("4=agent", 3, "the recording has 3 channels"),
        ("mix=customer,left=agent", 2, "mix cannot stand beside"),
        ("left=customer", 0, "there is no audio track"),
        ("video=customer", 1, "a missing picture"),
    ],
)
def test_a_wrong_declaration_is_one_sentence_with_a_cure(spec: str, channels: int, says: str) -> None:
    with pytest.raises(InputError) as refused:
        plan(channels, None, False, spec, where="call.wav")
    assert says in str(refused.value) and refused.value.cure and "\n" not in str(refused.value)


def test_no_declaration_is_empty() -> None:
    assert parse(None) == parse("") == {}
