"""Payloads of the product's own protocol: audio to s16 PCM per channel, pictures to JPEG."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Protocol

import av
import av.error
import cv2
import numpy as np
from av.audio.codeccontext import AudioCodecContext
from av.video.codeccontext import VideoCodecContext

from streams.ingest.gateway import g711

AUDIO_CODECS = ("pcm16", "mulaw", "alaw", "opus")
VIDEO_CODECS = ("jpeg", "h264")
OPUS_RATE = 48_000
MAX_PIXELS = 4096 * 2304
"""Larger pictures are refused before they are decoded: a few bytes can announce gigabytes of them."""
H264_FPS = 10
"""Pictures kept of an H.264 stream, per second of media: what the face analysis uses, at a fifth of the bytes."""
JPEG_QUALITY = 90
_IDR = 5


class PayloadError(ValueError):
    """The payload is not what its source declared; the message says what is wrong with it."""


class AudioDecoder(Protocol):
    """`decode` gives the s16 PCM of each channel, all of one length; raises `PayloadError`."""

    def decode(self, payload: bytes) -> list[bytes]: ...


class Pcm16:
    """Little-endian s16, channels interleaved."""

    def __init__(self, channels: int) -> None:
        self._channels = channels

    def decode(self, payload: bytes) -> list[bytes]:
        if len(payload) % (2 * self._channels):
            raise PayloadError(f"{len(payload)} bytes are not whole samples of {self._channels} channel(s)")
        return g711.deinterleave(payload, self._channels)


class G711:
    """µ-law or A-law, one byte a sample, channels interleaved."""

    def __init__(self, law: str, channels: int) -> None:
        self._expand = g711.mu_law if law == "mulaw" else g711.a_law
        self._channels = channels

    def decode(self, payload: bytes) -> list[bytes]:
        if len(payload) % self._channels:
            raise PayloadError(f"{len(payload)} bytes are not whole samples of {self._channels} channel(s)")
        return g711.deinterleave(self._expand(payload), self._channels)


class Opus:
    """One Opus packet a frame (RFC 6716, no container), decoded at 48 kHz."""

    def __init__(self, channels: int) -> None:
        self._channels = channels
        context = av.CodecContext.create("opus", "r")
        assert isinstance(context, AudioCodecContext)
        context.sample_rate = OPUS_RATE
        context.layout = "mono" if channels == 1 else "stereo"
        self._context = context

    def decode(self, payload: bytes) -> list[bytes]:
        if not payload:
            raise PayloadError("an empty Opus packet")
        try:
            frames = self._context.decode(av.Packet(payload))
        except av.error.FFmpegError as error:
            raise PayloadError(f"not an Opus packet: {error.strerror}") from error
        if not frames:
            raise PayloadError("an Opus packet without audio")
        # A packet carries its own number of channels; the declared number decides.
        blocks = [frame.to_ndarray().astype(np.float64).reshape(len(frame.layout.channels), -1) for frame in frames]
        samples = np.clip(np.rint(np.concatenate(blocks, axis=1) * 32768.0), -32768, 32767).astype("<i2")
        if len(samples) < self._channels:
            samples = np.repeat(samples, self._channels, axis=0)
        return [channel.tobytes() for channel in samples[: self._channels]]


def audio_decoder(codec: str, channels: int) -> AudioDecoder:
    """Decoder of a codec in `AUDIO_CODECS`."""
    if codec == "pcm16":
        return Pcm16(channels)
    return Opus(channels) if codec == "opus" else G711(codec, channels)


Picture = tuple[int, int, int, bytes]
"""Media time in ms, width, height, JPEG bytes."""


class VideoDecoder(Protocol):
    """`decode` gives the pictures that are complete, `flush` those that waited for later ones; raises `PayloadError`.
    `reset` says that frames are missing here."""

    def decode(self, payload: bytes, media_ms: int) -> list[Picture]: ...

    def flush(self) -> list[Picture]: ...

    def reset(self) -> None: ...


class Jpeg:
    """One JPEG picture a frame; its bytes go on unchanged."""

    def decode(self, payload: bytes, media_ms: int) -> list[Picture]:
        width, height = jpeg_size(payload)
        return [(media_ms, width, height, payload)]

    def flush(self) -> list[Picture]:
        return []

    def reset(self) -> None:
        pass


class H264:
    """One access unit a frame, Annex B byte stream; pictures leave as JPEG at `H264_FPS`.

    At the start and after missing frames nothing leaves until the next key frame: a picture patched up from others is no
    evidence of an expression.
    """

    def __init__(self) -> None:
        self._slot = -1
        self.reset()

    def reset(self) -> None:
        self._key_seen = False
        context = av.CodecContext.create("h264", "r")
        assert isinstance(context, VideoCodecContext)
        context.thread_count = 1
        context.options = {"max_pixels": str(MAX_PIXELS)}
        self._context = context

    def decode(self, payload: bytes, media_ms: int) -> list[Picture]:
        if not payload:
            raise PayloadError("an empty H.264 access unit")
        kinds = {unit[0] & 0x1F for unit in payload.split(b"\x00\x00\x01")[1:] if unit}
        if not kinds:
            raise PayloadError("no H.264 access unit in Annex B form: no start code")
        self._key_seen = self._key_seen or _IDR in kinds
        if not self._key_seen:
            return []
        packet = av.Packet(payload)
        packet.pts = packet.dts = media_ms
        packet.time_base = Fraction(1, 1000)
        try:
            return list(self._pictures(self._context.decode(packet)))
        except av.error.FFmpegError as error:
            raise PayloadError(f"not an H.264 access unit: {error.strerror}") from error

    def flush(self) -> list[Picture]:
        try:
            return list(self._pictures(self._context.decode(None)))
        except av.error.FFmpegError:
            return []

    def _pictures(self, frames: list[av.VideoFrame]) -> Iterator[Picture]:
        for frame in frames:
            slot = (frame.pts or 0) * H264_FPS // 1000
            if frame.is_corrupt or slot <= self._slot:
                continue
            self._slot = slot
            written, jpeg = cv2.imencode(".jpg", frame.to_ndarray(format="bgr24"), [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
            if written:
                yield frame.pts or 0, frame.width, frame.height, jpeg.tobytes()


def video_decoder(codec: str) -> VideoDecoder:
    """Decoder of a codec in `VIDEO_CODECS`."""
    return Jpeg() if codec == "jpeg" else H264()


def jpeg_size(data: bytes) -> tuple[int, int]:
    """Width and height of a whole JPEG picture, read from its frame header; raises `PayloadError`.

    The picture itself is decoded where it is looked at, and nowhere before.
    """
    if data[:2] != b"\xff\xd8":
        raise PayloadError("no JPEG picture: it does not begin with FFD8")
    if data.rfind(b"\xff\xd9", -64) < 0:
        raise PayloadError("a JPEG picture that was cut off: no FFD9 at its end")
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4])
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = int.from_bytes(data[at + 5 : at + 7]), int.from_bytes(data[at + 7 : at + 9])
            if at + 9 > len(data) or not 0 < width * height <= MAX_PIXELS:
                raise PayloadError(f"a JPEG picture of {width} x {height} pixels: at most {MAX_PIXELS} pixels are taken")
            return width, height
        if marker == 0xFF:  # fill byte
            at += 1
            continue
        at += 2 + max(length, 2)
    raise PayloadError("no JPEG picture: it has no frame header")
