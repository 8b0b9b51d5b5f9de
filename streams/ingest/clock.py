"""Media clocks of one track: container stamps in, positions on one gapless or honestly gapped time line out.

Stamps of real files jitter (containers round to milliseconds, browsers by more), jump (lost data) and start again
(recordings joined end to end). The rules, with `late` = stamp minus the position that the samples so far lead to:

- -200 ms <= late <= 20 ms: jitter; the samples simply continue.
- late > 20 ms: a gap; the position jumps, nothing is invented. Above one hour the stamp is taken for broken.
- -2 s <= late < -200 ms: an overlap; the part already covered is dropped.
- late < -2 s: the stamps started again; they are shifted so that the media continues.

Positions never go back and never are negative.
"""

from __future__ import annotations

from msgspec import Struct

JITTER_FORWARD_MS = 20
JITTER_BACK_MS = 200
RESTART_MS = 2_000
LONGEST_GAP_MS = 3_600_000


class Placement(Struct, frozen=True):
    """Where a run of samples goes: it starts at `start` (samples) after its first `drop` samples are left out."""

    start: int
    drop: int


class SampleClock:
    """Places decoded runs of audio samples. `notes` collects (kind, position, amount), both in samples, of the kinds
    ``gap``, ``overlap``, ``restart`` and ``broken``; the caller empties it."""

    def __init__(self, rate: int) -> None:
        self.rate = rate
        self.next: int | None = None
        self.notes: list[tuple[str, int, int]] = []
        self._shift = 0

    def place(self, stamp: int | None, count: int) -> Placement:
        """Position of `count` samples whose container stamp is `stamp` (samples; None where the container has none)."""
        if self.next is None:
            placed = self._first(0 if stamp is None else stamp, count)
        else:
            placed = self._following(self.next, stamp, count)
        self.next = placed.start + count - placed.drop
        return placed

    def _first(self, stamp: int, count: int) -> Placement:
        """What lies before time zero is dropped."""
        return Placement(max(stamp, 0), min(max(-stamp, 0), count))

    def _following(self, expected: int, stamp: int | None, count: int) -> Placement:
        late = 0 if stamp is None else stamp + self._shift - expected
        if -self._samples(JITTER_BACK_MS) <= late <= self._samples(JITTER_FORWARD_MS):
            return Placement(expected, 0)
        if late > self._samples(LONGEST_GAP_MS) or late < -self._samples(RESTART_MS):
            self._shift -= late
            self.notes.append(("broken" if late > 0 else "restart", expected, abs(late)))
            return Placement(expected, 0)
        if late > 0:
            self.notes.append(("gap", expected, late))
            return Placement(expected + late, 0)
        drop = min(-late, count)
        self.notes.append(("overlap", expected, drop))
        return Placement(expected, drop)

    def _samples(self, milliseconds: int) -> int:
        return milliseconds * self.rate // 1000


class PictureClock:
    """Places decoded pictures, in microseconds: stamps that start again or run away by over an hour are shifted so
    that the media continues. A picture that does not come after the one before has no place (None).
    """

    def __init__(self) -> None:
        self.last: int | None = None
        self.notes: list[tuple[str, int, int]] = []
        self._shift = 0

    def place(self, stamp: int) -> int | None:
        """Time of a picture with container stamp `stamp`, both in microseconds."""
        if self.last is not None:
            step = stamp + self._shift - self.last
            if step > LONGEST_GAP_MS * 1000 or step < -RESTART_MS * 1000:
                self.notes.append(("broken" if step > 0 else "restart", self.last, abs(step)))
                self._shift -= step - 1
        time = stamp + self._shift
        if time < 0 or (self.last is not None and time <= self.last):
            return None
        self.last = time
        return time
