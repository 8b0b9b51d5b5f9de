"""Invented text is told from spoken text."""

from __future__ import annotations

import msgspec
import pytest

from extractors.speech.guards import Hypothesis, compression_ratio, objection, plain_text, repeats


def said(text: str, logprob: float = -0.2, no_speech: float = 0.1, level: float = -25.0, endless: bool = False) -> Hypothesis:
    return Hypothesis(text, (1,), logprob, no_speech, compression_ratio(text), endless, 2.0, level, 0.9)


@pytest.mark.parametrize(
    "hypothesis",
    [
        said("My phone has not worked since Monday."),
        said("Thank you.", no_speech=0.2),
        said("Thank you very much.", logprob=-0.4, no_speech=0.65),
        said("No, no, no, no!"),
        said("Okay.", logprob=-0.67, no_speech=0.73),
        said("It is 800 000 0000."),
        said("ありがとう、とても助かりました。"),
        said("I would like to subscribe to the premium plan."),
    ],
)
def test_what_was_said_is_believed(hypothesis: Hypothesis) -> None:
    assert objection(hypothesis) is None


@pytest.mark.parametrize(
    ("hypothesis", "reason"),
    [
        (said("", no_speech=0.9), "no_speech"),
        (said("... ...", logprob=-0.4), "no_speech"),
        (said("Adam.", logprob=-1.2, no_speech=0.7), "no_speech"),
        (said("you", logprob=-0.8, no_speech=0.86), "stock_phrase"),
        (said("Thank you.", no_speech=0.3, level=-61), "stock_phrase"),
        (said("Thanks for watching!", logprob=-0.6), "stock_phrase"),
        (said("Untertitel der Amara.org-Community", logprob=-0.7), "stock_phrase"),
        (said("the bird the bird the bird the bird the bird", logprob=-0.3), "repetition"),
        (said("んんんんんんんんんんんんんん", logprob=-0.3), "repetition"),
        (said("and then we went", endless=True), "repetition"),
        (said("Shrekje.", logprob=-1.15, no_speech=0.4), "low_confidence"),
        (said("to be ready and a loan of it", logprob=-1.5, no_speech=0.4), "low_confidence"),
        (said("Yeah!", logprob=-0.8, no_speech=0.57), "no_speech"),
    ],
)
def test_what_was_not_said_names_its_guard(hypothesis: Hypothesis, reason: str) -> None:
    assert objection(hypothesis) == reason


def test_more_doubt_never_makes_a_text_believed() -> None:
    for logprob in (-0.1, -0.6, -1.1, -1.7):
        for doubt in (0.1, 0.5, 0.7, 0.9):
            hypothesis = said("thank you", logprob, doubt)
            if objection(hypothesis):
                assert objection(msgspec.structs.replace(hypothesis, no_speech_prob=0.95))
                assert objection(msgspec.structs.replace(hypothesis, avg_logprob=logprob - 0.5))


def test_plain_text_keeps_words_and_marks_of_every_script() -> None:
    assert plain_text("  Don't — stop, please! ") == "dont stop please"
    assert plain_text("नमस्ते!") == "नमस्ते"


def test_repetition_needs_more_than_emphasis() -> None:
    assert not repeats("no no no no no") and repeats("no no no no no no")
    assert not repeats("very very good very very good") and repeats("go on go on go on go on")
