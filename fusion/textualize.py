"""Cues into sentences and back: pure functions with versioned templates.

A sentence reads, always in this order (face, voice, words):

    0:12.4–0:15.1 customer: brows lowered (AU4 3.1), voice 4.2 semitones above own baseline, fast; said: "…"

`describe` reduces cues to a `CueSentence` at the precision of the template, `render` writes it, `parse` reads it back
without loss. No word of a sentence names an emotion, except where a person said it: the transcript stands in quotes,
escaped like a JSON string, and is data wherever the sentence goes. What could not be seen or heard has words of its
own, so that a calm face, an absent face and a face that cannot be judged are three different sentences.
"""

from __future__ import annotations

import json
import re
from typing import Literal

from msgspec import Struct

from extractors.cues import Prosody, SpeechCues
from fusion.spans import FaceSpan, UnitActivity, unit_order

TEMPLATE = "cues-1"
"""Version of the sentences. Any change of a word or a threshold here is a new version."""

MARKED_Z = 0.5
"""A property of the voice is named from this distance to the speaker's baseline on, in standard deviations."""
MOST_TERMS = 10
MOST_UNITS = 6
CLOSED_EYES = 2.5
"""Mean AU43 + AU45 from which the eyes count as closed (a closure is a blink first, so they alternate): lip corners
pulled on a closed mouth under closed eyes are not called a smile."""
ARTICULATION = frozenset({"AU25", "AU26", "AU27"})
"""Lips part and jaw drop are how speech is made: they are not named in a span in which the person speaks."""

# fmt: off
_UNITS = {
    "AU1": "inner brows raised", "AU2": "outer brows raised", "AU4": "brows lowered", "AU5": "upper lids raised",
    "AU6": "cheeks raised", "AU7": "lids tightened", "AU9": "nose wrinkled", "AU10": "upper lip raised",
    "AU11": "nasolabial fold deepened", "AU12": "lip corners pulled up", "AU14": "lip corners dimpled",
    "AU15": "lip corners lowered", "AU16": "lower lip lowered", "AU17": "chin raised", "AU18": "lips puckered",
    "AU20": "lips stretched", "AU22": "lips funnelled", "AU23": "lips tightened", "AU24": "lips pressed",
    "AU25": "lips parted", "AU26": "jaw dropped", "AU27": "mouth stretched open", "AU28": "lips sucked in",
    "AU34": "cheeks puffed", "AU43": "eyes closed", "AU45": "blinking",
}
_SMILE = "smiling"
_OTHER_UNIT = "unit active"
_TERMS = {
    "pitch": ("high", "low"), "pitch_range": ("wide pitch range", "narrow pitch range"), "energy": ("strong", "weak"),
    "loudness": ("loud", "quiet"), "rate": ("fast", "slow"), "pauses": ("many pauses", "few pauses"),
    "jitter": ("unsteady pitch", "steady pitch"), "shimmer": ("unsteady level", "steady level"),
    "hnr": ("clear tone", "noisy tone"), "tilt": ("dull timbre", "bright timbre"),
}
# fmt: on
_KEY_OF = {word: (key, sign) for key, words in _TERMS.items() for word, sign in zip(words, "+-", strict=True)}


class Unit(Struct, frozen=True):
    """An active action unit: mean `intensity` (one decimal) and in how many `percent` of the usable frames."""

    code: str
    intensity: float
    percent: int


class FaceWords(Struct, frozen=True):
    """What the sentence says of the face. `smiling` renames AU12 where the rest of the face agrees."""

    state: Literal["none", "unusable", "idle", "active"] = "none"
    units: tuple[Unit, ...] = ()
    smiling: bool = False
    reasons: tuple[str, ...] = ()


VoiceState = Literal["none", "unmeasured", "no_baseline", "ordinary", "marked"]
_VOICE_FILLERS: dict[VoiceState, str] = {
    "none": "no speech",
    "unmeasured": "voice not measured",
    "no_baseline": "voice without baseline yet",
    "ordinary": "voice as usual",
}


class VoiceWords(Struct, frozen=True):
    """What it says of the voice: `terms` are signed keys of the baseline (``+rate``), the strongest first;
    `pitch_st` (one decimal) replaces the word for pitch by its distance to the own baseline in semitones."""

    state: VoiceState = "none"
    terms: tuple[str, ...] = ()
    pitch_st: float | None = None


class SaidWords(Struct, frozen=True):
    """What was said. `reason` names the guard that emptied the transcript."""

    state: Literal["none", "untranscribed", "empty", "said"] = "none"
    text: str = ""
    reason: str = ""


class CueSentence(Struct, frozen=True):
    """The structured twin of a sentence. Times are milliseconds in steps of 100."""

    start_ms: int
    end_ms: int
    participant: str
    face: FaceWords = FaceWords()
    voice: VoiceWords = VoiceWords()
    said: SaidWords = SaidWords()


def describe(
    participant: str, start_ms: int, end_ms: int, *, speech: SpeechCues | None = None, face: FaceSpan | None = None
) -> CueSentence:
    """Reduce the cues of one span to what the template says. Pure and deterministic."""
    seen = face_words(face, speaking=speech is not None)
    return CueSentence(_tenths(start_ms), _tenths(end_ms), participant, seen, voice_words(speech), said_words(speech))


def _tenths(ms: int) -> int:
    return (ms + 50) // 100 * 100


def face_words(face: FaceSpan | None, *, speaking: bool = False) -> FaceWords:
    if face is None or face.frames == 0:
        return FaceWords("none")
    if face.usable == 0:
        return FaceWords("unusable", reasons=tuple(_token(reason) for reason in face.reasons))
    smiling = is_smile(face.units)
    named = {
        code: unit
        for code, unit in face.units.items()
        if unit.active and re.fullmatch(r"AU\d+", code) and not (speaking and code in ARTICULATION)
    }
    strongest = sorted(named, key=lambda code: (-named[code].intensity, unit_order(code)))[:MOST_UNITS]
    units = tuple(Unit(code, round(named[code].intensity, 1), round(named[code].share * 100)) for code in strongest)
    return FaceWords("active" if units else "idle", units, smiling and any(unit.code == "AU12" for unit in units))


def is_smile(units: dict[str, UnitActivity]) -> bool:
    """Whether pulled lip corners are a smile. The brows must not be lowered, and either the mouth opens over the teeth
    (lips part or upper lip rises) or the cheeks rise while the eyes stay open: a tight-lipped crying face pulls the lip
    corners and squints as a smile does, and closes its eyes."""

    def active(*codes: str) -> bool:
        return any(code in units and units[code].active for code in codes)

    closed = sum(units[code].intensity for code in ("AU43", "AU45") if code in units) >= CLOSED_EYES
    opened = active("AU25", "AU10")
    return active("AU12") and not active("AU4") and (opened or active("AU6") and not closed)


def voice_words(speech: SpeechCues | None) -> VoiceWords:
    if speech is None:
        return VoiceWords("none")
    prosody = speech.prosody
    if prosody is None:
        return VoiceWords("unmeasured")
    if not prosody.relative:
        return VoiceWords("no_baseline")
    terms = voice_terms(prosody)
    if not terms:
        return VoiceWords("ordinary")
    return VoiceWords("marked", terms, _pitch_distance(prosody, terms))


def voice_terms(prosody: Prosody) -> tuple[str, ...]:
    """Signed baseline keys at least `MARKED_Z` standard deviations from the speaker's baseline, strongest first."""
    scores = {key: z for key, z in prosody.relative.items() if key in _TERMS and abs(z) >= MARKED_Z}
    order = sorted(scores, key=lambda key: (-abs(scores[key]), list(_TERMS).index(key)))[:MOST_TERMS]
    return tuple(("+" if scores[key] > 0 else "-") + key for key in order)


def _pitch_distance(prosody: Prosody, terms: tuple[str, ...]) -> float | None:
    """Only where the distance in semitones, as printed, agrees with the direction of the z-score."""
    distance = prosody.pitch_vs_baseline_st
    if distance is None or round(abs(distance), 1) == 0 or ("+pitch" if distance > 0 else "-pitch") not in terms:
        return None
    return round(distance, 1)


def said_words(speech: SpeechCues | None) -> SaidWords:
    if speech is None:
        return SaidWords("none")
    if speech.transcript is None:
        return SaidWords("untranscribed")
    if not speech.transcript.text.strip():
        return SaidWords("empty", reason=_token(speech.transcript.rejected or ""))
    return SaidWords("said", speech.transcript.text.strip())


def _token(reason: str) -> str:
    """A reason as a plain lower-case token; free text would not survive the way back."""
    return re.sub(r"[^a-z0-9]+", "_", reason.lower()).strip("_")


def render(sentence: CueSentence) -> str:
    """The sentence of a structured twin."""
    who = sentence.participant
    if not re.fullmatch(r"[\w.-]+", who):
        who = quote(who)
    body = [render_face(sentence.face), render_voice(sentence.voice)]
    said = render_said(sentence.said)
    span = f"{clock(sentence.start_ms)}–{clock(sentence.end_ms)}"
    return f"{span} {who}: {', '.join(body)}" + (f"; {said}" if said else "")


def clock(ms: int) -> str:
    """``m:ss.d`` or ``h:mm:ss.d``."""
    tenths = _tenths(ms) // 100
    hours, rest = divmod(tenths, 36_000)
    minutes, rest = divmod(rest, 600)
    seconds = f"{rest // 10:02d}.{rest % 10}"
    return f"{hours}:{minutes:02d}:{seconds}" if hours else f"{minutes}:{seconds}"


def render_face(face: FaceWords) -> str:
    if face.state == "none":
        return "no face"
    if face.state == "unusable":
        reasons = ", ".join(reason.replace("_", " ") for reason in face.reasons)
        return "face not usable" + (f" ({reasons})" if reasons else "")
    if face.state == "idle":
        return "face, no active units"
    return ", ".join(_render_unit(unit, face.smiling) for unit in face.units)


def unit_name(code: str) -> str:
    """An action unit in words: ``brows lowered`` for ``AU4``."""
    return _UNITS.get(code, _OTHER_UNIT)


def _render_unit(unit: Unit, smiling: bool) -> str:
    phrase = _SMILE if smiling and unit.code == "AU12" else unit_name(unit.code)
    lasting = "" if unit.percent == 100 else f" for {unit.percent}%"
    return f"{phrase} ({unit.code} {unit.intensity:.1f}{lasting})"


def render_voice(voice: VoiceWords) -> str:
    if voice.state in _VOICE_FILLERS:
        return _VOICE_FILLERS[voice.state]
    return "voice " + ", ".join(_term_phrase(term, voice.pitch_st) for term in voice.terms)


def _term_phrase(term: str, pitch_st: float | None) -> str:
    if term[1:] == "pitch" and pitch_st is not None:
        return f"{abs(pitch_st):.1f} semitones {'above' if pitch_st > 0 else 'below'} own baseline"
    return _TERMS[term[1:]]["+-".index(term[0])]


def render_said(said: SaidWords) -> str:
    if said.state == "none":
        return ""
    if said.state == "untranscribed":
        return "words not transcribed"
    if said.state == "empty":
        return "no words" + (f" ({said.reason.replace('_', ' ')})" if said.reason else "")
    return f"said: {quote(said.text)}"


_ESCAPED = re.compile("[\x7f-\x9f\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def quote(text: str) -> str:
    """`text` as a JSON string on one line; control, line-separating and direction-changing characters are escaped, so
    that nothing said can end the quotation or change how the sentence is read."""
    return _ESCAPED.sub(lambda found: f"\\u{ord(found[0]):04x}", json.dumps(text, ensure_ascii=False))


_CLOCK = r"(?:\d+:)?\d+:\d\d\.\d"
_WHO = r'"(?:[^"\\]|\\.)*"|[\w.-]+'
_HEAD = re.compile(rf"(?P<start>{_CLOCK})–(?P<end>{_CLOCK}) (?P<who>{_WHO}): (?P<body>.*)", re.DOTALL)
_UNIT = re.compile(r"(?P<phrase>[a-z ]+) \((?P<code>AU\d+) (?P<intensity>\d+\.\d)(?: for (?P<percent>\d+)%)?\), ")
_UNUSABLE = re.compile(r"face not usable(?: \((?P<reasons>[a-z0-9 ]+(?:, [a-z0-9 ]+)*)\))?, ")
_PITCH = re.compile(r"(?P<value>\d+\.\d) semitones (?P<side>above|below) own baseline")
_EMPTY = re.compile(r"no words(?: \((?P<reason>[a-z0-9 ]+)\))?")


def parse(text: str) -> CueSentence:
    """The structured twin of a sentence made by `render`. Raises `ValueError` for anything else."""
    head = _HEAD.fullmatch(text)
    if not head:
        raise ValueError(f"not a sentence of template {TEMPLATE}: {text[:80]!r}")
    who = head["who"]
    participant: str = json.loads(who) if who.startswith('"') else who
    cues, _, said = head["body"].partition("; ")
    face, voice = _parse_face(cues + ", ")
    start, end = _milliseconds(head["start"]), _milliseconds(head["end"])
    return CueSentence(start, end, participant, face, _parse_voice(voice), _parse_said(said))


def _milliseconds(text: str) -> int:
    *larger, seconds = text.split(":")
    minutes = int(larger[-1]) + (60 * int(larger[-2]) if len(larger) == 2 else 0)
    whole, tenth = seconds.split(".")
    return (minutes * 60 + int(whole)) * 1000 + int(tenth) * 100


def _parse_face(cues: str) -> tuple[FaceWords, str]:
    """Face part and what is left (the voice part); each part ends with ``, ``."""
    for filler, state in (("no face, ", FaceWords("none")), ("face, no active units, ", FaceWords("idle"))):
        if cues.startswith(filler):
            return state, cues.removeprefix(filler)
    if unusable := _UNUSABLE.match(cues):
        listed = unusable["reasons"].split(", ") if unusable["reasons"] else []
        reasons = tuple(reason.replace(" ", "_") for reason in listed)
        return FaceWords("unusable", reasons=reasons), cues[unusable.end() :]
    units, smiling = [], False
    while found := _UNIT.match(cues):
        if found["phrase"] not in (_SMILE, _UNITS.get(found["code"], _OTHER_UNIT)):
            raise ValueError(f"unknown words for {found['code']}: {found['phrase']!r}")
        smiling |= found["phrase"] == _SMILE
        units.append(Unit(found["code"], float(found["intensity"]), int(found["percent"] or 100)))
        cues = cues[found.end() :]
    if not units:
        raise ValueError(f"no face part in {cues[:60]!r}")
    return FaceWords("active", tuple(units), smiling), cues


def _parse_voice(cues: str) -> VoiceWords:
    for state, filler in _VOICE_FILLERS.items():
        if cues == filler + ", ":
            return VoiceWords(state)
    if not cues.startswith("voice "):
        raise ValueError(f"no voice part in {cues[:60]!r}")
    terms, pitch = [], None
    for phrase in cues.removeprefix("voice ").removesuffix(", ").split(", "):
        if found := _PITCH.fullmatch(phrase):
            pitch = float(found["value"]) * (1 if found["side"] == "above" else -1)
            terms.append("+pitch" if pitch > 0 else "-pitch")
        elif phrase in _KEY_OF:
            terms.append(_KEY_OF[phrase][1] + _KEY_OF[phrase][0])
        else:
            raise ValueError(f"unknown words for the voice: {phrase!r}")
    return VoiceWords("marked", tuple(terms), pitch)


def _parse_said(text: str) -> SaidWords:
    if not text:
        return SaidWords("none")
    if text == "words not transcribed":
        return SaidWords("untranscribed")
    if empty := _EMPTY.fullmatch(text):
        return SaidWords("empty", reason=(empty["reason"] or "").replace(" ", "_"))
    if not text.startswith('said: "'):
        raise ValueError(f"no words in {text[:60]!r}")
    return SaidWords("said", json.loads(text.removeprefix("said: ")))
