"""Hand-made conversations for the tests of the outputs: same arguments, same events."""

from __future__ import annotations

import random

from extractors.cues import LABELS, Word
from fusion.events import (
    FINAL_REVISION,
    Association,
    Context,
    EmotionEvent,
    EventTranscript,
    Evidence,
    ModalityUse,
    PolicyStamp,
    event_id,
)

VALENCE = {"anger": -0.7, "disgust": -0.6, "fear": -0.6, "happiness": 0.75, "neutral": 0.0, "sadness": -0.6, "surprise": 0.1}
AROUSAL = {"anger": 0.6, "disgust": 0.3, "fear": 0.5, "happiness": 0.5, "neutral": -0.1, "sadness": -0.4, "surprise": 0.6}

# Share of the call at which a phase begins, what the customer shows in it, and what is said.
PHASES: tuple[tuple[float, tuple[str, ...], tuple[str, ...], tuple[str, ...]], ...] = (
    (0.00, ("neutral",), (
        "Good morning, I am calling about the washing machine that I ordered three weeks ago.",
        "The order number is four seven one, double zero, nine.",
        "It was promised for last Tuesday, and nobody came.",
        "I took the whole day off for that delivery.",
    ), (
        "Thank you for calling Northwind Appliances, this is Sam, how can I help?",
        "Let me look that up for you, one moment please.",
        "I can see the order here, it left the warehouse on the ninth.",
        "It seems that the carrier has it, let me connect you to our delivery team.",
    )),
    (0.31, ("anger", "anger", "anger", "disgust"), (
        "I have just explained all of that to your colleague!",
        "This is the second time that I am passed on, and nobody can tell me anything.",
        "No, I will not wait another two weeks, that is ridiculous.",
        "You keep asking me for the same number <again> & again, do you even write it down?",
        "I want somebody who can decide this, now.",
    ), (
        "I understand, could you give me the order number again?",
        "The next free date would be the twenty-third.",
        "I am afraid the carrier decides on that.",
        "I am sorry, I do see the note from my colleague now.",
    )),
    (0.56, ("sadness", "neutral", "neutral"), (
        "I am just tired of this, my old one is broken and I have two small children.",
        "Well, Saturday would work, if it is really certain.",
        "And the old one is taken along, as we agreed?",
        "Between eight and ten, all right.",
    ), (
        "I have spoken to the carrier: they can come this Saturday, between eight and ten.",
        "Yes, the old machine is taken along at no charge.",
        "I have put my own name on the order, so you do not have to explain it again.",
    )),
    (0.82, ("happiness", "happiness", "neutral"), (
        "Thank you, that is really kind of you.",
        "Then I wish you a nice day, and thanks again!",
        "You were the first who really helped.",
    ), (
        "You are welcome. I will send you the confirmation in a minute.",
        "Thank you for your patience, have a good weekend.",
    )),
)


def phase(share: float) -> tuple[float, tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    return [p for p in PHASES if p[0] <= share][-1]


def distribution(rng: random.Random, label: str, strength: float) -> dict[str, float]:
    rest = [rng.random() + 0.1 for _ in LABELS]
    total = sum(r for r, name in zip(rest, LABELS, strict=True) if name != label)
    values = {n: (strength if n == label else round((1 - strength) * r / total, 4)) for r, n in zip(rest, LABELS, strict=True)}
    values[label] = round(1 - sum(v for n, v in values.items() if n != label), 4)
    return values


def words(text: str, start_ms: int, end_ms: int) -> tuple[Word, ...]:
    parts = text.split()
    step = (end_ms - start_ms) / max(len(parts), 1)
    return tuple(Word(p, round(start_ms + i * step), round(start_ms + (i + 1) * step), 0.93) for i, p in enumerate(parts))


def transcript(text: str, start_ms: int, end_ms: int, language: str = "en") -> EventTranscript:
    return EventTranscript(text, language, words(text, start_ms, end_ms))


def spoken(
    rng: random.Random, participant: str, start_ms: int, end_ms: int, text: str, label: str | None, *,
    role: str = "customer", session: str = "call-1", previous: str | None = None, video: bool = True, language: str = "en",
) -> EmotionEvent:
    """A final utterance event; `label` None makes it withheld, "unknown" makes the system abstain."""
    base = EmotionEvent(
        id=event_id(session, participant, start_ms, "utterance"), revision=FINAL_REVISION, status="final", session=session,
        participant=participant, role=role, kind="utterance", start_ms=start_ms, end_ms=end_ms,
        transcript=transcript(text, start_ms, end_ms, language),
        observables={"loudness_lufs": round(-24 + rng.uniform(-2, 2) + (5 if label == "anger" else 0), 1), "f0_median_hz": 196.4},
        biometric=label is not None,
        models={"transcription": "whisper-base@1f2e3d4c"}, latency={"total": round(rng.uniform(90, 300), 1)},
    )
    if label is None:
        reason = "employees are not emotion-analysed"
        return _with(base, status="withheld", policy=PolicyStamp("withheld", reason))
    strength = round(rng.uniform(0.24, 0.3) if label == "unknown" else rng.uniform(0.52, 0.93), 4)
    shape = "neutral" if label == "unknown" else label
    tone = {"anger": ("4.2 semitones above own baseline", "louder than usual by 5.1 dB", "fast: 3.9 words a second"),
            "sadness": ("1.8 semitones below own baseline", "quieter than usual by 3.0 dB", "slow: 1.7 words a second"),
            "happiness": ("2.6 semitones above own baseline, wide range", "lively rhythm", "fast: 3.3 words a second"),
            }.get(shape, ("close to own baseline", "of usual loudness", "of usual speed"))
    seen = {"anger": "brows lowered (AU4 3.1), lids tightened (AU7 2.2)", "happiness": "cheeks raised (AU6 2.4), lip corners pulled (AU12 3.3)",
            "sadness": "inner brows raised (AU1 2.0), lip corners down (AU15 1.6)"}.get(shape, "face at rest")
    weights = {"speech": 0.44, "text": 0.31, "face": 0.25} if video else {"speech": 0.58, "text": 0.42}
    evidence = [
        Evidence("speech", "pitch_vs_baseline", f"Voice {tone[0]}", start_ms, end_ms, round(weights["speech"] * 0.6, 4)),
        Evidence("text", "words", f"Said: “{text}”", start_ms, end_ms, weights["text"]),
        Evidence("speech", "loudness", f"Speech {tone[1]}, {tone[2]}", start_ms, end_ms, round(weights["speech"] * 0.4, 4)),
    ]
    if video:
        evidence.append(Evidence("face", "action_units", f"Face: {seen}", start_ms, min(start_ms + 900, end_ms), weights["face"]))
    return _with(
        base, label=label, probabilities=distribution(rng, shape, strength),
        valence=round(VALENCE[shape] + rng.uniform(-0.15, 0.15), 4), arousal=round(AROUSAL[shape] + rng.uniform(-0.15, 0.15), 4),
        dominance=0.1, intensity=round(rng.uniform(0.3, 0.9), 4), confidence=round(strength * rng.uniform(0.85, 1.0), 4),
        modalities={m: ModalityUse(True, 0.9, w, m != "text") for m, w in weights.items()} if video else {
            **{m: ModalityUse(True, 0.9, w, m != "text") for m, w in weights.items()},
            "face": ModalityUse(False, 0.0, 0.0, True, "no picture in this recording"),
        },
        evidence=tuple(sorted(evidence, key=lambda e: -e.weight)),
        explanation=f"Perceived as {label}: voice {tone[0]}, speech {tone[1]}.",
        context=Context(previous, previous is not None and previous != label, Association(0, "video/0", "declared", None, True) if video else None),
        models={"transcription": "whisper-base@1f2e3d4c", "speech_emotion": "speech-head@aa11bb22", "text_emotion": "text-head@cc33dd44"},
        policy=PolicyStamp("analysed", "customers are analysed"),
    )


def _with(event: EmotionEvent, **changes: object) -> EmotionEvent:
    import msgspec

    return msgspec.structs.replace(event, **changes)


def support_call(minutes: float = 10.0, *, seed: int = 7, video: bool = True, session: str = "call-1") -> list[EmotionEvent]:
    """A complaint: neutral, then anger after the second transfer, then calmer and friendly. The agent is withheld."""
    rng = random.Random(seed)
    length = int(minutes * 60_000)
    now, events, previous, turn = 1_200, [], None, 0
    while now < length - 9_000:
        share = now / length
        _, labels, customer, agent = phase(share)
        by_customer = turn % 2 == 1
        text = rng.choice(customer if by_customer else agent)
        end = now + len(text) * 62 + rng.randrange(400)
        if by_customer:
            label = "unknown" if rng.random() < 0.07 else rng.choice(labels)
            event = spoken(rng, "customer", now, end, text, label, session=session, previous=previous, video=video)
            previous = label
        else:
            event = spoken(rng, "agent", now, end, text, None, role="employee", session=session, video=video)
        events.append(event)
        # The customer interrupts while angry; now and then nobody speaks for a while.
        gap = rng.choice((250, 420, 700, 980))
        if labels[0] == "anger" and not by_customer and end - now > 2_500:
            gap = -1_300
        elif rng.random() < 0.06:
            gap = rng.randrange(3_200, 7_500)
        if by_customer and video and gap > 3_000:
            events.append(_face(rng, "customer", end + 200, end + gap - 200, labels[0], session))
        now, turn = end + gap, turn + 1
    return events


def _face(rng: random.Random, participant: str, start_ms: int, end_ms: int, label: str, session: str) -> EmotionEvent:
    strength = round(rng.uniform(0.5, 0.8), 4)
    return EmotionEvent(
        id=event_id(session, participant, start_ms, "face"), revision=FINAL_REVISION, status="final", session=session,
        participant=participant, role="customer", kind="face", start_ms=start_ms, end_ms=end_ms, label=label,
        probabilities=distribution(rng, label, strength), valence=VALENCE[label], arousal=AROUSAL[label], dominance=0.0,
        intensity=0.4, confidence=strength, modalities={"face": ModalityUse(True, 0.8, 1.0, True)},
        evidence=(Evidence("face", "action_units", "Face: lips pressed (AU24 2.0), brows lowered (AU4 1.4)", start_ms, end_ms, 1.0),),
        explanation="Lips pressed while listening.", biometric=True, models={"expression": "expression-net@99887766"},
        policy=PolicyStamp("analysed", "customers are analysed"),
    )


def round_table(people: int = 8, minutes: float = 5.0, *, seed: int = 3, session: str = "table") -> list[EmotionEvent]:
    """Several participants who all may be analysed, without a picture."""
    rng = random.Random(seed)
    now, events = 500, []
    previous: dict[str, str] = {}
    sentences = [s for p in PHASES for s in p[2]]
    while now < minutes * 60_000 - 8_000:
        name = f"person-{rng.randrange(people) + 1}"
        text = rng.choice(sentences)
        end = now + len(text) * 60
        label = rng.choice(("neutral", "neutral", "happiness", "surprise", "fear", "sadness", "unknown"))
        events.append(spoken(rng, name, now, end, text, label, role="participant", session=session, previous=previous.get(name), video=False))
        previous[name] = label
        now = end + rng.choice((-600, 200, 500, 900))
    return events


def right_to_left(*, session: str = "rtl") -> list[EmotionEvent]:
    """A short call in Urdu and Arabic."""
    rng = random.Random(1)
    lines = (("ur", "السلام علیکم، میرا آرڈر ابھی تک نہیں پہنچا۔", "neutral"), ("ur", "میں تین بار فون کر چکی ہوں!", "anger"),
             ("ur", "کوئی مجھے order 4710 کے بارے میں نہیں بتاتا!", "anger"), ("ar", "شكرا جزيلا، هذا لطف منك.", "happiness"))
    events, now = [], 800
    for language, text, label in lines:
        end = now + 3_200
        events.append(spoken(rng, "customer", now, end, text, label, session=session, video=False, language=language))
        now = end + 1_400
    return events
