"""Frames of one source in the order of their sequence numbers, within a bounded window."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Literal

from streams.ingest.gateway.protocol import Frame

WINDOW_FRAMES = 16
"""So many frames may wait for a missing one; then it is taken for lost."""
WINDOW_BYTES = 2 << 20
_LOST_KEPT = 1024

Verdict = Literal["ok", "resent", "duplicate", "late", "restart"]


@dataclass(frozen=True, slots=True)
class Ordered:
    """A frame in its turn; `lost` frames before it never came."""

    frame: Frame
    lost: int = 0


class Sequencer:
    """Holds early frames, knows repeated and late ones, and goes on after a loss.

    A sequence number below the expected one with media that lie ahead (`newer`) is a sender that began to count anew.
    """

    def __init__(self) -> None:
        self.next = 0
        self._held: dict[int, Frame] = {}
        self._lost: deque[int] = deque(maxlen=_LOST_KEPT)
        self._resent_below = 0

    def push(self, frame: Frame, *, newer: bool) -> tuple[Verdict, list[Ordered]]:
        """The verdict on `frame` and the frames whose turn has come."""
        if frame.seq in self._held:
            return ("resent" if frame.seq < self._resent_below else "duplicate"), []
        if frame.seq < self.next:
            if frame.seq in self._lost:
                self._lost.remove(frame.seq)
                return "late", []
            if frame.seq < self._resent_below:
                return "resent", []
            if not newer:
                return "duplicate", []
            ready = [*self.flush(), Ordered(frame)]
            self.next, self._resent_below = frame.seq + 1, 0
            return "restart", ready
        self._held[frame.seq] = frame
        ready = self._ready()
        while len(self._held) >= WINDOW_FRAMES or sum(len(held.payload) for held in self._held.values()) > WINDOW_BYTES:
            ready += self._skip()
        return "ok", ready

    def flush(self) -> list[Ordered]:
        """Everything that waits, in order."""
        ready: list[Ordered] = []
        while self._held:
            ready += self._skip()
        return ready

    def disconnected(self) -> None:
        """The sender may now send again what it has no acknowledgement of."""
        self._resent_below = max([self.next, *(seq + 1 for seq in self._held)])

    def _ready(self) -> list[Ordered]:
        ready = []
        while self.next in self._held:
            ready.append(Ordered(self._held.pop(self.next)))
            self.next += 1
        return ready

    def _skip(self) -> list[Ordered]:
        first = min(self._held)
        lost = first - self.next
        self._lost.extend(range(max(self.next, first - _LOST_KEPT), first))
        self.next = first
        ready = self._ready()
        if lost and ready:
            ready[0] = Ordered(ready[0].frame, lost)
        return ready
