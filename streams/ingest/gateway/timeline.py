"""Where in media time the frames of one source lie, whatever its clock does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Placed:
    """`position` in units of the source; `gap` units are missing before it; `jump` says that its clock was set."""

    position: int
    gap: int = 0
    jump: Literal["", "forward", "back"] = ""


class Timeline:
    """Positions on a source's own scale (samples of audio, milliseconds of video), contiguous unless the sender says so.

    A step forward of up to `max_gap` is a gap in the media. A longer one, or a step back, is a clock that was set: the
    frame then follows the last one, and so do the frames after it (their times are taken relative to the new clock), so
    that no media is lost and no hour of silence is invented. Differences up to `tolerance` are rounding of the sender;
    with `exact` (pictures) the stated time is kept all the same.
    """

    def __init__(self, *, tolerance: int, max_gap: int, exact: bool = False) -> None:
        self._tolerance, self._max_gap, self._exact = tolerance, max_gap, exact
        self.expected = 0
        self.offset = 0

    def place(self, time: int, *, lost: bool = False, resumed: bool = False) -> Placed:
        """Position of a frame that states `time`. `lost`: frames before it are known to be missing, so that even a small
        step counts; `resumed`: a pause came before it, so that a step of any length is true."""
        position = time + self.offset
        step = position - self.expected
        if step < -self._tolerance or (step > self._max_gap and not resumed):
            self.offset -= step
            return Placed(self.expected, jump="back" if step < 0 else "forward")
        if step > (0 if lost or resumed else self._tolerance):
            return Placed(position, gap=step)
        return Placed(position if self._exact else self.expected)

    def advance(self, position: int, length: int) -> None:
        """The frame at `position` was `length` long."""
        self.expected = max(self.expected, position + length)
