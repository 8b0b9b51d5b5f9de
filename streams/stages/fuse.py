"""Fuse: speech cues and face cues in, emotion events out.

An utterance is composed when every source it is made of has been read past its end; a silent face gives one event for
each window of a fixed grid of media time. Within a lane (see `fuse_plan`) spans are composed in the order (end, face
before utterance, participant, start), so the content of an event never depends on arrival. Events leave in the total
order (end_ms, participant, kind, start_ms) up to the lowest watermark, so their bytes in sequence do not either; a live
session gives that order up for speed unless told otherwise, and each event leaves when it is composed.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Sequence

import msgspec
from msgspec import Struct

from extractors.errors import InputError
from fusion.association import CONTEXT_MS, Joins, Score, Track, score
from fusion.compose import Span, compose, utterance_span
from fusion.conversation import DialogueState
from fusion.events import FINAL_REVISION, Association, EmotionEvent, event_id
from fusion.models.pool import LogPool, default_pool
from fusion.spans import FaceSpan, summarize
from streams.records import FaceCueRecord, Output, SessionEnd, SessionStart, SpeechCueRecord, Watermark
from streams.stages.face_buffer import FaceBuffer, most_visible, visible
from streams.stages.fuse_plan import EVERYONE, Plan

FOREVER = 1 << 62
FEWEST_FRAMES = 3
"""Usable frames that a silent-face window needs."""


class FuseOptions(Struct, frozen=True):
    """`window_ms`: grid of silent-face windows. `wait_ms`: how long `tick` lets an utterance wait for slow sources
    before it is sent without a face (and revised later). `ordered`: total order of the events; None means yes for a
    recording, no for a live session. `progress_ms`: after each so much media time a watermark of no source says that all
    events up to there have been sent, but for revisions (0 = none)."""

    window_ms: int = 3000
    wait_ms: int = 1500
    ordered: bool | None = None
    progress_ms: int = 0


class _Lane(Struct):
    """Utterances that wait, in order, and where the next window starts."""

    pending: list[SpeechCueRecord] = []
    next_window: int = 0


class _Taken(Struct):
    """Last complete utterance of a participant on a source, and the last partial of the one after it."""

    index: int = -1
    partial_index: int = -1
    partial: int = 0


class _State(Struct):
    """All that a stage knows; encoding it is the snapshot."""

    marks: dict[str, int] = {}
    ended: list[str] = []
    seen: dict[str, int] = {}
    taken: dict[str, _Taken] = {}
    heard: dict[str, int] = {}
    faces: FaceBuffer = msgspec.field(default_factory=FaceBuffer)
    lanes: dict[str, _Lane] = {}
    spoken: dict[str, list[tuple[int, int]]] = {}
    dialogue: dict[str, DialogueState] = {}
    joins: Joins = msgspec.field(default_factory=Joins)
    outbox: list[EmotionEvent] = []
    early: dict[str, EmotionEvent] = {}
    waiting: dict[str, int] = {}
    told: int = 0


class FuseStage:
    """The fuse stage of one session (see `streams.stages.protocol.Stage`)."""

    def __init__(self, start: SessionStart, options: FuseOptions | None = None, pool: LogPool | None = None) -> None:
        self._options = options or FuseOptions()
        if self._options.window_ms <= 0:
            raise InputError("window_ms must be positive", where="fuse options", cure="use for example 3000")
        self._plan = Plan(start)
        self._pool = pool or default_pool()
        ordered = self._options.ordered
        self._ordered = not start.live if ordered is None else ordered
        self._state = _State(lanes={lane: _Lane() for lane in self._plan.pictures})

    def feed(self, record: Output) -> Iterable[Output]:
        session = getattr(record, "session", None)
        if session != self._plan.session:
            raise InputError(
                f"record of session {session}", where=f"session {self._plan.session}", cure="route by session"
            )
        outputs: list[Output] = []
        if isinstance(record, SpeechCueRecord):
            outputs += self._hear(record)
        elif isinstance(record, FaceCueRecord):
            self._look(record)
        elif isinstance(record, Watermark):
            self._mark(record)
        elif isinstance(record, SessionEnd) and record.reason == "interrupted":
            return self.flush()
        return [*outputs, *self._advance(), *self._progress()]

    def feed_many(self, records: Sequence[Output]) -> Iterable[Output]:
        return [output for record in records for output in self.feed(record)]

    def flush(self) -> Iterable[Output]:
        """End every source where it is and give everything that is left. A session whose sources have all ended has
        nothing left."""
        state = self._state
        for source in self._plan.sources:
            if source not in state.ended:
                state.ended.append(source)
        return self._advance()

    def tick(self, now_ms: int) -> Iterable[Output]:
        """Send what has waited `wait_ms` for a slow source without a face, to be revised. Waiting counts from the first
        tick after an utterance arrived; `now_ms` may be of any clock that does not go back."""
        state, outputs = self._state, []
        for lane in state.lanes.values():
            dialogue = dict(state.dialogue)
            for record in lane.pending:
                subject = self._plan.subject(record.participant)
                name = _id_of(record)
                since = state.waiting.setdefault(name, now_ms)
                if name not in state.early and now_ms - since < self._options.wait_ms:
                    continue
                before = dialogue.get(record.participant, DialogueState())
                event, after = compose(subject, utterance_span(record.cues), self._pool, before)
                dialogue[record.participant] = after
                if name not in state.early:
                    state.early[name] = event
                    outputs.append(event)
        return outputs

    def snapshot(self) -> bytes:
        return msgspec.msgpack.encode(self._state)

    def restore(self, state: bytes) -> None:
        self._state = msgspec.msgpack.decode(state, type=_State)

    def _hear(self, record: SpeechCueRecord) -> list[Output]:
        if record.source not in self._plan.audio:
            raise InputError(
                "speech cues of an undeclared source", where=record.source, cure="list it in audio_sources"
            )
        taken = self._state.taken.setdefault(f"{record.source}\x1f{record.participant}", _Taken())
        if record.index <= taken.index:
            return []
        if record.partial:
            if record.index == taken.partial_index and record.partial <= taken.partial:
                return []
            taken.partial_index, taken.partial = record.index, record.partial
            return self._partial(record)
        taken.index = record.index
        if self._plan.solo.get(record.participant) == record.source:
            self._state.heard[record.source] = max(record.cues.end_ms, self._state.heard.get(record.source, 0))
        name = self._plan.lane(record.participant)
        insort(self._state.lanes.setdefault(name, _Lane()).pending, record, key=_order)
        if name in self._plan.pictures:
            spans = self._state.spoken.setdefault(record.participant, [])
            insort(spans, (record.cues.start_ms, record.cues.end_ms))
        return []

    def _partial(self, record: SpeechCueRecord) -> list[Output]:
        """A hypothesis of an open utterance: from speech alone, outside the dialogue, never kept."""
        subject = self._plan.subject(record.participant)
        if not subject.permission.emotion:
            return []
        revision = min(record.partial, FINAL_REVISION - 1)
        event, _ = compose(subject, utterance_span(record.cues), self._pool, status="partial", revision=revision)
        return [event]

    def _look(self, record: FaceCueRecord) -> None:
        if record.source not in self._plan.video:
            raise InputError("face cues of an undeclared source", where=record.source, cure="list it in video_sources")
        if record.seq <= self._state.seen.get(record.source, -1):
            return
        self._state.seen[record.source] = record.seq
        self._pass(record.source, record.media_ms)
        if record.source in self._plan.watched:
            self._state.faces.add(record.source, record.media_ms, record.faces)

    def _mark(self, record: Watermark) -> None:
        known = {"hear": self._plan.audio, "look": self._plan.video}.get(record.origin, ())
        if record.source in known:
            self._pass(record.source, record.media_ms)
            if record.final and record.source not in self._state.ended:
                self._state.ended.append(record.source)

    def _pass(self, source: str, media_ms: int) -> None:
        self._state.marks[source] = max(media_ms, self._state.marks.get(source, 0))

    def _advance(self) -> list[EmotionEvent]:
        for name, lane in self._state.lanes.items():
            self._run(name, lane)
        self._forget()
        if not self._ordered:
            released, self._state.outbox = sorted(self._state.outbox, key=_total), []
            return released
        bound = min((self._read(source) for source in self._plan.sources), default=FOREVER)
        count = bisect_left(self._state.outbox, bound + 1, key=lambda event: event.end_ms)
        released, self._state.outbox = self._state.outbox[:count], self._state.outbox[count:]
        return released

    def _progress(self) -> list[Watermark]:
        """How far all events have been sent; at the end of all sources the session end says it."""
        step = self._options.progress_ms
        reached = min((self._read(source) for source in self._plan.sources), default=FOREVER)
        if not step or reached == FOREVER or reached < self._state.told + step:
            return []
        self._state.told = reached
        return [Watermark(self._plan.session, "", "fuse", reached)]

    def _read(self, source: str) -> int:
        """Every span that ends up to here is complete, as far as this source goes. One millisecond short of a picture's
        watermark: its last window ends where it ends, and that may be the watermark."""
        if source in self._state.ended:
            return FOREVER
        return self._state.marks.get(source, 0) - (source in self._plan.video)

    def _run(self, name: str, lane: _Lane) -> None:
        audio, video = self._plan.dependencies(name)
        seen = min((self._read(source) for source in video), default=FOREVER)
        settled = min([seen, *(self._read(source) for source in audio)])
        # The utterances of a channel come in order: one that is here need not wait for the watermark behind it.
        ready = min([seen, *(max(self._read(source), self._state.heard.get(source, 0)) for source in audio)])
        while True:
            window = self._next_window(name, lane)
            waiting = lane.pending[0] if lane.pending else None
            if window and (waiting is None or window[1] <= waiting.cues.end_ms):
                if window[1] > settled:
                    return
                lane.next_window += self._options.window_ms
                for event in self._window(name, *window):
                    insort(self._state.outbox, event, key=_total)
            elif waiting and waiting.cues.end_ms <= ready:
                self._utterance(lane.pending.pop(0))
            else:
                return

    def _next_window(self, name: str, lane: _Lane) -> tuple[int, int] | None:
        """Start and end of the next silent-face window; None when the pictures of the lane have ended before it."""
        sources = self._plan.pictures.get(name)
        if not sources:
            return None
        start, end = lane.next_window, lane.next_window + self._options.window_ms
        if any(source not in self._state.ended for source in sources):
            return start, end
        last = max(self._state.marks.get(source, 0) for source in sources)
        return (start, min(end, last)) if start < last else None

    def _utterance(self, record: SpeechCueRecord) -> None:
        subject, cues = self._plan.subject(record.participant), record.cues
        face: FaceSpan | None = None
        association: Association | None = None
        if subject.faces_allowed:
            own = self._plan.own_video(record.participant)
            if own:
                face = self._state.faces.main_face(own, cues.start_ms, cues.end_ms)
                association = Association(face.track, own, "declared", None, True) if face else None
            elif self._plan.joining:
                association = self._join(record)
                if association and association.accepted:
                    tracks = self._state.faces.tracks(association.source, cues.start_ms, cues.end_ms)
                    face = summarize(association.source, association.track, tracks.get(association.track, []))
        before = self._state.dialogue.get(record.participant, DialogueState())
        event, after = compose(subject, utterance_span(cues, face, association), self._pool, before)
        self._keep(record.participant, after)
        early = self._state.early.pop(event.id, None)
        self._state.waiting.pop(event.id, None)
        if early == event:
            return
        if early:
            status = "revised" if event.status == "final" else event.status
            event = msgspec.structs.replace(event, status=status, revision=FINAL_REVISION + 1)
        insort(self._state.outbox, event, key=_total)

    def _keep(self, participant: str, dialogue: DialogueState) -> None:
        if dialogue != DialogueState():
            self._state.dialogue[participant] = dialogue

    def _join(self, record: SpeechCueRecord) -> Association | None:
        """Mouths of the shared pictures against the voice of this utterance."""
        start, end = record.cues.start_ms, record.cues.end_ms
        before = [span[1] for span in self._state.spoken.get(record.participant, []) if span[0] < start]
        silence = start - max(before, default=start - CONTEXT_MS)
        scores: dict[Track, Score] = {}
        for source in self._plan.pictures[EVERYONE]:
            for track, mouth in self._state.faces.mouths(source, start - CONTEXT_MS, end).items():
                found = score(record.cues.envelope_db, start, mouth, silence_ms=silence)
                if found:
                    scores[source, track] = found
        return self._state.joins.resolve(record.participant, scores, end)

    def _window(self, name: str, start_ms: int, end_ms: int) -> list[EmotionEvent]:
        """Events of one window: the most visible face of each participant who does not speak for most of it."""
        seen: dict[str, list[tuple[int, FaceSpan, Association]]] = {}
        until = start_ms + self._options.window_ms
        for source in self._plan.pictures[name]:
            tracks = self._state.faces.tracks(source, start_ms, until)
            for track, faces in tracks.items():
                who, association = self._whose(name, source, track, most_visible(tracks))
                if who:
                    seen.setdefault(who, []).append((visible(faces), summarize(source, track, faces), association))
        events = []
        for who, faces_of in sorted(seen.items()):
            _, face, association = max(faces_of, key=lambda entry: (entry[0], entry[1].source, -entry[1].track))
            subject = self._plan.subject(who)
            if not subject.faces_allowed or face.usable < FEWEST_FRAMES or self._speaks(who, start_ms, end_ms):
                continue
            before = self._state.dialogue.get(who, DialogueState())
            span = Span("face", start_ms, end_ms, face=face, association=association)
            event, after = compose(subject, span, self._pool, before)
            self._keep(who, after)
            events.append(event)
        return events

    def _whose(self, lane: str, source: str, track: int, main: int) -> tuple[str | None, Association]:
        """The participant of a face in this lane (None: it is another lane's), and how that is known."""
        owner = self._plan.owner(source)
        if owner:
            if track == main:
                return (owner if lane == self._plan.lane(owner) else None), Association(
                    track, source, "declared", None, True
                )
            unjoined = self._plan.face_name(source, track) if lane.startswith("picture ") else None
            return unjoined, Association(track, source, "none")
        joined = self._state.joins.owner((source, track)) if lane == EVERYONE else None
        if joined:
            return joined, Association(
                track, source, "mouth_activity", self._state.joins.strength(joined, (source, track)), True
            )
        return self._plan.face_name(source, track), Association(track, source, "none")

    def _speaks(self, participant: str, start_ms: int, end_ms: int) -> bool:
        """Whether the participant's utterances cover more than half of the window."""
        spans = self._state.spoken.get(participant, [])
        covered = sum(max(0, min(end, end_ms) - max(start, start_ms)) for start, end in spans)
        return 2 * covered > end_ms - start_ms

    def _forget(self) -> None:
        """Drop frames and spans that no span still to come can need."""
        needed: dict[str, int] = {}
        for name, sources in self._plan.pictures.items():
            lane = self._state.lanes[name]
            audio, _ = self._plan.dependencies(name)
            future = [self._state.marks.get(source, 0) for source in audio if source not in self._state.ended]
            speech = min([*future, *(record.cues.start_ms for record in lane.pending)], default=FOREVER) - CONTEXT_MS
            oldest = min(speech, lane.next_window)
            for source in sources:
                needed[source] = min(oldest, needed.get(source, FOREVER))
            for participant, spans in self._state.spoken.items():
                if self._plan.lane(participant) == name:
                    self._state.spoken[participant] = [span for span in spans if span[1] > oldest]
        for source, oldest in needed.items():
            self._state.faces.forget(source, oldest)


def _order(record: SpeechCueRecord) -> tuple[int, str, int]:
    return record.cues.end_ms, record.participant, record.cues.start_ms


def _total(event: EmotionEvent) -> tuple[int, str, str, int]:
    return event.end_ms, event.participant, event.kind, event.start_ms


def _id_of(record: SpeechCueRecord) -> str:
    return event_id(record.session, record.participant, record.cues.start_ms, "utterance")
