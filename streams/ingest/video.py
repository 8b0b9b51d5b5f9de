"""Pictures of a video track: upright, on a grid of media time."""

from __future__ import annotations

import math
from collections.abc import Generator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.sidedata.sidedata import Type as SideData
from msgspec import Struct

from streams.ingest.channels import VIDEO_SOURCE
from streams.ingest.clock import PictureClock
from streams.ingest.demux import Problems, Window, frames, report, stamp_us
from streams.records import SourceEnd, VideoFrame

LONG_SIDE = 1280
"""Larger pictures are scaled down to this long side: face models need less, and a frame stays under 5 MB."""


class VideoTrack(Struct, frozen=True):
    """A video track. `width` and `height` as stored, in pixels of the aspect `pixel_aspect`; `rotation` in degrees,
    counter-clockwise, that the reader applies; `fps` is the header's mean rate and no base of any time; `start_ms` on
    the media clock."""

    index: int
    codec: str
    width: int
    height: int
    fps: float | None
    rotation: int
    start_ms: int
    pixel_aspect: tuple[int, int] = (1, 1)


class VideoReader:
    """One reading of a video track: of the pictures the first at or after each multiple of 1/`fps` of media time (all
    of them with `fps` None), at the time of their container stamp, then the end of the source."""

    def __init__(
        self,
        file: Path,
        track: VideoTrack,
        *,
        session: str,
        origin_us: int,
        window: Window,
        fps: float | None,
        problems: Problems,
    ) -> None:
        self._file, self._track, self._session = file, track, session
        self._origin_us, self._window, self._problems = origin_us, window, problems
        self._fps = None if fps is None else Fraction(fps).limit_denominator(1000)

    def records(self) -> Generator[VideoFrame | SourceEnd, None, None]:
        clock, aspect = PictureClock(), Fraction(*self._track.pixel_aspect)
        seq = end_ms = 0
        grid = -1
        for frame in frames(self._file, self._track.index, self._origin_us, self._window, self._problems):
            time_us = None if frame.pts is None else clock.place(stamp_us(frame) - self._origin_us)
            report(self._problems, "video", clock.notes, 0.001)
            if time_us is None:
                continue
            media_ms = time_us // 1000
            if self._window.end_ms is not None and media_ms >= self._window.end_ms:
                end_ms = self._window.end_ms
                break
            point = grid + 1 if self._fps is None else math.floor(Fraction(time_us, 1_000_000) * self._fps)
            if point > grid and media_ms >= self._window.start_ms:
                picture = upright(frame, aspect)
                height, width = picture.shape[:2]
                yield VideoFrame(self._session, VIDEO_SOURCE, seq, media_ms, width, height, "bgr24", picture.tobytes())
                seq += 1
            grid = max(grid, point)
            end_ms = media_ms + round(Fraction(frame.duration or 0) * frame.time_base * 1000)
        yield SourceEnd(self._session, VIDEO_SOURCE, seq, end_ms)


def upright(frame: av.VideoFrame, aspect: Fraction = Fraction(1)) -> np.ndarray:
    """A decoded picture as bgr24 (height, width, 3): square pixels, long side at most `LONG_SIDE`, turned upright."""
    width, height = max(1, round(frame.width * aspect)), frame.height
    scale = min(Fraction(1), Fraction(LONG_SIDE, max(width, height)))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    smaller = size[0] < frame.width or size[1] < frame.height
    scaled = frame.reformat(*size, format="bgr24", interpolation="AREA" if smaller else "BILINEAR", threads=1)
    picture: np.ndarray = scaled.to_ndarray()
    transpose, left_right, upside_down = orientation(frame)
    if transpose:
        picture = picture.transpose(1, 0, 2)
    if left_right:
        picture = picture[:, ::-1]
    if upside_down:
        picture = picture[::-1]
    return np.ascontiguousarray(picture)


def orientation(frame: av.VideoFrame) -> tuple[bool, bool, bool]:
    """(transpose, flip left-right, flip upside-down), in this order, that turn a stored picture upright.

    From the display matrix, which says where stored coordinates go: p' = a p + c q, q' = b p + d q.
    """
    side_data: Any = frame.side_data
    for data in side_data:
        if data.type == SideData.DISPLAYMATRIX:
            a, b, _, c, d = np.frombuffer(bytes(data), np.int32)[:5].tolist()
            if abs(a) + abs(d) >= abs(b) + abs(c):
                return False, a < 0, d < 0
            return True, c < 0, b < 0
    return False, False, False
