"""What a media file is: tracks, start offsets, rotation, duration, content hash, and what is wrong with it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import av
from av.container import InputContainer
from av.stream import Disposition
from msgspec import Struct

from extractors.errors import InputError
from extractors.registry import sha256_of
from streams.ingest.audio import AudioTrack, pcm_s16
from streams.ingest.channels import COMPARED_SECONDS, StereoComparison, StereoKind
from streams.ingest.demux import ACCEPTED, Problems, Window, frames, open_container, stamp_us
from streams.ingest.video import VideoTrack

ORIGIN_LIMIT_US = 1_000_000
_ESTIMATED = ("mp3", "aac", "ac3", "eac3", "amr", "mpeg", "mpegts", "mpegvideo", "h264", "hevc", "dts")
_HEAD_US = 120_000_000
_UNKNOWN_SIZE = 0x7FFF_0000  # programs that write to a pipe state sizes from here on
_PICTURES = Disposition.attached_pic | Disposition.timed_thumbnails | Disposition.still_image


class MediaInfo(Struct, frozen=True):
    """What `probe` found.

    `origin_us` is the container time of media time zero: the first sample of a recording without a picture; otherwise
    the container's own zero, as players show it, unless everything begins before it or more than a second after it.
    `duration_ms` is the header's statement, an estimate from the bit rate where `duration_stated` is False, or None.
    `stereo` is the verdict of the channel rule on two-channel audio. `problems` are sentences for the user about what
    did not stop the reading.
    """

    path: str
    container: str
    size_bytes: int
    sha256: str
    duration_ms: int | None
    origin_us: int
    audio: AudioTrack | None = None
    video: VideoTrack | None = None
    stereo: StereoKind | None = None
    duration_stated: bool = False
    problems: tuple[str, ...] = ()


def probe(path: str | os.PathLike[str], *, digest: bool = True) -> MediaInfo:
    """Look into a media file: reads its content once for the hash (left empty without `digest`), decodes its head.

    Raises `InputError` for what cannot be analysed: missing, a folder, unreadable, empty, no media, neither an audio
    nor a video track, encrypted, an unknown codec.
    """
    file = Path(path)
    _check_file(file)
    problems = Problems()
    with open_container(file) as container:
        audio = _choose(container, "audio", problems)
        video = _choose(container, "video", problems)
        if audio is None and video is None:
            what = "; ".join(problems.lines()) or "no audio and no video track"
            raise InputError(what, where=str(file), cure=f"give a recording as {ACCEPTED}")
        head = _AudioHead(file, audio.index) if audio is not None else None
        picture = _first_picture(file, video.index) if video is not None else None
        if head is not None and not head.rate:
            problems.add("audio", "audio: nothing in the track can be decoded")
            head = None
        if video is not None and picture is None:
            problems.add("video", "video: nothing in the track can be decoded")
        if head is None and picture is None:
            raise _undecodable(file, [stream for stream in (audio, video) if stream is not None])
        origin = _origin(head.first_us if head else None, stamp_us(picture) if picture is not None else None)
        end_us = None if container.duration is None else (container.start_time or 0) + container.duration
        if end_us is not None and head and audio.codec_context.bit_rate:
            end_us += _wav_missing_bytes(file) * 8_000_000 // audio.codec_context.bit_rate
        return MediaInfo(
            path=str(file),
            container=container.format.name,
            size_bytes=file.stat().st_size,
            sha256=sha256_of(file) if digest else "",
            duration_ms=None if end_us is None else max(0, (end_us - origin) // 1000),
            origin_us=origin,
            audio=_audio_track(audio, head, origin) if head else None,
            video=_video_track(video, picture, origin) if picture is not None else None,
            stereo=head.stereo if head else None,
            duration_stated=container.duration is not None and _states_duration(container),
            problems=tuple(problems.lines()),
        )


def _check_file(file: Path) -> None:
    where = str(file)
    try:
        if file.is_dir():
            raise InputError("this is a folder, not a recording", where=where, cure="name the files in it")
        if not file.exists():
            raise InputError("no such file", where=where, cure="check the path")
        with file.open("rb") as stream:
            if not stream.read(1):
                raise InputError("the file is empty (zero bytes)", where=where, cure="record or copy it again")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        cure = "check its name and permissions"
        raise InputError(f"file cannot be read ({reason})", where=where, cure=cure) from error


def _choose(container: InputContainer, kind: str, problems: Problems) -> Any:
    """The track to analyse: the default one, else the first; cover pictures are no video. The others are named."""
    usable: list[Any] = []
    for stream in container.streams:
        if stream.type != kind or (kind == "video" and stream.disposition & _PICTURES):
            continue
        if stream.codec_context is None:
            problems.add("codec", f"{kind}: the codec of track {stream.index} is not supported")
        else:
            usable.append(stream)
    if not usable:
        return None
    chosen = next((stream for stream in usable if stream.disposition & Disposition.default), usable[0])
    for other in usable:
        if other.index != chosen.index:
            labels = [other.metadata.get("language", ""), other.metadata.get("title", "")]
            label = ", ".join(text for text in labels if text and text != "und")
            named = f" ({label})" if label else ""
            line = f"{kind}: track {other.index}{named} is not analysed, only track {chosen.index}"
            problems.add(f"{kind} tracks", line)
    return chosen


class _AudioHead:
    """The head of an audio track, decoded: its real rate and layout, where it starts, how two channels relate."""

    def __init__(self, file: Path, index: int) -> None:
        self.rate = self.channels = self.first_us = 0
        self.layout = ""
        self.stereo: StereoKind | None = None
        comparison: StereoComparison | None = None
        for frame in frames(file, index, 0, Window(), Problems()):
            if not self.rate:
                self.rate, self.first_us = frame.sample_rate, stamp_us(frame)
                self.layout, self.channels = frame.layout.name, len(frame.layout.channels)
                comparison = StereoComparison(self.rate)
            changed = frame.sample_rate != self.rate or len(frame.layout.channels) != self.channels
            if comparison is None or self.channels != 2 or changed:
                break
            comparison.feed(pcm_s16(frame))
            if comparison.seconds >= COMPARED_SECONDS or stamp_us(frame) - self.first_us > _HEAD_US:
                break
        if comparison is not None and self.channels == 2:
            self.stereo = comparison.finish()


def _first_picture(file: Path, index: int) -> av.VideoFrame | None:
    for frame in frames(file, index, 0, Window(), Problems()):
        if isinstance(frame, av.VideoFrame):
            return frame
    return None


def _audio_track(stream: Any, head: _AudioHead, origin_us: int) -> AudioTrack:
    start_ms = (head.first_us - origin_us) // 1000
    return AudioTrack(stream.index, stream.codec_context.name, head.rate, head.channels, head.layout, start_ms)


def _video_track(stream: Any, picture: av.VideoFrame, origin_us: int) -> VideoTrack:
    rate = stream.average_rate or stream.guessed_rate
    aspect = stream.sample_aspect_ratio or stream.codec_context.sample_aspect_ratio
    return VideoTrack(
        index=stream.index,
        codec=stream.codec_context.name,
        width=picture.width,
        height=picture.height,
        fps=round(float(rate), 3) if rate else None,
        rotation=picture.rotation,
        start_ms=(stamp_us(picture) - origin_us) // 1000,
        pixel_aspect=(aspect.numerator, aspect.denominator) if aspect else (1, 1),
    )


def _origin(audio_us: int | None, video_us: int | None) -> int:
    starts = [start for start in (audio_us, video_us) if start is not None]
    earliest = min(starts)
    return earliest if video_us is None or not 0 <= earliest <= ORIGIN_LIMIT_US else 0


def _states_duration(container: InputContainer) -> bool:
    """Containers without a header of their own are measured by FFmpeg from size and bit rate. An mp3 file with an
    encoder's header shows by its encoder delay."""
    names = container.format.name.split(",")
    return not any(name in _ESTIMATED for name in names) or ("mp3" in names and bool(container.start_time))


def _wav_missing_bytes(file: Path) -> int:
    """How many bytes of samples a RIFF header states beyond the end of the file: FFmpeg measures the file instead."""
    with file.open("rb") as stream:
        riff = stream.read(12)
        if riff[:4] != b"RIFF" or riff[8:] != b"WAVE":
            return 0
        while len(header := stream.read(8)) == 8:
            name, size = header[:4], int.from_bytes(header[4:], "little")
            if name == b"data":
                rest = file.stat().st_size - stream.tell()
                return max(0, size - rest) if size < _UNKNOWN_SIZE else 0
            stream.seek(size + size % 2, os.SEEK_CUR)
    return 0


def _undecodable(file: Path, streams: list[Any]) -> InputError:
    """Why no track gives a single frame."""
    with open_container(file) as container:
        packets = container.demux([container.streams[stream.index] for stream in streams])
        for _, packet in zip(range(100), packets, strict=False):
            if packet.has_sidedata("encryption_info"):
                return InputError("the recording is encrypted", where=str(file), cure="give an unprotected copy")
    codecs = " and ".join(stream.codec_context.name for stream in streams)
    cure = "it is damaged or protected, export it again"
    return InputError(f"nothing in it can be decoded ({codecs})", where=str(file), cure=cure)
