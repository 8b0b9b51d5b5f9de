"""One partition of a stage while this worker owns it: sessions, how far it is worked off, and how it is taken over.

What the consumer group delivers is taken as a notice of how far the log goes, never as the truth of what comes next: the
engine acknowledges and drops records around a rebalance. So the partition keeps its own place on each input topic, and
whatever lies between that place and a record that arrives is read from the log. A takeover starts from the stored place,
and from the outputs that the former owner wrote after its last checkpoints.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing

from streams import topics
from streams.records import SessionStart
from streams.runtimes.kafka_log import LogReader
from streams.runtimes.kafka_session import Checkpoint, Node, SessionRunner
from streams.runtimes.kafka_wire import Delivery, Emission, Message, Refused

PIECE = 64
"""Records of the log that are worked off at once when reading again."""


class Partition:
    """Sessions of one partition of one stage. Times are milliseconds of the log, but for `last_seen` (monotonic seconds)."""

    def __init__(self, number: int, node: Node, namespace: str, reader: LogReader) -> None:
        self.number = number
        self._node, self._namespace, self._reader = node, namespace, reader
        self.runners: dict[str, SessionRunner] = {}
        self.waiting: dict[str, Checkpoint] = {}  # sessions taken over or just opened, no record worked off yet
        self.closed: dict[str, int] = {}  # session -> time of its end
        self.progress: dict[str, int] = {}  # input topic -> next offset to work off
        self.ends: dict[str, int] = {}  # output topic -> end of the log as known
        self.last_seen: dict[str, float] = {}
        self.newest_ms = 0
        self.swept = 0  # sum of `progress` when it was stored and all runners were asked for a checkpoint
        self._delivered: dict[str, set[str]] = {}

    async def take_over(self, progress: dict[str, int], checkpoints: Iterable[Checkpoint]) -> None:
        """Start from what the table holds of this partition: the stored place on each input topic, and the sessions."""
        self.progress = dict(progress)
        now = time.monotonic()
        for checkpoint in sorted(checkpoints, key=lambda checkpoint: checkpoint.time_ms):
            session = checkpoint.start.session
            if checkpoint.closed:
                self.closed[session] = checkpoint.time_ms
            else:
                self.waiting[session], self.last_seen[session] = checkpoint, now
                for topic, offset in checkpoint.positions.items():
                    self.progress[topic] = min(offset, self.progress.get(topic, offset))
        names = [*self._node.writes, topics.DEAD_LETTERS]
        ends = await self._reader.ends((self._namespace + name, self.number) for name in names)
        self.ends = {name: ends[self._namespace + name, self.number] for name in names}
        for name in names:
            await self._find_delivered(name)

    async def _find_delivered(self, name: str) -> None:
        """Which outputs of the open sessions reached the log although no checkpoint counts them."""
        end = self.ends[name]
        start = min((checkpoint.outputs.get(name, end) for checkpoint in self.waiting.values()), default=end)
        async for record in self._reader.read(self._namespace + name, self.number, start, end):
            fields = dict(record.headers)
            session = (record.key or b"").decode("utf-8", "replace")
            if session in self.waiting and fields.get("origin") == self._node.name.encode() and fields.get("identity"):
                self._delivered.setdefault(session, set()).add(f"{name}/{fields.get('identity', b'').decode()}")

    async def missing(self, topic: str, offset: int) -> AsyncGenerator[list[Message], None]:
        """What has to be worked off before the record of `topic` at `offset`, in pieces."""
        piece: list[Message] = []
        async with aclosing(self._reader.read(self._namespace + topic, self.number, self.progress.get(topic, 0), offset)) as records:
            async for record in records:
                piece.append(Message(topic, record.offset, record.timestamp, record.key, record.value, list(record.headers)))
                if len(piece) >= PIECE:
                    yield piece
                    piece = []
        if piece:
            yield piece

    def admit(self, delivery: Delivery, ended: Checkpoint | None) -> Checkpoint | None:
        """Find the session of `delivery` or open it; `ended` is the stored checkpoint of one that has ended.

        The result is the first checkpoint of a new session: store it before any output of the session leaves, else that
        output could not be found again. Raises `Refused` for a record of an unknown session.
        """
        session = delivery.record.session
        self.last_seen[session] = time.monotonic()
        if session in self.runners or session in self.waiting:
            return None
        if ended is not None:  # its runner ignores what it has seen and refuses the rest
            self.runners[session] = SessionRunner(self._node, ended)
            return None
        if not isinstance(delivery.record, SessionStart):
            del self.last_seen[session]
            raise Refused("no session start came before this record")
        positions = {**self.progress, delivery.topic: delivery.offset}
        opened = Checkpoint(delivery.record, self.number, positions, dict(self.ends), time_ms=delivery.time_ms)
        self.waiting[session] = opened
        return opened

    def advance(self, work: dict[str, list[Delivery]]) -> list[Emission]:
        """Outputs of the deliveries of each session. Runs the stage cores: call it in the stage's thread."""
        emissions: list[Emission] = []
        for session, deliveries in work.items():
            if session in self.waiting:
                self.runners[session] = SessionRunner(self._node, self.waiting.pop(session), self._delivered.pop(session, None))
            emissions += self.runners[session].take(deliveries)
        return emissions

    def retire(self, runners: Iterable[SessionRunner]) -> None:
        """Let go of sessions that have ended."""
        for runner in runners:
            if runner.closed:
                self.closed[runner.session] = self.newest_ms
                self.runners.pop(runner.session, None)
                self.last_seen.pop(runner.session, None)
