"""Reading tracks out of containers with FFmpeg (through PyAV): open safely, decode what can be decoded, say what not.

Only containers of audio and video are opened, never playlists or texts that FFmpeg would follow or paint, and only
local files.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.error
from av.container import InputContainer
from av.stream import Discard
from msgspec import Struct

from extractors.errors import InputError

CONTAINERS = (
    "wav,w64,mp3,flac,ogg,mov,mp4,m4a,3gp,3g2,matroska,webm,avi,asf,aac,ac3,eac3,amr,aiff,au,caf,mpegts,mpeg,mpegvideo,flv,live_flv,"
    "dv,mxf,ape,wv,tta,voc,h264,hevc,ivf,obu,rm,nut,dts,truehd,gxf"
)
ACCEPTED = "wav, mp3, flac, ogg, m4a, mp4, mkv, webm, mov, avi or wmv"
_PREROLL_MS = 1_000
_NAMED_AT_MOST = 3


class Window(Struct, frozen=True):
    """The part of a recording that is read, in ms of media time; `end_ms` None means to its end."""

    start_ms: int = 0
    end_ms: int | None = None


class Problems:
    """Sentences about what was wrong with a medium, in order; of many of a kind a few are named, the rest counted."""

    def __init__(self, found: tuple[str, ...] = ()) -> None:
        self._lines = list(found)
        self._counts: dict[str, int] = {}

    def add(self, kind: str, line: str) -> None:
        self._counts[kind] = self._counts.get(kind, 0) + 1
        if self._counts[kind] <= _NAMED_AT_MOST and line not in self._lines:
            self._lines.append(line)

    def lines(self) -> list[str]:
        more = {kind: count - _NAMED_AT_MOST for kind, count in self._counts.items() if count > _NAMED_AT_MOST}
        return self._lines + [f"{kind}: {count} more" for kind, count in more.items()]


def clock_text(milliseconds: int | float) -> str:
    """``m:ss.s`` or ``h:mm:ss.s`` of a media time."""
    tenths = round(milliseconds / 100)
    minutes, rest = divmod(tenths, 600)
    seconds = f"{rest // 10:02d}.{rest % 10}"
    return f"{minutes // 60}:{minutes % 60:02d}:{seconds}" if minutes >= 60 else f"{minutes}:{seconds}"


def open_container(file: Path) -> InputContainer:
    """The opened container; `InputError` where FFmpeg finds no media in it."""
    try:
        return av.open(str(file.absolute()), options={"format_whitelist": CONTAINERS, "protocol_whitelist": "file"})
    except av.error.PermissionError as error:
        raise InputError("file cannot be read", where=str(file), cure="check its permissions") from error
    except (av.FFmpegError, ValueError, OSError) as error:
        raise _unreadable(file) from error


def _unreadable(file: Path) -> InputError:
    """An mp4 recording that broke off before its index was written is worth a word of its own."""
    try:
        with file.open("rb") as stream:
            head = stream.read(12)
    except OSError:
        head = b""
    if head[4:8] in (b"ftyp", b"mdat", b"wide"):
        cure = "repair it with a recovery tool or record it again"
        return InputError("the recording was cut off before its index was written", where=str(file), cure=cure)
    return InputError("not a media file that can be read", where=str(file), cure=f"give a recording as {ACCEPTED}")


def stamp_us(frame: Any) -> int:
    """Container time of a decoded frame in microseconds (0 where the container has no stamps)."""
    return 0 if frame.pts is None else round(Fraction(frame.pts) * frame.time_base * 1_000_000)


def frames(file: Path, index: int, origin_us: int, window: Window, problems: Problems) -> Iterator[Any]:
    """Decoded frames of track `index`, from some time before the window on, in a reading of its own.

    The decoder runs warm when the window begins, so that the samples and pictures in it are those of a full reading.
    """
    if window.start_ms > _PREROLL_MS:
        sought = _decode(file, index, origin_us, window.start_ms - _PREROLL_MS, problems)
        first = next(sought, None)
        if first is not None and first.pts is not None and stamp_us(first) - origin_us <= window.start_ms * 1000:
            yield first
            yield from sought
            return
        sought.close()  # the file's index led too far or nowhere: read from the start
    yield from _decode(file, index, origin_us, None, problems)


def _decode(file: Path, index: int, origin_us: int, seek_ms: int | None, problems: Problems) -> Any:
    with open_container(file) as container:
        stream = container.streams[index]
        kind = stream.type
        stream.codec_context.thread_count = 1
        for other in container.streams:
            if other.index != index:
                other.discard = Discard.all
        if seek_ms is not None:
            try:
                container.seek(origin_us + seek_ms * 1000)
            except av.FFmpegError:
                return
        reached_us = origin_us
        packets = container.demux(stream)
        while True:
            place = clock_text((reached_us - origin_us) / 1000)
            try:
                packet = next(packets, None)
            except av.FFmpegError as error:
                problems.add(f"{kind} stopped", f"{kind}: reading stopped at {place} ({error.strerror})")
                return
            if packet is None or packet.has_sidedata("encryption_info"):
                return  # encrypted samples sometimes decode, to noise
            try:
                decoded = packet.decode()
            except av.FFmpegError:
                problems.add(f"{kind} damaged", f"{kind}: a damaged part at about {place} was left out")
                continue
            frame: Any
            for frame in decoded:
                reached_us = stamp_us(frame) if frame.pts is not None else reached_us
                if isinstance(frame, av.VideoFrame) and frame.is_corrupt:
                    problems.add(f"{kind} damaged", f"{kind}: a damaged part at about {place} was left out")
                else:
                    yield frame


def report(problems: Problems, kind: str, notes: list[tuple[str, int, int]], to_ms: float) -> None:
    """What a media clock noted, in words; empties `notes`. `to_ms` turns its unit into milliseconds."""
    words = {
        "gap": "{amount:.2f} s are missing at {at} (a gap in the recording)",
        "overlap": "{amount:.2f} s that overlap at {at} were left out",
        "restart": "the time stamps start again at {at}: taken as going on",
        "broken": "the time stamps jump by {amount:.0f} s at {at}: taken as going on",
    }
    for note, position, amount in notes:
        line = words[note].format(at=clock_text(position * to_ms), amount=amount * to_ms / 1000)
        problems.add(f"{kind} {note}", f"{kind}: {line}")
    notes.clear()
