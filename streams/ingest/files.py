"""A recorded file as the records of a session: one media clock for sound and picture, memory flat for any length.

    reader = open_media("call.wav", session="call", channels="left=customer,right=agent")
    for record in reader: ...        # AudioChunk, VideoFrame, SourceEnd in media order
    reader.problems                  # what was wrong with the file, in sentences
"""

from __future__ import annotations

import heapq
import os
from collections.abc import Generator, Iterator, Mapping
from pathlib import Path
from types import TracebackType

from extractors.errors import InputError
from streams.ingest.audio import AudioReader
from streams.ingest.channels import VIDEO_SOURCE, ChannelPlan, plan
from streams.ingest.demux import Problems, Window, clock_text
from streams.ingest.media import MediaInfo, probe
from streams.ingest.video import VideoReader
from streams.records import AudioChunk, Participant, SourceEnd, VideoFrame

__all__ = ["MediaInfo", "MediaReader", "open_media", "probe"]

MediaRecord = AudioChunk | VideoFrame | SourceEnd
_SHORT_MS = 1_000


def open_media(
    path: str | os.PathLike[str],
    *,
    session: str,
    channels: ChannelPlan | str | Mapping[str, str] | None = None,
    fps: float | None = 10.0,
    from_ms: int | None = None,
    to_ms: int | None = None,
    chunk_ms: int = 100,
    video: bool = True,
    info: MediaInfo | None = None,
) -> MediaReader:
    """Open a recording for one reading; everything that is wrong with it as a whole is raised here as `InputError`.

    `channels` is a declaration as in ``left=customer,right=agent`` (see `streams.ingest.channels`) or a plan made of
    one. `fps` picks the first picture at or after each multiple of 1/fps (None: every picture). `from_ms` and `to_ms`
    limit the reading; times stay those of the whole recording (sample positions after a jump into the file within a
    millisecond, the precision of some containers). `chunk_ms` is the length of an audio chunk and never changes the
    samples. `info` saves a second probing.
    """
    found = info or probe(path)
    if fps is not None and not 0 < fps <= 1000:
        raise InputError(f"{fps:g} pictures a second cannot be", where="--fps", cure="give a number above 0, as 10")
    if chunk_ms < 1:
        raise InputError(f"a chunk of {chunk_ms} ms cannot be", where="chunk_ms", cure="give a number above 0, as 100")
    start = from_ms or 0
    if start < 0 or (to_ms is not None and to_ms <= start):
        raise InputError("the part to read is empty", where="--from/--to", cure="give a beginning before the end")
    if start and found.duration_ms is not None and start >= found.duration_ms:
        what = f"the recording is over at {clock_text(found.duration_ms)}"
        raise InputError(what, where=str(path), cure="give an earlier --from")
    picture = bool(video and found.video)
    if not isinstance(channels, ChannelPlan):
        channels = plan(found.audio.channels if found.audio else 0, found.stereo, picture, channels, where=found.path)
    if not channels.sources and not picture:
        raise InputError("no audio track, and the picture is left out", where=found.path, cure="allow the video")
    return MediaReader(found, session, channels, fps, Window(start, to_ms), chunk_ms, picture)


class MediaReader:
    """Iterator over the records of a recording: `AudioChunk` (s16 at the file's own rate, sources ``audio/N`` with N
    the channel), `VideoFrame` (bgr24, upright, source ``video/0``) in media order, and a `SourceEnd` for each source.

    `participants`, `audio_sources`, `video_sources` and `channel_reason` say what will come, `position_ms` of
    `duration_ms` (None: unknown) how far it is, `problems` what was wrong with the medium so far. `end_ms` is where
    the media really ended once everything is read.
    """

    def __init__(
        self,
        info: MediaInfo,
        session: str,
        channels: ChannelPlan,
        fps: float | None,
        window: Window,
        chunk_ms: int,
        picture: bool,
    ) -> None:
        self.info, self._plan, self._window = info, channels, window
        self.video_sources: tuple[str, ...] = (VIDEO_SOURCE,) if picture else ()
        self.end_ms = 0
        self._problems = Problems(info.problems)
        self._position_ms = window.start_ms
        file, origin_us = Path(info.path), info.origin_us
        self._readings: list[Generator[MediaRecord, None, None]] = []
        if info.audio and channels.sources:
            sound = AudioReader(
                file, info.audio, channels.sources, session=session, origin_us=origin_us, window=window,
                chunk_ms=chunk_ms, problems=self._problems, compare=channels.assumed_same,
            )
            self._readings.append(sound.records())
        if info.video and picture:
            pictures = VideoReader(
                file, info.video, session=session, origin_us=origin_us, window=window, fps=fps, problems=self._problems,
            )
            self._readings.append(pictures.records())
        self._records = heapq.merge(*self._readings, key=_time_ms)

    @property
    def participants(self) -> tuple[Participant, ...]:
        return self._plan.participants

    @property
    def audio_sources(self) -> tuple[str, ...]:
        return tuple(source.name for source in self._plan.sources)

    @property
    def channel_reason(self) -> str:
        """What was decided about the channels, and why, in one sentence."""
        return self._plan.reason

    @property
    def problems(self) -> list[str]:
        """What was wrong with the medium so far, one line each."""
        return self._problems.lines()

    @property
    def position_ms(self) -> int:
        """How far the reading is, on the media clock."""
        return self._position_ms

    @property
    def duration_ms(self) -> int | None:
        """Where the reading will end as far as the header says."""
        ends = [end for end in (self.info.duration_ms, self._window.end_ms) if end is not None]
        return min(ends) if ends else None

    def __iter__(self) -> Iterator[MediaRecord]:
        return self

    def __next__(self) -> MediaRecord:
        try:
            record = next(self._records)
        except StopIteration:
            self._check_end()
            raise
        self._position_ms = max(self._position_ms, _time_ms(record))
        if isinstance(record, SourceEnd):
            self.end_ms = max(self.end_ms, record.media_ms)
        return record

    def close(self) -> None:
        """Close the file; a reading that was not finished stops here."""
        for reading in self._readings:
            reading.close()

    def __enter__(self) -> MediaReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _check_end(self) -> None:
        """A reading that ended well before the header's end is of a file that was cut off."""
        promised = self.duration_ms
        if promised is None or not self.info.duration_stated or not self.end_ms < promised - _SHORT_MS:
            return
        what = f"the recording ends at {clock_text(self.end_ms)}, not at {clock_text(promised)} as its header says"
        self._problems.add("end", f"{what}: it is cut off, what is there was read")


def _time_ms(record: MediaRecord) -> int:
    match record:
        case AudioChunk():
            return record.start_ms
        case _:
            return record.media_ms
