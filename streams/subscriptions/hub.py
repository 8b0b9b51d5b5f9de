"""The hub: what is published once is read by any number of subscribers, each at its own pace.

A subscriber is a place in one shared log, not a queue of copies, so that 500 of them cost 500 numbers. One that falls
behind is moved forward and told exactly how much of its filter it missed; it never holds anybody back. Settled events
are kept per session (bounded) beside the log, so that a subscriber may begin in the past and go live without a gap or a
repetition: both are read under one lock.
"""

from __future__ import annotations

import asyncio
import heapq
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable

import msgspec
from msgspec import Struct

from extractors.errors import InputError
from fusion.events import EmotionEvent
from streams.alerts.engine import Alert
from streams.records import Participant
from streams.subscriptions.filters import Filter, Start
from streams.subscriptions.kept import Entry, Kept
from streams.subscriptions.messages import (
    Acknowledgement,
    AlertMessage,
    EventMessage,
    LiveMessage,
    MissedMessage,
    ReplayMessage,
    SessionMessage,
)


class Full(InputError):
    """No more subscribers are taken at the moment."""


_encoder = msgspec.json.Encoder(order="deterministic")
encode = _encoder.encode


class HubLimits(Struct, frozen=True):
    """Bounds. `log`: messages between the newest and the slowest subscriber; `lag`: from here on a slow subscriber gets
    no partials; `session_events`, `sessions`: settled events kept per session, sessions kept; `packed_bytes`: most that ended
    sessions take, packed; `batch_bytes`: most that is handed to a connection at once."""

    log: int = 8192
    lag: int = 512
    session_events: int = 5000
    sessions: int = 5000
    packed_bytes: int = 512 * 1024 * 1024
    subscribers: int = 2000
    batch_bytes: int = 64 * 1024


def matches(chosen: Filter, entry: Entry) -> bool:
    """Whether a subscriber with this filter is sent the entry."""
    if chosen.sessions and entry.session not in chosen.sessions:
        return False
    if chosen.types and entry.kind not in chosen.types:
        return False
    event = entry.event
    if event is None:
        if entry.alert is None:
            return True
        about = entry.alert
        return (not chosen.participants or about.participant in chosen.participants) and (not chosen.roles or about.role in chosen.roles)
    return not (
        (chosen.finals_only and event.status == "partial")
        or (chosen.participants and event.participant not in chosen.participants)
        or (chosen.roles and event.role not in chosen.roles)
        or (chosen.labels and event.label not in chosen.labels)
        or (chosen.confidence and (event.confidence or 0.0) < chosen.confidence)
    )


def _current(entries: Iterable[Entry]) -> list[Entry]:
    """The entries without partials that a later one replaces: who comes back has no use for them."""
    kept: list[Entry] = []
    replaced: set[str] = set()
    for entry in reversed(list(entries)):
        if entry.event is not None:
            if entry.partial and entry.event.id in replaced:
                continue
            replaced.add(entry.event.id)
        kept.append(entry)
    return kept[::-1]


class Subscriber:
    """One reader. `take` and `wait` belong to the event loop that made it; everything else is the hub's."""

    __slots__ = (
        "_hub", "filter", "loop", "_head", "_backlog", "cursor", "_live_from", "_announced", "missed_settled", "missed_partials", "resume_from",
        "_bell", "_timer", "_quiet_until", "wants_all",
    )  # fmt: skip

    def __init__(self, hub: Hub, chosen: Filter, head: list[bytes], backlog: list[Entry], cursor: int, live_from: int) -> None:
        self._hub, self.filter = hub, chosen
        self.loop = asyncio.get_running_loop()
        self._head, self._backlog, self.cursor, self._live_from = head, backlog, cursor, live_from
        self._announced = not head
        self.missed_settled = self.missed_partials = 0
        self.resume_from = cursor
        self._bell: asyncio.Future[bool] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._quiet_until = 0.0
        self.wants_all = chosen == Filter()

    def take(self) -> list[bytes]:
        """Messages that are ready, oldest first; empty when there are none. Never blocks."""
        return self._hub._take(self)

    async def wait(self, timeout_s: float) -> bool:
        """True when there may be something to take, False after `timeout_s`."""
        if self._backlog or self._head or self.cursor < self._hub.head or self.missed_settled or self.missed_partials:
            return True
        self._quiet_until = self.loop.time() + timeout_s
        if self._timer is None:
            self._timer = self.loop.call_at(self._quiet_until, self._strike)
        bell: asyncio.Future[bool] = self.loop.create_future()
        self._bell = bell
        try:
            return await bell
        finally:
            self._bell = None

    def _strike(self) -> None:
        # One timer lives through many waits: setting one for each message would cost more than the message.
        left = self._quiet_until - self.loop.time()
        if left > 0.001:
            self._timer = self.loop.call_later(left, self._strike)
        else:
            self._timer = None
            self.ring(False)

    def ring(self, ready: bool = True) -> None:
        """Wake `wait` (in the loop of the subscriber)."""
        if self._bell is not None and not self._bell.done():
            self._bell.set_result(ready)

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._hub._leave(self)


class Hub:
    """See the module. `publish`, `publish_alert`, `open` and `close` may be called from any thread. `missed_settled` and
    `missed_partials` count what slow subscribers did not get, over all of them."""

    def __init__(self, limits: HubLimits | None = None, *, wall_ms: Callable[[], int] = lambda: int(time.time() * 1000)) -> None:
        self.limits = limits or HubLimits()
        self.epoch = secrets.token_hex(4)
        self._wall = wall_ms
        self._lock = threading.RLock()
        self._log: list[Entry] = []
        self._base = 1
        self.head = 0
        self._kept: OrderedDict[str, Kept] = OrderedDict()
        self._packed = 0
        self._events: dict[str, int] = {}
        self._subscribers: set[Subscriber] = set()
        self._ringing: set[asyncio.AbstractEventLoop] = set()
        self._forgotten_to = 0
        self.missed_settled = self.missed_partials = 0
        self.on_forget: Callable[[str], None] = lambda session: None

    # Publishing

    def open(self, session: str, participants: tuple[Participant, ...] = (), media: str = "") -> None:
        """Announce a session."""
        with self._lock:
            self._keep(session).live = True
            self._session_message(session, "live", participants, media)

    def close(self, session: str, participants: tuple[Participant, ...] = (), media: str = "") -> None:
        """Announce the end of a session; what is kept of it stays until newer sessions need the room."""
        with self._lock:
            kept = self._keep(session)
            self._session_message(session, "ended", participants, media)
            before = kept.packed_bytes
            kept.live = False
            kept.pack()
            self._packed += kept.packed_bytes - before
            while self._packed > self.limits.packed_bytes and len(self._kept) > 1:
                self._forget(next((name for name, k in self._kept.items() if not k.live), session))

    def publish(self, event: EmotionEvent) -> str:
        """Send an event to everybody whose filter lets it through; its position."""
        with self._lock:
            number, wall = self.head + 1, self._wall()
            payload = encode(EventMessage(self.position(number), wall, event))
            return self._append(Entry(number, wall, "event", event.session, payload, event=event), keep=event.status != "partial")

    def publish_alert(self, alert: Alert, acknowledged: Acknowledgement | None = None) -> str:
        """Send an alert, or its acknowledgement."""
        with self._lock:
            number, wall = self.head + 1, self._wall()
            payload = encode(AlertMessage(self.position(number), wall, alert, acknowledged))
            return self._append(Entry(number, wall, "alert", alert.session, payload, alert=alert), keep=True)

    def _session_message(self, session: str, state: str, participants: tuple[Participant, ...], media: str) -> None:
        number, wall = self.head + 1, self._wall()
        payload = encode(SessionMessage(self.position(number), wall, session, state, media, participants))
        self._append(Entry(number, wall, "session", session, payload), keep=True)

    def _append(self, entry: Entry, *, keep: bool) -> str:
        self._log.append(entry)
        self.head = entry.number
        if keep:
            if entry.event is not None:
                self._events[entry.event.id] = entry.number
            kept = self._keep(entry.session)
            before = 0 if kept.live else kept.packed_bytes
            self._unindex(kept.add(entry, self.limits.session_events))
            self._packed += 0 if kept.live else kept.packed_bytes - before
        if len(self._log) > self.limits.log:
            self._trim()
        for loop in {subscriber.loop for subscriber in self._subscribers} - self._ringing if self._subscribers else ():
            self._ringing.add(loop)
            try:
                loop.call_soon_threadsafe(self._ring, loop)
            except RuntimeError:  # that loop has been closed under its subscribers
                self._ringing.discard(loop)
                self._subscribers = {s for s in self._subscribers if s.loop is not loop}
        return self.position(entry.number)

    def _keep(self, session: str) -> Kept:
        kept = self._kept.get(session)
        if kept is None:
            kept = self._kept[session] = Kept(session)
            while len(self._kept) > self.limits.sessions:
                oldest = next((name for name, k in self._kept.items() if not k.live), next(iter(self._kept)))
                self._forget(oldest)
        return kept

    def _forget(self, session: str) -> None:
        gone = self._kept.pop(session)
        self._packed -= gone.packed_bytes
        entries = gone.snapshot().entries()
        self._unindex(entries)
        if entries:
            self._forgotten_to = max(self._forgotten_to, entries[-1].number)
        self.on_forget(session)

    def _unindex(self, entries: list[Entry]) -> None:
        for entry in entries:
            if entry.event is not None and self._events.get(entry.event.id) == entry.number:
                del self._events[entry.event.id]

    def _trim(self) -> None:
        """Cut a quarter off the log; whoever still stood there is moved on, with an exact count of what he misses."""
        cut = len(self._log) - self.limits.log * 3 // 4
        first = self._base + cut
        for subscriber in self._subscribers:
            if subscriber.cursor + 1 >= first:
                continue
            if not (subscriber.missed_settled or subscriber.missed_partials):
                subscriber.resume_from = subscriber.cursor
            for entry in self._log[max(subscriber.cursor + 1 - self._base, 0) : cut]:
                if matches(subscriber.filter, entry):
                    if entry.partial:
                        subscriber.missed_partials += 1
                        self.missed_partials += 1
                    else:
                        subscriber.missed_settled += 1
                        self.missed_settled += 1
            subscriber.cursor = first - 1
        del self._log[:cut]
        self._base = first

    def _ring(self, loop: asyncio.AbstractEventLoop) -> None:
        with self._lock:
            self._ringing.discard(loop)
            mine = [s for s in self._subscribers if s.loop is loop]
        for subscriber in mine:
            subscriber.ring()

    # Reading

    def position(self, number: int) -> str:
        """The name of a place in the stream of this hub."""
        return f"{self.epoch}-{number}"

    def subscribe(self, chosen: Filter, start: Start | None = None) -> Subscriber:
        """A subscriber that begins at `start`. Raises `InputError` for an event id that nobody knows, `Full` when too many
        subscribe. Must be called in the event loop that reads."""
        start = start or Start()
        with self._lock:
            if len(self._subscribers) >= self.limits.subscribers:
                raise Full(f"{self.limits.subscribers} subscribers are connected already", where="server", cure="try again later")
            if start == Start():
                subscriber = Subscriber(self, chosen, [], [], self.head, self.head)
            else:
                backlog, complete, reason = self._backlog(chosen, start)
                head = [encode(ReplayMessage(self.position(self.head), len(backlog), complete, reason))]
                subscriber = Subscriber(self, chosen, head, backlog, self.head, self.head)
            self._subscribers.add(subscriber)
            return subscriber

    def _backlog(self, chosen: Filter, start: Start) -> tuple[list[Entry], bool, str]:
        after, reason = 0, ""
        if start.after not in (None, "start"):
            assert start.after is not None
            epoch, dash, number = start.after.partition("-")
            if not dash:
                if start.after not in self._events:
                    raise InputError(f"no event {start.after} is kept here", where="query, after", cure="use after=start, or from_ms of its session")
                after = self._events[start.after]
            elif epoch == self.epoch and int(number) <= self.head:
                after = int(number)
            else:
                reason = "the position is of another run of the server: everything kept follows"
        if start.after not in (None, "start") and after + 1 >= self._base:  # all of it, partials too, is still on the log
            return _current(entry for entry in self._log[after + 1 - self._base :] if matches(chosen, entry)), True, reason
        kept = [self._kept[s] for s in sorted(chosen.sessions) if s in self._kept] if chosen.sessions else list(self._kept.values())
        found = [
            entry for entry in heapq.merge(*(k.snapshot().entries() for k in kept), key=lambda e: e.number)
            if entry.number > after and matches(chosen, entry)
            and (start.since_ms is None or entry.wall_ms >= start.since_ms)
            and (start.from_ms is None or entry.event is None or entry.event.end_ms > start.from_ms)
        ]
        complete = all(k.dropped_to <= after for k in kept) and (bool(chosen.sessions) or self._forgotten_to <= after)
        return found, complete, reason

    def _take(self, reader: Subscriber) -> list[bytes]:
        ready: list[bytes] = []
        size, most = 0, self.limits.batch_bytes
        if reader._head or reader._backlog:
            ready, reader._head = reader._head, []
            size = sum(map(len, ready))
            count = 0
            for entry in reader._backlog:
                if size > most:
                    break
                ready.append(entry.payload)
                size += len(entry.payload)
                count += 1
            del reader._backlog[:count]
            if reader._backlog:
                return ready
        with self._lock:
            if not reader._announced:
                ready.append(encode(LiveMessage(self.position(reader._live_from))))
                reader._announced = True
            lagging = self.head - reader.cursor > self.limits.lag
            found: list[bytes] = []
            before = reader.cursor
            for index in range(max(reader.cursor + 1 - self._base, 0), len(self._log)):
                if size > most:
                    break
                entry = self._log[index]
                reader.cursor = entry.number
                if not (reader.wants_all or matches(reader.filter, entry)):
                    continue
                if lagging and entry.partial:
                    if not (reader.missed_settled or reader.missed_partials):
                        reader.resume_from = before
                    reader.missed_partials += 1
                    self.missed_partials += 1
                    continue
                found.append(entry.payload)
                size += len(entry.payload)
            if reader.missed_settled or reader.missed_partials:
                ready.append(encode(MissedMessage(self.position(before), reader.missed_settled, reader.missed_partials, self.position(reader.resume_from))))
                reader.missed_settled = reader.missed_partials = 0
        return ready + found

    def _leave(self, subscriber: Subscriber) -> None:
        with self._lock:
            self._subscribers.discard(subscriber)

    def sessions(self) -> list[str]:
        with self._lock:
            return list(self._kept)

    def kept(self, session: str) -> tuple[list[Entry], int]:
        """Settled entries of a session and the number of the newest message of the hub, read together."""
        with self._lock:
            kept = self._kept.get(session)
            snapshot, head = (kept.snapshot() if kept else None), self.head
        return (snapshot.entries() if snapshot else []), head

    def events_at(self, session: str, numbers: Iterable[int]) -> list[EmotionEvent]:
        """Those of the events with these numbers that are still kept."""
        with self._lock:
            kept = self._kept.get(session)
            snapshot = kept.snapshot() if kept else None
        return [entry.event for entry in snapshot.at(numbers) if entry.event is not None] if snapshot else []

    @property
    def subscriber_count(self) -> int:
        return len(self._subscribers)
