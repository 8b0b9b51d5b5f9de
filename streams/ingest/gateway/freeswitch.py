"""FreeSWITCH mod_audio_fork (and mod_audio_stream): a text frame of metadata, then L16 in binary frames.

There are no sequence numbers and no times: samples are counted. The metadata travel verbatim and need not be JSON; where
they are a JSON object, its fields `session`, `roles` {channel: role}, `notice`, `language`, `rate` and `channels` are
read. Rate and number of channels otherwise come from the address (``?rate=16000&channels=2``). In stereo the caller is
left and the callee right.
"""

from __future__ import annotations

from typing import Any

import msgspec

from streams.ingest.gateway import g711
from streams.ingest.gateway.calls import Audio, CallEnded, CallEvent, CallStarted, Fault, Noted, session_id
from streams.ingest.gateway.people import audio_name, language_of, notice_of, people
from streams.ingest.gateway.settings import CallDefaults

CHANNELS = {1: ("caller",), 2: ("caller", "callee")}
MAX_TEXT_BYTES = 64 * 1024


class FreeSwitchCodec:
    """One connection. `feed` takes text and binary messages."""

    def __init__(self, defaults: CallDefaults | None = None, *, rate: int = 8000, channels: int = 1) -> None:
        self._defaults = defaults or CallDefaults()
        self._rate, self._channels = rate, channels
        self._position = 0
        self._rest = b""
        self._started = False
        self.done = False

    def feed(self, message: str | bytes) -> list[CallEvent]:
        if self.done:
            return []
        if isinstance(message, bytes):
            # mod_audio_stream sends no metadata where the dial plan gives none.
            return [*([] if self._started else self._begin("")), *self._audio(message)]
        if len(message) > MAX_TEXT_BYTES:
            return [self._fault("too_large", "a text frame of more than 64 KiB", message)]
        return [Noted("texts")] if self._started else self._begin(message)

    def flush(self) -> list[CallEvent]:
        if self.done or not self._started:
            return []
        self.done = True
        return [CallEnded("completed")]  # the protocol has no other end than the close of the socket

    def _begin(self, text: str) -> list[CallEvent]:
        metadata = _json_object(text)
        rate, channels = metadata.get("rate", self._rate), metadata.get("channels", self._channels)
        if not (isinstance(rate, int) and 4000 <= rate <= 192_000 and channels in CHANNELS):
            return [self._fault("unknown_codec", f"rate {rate!r}, channels {channels!r}", text)]
        self._rate, self._channels, self._started = rate, channels, True
        names = CHANNELS[channels]
        roles = metadata.get("roles")
        return [
            CallStarted(
                session_id(metadata["session"] if isinstance(metadata.get("session"), str) else None),
                people(names, self._defaults.roles | (roles if isinstance(roles, dict) else {})),
                tuple(audio_name(i) for i in range(channels)),
                media="freeswitch",
                language=language_of(metadata.get("language") or self._defaults.language),
                notice=notice_of(metadata.get("notice")) or self._defaults.notice,
                attributes={} if metadata or not text else {"metadata": text[:1000]},
            )
        ]

    def _audio(self, data: bytes) -> list[CallEvent]:
        if self.done:
            return []
        data = self._rest + data
        frame = 2 * self._channels
        whole = len(data) // frame * frame
        pcm, self._rest = data[:whole], data[whole:]
        start, self._position = self._position, self._position + whole // frame
        parts = g711.deinterleave(pcm, self._channels)
        return [Audio(audio_name(i), start, self._rate, part) for i, part in enumerate(parts)] if whole else []

    def _fault(self, code: str, what: str, original: str) -> Fault:
        self.done = True
        return Fault(code, what, "freeswitch", "fork mono or stereo at 8k or 16k and say so in the address", original.encode("utf-8", "replace"))


def _json_object(text: str) -> dict[str, Any]:
    try:
        value = msgspec.json.decode(text)
    except ValueError:  # the metadata need not be JSON
        return {}
    return value if isinstance(value, dict) else {}
