"""The product's own ingest protocol on a WebSocket: its messages and its binary frame. Described in docs/ingest.md.

Control messages are JSON text frames with a field `type`; fields that are not known are ignored. Media are binary frames:

    offset  size  field
    0       u8    kind: 1 audio, 2 video
    1       u8    index of the source, as declared in `start`
    2       u16   zero (reserved)
    4       u32   sequence number of the source, from 0, +1 a frame
    8       u64   media time since session start: audio in samples (of the declared rate), video in milliseconds
    16            payload

All numbers are little-endian. The codec of the payload is the declared one of the source.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import struct
from typing import Literal

import msgspec
from msgspec import Struct

from streams.ingest.gateway.assembler import Position
from streams.records import Notice

SUBPROTOCOL = "affectstream.ingest.v1"
AUDIO, VIDEO = 1, 2
HEADER = struct.Struct("<BBHIQ")
MAX_SOURCES = 16
MAX_CHANNELS = 8
MAX_SEQ = 0xFFFF_FFFF


class ProtocolError(ValueError):
    """A frame or message that is none of this protocol."""


class Person(Struct, frozen=True, omit_defaults=True):
    """A participant. `channel` names an audio source of the session (``audio/0``), `video` a video source (``video/0``)."""

    id: str
    role: str = ""
    channel: str | None = None
    video: str | None = None


class Source(Struct, frozen=True, omit_defaults=True):
    """A source of media. Audio of several channels becomes as many sources of the session, numbered in order of
    declaration (``audio/0``, ``audio/1`` …); a video source becomes ``video/0`` …. `rate` in Hz (Opus: 48000).
    `pre_skip`: decoded samples to drop at the start (Opus encoders state it, usually 312)."""

    index: int
    kind: Literal["audio", "video"]
    codec: str
    rate: int = 16_000
    channels: int = 1
    pre_skip: int = 0


class Start(Struct, frozen=True, omit_defaults=True, tag="start"):
    """First message of a call. `lossless`: the sender can wait, so nothing is dropped under load (recordings)."""

    sources: tuple[Source, ...]
    participants: tuple[Person, ...] = ()
    session: str | None = None
    token: str | None = None
    language: str | None = None
    notice: Notice | None = None
    attributes: dict[str, str] = {}
    lossless: bool = False


class Resume(Struct, frozen=True, omit_defaults=True, tag="resume"):
    """First message after a disconnect. `state` is the newest one received; `start` repeats the first message, for a
    gateway that does not know the call."""

    session: str
    state: str
    start: Start
    token: str | None = None


class Pause(Struct, frozen=True, tag="pause"):
    """Nothing is kept until `continue`. `n` numbers pause and continue messages from 1, so that one sent again is known."""

    n: int = 0


class Continue(Struct, frozen=True, tag="continue"):
    """The pause is over; the media times of the next frames say how long it was."""

    n: int = 0


class End(Struct, frozen=True, omit_defaults=True, tag="end"):
    """The call is over; answered by `ended` when everything has been handed on."""

    reason: Literal["completed", "stop", "interrupted"] = "completed"


class Ping(Struct, frozen=True, tag="ping"):
    """A sign of life, answered by `pong`. It does not keep a call without media from being idle."""


ClientMessage = Start | Resume | Pause | Continue | End | Ping


class Allowed(Struct, frozen=True):
    """What policy allows for one participant, and why."""

    transcribe: bool
    emotion: bool
    reason: str


class Started(Struct, frozen=True, tag="started"):
    """Answer to `start`. `sources`: names in the session of each source index; `state`: opaque, for `resume`."""

    session: str
    sources: dict[str, list[str]]
    decisions: dict[str, Allowed]
    state: str
    max_frame_bytes: int
    heartbeat_s: float
    idle_s: float
    resume_s: float


class Resumed(Struct, frozen=True, tag="resumed"):
    """Answer to `resume`. `received`: last sequence number of each source that need not be sent again; `control`: last
    pause or continue received. `fresh`: another gateway took over, decoders begin anew (H.264: send a key frame)."""

    session: str
    received: dict[str, int]
    control: int = 0
    fresh: bool = False


class Ack(Struct, frozen=True, tag="ack"):
    """`acked`: last sequence number of each source whose media have been handed on for good. `state`: for `resume`."""

    acked: dict[str, int]
    control: int
    state: str


class Pong(Struct, frozen=True, tag="pong"):
    """Answer to `ping`."""


class Error(Struct, frozen=True, omit_defaults=True, tag="error"):
    """Something was refused. `fatal`: the call has ended (or never began) and the connection is closed."""

    code: str
    what: str
    where: str = ""
    cure: str = ""
    fatal: bool = False


class Ended(Struct, frozen=True, tag="ended"):
    """The call is closed. `records`: records handed on per source of the session."""

    session: str
    reason: str
    records: dict[str, int]


ServerMessage = Started | Resumed | Ack | Pong | Error | Ended

_client: msgspec.json.Decoder[ClientMessage] = msgspec.json.Decoder(ClientMessage)
_server: msgspec.json.Decoder[ServerMessage] = msgspec.json.Decoder(ServerMessage)


def encode(message: ClientMessage | ServerMessage) -> str:
    return msgspec.json.encode(message).decode()


def decode_client(text: str) -> ClientMessage:
    """A message of a client; raises `ProtocolError`."""
    try:
        return _client.decode(text)
    except (msgspec.DecodeError, UnicodeError) as error:
        raise ProtocolError(str(error)) from error


def decode_server(text: str | bytes) -> ServerMessage | None:
    """A message of a gateway; None for a type that this version does not know."""
    try:
        return _server.decode(text)
    except msgspec.ValidationError as error:
        if "Invalid value" in str(error):
            return None
        raise ProtocolError(str(error)) from error
    except msgspec.DecodeError as error:
        raise ProtocolError(str(error)) from error


def pack(kind: int, source: int, seq: int, time: int, payload: bytes) -> bytes:
    """A binary frame."""
    return HEADER.pack(kind, source, 0, seq, time) + payload


class Frame(Struct, frozen=True):
    """A binary frame, taken apart."""

    kind: int
    source: int
    seq: int
    time: int
    payload: bytes


def unpack(data: bytes) -> Frame:
    """Raises `ProtocolError` for bytes that are no frame."""
    if len(data) < HEADER.size:
        raise ProtocolError(f"a frame of {len(data)} bytes: its header has {HEADER.size}")
    kind, source, reserved, seq, time = HEADER.unpack_from(data)
    if kind not in (AUDIO, VIDEO) or reserved:
        raise ProtocolError(f"a frame of kind {kind}, reserved {reserved}: kinds are 1 (audio) and 2 (video)")
    return Frame(kind, source, seq, time, data[HEADER.size :])


class SourceState(Struct, frozen=True, array_like=True):
    """Where a source goes on: the last sequence number handed on, and the timeline after it."""

    acked: int
    expected: int = 0
    offset: int = 0


class CallState(Struct, frozen=True, array_like=True):
    """What another gateway needs to go on with a call: small, and a function of what has been handed on."""

    session: str
    sources: dict[int, SourceState]
    records: dict[str, Position]
    control: int = 0
    paused: bool = False


def seal(state: CallState, key: bytes) -> str:
    """`state` as text that only holders of `key` can make."""
    body = msgspec.msgpack.encode(state)
    return base64.urlsafe_b64encode(hmac.digest(key, body, hashlib.sha256) + body).decode()


def unseal(text: str, key: bytes) -> CallState:
    """Inverse of `seal`; raises `ProtocolError` for anything else."""
    try:
        data = base64.urlsafe_b64decode(text)
        if not hmac.compare_digest(data[:32], hmac.digest(key, data[32:], hashlib.sha256)):
            raise ProtocolError("the state is not one that a gateway with this key gave")
        return msgspec.msgpack.decode(data[32:], type=CallState)
    except (ValueError, msgspec.DecodeError) as error:
        raise ProtocolError(f"the state cannot be read: {error}") from error
