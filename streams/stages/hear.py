"""Hear: utterances in, speech cues out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec
import numpy as np
from msgspec import Struct

from extractors.cues import Posterior, SpeechCues, Transcript, Word
from extractors.speech.models import SpeechModels
from extractors.speech.prosody import Baseline, envelope_db, measure
from extractors.speech.quality import assess
from extractors.speech.whisper import EncodedUtterance
from fusion.redact import redact
from streams.counters import count
from streams.records import Decision, Output, SessionEnd, SessionStart, SpeechCueRecord, Utterance, Watermark

NOTHING = Decision(transcribe=False, measure=False, emotion=False, reason="no policy decision for this participant")


LONGEST_LAG_MS = 1500
"""A stage further behind than this hears no hypotheses: what is final comes first."""


class _SpeakerState(Struct):
    """Snapshot of one speaker: running language evidence and prosody baseline."""

    language: dict[str, float]
    baseline: bytes
    last_index: int


class _Offer(Struct, frozen=True):
    """The last hypothesis of an open utterance and all that came of it: `language` is the speaker's evidence with it."""

    utterance: Utterance
    language: dict[str, float] | None
    cues: SpeechCues

    def is_for(self, complete: Utterance) -> bool:
        """Whether the complete utterance holds the same audio in the same place."""
        return msgspec.structs.replace(self.utterance, partial=0, cut=complete.cut) == complete


class _Speaker:
    def __init__(self) -> None:
        self.language: dict[str, float] = {}
        self.baseline = Baseline()
        self.last_index = -1
        self.hypothesis = (-1, 0)
        self.offer: _Offer | None = None


class HearStage:
    """Transcribes, measures and (where policy allows) classifies each utterance of a session.

    One encoder pass serves language, words and emotion. The speaker's language is a running sum of log probabilities
    over his utterances so far, his prosody baseline likewise; both depend on earlier utterances alone. Hypotheses of an
    open utterance change none of them; what came of the last one is kept, and taken where the complete utterance turns
    out to be the same audio.
    """

    def __init__(self, start: SessionStart, models: SpeechModels) -> None:
        self._start = start
        self._models = models
        self._speakers: dict[str, _Speaker] = {}
        self._lag_ms = 0

    def feed(self, record: Output) -> Iterable[Output]:
        return self.feed_many([record])

    def feed_many(self, records: Sequence[Output]) -> Iterable[Output]:
        cues = dict(self._hear(self._chosen([record for record in records if isinstance(record, Utterance)])))
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

    def pressed(self, lag_ms: int) -> None:
        """How long the oldest record in hand has waited (see `streams.stages.protocol.Sheds`)."""
        self._lag_ms = lag_ms

    def snapshot(self) -> bytes:
        states = {
            name: _SpeakerState(speaker.language, speaker.baseline.snapshot(), speaker.last_index)
            for name, speaker in self._speakers.items()
        }
        return msgspec.msgpack.encode(states)

    def restore(self, state: bytes) -> None:
        self._speakers = {}
        for name, saved in msgspec.msgpack.decode(state, type=dict[str, _SpeakerState]).items():
            speaker = self._speaker(name)
            speaker.language, speaker.last_index = saved.language, saved.last_index
            speaker.baseline.restore(saved.baseline)

    def _speaker(self, participant: str) -> _Speaker:
        return self._speakers.setdefault(participant, _Speaker())

    def _chosen(self, utterances: Iterable[Utterance]) -> list[Utterance]:
        """What is to be heard, in order: every complete utterance once; of the hypotheses of one the newest, and none
        where the complete one is here too or the stage is behind."""
        chosen: dict[tuple[str, int], Utterance] = {}
        for utterance in utterances:
            speaker = self._speaker(utterance.participant)
            if utterance.index <= speaker.last_index:
                continue
            if not utterance.partial:
                speaker.last_index = utterance.index
            elif (utterance.index, utterance.partial) <= speaker.hypothesis:
                continue
            else:
                speaker.hypothesis = (utterance.index, utterance.partial)
            if chosen.get((utterance.participant, utterance.index)) is not None:
                count("hypotheses_superseded_total")
            chosen[utterance.participant, utterance.index] = utterance
        heard = [utterance for utterance in chosen.values() if not utterance.partial or self._lag_ms <= LONGEST_LAG_MS]
        count("hypotheses_dropped_total", len(chosen) - len(heard))
        return heard

    def _decision(self, participant: str) -> Decision:
        return self._start.decisions.get(participant, NOTHING)

    def _hear(self, utterances: list[Utterance]) -> list[tuple[int, SpeechCueRecord]]:
        speakers = [self._speaker(utterance.participant) for utterance in utterances]
        offers = {
            i: speakers[i].offer for i, u in enumerate(utterances)
            if not u.partial and (offer := speakers[i].offer) is not None and offer.is_for(u)
        }
        pcm = [np.frombuffer(utterance.payload, dtype="<i2") for utterance in utterances]
        decisions = [self._decision(utterance.participant) for utterance in utterances]
        needed = [i for i, d in enumerate(decisions) if i not in offers and (d.transcribe or d.emotion)]
        encoded = dict(
            zip(needed, self._models.encode([(pcm[i], utterances[i].speech_probability) for i in needed]), strict=True)
        )
        spoken, languages = self._transcribe(utterances, encoded, offers)
        classified = self._classify_text(decisions, spoken)
        records = []
        for i, (utterance, speaker) in enumerate(zip(utterances, speakers, strict=True)):
            offer = offers.get(i)
            cues = offer.cues if offer else self._cues(utterance, pcm[i], decisions[i], encoded.get(i), spoken.get(i), classified.get(i))
            if utterance.partial:
                speaker.offer = _Offer(utterance, languages.get(i), cues)
            else:
                speaker.offer = None
                if decisions[i].measure and cues.prosody is not None:
                    speaker.baseline.update(cues.prosody)
            record = SpeechCueRecord(
                utterance.session, utterance.participant, utterance.source, utterance.index, _kept(cues, decisions[i], utterance.partial), utterance.partial
            )
            records.append((id(utterance), record))
        return records

    def _transcribe(
        self, utterances: list[Utterance], encoded: dict[int, EncodedUtterance], offers: Mapping[int, _Offer | None]
    ) -> tuple[dict[int, Transcript], dict[int, dict[str, float]]]:
        """Language is decided in order per speaker, then turns of one language are decoded together. With the transcripts
        comes the language evidence of each speaker, this utterance included."""
        by_language: dict[str, list[int]] = {}
        evidence: dict[int, dict[str, float]] = {}
        for i, utterance in enumerate(utterances):
            speaker, offer = self._speaker(utterance.participant), offers.get(i)
            if offer is not None:
                speaker.language = offer.language or speaker.language
            elif i in encoded and self._start.language:
                by_language.setdefault(self._start.language, []).append(i)
            elif i in encoded:
                heard = self._models.whisper.language_logprobs(encoded[i])
                total = evidence[i] = {code: round(speaker.language.get(code, 0.0) + value, 4) for code, value in heard.items()}
                by_language.setdefault(min(total, key=lambda code: (-total[code], code)), []).append(i)
                if not utterance.partial:
                    speaker.language = total
        spoken: dict[int, Transcript] = {}
        for language, members in sorted(by_language.items()):
            found = self._models.whisper.transcribe([encoded[i] for i in members], language=language)
            spoken |= dict(zip(members, found, strict=True))
        return spoken, evidence

    def _classify_text(self, decisions: list[Decision], spoken: dict[int, Transcript]) -> dict[int, Posterior]:
        members = [i for i, transcript in spoken.items() if transcript.text and decisions[i].emotion]
        return (
            dict(zip(members, self._models.text.classify([spoken[i].text for i in members]), strict=True))
            if members
            else {}
        )

    def _cues(
        self,
        utterance: Utterance,
        pcm: np.ndarray,
        decision: Decision,
        encoded: EncodedUtterance | None,
        transcript: Transcript | None,
        text_emotion: Posterior | None,
    ) -> SpeechCues:
        skipped: dict[str, str] = {}
        quality = assess(pcm)
        prosody = None
        if decision.measure:
            baseline = self._speaker(utterance.participant).baseline
            prosody = baseline.relate(measure(pcm, transcript.words, transcript.language) if transcript else measure(pcm))
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
        return SpeechCues(
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


def _kept(cues: SpeechCues, decision: Decision, partial: int) -> SpeechCues:
    """The cues as they leave: no topic keeps the secrets that policy wants redacted."""
    if cues.transcript is None:
        return cues
    return msgspec.structs.replace(cues, transcript=redact(cues.transcript, decision.redact, partial=bool(partial)))


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
