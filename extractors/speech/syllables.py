"""How many syllables a written word has, estimated from its letters: good enough for a rate, not for a dictionary.

Alphabets with vowel letters (Latin, Cyrillic, Greek): one syllable a group of neighbouring vowels; in English a silent
final e, -ed and -es is not counted, in the other languages that write them vowels in hiatus are taken as one.
Syllabaries and logographs: one a character (kana, Hangul, Han; small kana and the long mark join the one before).
Abugidas (Devanagari, Bengali, Tamil, Thai …): one a consonant that keeps its vowel. Abjads (Arabic, Hebrew) write few
vowels: two letters are taken as one syllable. A number counts one syllable a digit.
"""

from __future__ import annotations

import re
import unicodedata

_VOWELS = frozenset("aeiouyαεηιουωаеёиоуыэюяіїєў")
_SMALL_KANA = frozenset("ぁぃぅぇぉゃゅょゎァィゥェォャュョヮーっッ")
_ABJADS = ("ARABIC", "HEBREW", "SYRIAC")
_WHOLE = ("CJK", "HIRAGANA", "KATAKANA", "HANGUL")


def syllables(word: str, language: str = "en") -> int:
    """Estimated syllables of one word; 0 where it holds neither letters nor digits, else at least 1."""
    letters = [c for c in unicodedata.normalize("NFC", word.lower()) if c.isalnum() or unicodedata.category(c)[0] == "M"]
    if not letters:
        return 0
    total = 0
    for script, run in _by_script(letters):
        if script == "DIGIT":
            total += len(run)
        elif script in _WHOLE:
            total += sum(1 for c in run if c not in _SMALL_KANA)
        elif script in _ABJADS:
            total += max(1, round(len(run) / 2))
        elif script in ("LATIN", "CYRILLIC", "GREEK"):
            total += _alphabetic("".join(run), language)
        else:
            total += _abugida(run)
    return max(1, total)


def _by_script(letters: list[str]) -> list[tuple[str, list[str]]]:
    groups: list[tuple[str, list[str]]] = []
    for letter in letters:
        script = "DIGIT" if letter.isdigit() else unicodedata.name(letter, "UNKNOWN").split(" ")[0]
        if script == "COMBINING" and groups:
            script = groups[-1][0]
        if groups and groups[-1][0] == script:
            groups[-1][1].append(letter)
        else:
            groups.append((script, [letter]))
    return groups


def _alphabetic(text: str, language: str) -> int:
    plain = "".join(c for c in unicodedata.normalize("NFD", text) if unicodedata.category(c)[0] != "M")
    plain = plain.replace("æ", "a").replace("ø", "o").replace("œ", "o").replace("ı", "i")
    if language == "en":
        plain = re.sub(r"(?<=[aeiouy])y(?=[aeiou])", "j", plain)
        if re.search(r"[^aeiouy]e$", plain) and not re.search(r"[^aeiouy]le$", plain):
            plain = plain[:-1]
        elif re.search(r"[^aeiouytd]ed$", plain) or re.search(r"[^aeiouyscxzhg]es$", plain):
            plain = plain[:-2]
    groups, inside = 0, False
    for letter in plain:
        vowel = letter in _VOWELS
        groups += vowel and not inside
        inside = vowel
    return max(1, groups)


def _abugida(run: list[str]) -> int:
    """Letters, less those whose vowel a virama takes away."""
    letters = sum(1 for c in run if unicodedata.category(c)[0] == "L")
    viramas = sum(1 for c in run if unicodedata.combining(c) == 9)
    return max(1, letters - viramas)
