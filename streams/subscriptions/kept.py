"""What is kept of a session: its settled messages, in blocks that are packed when the session has ended.

An event costs some 8 kB as an object and 300 bytes packed, so that an archive of thousands of calls fits in memory.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable

import msgspec
from msgspec import Struct

from fusion.events import EmotionEvent
from streams.records import Alert
from streams.subscriptions.messages import AlertMessage, EventMessage

_BLOCK = 32
_Row = tuple[int, int, str, bytes]  # number, wall_ms, kind, payload
_packer = msgspec.msgpack.Encoder()
_unpacker = msgspec.msgpack.Decoder(list[_Row])
_event = msgspec.json.Decoder(EventMessage)
_alert = msgspec.json.Decoder(AlertMessage)


class Entry(Struct, frozen=True):
    """One message on the log, encoded once for everybody. `event` is None for alerts and sessions."""

    number: int
    wall_ms: int
    kind: str
    session: str
    payload: bytes
    event: EmotionEvent | None = None
    alert: Alert | None = None

    @property
    def partial(self) -> bool:
        return self.event is not None and self.event.status == "partial"


class Block(Struct, frozen=True):
    """Some packed entries, numbered `first` to `last`, not without gaps."""

    first: int
    last: int
    count: int
    data: bytes


class Snapshot(Struct, frozen=True):
    """What was kept at one moment; reading it takes no lock."""

    session: str
    blocks: tuple[Block, ...]
    tail: tuple[Entry, ...]

    def entries(self) -> list[Entry]:
        return [entry for block in self.blocks for entry in _unpacked(self.session, block)] + list(self.tail)

    def at(self, numbers: Iterable[int]) -> list[Entry]:
        """The entries of these numbers, in this order; what is not kept is left out. Unpacks no block twice in a row."""
        tail = {entry.number: entry for entry in self.tail}
        opened: Block | None = None
        rows: dict[int, _Row] = {}
        found = []
        for number in numbers:
            if number in tail:
                found.append(tail[number])
                continue
            block = next((block for block in self.blocks if block.first <= number <= block.last), None)
            if block is not None and block is not opened:
                opened, rows = block, {row[0]: row for row in _rows(block)}
            if block is not None and number in rows:
                found.append(_entry(self.session, rows[number]))
        return found


class Kept:
    """Settled entries of one session, bounded. Belongs to its hub, whose lock it is used under."""

    def __init__(self, session: str) -> None:
        self.session = session
        self._blocks: list[Block] = []
        self._tail: list[Entry] = []
        self._count = 0
        self.dropped_to = 0
        self.live = True

    def add(self, entry: Entry, most: int) -> list[Entry]:
        """Keep the entry; the oldest that had to go for it."""
        self._tail.append(entry)
        self._count += 1
        gone: list[Entry] = []
        if self._count - most > most // 8:
            gone = self._drop(self._count - most)
        if not self.live and len(self._tail) > 2 * _BLOCK:
            self.pack()
        return gone

    def _drop(self, cut: int) -> list[Entry]:
        gone: list[Entry] = []
        while self._blocks and len(gone) < cut:
            gone += _unpacked(self.session, self._blocks.pop(0))
        if len(gone) < cut:
            rest = cut - len(gone)
            gone += self._tail[:rest]
            del self._tail[:rest]
        self._count -= len(gone)
        self.dropped_to = gone[-1].number
        return gone

    def pack(self) -> None:
        """The session is over: keep it small."""
        for start in range(0, len(self._tail), _BLOCK):
            part = self._tail[start : start + _BLOCK]
            rows = [(entry.number, entry.wall_ms, entry.kind, entry.payload) for entry in part]
            self._blocks.append(Block(part[0].number, part[-1].number, len(part), zlib.compress(_packer.encode(rows), 1)))
        self._tail = []

    @property
    def packed_bytes(self) -> int:
        return sum(len(block.data) for block in self._blocks)

    def snapshot(self) -> Snapshot:
        return Snapshot(self.session, tuple(self._blocks), tuple(self._tail))


def _rows(block: Block) -> list[_Row]:
    return _unpacker.decode(zlib.decompress(block.data))


def _unpacked(session: str, block: Block) -> list[Entry]:
    return [_entry(session, row) for row in _rows(block)]


def _entry(session: str, row: _Row) -> Entry:
    number, wall_ms, kind, payload = row
    if kind == "event":
        return Entry(number, wall_ms, kind, session, payload, event=_event.decode(payload).event)
    return Entry(number, wall_ms, kind, session, payload, alert=_alert.decode(payload).alert if kind == "alert" else None)
