"""What a codec makes of the bytes of a call, whatever the vendor.

A codec is synchronous and does no I/O: `feed(message)` takes what came in (text, bytes), `flush()` says that the
connection is gone, and both give a list of these events in order. Media time is counted in samples received or stated
by the sender, never taken from the wall clock or from the pace of arrival.
"""

from __future__ import annotations

import re
import uuid
from dataclasses import dataclass, field
from typing import Protocol

from streams.records import Notice, Participant

_SESSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}")


@dataclass(frozen=True, slots=True)
class CallStarted:
    """A call begins. `audio` and `video` name its sources; `attributes` are for correlation and hold no telephone numbers."""

    session: str
    participants: tuple[Participant, ...]
    audio: tuple[str, ...]
    video: tuple[str, ...] = ()
    media: str = ""
    language: str | None = None
    notice: Notice | None = None
    attributes: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Audio:
    """Little-endian s16 mono PCM; `start_sample` counts samples of `rate` since session start, so a jump is a gap."""

    source: str
    start_sample: int
    rate: int
    pcm: bytes


@dataclass(frozen=True, slots=True)
class Video:
    """One JPEG picture at `media_ms` since session start."""

    source: str
    media_ms: int
    width: int
    height: int
    jpeg: bytes


@dataclass(frozen=True, slots=True)
class Paused:
    """From here nothing is kept until `Resumed`: what arrives in between is thrown away unread."""


@dataclass(frozen=True, slots=True)
class Resumed:
    """The pause is over; the next audio says where in media time the call goes on."""


@dataclass(frozen=True, slots=True)
class Noted:
    """Something worth counting and nothing more: a duplicate, a lost frame, a keypad digit (which is never stored)."""

    counter: str
    n: int = 1


@dataclass(frozen=True, slots=True)
class Refused:
    """A part of the input cannot be used; the call goes on. `code` is stable, the rest is for a person."""

    code: str
    what: str
    where: str = ""
    cure: str = ""
    original: bytes = b""


@dataclass(frozen=True, slots=True)
class Fault:
    """The input breaks the protocol; the call ends. Fields as in `Refused`."""

    code: str
    what: str
    where: str = ""
    cure: str = ""
    original: bytes = b""


@dataclass(frozen=True, slots=True)
class SourceEnded:
    """Nothing more comes from one source; the call goes on."""

    source: str


@dataclass(frozen=True, slots=True)
class CallEnded:
    """The call is over. `reason`: completed, stop, idle, error, interrupted."""

    reason: str = "completed"


@dataclass(frozen=True, slots=True)
class Reply:
    """To be sent back on the connection, now."""

    data: str | bytes


CallEvent = CallStarted | Audio | Video | Paused | Resumed | Noted | Refused | Fault | SourceEnded | CallEnded | Reply


class Codec(Protocol):
    """Bytes and text of one connection in, call events out. After the end or a fault it gives nothing but replies."""

    def feed(self, message: str | bytes) -> list[CallEvent]: ...

    def flush(self) -> list[CallEvent]:
        """The connection is gone: the end of the call, unless it has ended already or never began."""
        ...

    @property
    def done(self) -> bool:
        """Nothing more is expected: the connection may be closed."""
        ...


def session_id(text: str | None) -> str:
    """`text` where it can serve as a session id (letters, digits, ``._:-``, at most 128), otherwise a new random id."""
    return text if text and _SESSION.fullmatch(text) else uuid.uuid4().hex


def is_session_id(text: str) -> bool:
    return bool(_SESSION.fullmatch(text))
