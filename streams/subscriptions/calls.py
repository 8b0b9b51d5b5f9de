"""The state of each session as the overview shows it: kept up with every event, so that a page needs no recount."""

from __future__ import annotations

from msgspec import Struct

from fusion.events import EmotionEvent
from streams.alerts.engine import Alert
from streams.records import Decision, Participant, SessionStart
from streams.subscriptions.messages import Acknowledgement

TREND_POINTS = 120
_NEGATIVE = frozenset({"anger", "contempt", "disgust", "fear", "sadness"})
_WEIGHT = {"critical": 3.0, "warning": 2.0, "info": 0.5}


class Point(Struct, frozen=True):
    """Valence at a media time: middle of the event, value in [-1, 1], confidence in [0, 1]."""

    at_ms: int
    valence: float
    confidence: float


class ParticipantState(Struct):
    """How a participant is now. `label` is None as long as nothing was stated, and for who is withheld; `since_ms` is
    when the current label began; `turned_from` and `turned_ms` say which settled expression the last turn left, and when it was
    settled (`fusion.conversation`); `talk_ms` is voiced time (for everybody: it says nothing about emotion). `trend` covers the
    whole call: each point stands for `stride` of the `measured` events, and is the most extreme of them."""

    id: str
    role: str
    analysed: bool = True
    reason: str = ""
    label: str | None = None
    confidence: float | None = None
    valence: float | None = None
    since_ms: int = 0
    turned_from: str | None = None
    turned_ms: int | None = None
    last_event: str = ""
    talk_ms: int = 0
    utterances: int = 0
    measured: int = 0
    stride: int = 1
    trend: list[Point] = []


class OpenAlert(Struct, frozen=True):
    """An alert with who took it."""

    alert: Alert
    acknowledged: Acknowledgement | None = None


class SessionState(Struct):
    """One session. `position_ms` is how far the media were read (`paced`: as the runtime reports it; otherwise it is the
    end of the last event, and wall time has to be added for a live call), `silent_since_ms` the end of the last voiced time
    (None before the first word), `attention` what the overview is sorted by (higher: needs somebody), with its reason.

    How far the analysis is behind, where the arrival of the media is known: `arrived_wall_ms` is when the media behind the
    newest result arrived (a partial event or a mark of progress is a result), `delay_ms` how long the result took from
    there, `behind_ms` the age of `arrived_wall_ms` when the state was read (live calls)."""

    session: str
    media: str = ""
    state: str = "live"
    language: str | None = None
    started_wall_ms: int = 0
    updated_wall_ms: int = 0
    position_ms: int = 0
    paced: bool = False
    duration_ms: int = 0
    silent_since_ms: int | None = None
    events: int = 0
    has_audio: bool = True
    has_video: bool = False
    has_media: bool = False
    participants: list[ParticipantState] = []
    decisions: dict[str, Decision] = {}
    alerts: list[OpenAlert] = []
    last_said: str = ""
    last_said_by: str = ""
    attention: float = 0.0
    attention_reason: str = ""
    behind_ms: int | None = None
    arrived_wall_ms: int | None = None
    delay_ms: int | None = None


def opened(start: SessionStart, wall_ms: int) -> SessionState:
    """The state of a session that has just begun."""
    people = [
        ParticipantState(p.id, p.role, d.emotion if (d := start.decisions.get(p.id)) else True, d.reason if d and not d.emotion else "", trend=[])
        for p in start.participants
    ]
    return SessionState(
        start.session, start.media, "live", start.language, wall_ms, wall_ms, has_audio=bool(start.audio_sources), has_video=bool(start.video_sources),
        participants=people, decisions=dict(start.decisions), alerts=[],
    )


def adopt(state: SessionState, start: SessionStart) -> None:
    """What the start of a session says, where its events came first."""
    if state.decisions or not start.participants:
        return
    fresh = opened(start, state.started_wall_ms)
    known = {p.id: p for p in state.participants}
    state.participants = [known.pop(p.id, p) for p in fresh.participants] + list(known.values())
    state.media, state.language, state.decisions = fresh.media, fresh.language, fresh.decisions
    state.has_audio, state.has_video = fresh.has_audio, fresh.has_video


def participants_of(state: SessionState) -> tuple[Participant, ...]:
    return tuple(Participant(p.id, p.role) for p in state.participants)


def take_event(state: SessionState, event: EmotionEvent, wall_ms: int) -> None:
    """Bring the state up to date with a settled event; a revision corrects label and curve and counts nothing twice."""
    state.updated_wall_ms = wall_ms
    state.position_ms = max(state.position_ms, event.end_ms)
    person = _person(state, event)
    if event.status == "revised":
        if person.last_event == event.id:
            _show(person, event)
        return
    state.events += 1
    if event.kind == "utterance":
        person.talk_ms += event.end_ms - event.start_ms
        person.utterances += 1
        state.silent_since_ms = max(state.silent_since_ms or 0, event.end_ms)
        if event.transcript and event.transcript.text.strip():
            state.last_said, state.last_said_by = event.transcript.text.strip()[:280], event.participant
    if event.status == "withheld":
        if not person.reason and event.policy:
            person.analysed, person.reason = False, event.policy.reason
        return
    _show(person, event)
    if event.valence is not None:
        _trend(person, Point((event.start_ms + event.end_ms) // 2, event.valence, event.confidence or 0.0))


def _trend(person: ParticipantState, point: Point) -> None:
    if person.measured % person.stride == 0:
        person.trend.append(point)
    elif abs(point.valence) > abs(person.trend[-1].valence):
        person.trend[-1] = point
    person.measured += 1
    if len(person.trend) > TREND_POINTS:  # half as many, each the more extreme of two: no turn is smoothed away
        pairs = [person.trend[i : i + 2] for i in range(0, len(person.trend), 2)]
        person.trend = [max(pair, key=lambda p: abs(p.valence)) for pair in pairs]
        person.stride *= 2


def _person(state: SessionState, event: EmotionEvent) -> ParticipantState:
    for person in state.participants:
        if person.id == event.participant:
            return person
    person = ParticipantState(event.participant, event.role, event.status != "withheld", trend=[])
    state.participants.append(person)
    return person


def _show(person: ParticipantState, event: EmotionEvent) -> None:
    if event.label != person.label:
        person.since_ms = event.start_ms
    if event.context.shift:
        person.turned_from, person.turned_ms = event.context.previous, event.end_ms
    person.label, person.confidence, person.valence, person.last_event = event.label, event.confidence, event.valence, event.id


def judge(state: SessionState) -> None:
    """Set `attention`: open alerts nobody took, then open alerts, then negative expression, then falling valence."""
    score, reason = 0.0, ""
    for entry in state.alerts:
        if entry.alert.status != "open":
            continue
        value = _WEIGHT.get(entry.alert.severity, 1.0) * (1.0 if entry.acknowledged else 10.0)
        if value > score:
            reason = f"{entry.alert.rule}{'' if not entry.acknowledged else f', taken by {entry.acknowledged.by}'}"
        score = max(score, value)
    if state.state == "live":
        for person in state.participants:
            if not person.analysed or person.label is None:
                continue
            low = max(0.0, -(person.valence or 0.0)) * (person.confidence or 0.0)
            if person.label in _NEGATIVE and low > 0.15:
                reason = reason or f"{person.id} shows {person.label}"
            score += 0.9 * low
    state.attention, state.attention_reason = round(score, 3), reason
