"""Hear: utterances in, speech cues out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec
import numpy as np
from msgspec import Struct

from extractors.cues import Posterior, SpeechCues, Transcript, Word
from extractors.speech.models import SpeechModels
from extractors.speech.prosody import Baseline, envelope_db, measure
from extractors.speech.quality import assess
from extractors.speech.whisper import EncodedUtterance
from streams.records import Decision, Output, SessionEnd, SessionStart, SpeechCueRecord, Utterance, Watermark

NOTHING = Decision(transcribe=False, measure=False, emotion=False, reason="no policy decision for this participant")


class _SpeakerState(Struct):
    """Snapshot of one speaker: running language evidence and prosody baseline."""

    language: dict[str, float]
    utterances: int
    baseline: bytes
    last_index: int


class _Speaker:
    def __init__(self) -> None:
        self.language: dict[str, float] = {}
        self.utterances = 0
        self.baseline = Baseline()
        self.last_index = -1


class HearStage:
    """Transcribes, measures and (where policy allows) classifies each utterance of a session.

    One encoder pass serves language, words and emotion. The speaker's language is a running sum of log probabilities
    over his utterances so far, his prosody baseline likewise; both depend on earlier utterances alone.
    """

    def __init__(self, start: SessionStart, models: SpeechModels) -> None:
        self._start = start
        self._models = models
        self._speakers: dict[str, _Speaker] = {}

    def feed(self, record: Output) -> Iterable[Output]:
        return self.feed_many([record])

    def feed_many(self, records: Sequence[Output]) -> Iterable[Output]:
        fresh = {id(record): self._is_fresh(record) for record in records if isinstance(record, Utterance)}
        cues = dict(self._hear([record for record in records if isinstance(record, Utterance) and fresh[id(record)]]))
        outputs: list[Output] = []
        for record in records:
            if isinstance(record, Utterance) and id(record) in cues:
                outputs.append(cues[id(record)])
            elif isinstance(record, Watermark) and record.origin == "segment":
                outputs.append(Watermark(record.session, record.source, "hear", record.media_ms, record.final))
            elif isinstance(record, SessionEnd):
                outputs += self.flush()
        return outputs

    def tick(self, now_ms: int) -> Iterable[Output]:
        return ()

    def flush(self) -> Iterable[Output]:
        return ()

    def snapshot(self) -> bytes:
        states = {
            name: _SpeakerState(speaker.language, speaker.utterances, speaker.baseline.snapshot(), speaker.last_index)
            for name, speaker in self._speakers.items()
        }
        return msgspec.msgpack.encode(states)

    def restore(self, state: bytes) -> None:
        for name, saved in msgspec.msgpack.decode(state, type=dict[str, _SpeakerState]).items():
            speaker = self._speakers[name] = _Speaker()
            speaker.language, speaker.utterances, speaker.last_index = (
                saved.language,
                saved.utterances,
                saved.last_index,
            )
            speaker.baseline.restore(saved.baseline)

    def _speaker(self, participant: str) -> _Speaker:
        return self._speakers.setdefault(participant, _Speaker())

    def _is_fresh(self, utterance: Utterance) -> bool:
        speaker = self._speaker(utterance.participant)
        if utterance.index <= speaker.last_index:
            return False
        if not utterance.partial:
            speaker.last_index = utterance.index
        return True

    def _decision(self, participant: str) -> Decision:
        return self._start.decisions.get(participant, NOTHING)

    def _hear(self, utterances: list[Utterance]) -> list[tuple[int, SpeechCueRecord]]:
        pcm = [np.frombuffer(utterance.payload, dtype="<i2") for utterance in utterances]
        decisions = [self._decision(utterance.participant) for utterance in utterances]
        needed = [i for i, d in enumerate(decisions) if d.transcribe or d.emotion]
        encoded = dict(
            zip(needed, self._models.encode([(pcm[i], utterances[i].speech_probability) for i in needed]), strict=True)
        )
        spoken = self._transcribe(utterances, encoded)
        classified = self._classify_text(utterances, decisions, spoken)
        return [
            (
                id(utterance),
                self._record(utterance, pcm[i], decisions[i], encoded.get(i), spoken.get(i), classified.get(i)),
            )
            for i, utterance in enumerate(utterances)
        ]

    def _transcribe(self, utterances: list[Utterance], encoded: dict[int, EncodedUtterance]) -> dict[int, Transcript]:
        """Language is decided in order per speaker, then turns of one language are decoded together."""
        by_language: dict[str, list[int]] = {}
        for i, states in encoded.items():
            by_language.setdefault(self._language(utterances[i], states), []).append(i)
        spoken: dict[int, Transcript] = {}
        for language, members in sorted(by_language.items()):
            found = self._models.whisper.transcribe([encoded[i] for i in members], language=language)
            spoken |= dict(zip(members, found, strict=True))
        return spoken

    def _language(self, utterance: Utterance, states: EncodedUtterance) -> str:
        if self._start.language:
            return self._start.language
        speaker = self._speaker(utterance.participant)
        heard = self._models.whisper.language_logprobs(states)
        total = {code: speaker.language.get(code, 0.0) + value for code, value in heard.items()}
        if not utterance.partial:
            speaker.language = {code: round(value, 4) for code, value in total.items()}
        return min(total, key=lambda code: (-total[code], code))

    def _classify_text(
        self, utterances: list[Utterance], decisions: list[Decision], spoken: dict[int, Transcript]
    ) -> dict[int, Posterior]:
        members = [i for i, transcript in spoken.items() if transcript.text and decisions[i].emotion]
        return (
            dict(zip(members, self._models.text.classify([spoken[i].text for i in members]), strict=True))
            if members
            else {}
        )

    def _record(
        self,
        utterance: Utterance,
        pcm: np.ndarray,
        decision: Decision,
        encoded: EncodedUtterance | None,
        transcript: Transcript | None,
        text_emotion: Posterior | None,
    ) -> SpeechCueRecord:
        skipped: dict[str, str] = {}
        quality = assess(pcm)
        prosody = None
        if decision.measure:
            speaker = self._speaker(utterance.participant)
            prosody = speaker.baseline.relate(measure(pcm, transcript.words, transcript.language) if transcript else measure(pcm))
            if not utterance.partial:
                speaker.baseline.update(prosody)
        else:
            skipped["prosody"] = decision.reason
        speech_emotion = None
        if not decision.emotion:
            skipped["speech_emotion"] = skipped["text_emotion"] = decision.reason
        elif encoded is not None:
            rejected = transcript.rejected if transcript else None
            if rejected in ("music", "no_speech"):
                skipped["speech_emotion"] = f"not speech: {rejected}"
            else:
                speech_emotion = self._models.emotion.classify(encoded.states, prosody)
                speech_emotion = msgspec.structs.replace(
                    speech_emotion, quality=round(speech_emotion.quality * quality.score, 4)
                )
        cues = SpeechCues(
            utterance.start_ms,
            utterance.end_ms,
            quality,
            _shifted(transcript, utterance.start_ms) if decision.transcribe else None,
            prosody,
            speech_emotion,
            text_emotion,
            envelope_db(pcm),
            skipped,
        )
        return SpeechCueRecord(
            utterance.session, utterance.participant, utterance.source, utterance.index, cues, utterance.partial
        )


def _shifted(transcript: Transcript | None, offset_ms: int) -> Transcript | None:
    """Word times from the start of the utterance to the start of the session."""
    if transcript is None:
        return None
    words = tuple(
        Word(
            word.text,
            None if word.start_ms is None else word.start_ms + offset_ms,
            None if word.end_ms is None else word.end_ms + offset_ms,
            word.probability,
        )
        for word in transcript.words
    )
    return msgspec.structs.replace(transcript, words=words)
