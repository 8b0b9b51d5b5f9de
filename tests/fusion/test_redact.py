"""Redaction: card numbers, account numbers, telephone numbers and addresses do not leave; word times do."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extractors.cues import Transcript, Word
from fusion.redact import KINDS, PARTIAL, find, is_card, is_iban, redact

ALL = tuple(kind for kind in KINDS if kind != "digits")


def said(text: str) -> Transcript:
    words = tuple(Word(w, 100 * i, 100 * i + 80, 0.9) for i, w in enumerate(text.split()))
    return Transcript(text, "en", 1.0, words)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("My card is 4111 1111 1111 1111, valid until 12 26.", "My card is [card number], valid until 12 26."),
        ("It is 4111-1111-1111-1111.", "It is [card number]."),
        ("four one one one, one one one one, one one one one, one one one one", "[card number]"),
        ("oh double seven nine double oh one two three", "[phone number]"),
        ("3782 822463 10005 and 5500005555555559", "[card number] and [card number]"),
        ("Order 4111 1111 1111 1112 please", "Order 4111 1111 1111 1112 please"),  # Luhn's check fails: no card
        ("DE89 3704 0044 0532 0130 00 is the account", "[account number] is the account"),
        ("My account is DE89-3704-0044-0532-0130-00", "My account is [account number]"),
        ("D E eight nine 3704 0044 0532 0130 00", "[account number]"),
        ("gb82west12345698765432", "[account number]"),
        ("Call me at +49 30 1234567 tomorrow.", "Call me at [phone number] tomorrow."),
        ("Call 030 1234567 or (555) 010-9999.", "Call [phone number] or [phone number]."),
        ("zero three zero one two three four five six seven", "[phone number]"),
        ("plus four nine three zero double one two three four", "[phone number]"),
        ("Write to jane.doe+x@mail.example.co.uk, please.", "Write to [e-mail address], please."),
        ("jane dot doe at example dot com is mine", "[e-mail address] is mine"),
        ("My address is Jane.do at example.com, thanks.", "My address is [e-mail address], thanks."),
        ("jane underscore doe at mail dot example dot co dot uk", "[e-mail address]"),
        ("null eins sieben sechs vier drei zwei eins", "[phone number]"),
        # What is none of it stays.
        ("On 12.05.2024 at 10:30 I paid 1,250,000 for order 471009.", "On 12.05.2024 at 10:30 I paid 1,250,000 for order 471009."),
        ("I waited one or two hours at the shop, six times.", "I waited one or two hours at the shop, six times."),
        ("Look at it. Point one dot two.", "Look at it. Point one dot two."),
        ("", ""),
    ],
)
def test_what_is_hidden_and_what_stays(text: str, expected: str) -> None:
    assert redact(said(text), ALL).text == expected


def test_word_times_are_kept_and_the_hidden_words_become_one() -> None:
    clean = redact(said("my card is 4111 1111 1111 1111 thanks"), ["card"])
    assert [(w.text, w.start_ms, w.end_ms) for w in clean.words] == [
        ("my", 0, 80), ("card", 100, 180), ("is", 200, 280), ("[card number]", 300, 680), ("thanks", 700, 780),
    ]  # fmt: skip


def test_only_what_was_asked_for_is_hidden() -> None:
    text = "030 1234567 and 4111 1111 1111 1111"
    assert redact(said(text), ["card"]).text == "030 1234567 and [card number]"
    assert redact(said(text), ["phone"]).text == "[phone number] and 4111 1111 1111 1111"
    untouched = said(text)
    assert redact(untouched, []) is untouched
    with pytest.raises(ValueError, match="passport"):
        find(text, ["passport"])


def test_digits_hides_numbers_that_are_said_in_pieces() -> None:
    assert redact(said("4111 1111"), ["digits"]).text == redact(said("four one one one"), ["digits"]).text == "[digits]"
    assert redact(said("room 12 or 471"), ["digits"]).text == "room 12 or 471"


def test_a_number_at_the_end_of_a_text_that_still_grows_is_hidden() -> None:
    assert redact(said("my card is 4111 1111"), ["card"], partial=True).text == f"my card is {PARTIAL}"
    assert redact(said("order 471009 it was"), ["card"], partial=True).text == "order 471009 it was"
    assert redact(said("my card is 4111 1111 1111 1111"), ["card"], partial=True).text == "my card is [card number]"


def luhn(body: str) -> str:
    return next(body + d for d in "0123456789" if is_card(body + d) or len(set(body + d)) == 1)


cards = st.text("0123456789", min_size=12, max_size=18).map(luhn).filter(is_card)


@given(card=cards, size=st.integers(1, 6), before=st.sampled_from(["", "my number is", "so,"]), after=st.sampled_from(["", "thank you", "expires in May."]))
def test_no_card_number_leaves_in_whatever_groups_it_is_said(card: str, size: int, before: str, after: str) -> None:
    groups = " ".join(card[i : i + size] for i in range(0, len(card), size))
    clean = redact(said(" ".join(part for part in (before, groups, after) if part)), ["card"])
    assert not re.search(r"\d", clean.text) and not any(re.search(r"\d", w.text) for w in clean.words)
    assert clean.text.split() == " ".join(w.text for w in clean.words).split()
    spans = [(w.start_ms, w.end_ms) for w in clean.words]
    assert all(a is not None and b is not None and a < b for a, b in spans) and spans == sorted(spans)


@given(text=st.text(max_size=80), kinds=st.sets(st.sampled_from(sorted(KINDS))), partial=st.booleans())
def test_redacting_twice_changes_nothing_more_and_no_text_is_too_strange(text: str, kinds: set[str], partial: bool) -> None:
    once = redact(said(text), kinds, partial=partial)
    assert redact(once, kinds, partial=partial) == once
    assert not find(once.text, kinds)


@pytest.mark.parametrize("iban", ["de89370400440532013000", "gb82west12345698765432", "fr1420041010050500013m02606"])
def test_check_digits_of_accounts(iban: str) -> None:
    assert is_iban(iban) and not is_iban(iban[:-1] + ("1" if iban[-1] != "1" else "2"))
