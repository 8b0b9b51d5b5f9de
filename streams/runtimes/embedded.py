"""The embedded runtime: the whole topology in one process, for replay, demo and tests.

Segmenting runs in the caller's thread, `hear` and `look` in one thread each behind a bounded queue, so that a long
recording is never held in memory; `fuse` runs under a lock. Its output order is a function of the media, so the
scheduling of the threads never shows in the events.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable

import msgspec

from extractors.errors import AffectstreamError
from fusion.events import EmotionEvent
from streams.records import AudioChunk, DeadLetter, Output, SessionEnd, SessionStart, VideoFrame, encode
from streams.stages.protocol import Sheds, Stage
from streams.topology import STAGES, Resources, StageSpec, topic_of

_CAPACITY = {"hear": 256, "look": 64}
"""Records waiting before a stage: about a minute of a two-sided call (most are watermarks), six seconds of pictures."""

DEADLINE_EVERY_S = 0.5


class _Worker:
    """A stage behind a bounded queue in its own thread."""

    def __init__(
        self, spec: StageSpec, stage: Stage, deliver: Callable[[Iterable[Output]], None], dead: Callable[[DeadLetter], None], live: bool,
    ) -> None:
        self._stage, self._batch, self._name = stage, spec.batch, spec.name
        self._sheds = stage if live and isinstance(stage, Sheds) else None
        self._deliver, self._dead = deliver, dead
        self._inbox: queue.Queue[tuple[Output, float] | None] = queue.Queue(_CAPACITY[spec.name])
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name=spec.name, daemon=True)
        self._thread.start()

    def put(self, record: Output) -> None:
        while self._failure is None:
            try:
                return self._inbox.put((record, time.monotonic()), timeout=0.5)
            except queue.Full:
                continue
        raise self._failure

    def finish(self) -> None:
        """Wait until everything is worked off; raises what broke the stage."""
        if self._thread.is_alive():
            self._inbox.put(None)
        self._thread.join()
        if self._failure:
            raise self._failure

    def abandon(self) -> None:
        """Throw away what waits (interrupted run) and end the thread after the record in work."""
        try:
            while True:
                self._inbox.get_nowait()
        except queue.Empty:
            pass
        self.finish()

    def _run(self) -> None:
        try:
            while self._step():
                pass
        except BaseException as error:  # the caller's thread re-raises it
            self._failure = error

    def _step(self) -> bool:
        records: list[Output] = []
        open_ended = True
        first = self._inbox.get()
        if first is not None and self._sheds is not None:
            self._sheds.pressed(int((time.monotonic() - first[1]) * 1000))
        while first is not None:
            records.append(first[0])
            if len(records) >= self._batch:
                break
            try:
                first = self._inbox.get_nowait()
            except queue.Empty:
                break
        else:
            open_ended = False
        self._deliver(guarded(self._stage, records, self._name, self._dead))
        return open_ended


def guarded(stage: Stage, records: list[Output], name: str, dead: Callable[[DeadLetter], None]) -> list[Output]:
    """Outputs of `records`; a record that a stage refuses becomes a dead letter and the others go on.

    A failed batch is taken back (snapshot, restore) and fed one by one, so that one bad record costs only itself.
    """
    before = stage.snapshot() if len(records) > 1 else b""
    try:
        return list(stage.feed_many(records))
    except (AffectstreamError, ValueError, RuntimeError, msgspec.MsgspecError) as error:
        if len(records) == 1:
            record = records[0]
            dead(DeadLetter(getattr(record, "session", None), name, f"{type(error).__name__}: {error}", encode(record)))
            return []
        stage.restore(before)
        return [output for record in records for output in guarded(stage, [record], name, dead)]


class EmbeddedSession:
    """One session through the whole topology.

    `on_event` gets every emotion event in order, `on_dead_letter` every refused record. `feed` blocks while the stages
    are busy (back-pressure); `close` ends the session and waits; `abandon` ends it early with what is done so far.
    """

    def __init__(
        self, start: SessionStart, resources: Resources, on_event: Callable[[EmotionEvent], None],
        on_dead_letter: Callable[[DeadLetter], None] = lambda letter: None, on_record: Callable[[Output], None] | None = None,
    ) -> None:
        self._start, self._on_event, self._dead = start, on_event, on_dead_letter
        self._on_record = on_record
        self._lock = threading.Lock()
        self._clock: deque[tuple[int, float]] = deque(maxlen=4096)
        self._fuse = STAGES["fuse"].factory(start, resources)
        self._segment = STAGES["segment"].factory(start, resources)
        self._hear = self._worker("hear", resources) if start.audio_sources else None
        self._look = self._worker("look", resources) if start.video_sources else None
        self._over = threading.Event()
        self._to_fuse([start])
        if start.live and start.audio_sources and start.video_sources:  # words do not wait for slow pictures
            threading.Thread(target=self._deadlines, name="deadlines", daemon=True).start()

    def _worker(self, name: str, resources: Resources) -> _Worker:
        return _Worker(STAGES[name], STAGES[name].factory(self._start, resources), self._to_fuse, self._dead, self._start.live)

    def feed(self, record: Output) -> None:
        topic = topic_of(record)
        if topic == "media.audio":
            if isinstance(record, AudioChunk):
                self._clock.append((record.start_ms, time.monotonic()))
            self._utterances(guarded(self._segment, [record], "segment", self._dead))
        elif topic == "media.video" and self._look:
            if isinstance(record, VideoFrame) and not self._start.audio_sources:
                self._clock.append((record.media_ms, time.monotonic()))
            self._look.put(record)

    def close(self, reason: str = "completed") -> None:
        self._over.set()
        end = SessionEnd(self._start.session, reason)
        self._utterances(self._segment.feed(end))
        if self._look:
            self._look.put(end)
        for worker in (self._hear, self._look):
            if worker:
                worker.finish()
        self._to_fuse([end])

    def abandon(self) -> None:
        self._over.set()
        for worker in (self._hear, self._look):
            if worker:
                worker.abandon()
        self._to_fuse([SessionEnd(self._start.session, "interrupted")])

    def _deadlines(self) -> None:
        while not self._over.wait(DEADLINE_EVERY_S):
            with self._lock:
                self._emit(self._fuse.tick(int(time.monotonic() * 1000)))

    def _utterances(self, outputs: Iterable[Output]) -> None:
        for output in outputs:
            if self._hear:
                self._hear.put(output)

    def _to_fuse(self, records: Iterable[Output]) -> None:
        with self._lock:
            for record in records:
                if self._on_record:
                    self._on_record(record)
                self._emit(guarded(self._fuse, [record], "fuse", self._dead))

    def _emit(self, outputs: Iterable[Output]) -> None:
        for output in outputs:
            if isinstance(output, EmotionEvent):
                self._on_event(msgspec.structs.replace(output, latency=self._latency(output.end_ms)))

    def _latency(self, end_ms: int) -> dict[str, float]:
        """Milliseconds between reading the end of the span from the media and the event."""
        now = time.monotonic()
        for media_ms, read in reversed(self._clock):
            if media_ms <= end_ms:
                return {"after_end_ms": round((now - read) * 1000, 1)}
        return {}


def run(
    start: SessionStart, records: Iterable[Output], resources: Resources, on_event: Callable[[EmotionEvent], None], *,
    speed: float | None = None, on_dead_letter: Callable[[DeadLetter], None] = lambda letter: None,
    stop: threading.Event | None = None, on_record: Callable[[Output], None] | None = None,
) -> bool:
    """Drive a whole recording through the topology; False when `stop` or Ctrl-C ended it early.

    `speed` None is as fast as possible, 1.0 the pace of the media. The pace never changes the events.
    """
    session = EmbeddedSession(start, resources, on_event, on_dead_letter, on_record)
    began: float | None = None
    try:
        for record in records:
            if stop and stop.is_set():
                session.abandon()
                return False
            if speed and isinstance(record, AudioChunk | VideoFrame):
                media_ms = record.start_ms if isinstance(record, AudioChunk) else record.media_ms
                began = time.monotonic() - media_ms / 1000 / speed if began is None else began
                time.sleep(max(0.0, began + media_ms / 1000 / speed - time.monotonic()))
            session.feed(record)
    except KeyboardInterrupt:
        session.abandon()
        return False
    session.close()
    return True
