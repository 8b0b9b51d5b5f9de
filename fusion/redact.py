"""Redaction of transcripts: numbers and addresses that must not be kept are replaced by what they are, before a text leaves.

Pure functions on a transcript. A card number counts when its length is right and Luhn's check (ISO/IEC 7812-1) holds, an IBAN
when its check digits do (ISO 13616, remainder 1 modulo 97); telephone numbers and addresses go by their form. Digits that
are spelt out ("four one double one", in six languages) count like digits. Word times are kept: what replaces several
words begins with the first and ends with the last. What is said in pieces over several utterances is seen one utterance at a
time; the kind ``digits`` is for that, and hides every run of four digits or more. Sound is not changed.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

import msgspec
from msgspec import Struct

from extractors.cues import Transcript, Word

KINDS: dict[str, str] = {
    "card": "[card number]", "iban": "[account number]", "phone": "[phone number]", "email": "[e-mail address]", "digits": "[digits]",
}  # fmt: skip
"""Kind of secret -> what stands in its place. Where several fit, the first one."""
PARTIAL = "[number]"
"""Stands for digits at the end of a text that is still growing: what they will be is not known yet."""
FEWEST_DIGITS = 4

# fmt: off
_DIGIT_WORDS = {
    word: str(value) for words in (
        "zero one two three four five six seven eight nine", "null eins zwei drei vier fünf sechs sieben acht neun",
        "cero uno dos tres cuatro cinco seis siete ocho nueve", "zéro un deux trois quatre cinq six sept huit neuf",
        "zero uno due tre quattro cinque sei sette otto nove", "zero jeden dwa trzy cztery pięć sześć siedem osiem dziewięć",
    ) for value, word in enumerate(words.split())
} | {"oh": "0", "o": "0", "zwo": "2", "ein": "1"}
# fmt: on
_TIMES = {"double": 2, "triple": 3, "doppel": 2, "doble": 2, "podwójne": 2}
_PLUS = frozenset({"plus", "+"})
_EDGE = ".,;:!?\"'“”„«»"
_DIGITS = re.compile(r"\+?[\d()./–-]*\d[\d()./–-]*")
_DATE = re.compile(r"\d{1,4}[./–-]\d{1,2}[./–-]\d{1,4}")
_ADDRESS = re.compile(r"[^\s@<>\"]+@[^\s@<>\"]+\.[^\W\d_]{2,}")
_HOST = re.compile(r"[\w-]+(\.[\w-]+)*\.[^\W\d_]{2,}")
_AT, _DOT = frozenset({"at", "ät", "arroba", "arobase", "chiocciola", "małpa"}), frozenset({"dot", "punkt", "punto", "point", "kropka"})
_JOINERS = _DOT | {"underscore", "dash", "hyphen", "unterstrich", "minus"}
_LONGEST_ADDRESS = 14


class _Token(Struct):
    """A word of the text with its place in it; `digits` is "" where it is no part of a number."""

    start: int
    end: int
    plain: str
    digits: str = ""
    plus: bool = False
    formatted: bool = False


class Found(Struct, frozen=True):
    """A secret in a text: kind and place, `end` exclusive."""

    kind: str
    start: int
    end: int


def find(text: str, kinds: Collection[str]) -> list[Found]:
    """Secrets of these kinds in `text`, in order, without overlap; raises ValueError for a kind that does not exist."""
    if unknown := sorted(set(kinds) - set(KINDS)):
        raise ValueError(f"no such kind of secret: {', '.join(unknown)}")
    tokens = _tokens(text)
    found: list[Found] = []

    def add(kind: str, start: int, end: int) -> None:
        if all(end <= f.start or start >= f.end for f in found):
            found.append(Found(kind, start, end))

    if "email" in kinds:
        for match in _ADDRESS.finditer(text):
            add("email", match.start(), match.start() + len(match[0].rstrip(_EDGE)))
        for i, j in _spelt_addresses(text, tokens):
            add("email", tokens[i].start, tokens[j].end)
    if "iban" in kinds:
        for i, j in _ibans(tokens):
            add("iban", tokens[i].start, tokens[j].end)
    for run in _runs(tokens):
        if "card" in kinds:
            for i, j in _cards(run):
                add("card", run[i].start, run[j].end)
        free = [t for t in run if all(t.end <= f.start or t.start >= f.end for f in found)]
        if "phone" in kinds and free and _is_phone(free):
            add("phone", free[0].start, free[-1].end)
        elif "digits" in kinds and sum(len(t.digits) for t in free) >= FEWEST_DIGITS:
            add("digits", free[0].start, free[-1].end)
    return sorted(found, key=lambda f: f.start)


def redact(transcript: Transcript, kinds: Collection[str], *, partial: bool = False) -> Transcript:
    """The transcript with the secrets of these `kinds` (`KINDS`) replaced, in text and words; the same object where there is
    none. `partial`: the text still grows, so a number at its end is hidden too, whatever it may become."""
    if not kinds or not transcript.text:
        return transcript
    found = [(f.start, f.end, KINDS[f.kind]) for f in find(transcript.text, kinds)]
    if partial:
        found += _growing(transcript.text, found)
    if not found:
        return transcript
    text, at = "", 0
    for start, end, name in found:
        text, at = text + transcript.text[at:start] + name, end
    words = _words(transcript.words, _places(transcript.text, transcript.words), found)
    return msgspec.structs.replace(transcript, text=text + transcript.text[at:], words=words)


def _growing(text: str, found: Sequence[tuple[int, int, str]]) -> list[tuple[int, int, str]]:
    runs = _runs(_tokens(text))
    last = runs[-1] if runs else []
    ends = bool(last) and not text[last[-1].end :].strip(_EDGE + " ")
    free = [t for t in last if all(t.end <= start or t.start >= end for start, end, _ in found)]
    return [(free[0].start, free[-1].end, PARTIAL)] if ends and sum(len(t.digits) for t in free) >= FEWEST_DIGITS else []


def _tokens(text: str) -> list[_Token]:
    tokens: list[_Token] = []
    for match in re.finditer(r"\S+", text):
        raw = match[0]
        start = match.start() + len(raw) - len(raw.lstrip(_EDGE))
        plain = raw.strip(_EDGE)
        if not plain:
            continue
        token = _Token(start, start + len(plain), plain.casefold())
        if _DIGITS.fullmatch(plain) and not _DATE.fullmatch(plain):
            token.digits = re.sub(r"\D", "", plain)
            token.plus, token.formatted = plain.startswith("+"), not plain.lstrip("+").isdigit()
        elif all(part in _DIGIT_WORDS for part in token.plain.split("-")):
            token.digits = "".join(_DIGIT_WORDS[part] for part in token.plain.split("-"))
        tokens.append(token)
    for times, once in zip(tokens, tokens[1:], strict=False):
        if times.plain in _TIMES and len(once.digits) == 1:
            times.digits = once.digits * (_TIMES[times.plain] - 1)
    for plus, number in zip(tokens, tokens[1:], strict=False):
        if plus.plain in _PLUS and number.digits:
            number.plus, number.start = True, plus.start
    return [t for t in tokens if not (t.plain in _PLUS and any(o is not t and o.start == t.start for o in tokens))]


def _runs(tokens: Sequence[_Token]) -> list[list[_Token]]:
    """Neighbouring tokens that are digits."""
    runs: list[list[_Token]] = []
    before: _Token | None = None
    for token in tokens:
        if token.digits and before is not None and before.digits:
            runs[-1].append(token)
        elif token.digits:
            runs.append([token])
        before = token
    return runs


def _cards(run: Sequence[_Token]) -> list[tuple[int, int]]:
    """Parts of a run that are card numbers, the longest first where several begin alike."""
    found, i = [], 0
    while i < len(run):
        ends = [j for j in range(len(run) - 1, i - 1, -1) if is_card("".join(t.digits for t in run[i : j + 1]))]
        if ends:
            found.append((i, ends[0]))
            i = ends[0]
        i += 1
    return found


def is_card(digits: str) -> bool:
    """13 to 19 digits, not all alike, that pass Luhn's check."""
    if not 13 <= len(digits) <= 19 or len(set(digits)) == 1:
        return False
    doubled = [int(d) * (2 if i % 2 else 1) for i, d in enumerate(reversed(digits))]
    return sum(value - 9 if value > 9 else value for value in doubled) % 10 == 0


def is_iban(text: str) -> bool:
    """Two letters, two digits, 11 to 30 letters and digits, with the right check digits."""
    if not re.fullmatch(r"[a-z]{2}\d{2}[a-z\d]{11,30}", text):
        return False
    return int("".join(str(int(c, 36)) for c in text[4:] + text[:4])) % 97 == 1


def _ibans(tokens: Sequence[_Token]) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    for i, first in enumerate(tokens):
        if not re.match(r"[a-z]{2}\d{2}|[a-z]{1,2}$", first.plain, re.ASCII):
            continue
        joined = ""
        for j in range(i, len(tokens)):
            joined += tokens[j].digits or re.sub("[-–.]", "", tokens[j].plain)
            if len(joined) > 34 or not re.fullmatch(r"[a-z]{1,2}|[a-z]{2}\d|[a-z]{2}\d{2}[a-z\d]*", joined, re.ASCII):
                break
            if is_iban(joined):
                found.append((i, j))
                break
    return found


def _is_phone(run: Sequence[_Token]) -> bool:
    """7 to 15 digits that begin like a number to dial, are written like one, or are too many for anything else."""
    digits = "".join(t.digits for t in run)
    return 7 <= len(digits) <= 15 and (run[0].plus or digits[0] == "0" or any(t.formatted for t in run) or len(digits) >= 9)


def _spelt_addresses(text: str, tokens: Sequence[_Token]) -> list[tuple[int, int]]:
    """``john dot smith at example dot com``: a name of words with joiners, at, a host with at least one dot, in one sentence."""
    found = []
    for at, token in enumerate(tokens):
        if token.plain not in _AT or not 0 < at < len(tokens) - 1:
            continue
        first, last = at - 1, at + 1
        if not _HOST.fullmatch(tokens[last].plain):  # ``example.com`` as recognisers write it
            if at >= len(tokens) - 3 or tokens[at + 2].plain not in _DOT:
                continue
            last = at + 3
        while first >= 2 and tokens[first - 1].plain in _JOINERS and at - first < _LONGEST_ADDRESS:
            first -= 2
        while last + 2 < len(tokens) and tokens[last + 1].plain in _DOT:
            last += 2
        inside = (text[a.end : b.start] for a, b in zip(tokens[first:last], tokens[first + 1 : last + 1], strict=True))
        if not tokens[last].plain[-1].isdigit() and not tokens[last].digits and not any(re.search("[.!?]", gap) for gap in inside):
            found.append((first, last))
    return found


def _places(text: str, words: Sequence[Word]) -> list[tuple[int, int]]:
    """Where each word stands in the text; a word that is not found stands nowhere, at the end of the one before it."""
    places, at = [], 0
    for word in words:
        plain = word.text.strip()
        start = text.find(plain, at) if plain else -1
        if start >= 0:
            at = start + len(plain)
        places.append((start, at) if start >= 0 else (at, at))
    return places


def _words(words: Sequence[Word], places: Sequence[tuple[int, int]], found: Sequence[tuple[int, int, str]]) -> tuple[Word, ...]:
    """The words with those inside a secret joined into one that bears its name; punctuation at its edges goes with it."""
    kept: list[Word] = []
    last: tuple[int, int, str] | None = None
    for word, (start, end) in zip(words, places, strict=True):
        secret = next((f for f in found if start < f[1] and end > f[0]), None)
        if secret is None:
            kept.append(word)
        elif secret is not last:
            kept.append(Word(secret[2], word.start_ms, word.end_ms, word.probability))
        else:
            before = kept[-1]
            begun = before.start_ms if before.start_ms is not None else word.start_ms
            ended = word.end_ms if word.end_ms is not None else before.end_ms
            kept[-1] = Word(before.text, begun, ended, min(before.probability, word.probability))
        last = secret
    return tuple(kept)
