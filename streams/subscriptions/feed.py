"""What runtimes hand over: sessions, events, progress. Keeps the state of each call, judges the alert rules, publishes."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from extractors.errors import InputError
from fusion.events import EmotionEvent
from streams.alerts.acknowledgements import AcknowledgementFile, Keeper, in_memory
from streams.alerts.engine import Alert, AlertStage
from streams.alerts.rules import Rule
from streams.records import AlertAcknowledged, FaceCueRecord, SessionEnd, SessionStart, Watermark
from streams.subscriptions.calls import OpenAlert, SessionState, adopt, judge, opened, participants_of, take_event
from streams.subscriptions.hub import Hub
from streams.subscriptions.messages import Acknowledgement
from streams.subscriptions.search import SearchIndex

if TYPE_CHECKING:
    from streams.egress.faces import CropRequest, FaceLog

MAX_NAME = 80
_ENDED_ALERTS = 2000
_EARLY = 10_000
_ARRIVAL_STEP_MS = 500


class Feed:
    """The one object between a runtime and its subscribers. All methods may be called from any thread.

    `rules` are judged over every session in media time; `on_alert` gets each opening and closing (webhooks, a topic).
    `keeper` stores acknowledgements of sessions that have no file of their own. Delivering an event twice is harmless.
    """

    def __init__(
        self, hub: Hub | None = None, *, rules: Sequence[Rule] = (), on_alert: Callable[[Alert], None] | None = None,
        keeper: Keeper = in_memory,
    ) -> None:
        self.keeper = keeper
        self.hub = hub or Hub()
        self.rules = tuple(rules)
        self.search = SearchIndex()
        self._on_alert = on_alert
        self._lock = threading.RLock()
        self._calls: dict[str, SessionState] = {}
        self._stages: dict[str, AlertStage] = {}
        self._revisions: dict[str, dict[str, int]] = {}
        self._alerts: dict[str, OpenAlert] = {}
        self._media: dict[str, Path] = {}
        self._reached: dict[str, dict[str, int]] = {}
        self._arrived: dict[str, deque[tuple[int, int]]] = {}
        self._files: dict[str, AcknowledgementFile] = {}
        self._early: dict[str, Acknowledgement] = {}
        self._faces: dict[str, FaceLog | list[CropRequest]] = {}
        self.hub.on_forget = self._forgotten

    def open(self, start: SessionStart, *, media: Path | None = None, acknowledgements: AcknowledgementFile | None = None) -> None:
        """A session begins; one that is known already goes on. `media` is the recording to serve, `acknowledgements` the file
        that keeps who took its alerts."""
        with self._lock:
            if acknowledgements is not None:
                self._files[start.session] = acknowledgements
            if start.session in self._calls:
                self._again(self._calls[start.session], start)
                return
            state = self._calls[start.session] = opened(start, _now())
            if media is not None:
                self._media[start.session] = media
                state.has_media = True
                # This brings the libraries for pictures: only where some can be shown.
                from streams.egress.faces import FaceLog

                self._faces[start.session] = FaceLog()
            self._revisions[start.session] = {}
            self._reached[start.session] = dict.fromkeys((*start.audio_sources, *start.video_sources), 0)
            if self.rules:
                self._stages[start.session] = AlertStage(start, self.rules)
            self.hub.open(start.session, start.participants, start.media)

    def _again(self, state: SessionState, start: SessionStart) -> None:
        adopt(state, start)
        if state.state == "ended":  # the same call goes on, or the same recording is played once more
            state.state, state.paced = "live", False
            if self.rules:
                self._stages[start.session] = AlertStage(start, self.rules)
            self.hub.open(start.session, participants_of(state), state.media)

    def event(self, event: EmotionEvent) -> None:
        """An event of a session; a session nobody announced is opened with its first event."""
        with self._lock:
            if event.session not in self._calls:
                self.open(SessionStart(event.session, (), {}))
            known = self._revisions[event.session]
            if event.revision <= known.get(event.id, -1):
                return
            if event.status == "partial":
                if len(known) < 100_000:
                    known[event.id] = event.revision
                self._note_arrival(self._calls[event.session], event.end_ms, event.latency.get("after_end_ms"))
                self.hub.publish(event)
                return
            known[event.id] = event.revision
            state = self._calls[event.session]
            take_event(state, event, _now())
            self._note_arrival(state, event.end_ms, event.latency.get("after_end_ms"))
            position = self.hub.publish(event)
            self.search.put(event, int(position.rpartition("-")[2]))
            stage = self._stages.get(event.session)
            if stage is not None:
                self._fire(list(stage.feed(event)))
            judge(state)

    def record(self, record: Any) -> None:
        """An inner record of a session on its way into `fuse`: its watermarks say how far the analysis has come, its faces
        where one can be cut from a recording that is served."""
        if isinstance(record, FaceCueRecord):
            with self._lock:
                seen = self._faces.get(record.session)
                if seen is not None and not isinstance(seen, list):
                    seen.feed(record)
            return
        if not isinstance(record, Watermark) or record.origin == "segment":
            return
        with self._lock:
            reached = self._reached.get(record.session)
            if reached is None or record.source not in reached:
                return
            # What was reached before this record has gone through `fuse`: its events are here, so silence up to there is silence.
            before = min(reached.values())
            reached[record.source] = max(reached[record.source], record.media_ms)
            self.progress(record.session, before)

    def arrived(self, session: str, media_ms: int) -> None:
        """Media of a session up to this media time have come in, now: from here on it is known how far the analysis is behind."""
        with self._lock:
            times = self._arrived.setdefault(session, deque(maxlen=4096))
            if not times or media_ms >= times[-1][0] + _ARRIVAL_STEP_MS:
                times.append((media_ms, _now()))

    def _note_arrival(self, state: SessionState, media_ms: int, delay_ms: float | None = None) -> None:
        times = self._arrived.get(state.session)
        if not times:
            return
        while len(times) > 1 and times[1][0] <= media_ms:
            times.popleft()
        if times[0][0] <= media_ms:
            state.arrived_wall_ms = times[0][1]
        state.delay_ms = state.delay_ms if delay_ms is None else round(delay_ms)

    def timed(self, session: str, arrived_wall_ms: int, delay_ms: int | None = None) -> None:
        """When the media behind the newest result of a session arrived, and how long the result took from there."""
        with self._lock:
            state = self._calls.get(session)
            if state is not None:
                state.arrived_wall_ms = max(state.arrived_wall_ms or 0, arrived_wall_ms)
                state.delay_ms = state.delay_ms if delay_ms is None else delay_ms

    def progress(self, session: str, media_ms: int) -> None:
        """Everything of a session up to this media time has been analysed and its events were given: silence can be judged
        without waiting for the next word."""
        with self._lock:
            state = self._calls.get(session)
            if state is None or state.state != "live" or media_ms <= state.position_ms:
                return
            state.position_ms, state.paced = media_ms, True
            self._note_arrival(state, media_ms)
            stage = self._stages.get(session)
            if stage is not None:
                self._fire(list(stage.tick(media_ms)))
                judge(state)

    def end(self, end: SessionEnd, *, duration_ms: int = 0) -> None:
        """A session is over; what is kept of it can still be read."""
        with self._lock:
            state = self._calls.get(end.session)
            if state is None or state.state == "ended":
                return
            stage = self._stages.pop(end.session, None)
            if stage is not None:
                self._fire(list(stage.feed(end)))
            state.state, state.updated_wall_ms = "ended", _now()
            state.duration_ms = max(duration_ms, state.position_ms)
            judge(state)
            self.hub.close(end.session, participants_of(state), state.media)

    def alert(self, alert: Alert) -> None:
        """An alert that was judged elsewhere (the alerts topic)."""
        with self._lock:
            self._fire([alert], notify=False)
            state = self._calls.get(alert.session)
            if state:
                judge(state)

    def _fire(self, alerts: list[Alert], *, notify: bool = True) -> None:
        for alert in alerts:
            held = self._alerts.get(alert.id)
            if held is not None and held.alert.revision >= alert.revision:
                continue
            taken = held.acknowledged if held else self._early.pop(alert.id, None)
            self._keep_alert(OpenAlert(alert, taken))
            self.hub.publish_alert(alert, taken)
            if notify and self._on_alert is not None:
                self._on_alert(alert)

    def _keep_alert(self, entry: OpenAlert) -> None:
        self._alerts.pop(entry.alert.id, None)
        self._alerts[entry.alert.id] = entry
        while len(self._alerts) > _ENDED_ALERTS:
            closed = next((key for key, e in self._alerts.items() if e.alert.status == "closed"), next(iter(self._alerts)))
            del self._alerts[closed]
        state = self._calls.get(entry.alert.session)
        if state is not None:
            state.alerts = [e for e in state.alerts if e.alert.id != entry.alert.id] + [entry]

    async def acknowledge(self, alert_id: str, by: str) -> OpenAlert:
        """Say that somebody has taken an alert; returns when that is stored. The first one counts.

        Raises `InputError` for an unknown alert or no name, `NotStored` where it cannot be kept.
        """
        name = " ".join(by.split())
        if not name or len(name) > MAX_NAME or not name.isprintable():
            raise InputError("an acknowledgement needs a name", where="by", cure=f"give 1 to {MAX_NAME} printable characters")
        held = self.held(alert_id)
        if held.acknowledged is None:
            file = self._files.get(held.alert.session)
            keeper = self.keeper if file is None else file.take
            self.acknowledged(await keeper(AlertAcknowledged(alert_id, held.alert.session, name, _now())))
        return self.held(alert_id)

    def acknowledged(self, record: AlertAcknowledged) -> None:
        """An acknowledgement in the order in which they were stored; one that comes before its alert waits for it."""
        taken = Acknowledgement(record.by, record.wall_ms)
        with self._lock:
            held = self._alerts.get(record.alert)
            if held is None:
                self._early.setdefault(record.alert, taken)
                while len(self._early) > _EARLY:
                    del self._early[next(iter(self._early))]
            elif held.acknowledged is None:
                self._keep_alert(OpenAlert(held.alert, taken))
                self.hub.publish_alert(held.alert, taken)
                state = self._calls.get(held.alert.session)
                if state:
                    judge(state)

    def reread(self) -> None:
        """Look for acknowledgements that another server on the same results has stored."""
        with self._lock:
            files = [self._files[session] for session in {e.alert.session for e in self._alerts.values()} if session in self._files]
        for file in files:
            for record in file.read():
                self.acknowledged(record)

    # Reading

    def held(self, alert_id: str) -> OpenAlert:
        """An alert that is kept. Raises `InputError` where it is not."""
        with self._lock:
            held = self._alerts.get(alert_id)
        if held is None:
            raise InputError("no such alert is kept here", where="alert", cure="read /v1/alerts for those that are")
        return held

    def alerts(self) -> list[OpenAlert]:
        """All alerts kept: open ones nobody took first, then by the order in which they fired, newest first."""
        with self._lock:
            newest = list(reversed(self._alerts.values()))
        return sorted(newest, key=lambda e: (e.alert.status != "open", e.acknowledged is not None))

    def sessions(self, *, live_only: bool = False, most: int | None = None, named: str = "", visible: str = "*") -> tuple[list[Any], int, str]:
        """(states as plain data, live ones that need attention first, at most `most` ended ones, newest first; how many
        there are; position of the stream), read together. `named`: only those whose name or recording contains it."""
        with self._lock:
            of = [s for s in self._calls.values() if visible in ("*", s.session) and (not named or named.casefold() in f"{s.session} {s.media}".casefold())]
            live = sorted((s for s in of if s.state == "live"), key=lambda s: (-s.attention, -s.started_wall_ms, s.session))
            ended = [] if live_only else sorted((s for s in of if s.state != "live"), key=lambda s: (-s.attention, -s.updated_wall_ms, s.session))
            return [self._plain(state) for state in [*live, *ended[:most]]], len(of), self.hub.position(self.hub.head)

    def live(self) -> list[str]:
        """Sessions that are going on."""
        with self._lock:
            return [state.session for state in self._calls.values() if state.state == "live"]

    def session(self, session: str) -> SessionState | None:
        with self._lock:
            return self._calls.get(session)

    def state_of(self, session: str) -> Any:
        """One state as plain data, or None."""
        with self._lock:
            state = self._calls.get(session)
            return None if state is None else self._plain(state)

    @staticmethod
    def _plain(state: SessionState) -> Any:
        import msgspec

        live = state.state == "live" and state.arrived_wall_ms is not None
        state.behind_ms = max(0, _now() - (state.arrived_wall_ms or 0)) if live else None
        return msgspec.to_builtins(state)

    def media_of(self, session: str) -> Path | None:
        return self._media.get(session)

    def show_faces(self, session: str, requests: Sequence[CropRequest]) -> None:
        """Where the faces of a finished recording are (`streams.egress.face_index`)."""
        with self._lock:
            if requests and session in self._media:
                self._faces[session] = list(requests)

    def faces(self, session: str, events: Sequence[EmotionEvent]) -> list[CropRequest]:
        """The faces to show at moments of change, for those `events` whose participant may be analysed; none where the
        recording is not served."""
        with self._lock:
            seen, state = self._faces.get(session), self._calls.get(session)
            if seen is None or state is None:
                return []
            from streams.egress import face_index, faces

            if isinstance(seen, list):
                return face_index.permitted(seen, events, state.decisions)
            return faces.moments(events, seen, participants_of(state), state.decisions)

    def _forgotten(self, session: str) -> None:
        self.search.forget(session)
        self._faces.pop(session, None)
        self._calls.pop(session, None)
        self._stages.pop(session, None)
        self._revisions.pop(session, None)
        self._media.pop(session, None)
        self._reached.pop(session, None)
        self._arrived.pop(session, None)
        self._files.pop(session, None)


def _now() -> int:
    return int(time.time() * 1000)
