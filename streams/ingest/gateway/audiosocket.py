"""Asterisk AudioSocket: records of `type: u8, length: u16 big-endian, payload` on a plain TCP connection.

The audio inside is little-endian although the header is not. The UUID of the first record is all that says which call
this is. Only one direction travels: the other one is a connection of its own, and a session of its own unless both are
registered as one call (see `legs`).
"""

from __future__ import annotations

import uuid

from streams.ingest.gateway.calls import Audio, CallEnded, CallEvent, CallStarted, Fault, Noted
from streams.ingest.gateway.people import audio_name, language_of, people
from streams.ingest.gateway.settings import CallDefaults

HANGUP, UUID, DTMF, ERROR = 0x00, 0x01, 0x03, 0xFF
RATES = {0x10: 8000, 0x11: 12_000, 0x12: 16_000, 0x13: 24_000, 0x14: 32_000, 0x15: 44_100, 0x16: 48_000, 0x17: 96_000, 0x18: 192_000}
CHANNEL = "caller"
_ERRORS = {0x01: "hang-up of the caller", 0x02: "frame forwarding", 0x04: "memory"}


class AudioSocketCodec:
    """One connection. `feed` takes bytes as they come, split anywhere."""

    def __init__(self, defaults: CallDefaults | None = None) -> None:
        self._defaults = defaults or CallDefaults()
        self._buffer = bytearray()
        self._kind: int | None = None
        self._position = 0
        self._rest = b""
        self._started = False
        self.done = False

    def feed(self, message: str | bytes) -> list[CallEvent]:
        if self.done:
            return []
        self._buffer += message.encode() if isinstance(message, str) else message
        events: list[CallEvent] = []
        while not self.done and len(self._buffer) >= 3:
            end = 3 + int.from_bytes(self._buffer[1:3])
            if len(self._buffer) < end:
                # Garbage must not wait for up to 64 KiB that never come: the first record is always the UUID.
                if not self._started and self._buffer[0] not in (UUID, HANGUP, ERROR):
                    return [*events, self._fault("not_started", f"a record of type 0x{self._buffer[0]:02x} before the UUID", bytes(self._buffer))]
                break
            kind, payload = self._buffer[0], bytes(self._buffer[3:end])
            del self._buffer[:end]
            events += self._record(kind, payload)
        return events

    def flush(self) -> list[CallEvent]:
        if self.done or not self._started:
            return []
        self.done = True
        return [CallEnded("interrupted" if self._buffer else "completed")]  # closing the socket is a regular hang-up

    def _record(self, kind: int, payload: bytes) -> list[CallEvent]:
        if kind == HANGUP:
            self.done = True
            return [CallEnded("completed")] if self._started else []
        if kind == ERROR:
            code = payload[0] if payload else 0
            causes = [text for bit, text in _ERRORS.items() if code & bit] or [f"code {code}"]
            return [self._fault("peer_error", f"Asterisk reports an error: {', '.join(causes)}", payload)]
        if kind == UUID:
            return self._begin(payload)
        if not self._started:
            return [self._fault("not_started", f"a record of type 0x{kind:02x} before the UUID", payload)]
        if kind == DTMF:
            return [Noted("keypad_digits")]
        return self._audio(kind, payload) if kind in RATES else [Noted("unknown_messages")]

    def _begin(self, payload: bytes) -> list[CallEvent]:
        if self._started or len(payload) != 16:
            return [self._fault("malformed", "a second UUID" if self._started else f"a UUID of {len(payload)} bytes", payload)]
        self._started = True
        return [
            CallStarted(
                str(uuid.UUID(bytes=payload)),
                people([CHANNEL], self._defaults.roles),
                (audio_name(0),),
                media="audiosocket",
                language=language_of(self._defaults.language),
                notice=self._defaults.notice,
            )
        ]

    def _audio(self, kind: int, payload: bytes) -> list[CallEvent]:
        if self._kind not in (None, kind):
            return [self._fault("rate_changed", f"the sample rate changed from {RATES[self._kind or kind]} to {RATES[kind]} Hz", payload)]
        self._kind = kind
        data = self._rest + payload
        whole = len(data) // 2 * 2
        pcm, self._rest = data[:whole], data[whole:]
        start, self._position = self._position, self._position + whole // 2
        return [Audio(audio_name(0), start, RATES[kind], pcm)] if pcm else []

    def _fault(self, code: str, what: str, original: bytes) -> Fault:
        self.done = True
        return Fault(code, what, "audiosocket", "connect Asterisk's AudioSocket here, nothing else", original)
