"""Twilio Media Streams: JSON text frames, µ-law 8 kHz, one message a track; numbers travel as strings.

The gateway is a tap: it sends nothing. `inbound` is what Twilio hears from the caller, which is the customer only on an
inbound call: roles come from the operator (`CallDefaults.roles`, or the stream's parameters ``role_inbound``,
``role_outbound``, ``notice`` and ``language``).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Callable
from typing import Any

import msgspec

from streams.ingest.gateway import g711
from streams.ingest.gateway.calls import Audio, CallEnded, CallEvent, CallStarted, Fault, Noted, Refused, session_id
from streams.ingest.gateway.people import audio_name, language_of, notice_of, people
from streams.ingest.gateway.settings import CallDefaults
from streams.ingest.gateway.timeline import Timeline

RATE = 8000
TOLERANCE_MS = 60
"""Timestamps that differ less from the count of samples are jitter, unless a chunk number is missing as well."""
_ENCODINGS: dict[str, Callable[[bytes], bytes]] = {"audio/x-mulaw": g711.mu_law, "audio/x-alaw": g711.a_law, "audio/x-l16": bytes}


class _Track:
    def __init__(self, source: str, rate: int, max_gap_s: float) -> None:
        self.source = source
        self.timeline = Timeline(tolerance=TOLERANCE_MS * rate // 1000, max_gap=int(max_gap_s * rate))
        self.chunk: int | None = None


class TwilioCodec:
    """One connection. `feed` takes text messages."""

    def __init__(self, defaults: CallDefaults | None = None, *, max_gap_s: float = 600.0) -> None:
        self._defaults = defaults or CallDefaults()
        self._max_gap_s = max_gap_s
        self._tracks: dict[str, _Track] = {}
        self._rate = RATE
        self._decode: Callable[[bytes], bytes] = g711.mu_law
        self._started = False
        self.done = False

    def feed(self, message: str | bytes) -> list[CallEvent]:
        if self.done:
            return []
        try:
            content = msgspec.json.decode(message, type=dict[str, Any])
            return self._message(str(content.get("event")), content)
        except (msgspec.DecodeError, UnicodeDecodeError, KeyError, TypeError, ValueError, AttributeError) as error:
            self.done = True
            problem = f"{error}" if not isinstance(error, KeyError) else f"{error} is missing"
            return [Fault("malformed", f"not a media stream message: {problem}", "twilio", "send the messages of Media Streams 1.0", _bytes(message))]

    def flush(self) -> list[CallEvent]:
        if self.done or not self._started:
            return []
        self.done = True
        return [CallEnded("interrupted")]

    def _message(self, event: str, content: dict[str, Any]) -> list[CallEvent]:
        if event == "media":
            return self._media(content)
        if event == "start":
            return self._start(content)
        if event == "stop":
            self.done = True
            return [CallEnded("completed")] if self._started else []
        if event == "dtmf":
            return [Noted("keypad_digits")]
        if event in ("connected", "mark"):
            return []
        return [Noted("unknown_messages")]

    def _start(self, content: dict[str, Any]) -> list[CallEvent]:
        if self._started:
            return [Refused("repeated_start", "a second start on one connection", "twilio", "open a connection per stream")]
        start = content["start"]
        media_format = start.get("mediaFormat") or {}
        encoding = str(media_format.get("encoding", "audio/x-mulaw")).lower()
        self._rate = int(media_format.get("sampleRate", RATE))
        if encoding not in _ENCODINGS or not 4000 <= self._rate <= 192_000 or int(media_format.get("channels", 1)) != 1:
            self.done = True
            return [Fault("unknown_codec", f"media format {encoding}, {self._rate} Hz", "twilio", f"use one of {', '.join(_ENCODINGS)}, mono")]
        self._decode = _ENCODINGS[encoding]
        tracks = [str(track) for track in start.get("tracks") or ["inbound"]]
        self._tracks = {track: _Track(audio_name(i), self._rate, self._max_gap_s) for i, track in enumerate(tracks)}
        parameters = {str(k): str(v)[:200] for k, v in (start.get("customParameters") or {}).items()}
        roles = self._defaults.roles | {track: parameters[f"role_{track}"] for track in tracks if f"role_{track}" in parameters}
        self._started = True
        return [
            CallStarted(
                session_id(str(content.get("streamSid") or start.get("streamSid"))),
                people(tracks, roles),
                tuple(track.source for track in self._tracks.values()),
                media="twilio",
                language=language_of(parameters.get("language") or self._defaults.language),
                notice=notice_of(parameters.get("notice")) or self._defaults.notice,
                attributes={**parameters, "call": str(start.get("callSid", ""))},
            )
        ]

    def _media(self, content: dict[str, Any]) -> list[CallEvent]:
        if not self._started:
            self.done = True
            return [Fault("not_started", "media before start", "twilio", "send start first")]
        media = content["media"]
        track = self._tracks.get(str(media.get("track", "inbound")))
        if track is None:
            return [Refused("unknown_source", f"media of track {media.get('track')!r}", "twilio", "name it in start.tracks")]
        events: list[CallEvent] = []
        chunk = int(media["chunk"]) if "chunk" in media else None
        if chunk is not None and track.chunk is not None and chunk <= track.chunk:
            return [Refused("duplicate", f"chunk {chunk} of {track.source} came after chunk {track.chunk}", "twilio", "send each chunk once, in order")]
        lost = chunk is not None and track.chunk is not None and chunk > track.chunk + 1
        if lost and chunk is not None and track.chunk is not None:
            events.append(Noted("frames_lost", chunk - track.chunk - 1))
        track.chunk = chunk
        try:
            pcm = self._decode(base64.b64decode(media["payload"], validate=True))
        except binascii.Error:
            return [*events, Refused("bad_payload", f"chunk {chunk} of {track.source} is not base64", "twilio", "encode the payload in base64")]
        pcm = pcm[: len(pcm) // 2 * 2]
        stated = int(media["timestamp"]) * self._rate // 1000 if "timestamp" in media else track.timeline.expected
        placed = track.timeline.place(stated, lost=lost)
        if placed.jump:
            events.append(Refused("clock_jump", f"{track.source}: timestamp {media['timestamp']} ms lies far {placed.jump}", "twilio", "counted on by samples"))
        track.timeline.advance(placed.position, len(pcm) // 2)
        return [*events, Audio(track.source, placed.position, self._rate, pcm)]


def signed(url: str, auth_token: str, signature: str) -> bool:
    """Whether `signature` (header X-Twilio-Signature) is base64(HMAC-SHA1(auth token, URL of the upgrade request))."""
    expected = base64.b64encode(hmac.new(auth_token.encode(), url.encode(), hashlib.sha1).digest()).decode()
    return hmac.compare_digest(expected, signature)


def _bytes(message: str | bytes) -> bytes:
    return message.encode("utf-8", "replace") if isinstance(message, str) else message
