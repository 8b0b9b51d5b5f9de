"""One session in one stage of the Kafka runtime: a stage core, its place on the log, and how to get it back.

A checkpoint is a state of the stage together with the offsets from which the log has to be read to go on. Every
checkpoint is valid for as long as the log goes back to it: reading on from an older one gives the same outputs again,
and those that were delivered before are recognised by their identity and not written twice. So checkpoints are written
when it is cheap, not after each record, and a crash between any two steps costs nothing but reading.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec
from msgspec import Struct

from extractors.registry import ModelMissing
from streams import topics
from streams.records import Output, SessionEnd, SessionStart
from streams.runtimes.kafka_wire import Delivery, Emission, Refused, dead_letter, identity_of, is_hypothesis, span_of
from streams.stages.protocol import Sheds, Stage

CHEAP_STATE_BYTES = 64 * 1024
"""A larger state (the audio of an open utterance) is kept back until it shrinks or the tail grows long."""
LONGEST_TAIL = 1024
"""Records after which a larger state is stored too."""
LARGEST_STATE_BYTES = topics.MAX_RECORD_BYTES - 64 * 1024
"""A state that fits no record is never stored: the log is read from further back instead."""
FAR_BEHIND = 2000
"""Offsets after which the checkpoint of a quiet session is written again, so that a takeover need not read them."""


CAUGHT_UP_MS = 500
"""Records younger than this are not what a stage has to catch up with."""
MOST_CLOCKS = 64
"""Utterances of a session whose times are kept: those in work, and some more."""


class Owed(Struct, frozen=True):
    """An output of a deadline: stored before it is written, because a deadline cannot be read again from the log."""

    topic: str
    identity: str
    value: bytes


class Checkpoint(Struct):
    """What is stored for a session of a stage.

    `positions`: input topic -> offset of the first record that `state` does not contain; `outputs`: output topic ->
    offset from which outputs that `state` does not count may lie; `emitted`: outputs so far; `heard`: input topic and
    origin -> number of the last record taken; `ended`: input topics whose session end was read; `owed`: outputs that
    `state` counts and that may not have been written.
    """

    start: SessionStart
    partition: int
    positions: dict[str, int]
    outputs: dict[str, int]
    emitted: int = 0
    heard: dict[str, int] = {}
    ended: tuple[str, ...] = ()
    closed: bool = False
    state: bytes = b""
    time_ms: int = 0
    owed: tuple[Owed, ...] = ()


encode_checkpoint = msgspec.msgpack.Encoder().encode
decode_checkpoint = msgspec.msgpack.Decoder(Checkpoint).decode


class Node(Struct, frozen=True):
    """What a session needs to know of its stage: `expected` gives the input topics whose ends end the session,
    `numbered` is True where outputs are a function of one ordered input and can be counted, `every` and
    `every_bytes` how many records between checkpoints: what lies between is done again after a crash."""

    name: str
    writes: tuple[str, ...]
    make: Callable[[SessionStart], Stage]
    expected: Callable[[SessionStart], frozenset[str]]
    numbered: bool = True
    every: int = 1
    every_bytes: int = 256 * 1024


class SessionRunner:
    """Drives the stage core of one session. Nothing here waits or touches the network; `take` may run models.

    `delivered` are identities of outputs that lie on the log already.
    """

    def __init__(self, node: Node, base: Checkpoint, delivered: set[str] | None = None) -> None:
        self._node, self._base = node, base
        self._delivered = delivered or set()
        self._heard = dict(base.heard)
        self._owed = base.owed
        self._tail: list[Delivery] = []
        self._clocks: dict[tuple[str, int], tuple[tuple[str, int], ...]] = {}
        self._caught_up = False
        self._due, self._due_bytes = node.every, node.every_bytes
        self._broken: str | None = None
        self._time_ms = base.time_ms
        self._expected = node.expected(base.start)
        self._stage: Stage | None = None
        self._reset()

    @property
    def session(self) -> str:
        return self._base.start.session

    @property
    def live(self) -> bool:
        return self._base.start.live and not self._closed

    @property
    def closed(self) -> bool:
        return self._closed

    @property
    def open_topics(self) -> frozenset[str]:
        """Input topics on which the session has not ended."""
        return self._expected - self._ended

    def take(self, deliveries: Iterable[Delivery]) -> list[Emission]:
        """Outputs of `deliveries` that are not on the log yet. What the stage refuses becomes a dead letter; only
        `ModelMissing` is raised, which is no fault of the record."""
        owed, self._owed = self._paid(self._owed), ()
        fresh = [delivery for delivery in deliveries if self._is_fresh(delivery)]
        if not fresh:
            return owed
        self._time_ms = max(self._time_ms, fresh[-1].time_ms)
        try:
            self._press(int(time.time() * 1000) - fresh[0].time_ms)
            emissions = self._refuse_all(fresh, self._broken) if self._broken else self._attempt(fresh)
        except ModelMissing:
            raise
        except Exception as error:  # the stage cannot even be rebuilt: every record from here on is refused
            self._broken = f"the session cannot go on: {type(error).__name__}: {error}"
            emissions = self._refuse_all(fresh, self._broken)
        return owed + [msgspec.structs.replace(emission, clock=self._clock_of(emission, fresh[-1])) for emission in emissions if not self._was_delivered(emission)]

    def tick(self, now_ms: int, progress: Mapping[str, int], outputs: Mapping[str, int]) -> tuple[Checkpoint | None, list[Emission]]:
        """A deadline of a live session, in milliseconds of any clock that does not go back: what the stage sends because
        of it, and the checkpoint that has to be stored first. Only for stages whose outputs are not numbered."""
        if self._broken or self._closed:
            return None, []
        emissions = [emission for emission in self._emit(self._open().tick(now_ms)) if not self._was_delivered(emission)]
        if not emissions:
            return None, []
        owed = tuple(Owed(e.topic, e.identity, topics.encode_for(e.topic, e.record)) for e in emissions)
        return self._state(progress, outputs, owed), emissions

    def checkpoint(self, progress: Mapping[str, int], outputs: Mapping[str, int]) -> Checkpoint | None:
        """The checkpoint to store now, or None while that is not due.

        `progress` are the offsets up to which this partition is worked off, `outputs` the known ends of the output
        topics; call it when all emissions of `take` are acknowledged.
        """
        far = any(progress.get(topic, 0) - offset > FAR_BEHIND for topic, offset in self._base.positions.items())
        if not self._tail and not far:
            return None
        size = sum(len(delivery.value) for delivery in self._tail)
        if not (far or self._closed or len(self._tail) >= self._due or size >= self._due_bytes):
            return None
        checkpoint = self._state(progress, outputs)
        if len(checkpoint.state) > (CHEAP_STATE_BYTES if len(self._tail) < LONGEST_TAIL else LARGEST_STATE_BYTES):
            self._due, self._due_bytes = len(self._tail) + self._node.every, size + self._node.every_bytes
            return None
        return checkpoint

    def _state(self, progress: Mapping[str, int], outputs: Mapping[str, int], owed: tuple[Owed, ...] = ()) -> Checkpoint:
        """Everything as it is now."""
        state = b"" if self._closed or self._broken else self._open().snapshot()
        # As long as outputs from before a takeover have not been computed again, they must be found again after the next.
        known = self._base.outputs if self._delivered else dict(outputs)
        positions = {**self._base.positions, **{topic: max(offset, self._base.positions.get(topic, 0)) for topic, offset in progress.items()}}
        return Checkpoint(
            self._base.start, self._base.partition, positions, known, self._emitted,
            dict(self._heard), tuple(sorted(self._ended)), self._closed, state, self._time_ms, owed,
        )

    def _paid(self, owed: tuple[Owed, ...]) -> list[Emission]:
        """Outputs of a deadline that the former owner stored but did not write."""
        emissions = [Emission(one.topic, self.session, topics.decode_from(one.topic, one.value), one.identity) for one in owed]
        return [emission for emission in emissions if not self._was_delivered(emission)]

    def stored(self, checkpoint: Checkpoint) -> None:
        """`checkpoint` is safe: go on from it."""
        self._base, self._tail = checkpoint, []
        self._due, self._due_bytes = self._node.every, self._node.every_bytes
        if self._closed:
            self._stage = None

    def _reset(self) -> None:
        """Back to the base checkpoint."""
        base = self._base
        self._emitted, self._ended, self._closed = base.emitted, set(base.ended), base.closed
        self._stage = None

    def _open(self) -> Stage:
        if self._stage is None:
            self._stage = self._node.make(self._base.start)
            if self._base.state:
                self._stage.restore(self._base.state)
        return self._stage

    def _is_fresh(self, delivery: Delivery) -> bool:
        if delivery.offset < self._base.positions.get(delivery.topic, 0):
            return False
        if delivery.number >= 0:
            source = f"{delivery.topic}/{delivery.origin}"
            if delivery.number <= self._heard.get(source, -1):
                return False
            self._heard[source] = delivery.number
        span = span_of(delivery.record)
        if span and delivery.clock:
            self._clocks[span] = delivery.clock
            if len(self._clocks) > MOST_CLOCKS:
                del self._clocks[next(iter(self._clocks))]
        return True

    def _press(self, lag_ms: int) -> None:
        """Tell a stage that can do with less how far behind it is. A session that was taken over first catches up: what
        waits then is no sign of too much load, and everything in it is worked off as if nothing had happened."""
        self._caught_up = self._caught_up or lag_ms < CAUGHT_UP_MS
        stage = None if self._broken or self._closed or not self.live else self._open()
        if isinstance(stage, Sheds):
            stage.pressed(lag_ms if self._caught_up else 0)

    def _clock_of(self, emission: Emission, last: Delivery) -> tuple[tuple[str, int], ...]:
        """When which stage passed on what `emission` was made of: the record about the same utterance, else the last one."""
        span = span_of(emission.record)
        return (span and self._clocks.get(span)) or last.clock or (("ingest", last.time_ms),)

    def _attempt(self, fresh: list[Delivery]) -> list[Emission]:
        try:
            emissions = self._advance(fresh)
        except ModelMissing:
            raise
        except Exception:  # one of them is bad: take the batch back and find out which
            return self._salvage(fresh)
        self._tail += fresh
        return emissions

    def _salvage(self, fresh: list[Delivery]) -> list[Emission]:
        """One by one from a rebuilt stage, so that a bad record costs only itself."""
        emissions: list[Emission] = []
        self._rebuild()
        for delivery in fresh:
            try:
                emissions += self._advance([delivery])
                self._tail.append(delivery)
            except Refused as error:
                emissions.append(self._refusal(delivery, str(error)))
            except ModelMissing:
                raise
            except Exception as error:
                emissions.append(self._refusal(delivery, f"{type(error).__name__}: {error}"))
                self._rebuild()
                if isinstance(delivery.record, SessionEnd):
                    emissions += self._refuse_all([delivery], "")
        return emissions

    def _rebuild(self) -> None:
        """The stage as it was before the records in hand: base checkpoint and tail, outputs thrown away."""
        self._reset()
        if not self._closed:
            self._open()
        for delivery in self._tail:
            self._advance([delivery])

    def _advance(self, deliveries: Sequence[Delivery]) -> list[Emission]:
        emissions: list[Emission] = []
        run: list[Output] = []

        def feed() -> None:
            if run:
                emissions.extend(self._emit(self._open().feed_many(tuple(run))))
                run.clear()

        for delivery in deliveries:
            record = delivery.record
            if self._closed or delivery.topic in self._ended:
                raise Refused("the session has ended before this record")
            if isinstance(record, SessionStart):
                if self._emitted == 0:
                    emissions += self._emit([record, *self._open().feed(record)])
            elif isinstance(record, SessionEnd):
                feed()
                if self._ends(delivery):
                    emissions += self._emit([*self._open().feed(record), record])
                    self._closed = True
            else:
                run.append(record)
        feed()
        return emissions

    def _ends(self, delivery: Delivery) -> bool:
        """Whether the session end in `delivery` was the last one to come."""
        self._ended.add(delivery.topic)
        return self._expected <= self._ended

    def _refuse_all(self, fresh: list[Delivery], reason: str) -> list[Emission]:
        """A broken session takes nothing in, but its end is passed on: the stages behind it close too."""
        emissions = []
        for delivery in fresh:
            if not isinstance(delivery.record, SessionEnd):
                emissions.append(self._refusal(delivery, reason))
            elif self._ends(delivery) and not self._closed:
                emissions += self._emit([delivery.record])
                self._closed = True
        return emissions

    def _emit(self, outputs: Iterable[Output]) -> list[Emission]:
        emissions: list[Emission] = []
        for record in outputs:
            self._emitted += not is_hypothesis(record)  # how many of them come depends on the load
            number = self._emitted if self._node.numbered and not is_hypothesis(record) else -1
            identity = identity_of(record, self._node.name, self._emitted)
            emissions += [Emission(topic, self.session, record, identity, number) for topic in topics.topics_of(record, self._node.writes)]
        return emissions

    def _refusal(self, delivery: Delivery, reason: str) -> Emission:
        return dead_letter(self._node.name, delivery.topic, self._base.partition, delivery.offset, self.session, reason, delivery.value)

    def _was_delivered(self, emission: Emission) -> bool:
        """Whether the output, or the dead letter in its place, lies on the log. It is asked for once per topic after a
        takeover: what is found is taken out, so that the set shrinks to nothing."""
        for topic in (emission.topic, topics.DEAD_LETTERS):
            name = f"{topic}/{emission.identity}"
            if name in self._delivered:
                self._delivered.discard(name)
                return True
        return False
